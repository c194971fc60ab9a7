"""Ports: which gateway ports a binding gets. Random within the range (RFC 6056 section 3.3.1).

A released port rests before it is drawn again (`limits.PORT_REST_SECONDS`), because its last peer
may still hold the old pair of endpoints in TIME_WAIT and refuse a new connection. When no other
port is left, the port that has rested longest is drawn: a shorter rest is better than a refusal.

A port is in one of three places: free, resting, or drawn (in neither list).
"""

from array import array
from collections.abc import Callable

from sallyport.addresses import IpAddress, PortRange
from sallyport.errors import AddressInUse
from sallyport.flags import Transport

# The head of the ring: the index before the first and behind the last resting port.
_HEAD = -1


class Resting:
    """A queue of indexes in order of arrival, each with a time; every operation is constant time.

    It is a doubly linked ring in two arrays: `_next[i]` and `_previous[i]` are the neighbours of
    index i, and the last element of each array is the head of the ring. Rejected: a dict in
    insertion order, which needs three times the memory and grows with the first burst, or loses
    its constant time when entries are removed from its front.
    """

    def __init__(self, size: int) -> None:
        """Make room for the indexes 0 to `size` - 1; none rests at first."""
        # The head is the last element of each array, which Python finds at index -1.
        self._next = array("i", [_HEAD]) * (size + 1)
        self._previous = array("i", [_HEAD]) * (size + 1)
        self._until = array("d", [0.0]) * size
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, index: int) -> bool:
        return self._previous[index] != _HEAD or self._next[_HEAD] == index

    def add(self, index: int, until: float) -> None:
        """Append `index`, which must not rest already; its rest is over at `until`."""
        last = self._previous[_HEAD]
        self._next[last] = self._previous[_HEAD] = index
        self._previous[index], self._next[index] = last, _HEAD
        self._until[index] = until
        self._count += 1

    def remove(self, index: int) -> None:
        """Remove `index`, which must rest."""
        before, behind = self._previous[index], self._next[index]
        self._next[before], self._previous[behind] = behind, before
        self._previous[index] = self._next[index] = _HEAD
        self._count -= 1

    @property
    def first(self) -> int | None:
        """The index that has rested longest; None when none rests."""
        first = self._next[_HEAD]
        return None if first == _HEAD else first

    def wake(self, now: float) -> int | None:
        """Remove and return the index that has rested longest; None: no rest is over at `now`."""
        first = self._next[_HEAD]
        if first == _HEAD or self._until[first] > now:
            return None
        self.remove(first)
        return first


# Returns a random integer in [0, n). It is an argument, so that tests choose the numbers.
RandomBelow = Callable[[int], int]


class PortPool:
    """The ports of one transport on one address; drawing a single one costs constant time.

    `_free` holds the free ports in no order, and `_place[port - first]` is the index of a port in
    `_free`, or -1: a random element is drawn, and the last one moves into its place. `_resting`
    holds the indexes (`port - first`) of the ports that rest.
    """

    def __init__(self, ports: PortRange, random_below: RandomBelow) -> None:
        self._range = ports
        self._random_below = random_below
        self._free = array("H", range(ports.first, ports.last + 1))
        self._place = array("i", range(len(ports)))
        self._resting = Resting(len(ports))

    def draw(self, count: int, now: float) -> int:
        """Take `count` consecutive ports, the lowest a multiple of `count`; return the lowest.

        `now` is the time in seconds: ports whose rest is over become free.

        Raises AddressInUse when no such run of ports is left.
        """
        self._wake(now)
        base = self._find_one() if count == 1 else self._find_run(count)
        if base is None:
            raise AddressInUse("no-free-port")
        for port in range(base, base + count):
            self._remove(port)
        return base

    def take(self, port: int) -> None:
        """Take this port, whether it is free or rests; a port outside the range is not tracked.

        Raises AddressInUse when it is taken already.
        """
        if port not in self._range:
            return
        if not self._is_drawable(port):
            raise AddressInUse("port-is-bound")
        self._remove(port)

    def rest(self, port: int, until: float) -> None:
        """Put a port to rest; it is drawn again from `until` on, sooner when no other is left."""
        if port in self._range:
            self._resting.add(port - self._range.first, until)

    @property
    def free(self) -> int:
        """How many ports can be drawn, resting ones included."""
        return len(self._free) + len(self._resting)

    def _wake(self, now: float) -> None:
        while (index := self._resting.wake(now)) is not None:
            self._place[index] = len(self._free)
            self._free.append(index + self._range.first)

    def _find_one(self) -> int | None:
        if self._free:
            return self._free[self._random_below(len(self._free))]
        index = self._resting.first
        return None if index is None else index + self._range.first

    def _find_run(self, count: int) -> int | None:
        # Runs are rare (RTP pairs), so a scan from a random start is good enough. The first pass
        # accepts free ports only, the second one also ports that rest.
        first_base = -(-self._range.first // count) * count
        slots = (self._range.last + 1 - first_base) // count
        if slots <= 0:
            return None
        start = self._random_below(slots)
        for is_usable in (self._is_free, self._is_drawable):
            for step in range(slots):
                base = first_base + (start + step) % slots * count
                if all(map(is_usable, range(base, base + count))):
                    return base
        return None

    def _is_free(self, port: int) -> bool:
        return self._place[port - self._range.first] >= 0

    def _is_drawable(self, port: int) -> bool:
        return self._is_free(port) or port - self._range.first in self._resting

    def _remove(self, port: int) -> None:
        place = self._place[port - self._range.first]
        if place < 0:
            self._resting.remove(port - self._range.first)
            return
        last = self._free[-1]
        self._free[place] = last
        self._place[last - self._range.first] = place
        self._place[port - self._range.first] = -1
        self._free.pop()


class Ports:
    """The port pools of every gateway address and transport, each made when first needed."""

    def __init__(self, ports: PortRange, random_below: RandomBelow) -> None:
        self.range = ports
        self._random_below = random_below
        self._pools: dict[tuple[Transport, IpAddress], PortPool] = {}

    def of(self, transport: Transport, address: IpAddress) -> PortPool:
        """Return the pool of one transport on one address."""
        key = (transport, address)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = PortPool(self.range, self._random_below)
        return pool

    def free(self, transport: Transport, address: IpAddress | None = None) -> int:
        """Return how many ports can be drawn at `address`; None: where there are the fewest."""
        used = [
            pool.free
            for (kind, place), pool in self._pools.items()
            if kind is transport and address in (None, place)
        ]
        return min(used, default=len(self.range))
