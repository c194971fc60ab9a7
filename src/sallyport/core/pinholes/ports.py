"""Ports: which gateway ports a binding gets. Random within the range (RFC 6056 section 3.3.1).

A released port rests before it is drawn again, because its last peer may still hold the old pair
of endpoints in TIME_WAIT. When every other port is taken the longest rested one is drawn: a
shorter rest is better than a refusal.
"""

from array import array
from collections.abc import Callable

from sallyport.addresses import IpAddress, PortRange
from sallyport.errors import AddressInUse
from sallyport.flags import Transport

# The index before the first and behind the last port: the head of the ring.
_HEAD = -1


class Resting:
    """Indexes in order of arrival, each with a time; every operation costs constant time.

    A ring in two arrays, an index being its own place. A dict in insertion order would need three
    times the memory and grow with the first burst, or lose its constant time at the front.
    """

    def __init__(self, size: int) -> None:
        """Make room for the indexes 0 to `size` - 1; none rests."""
        # The last place of each array is the head's: Python's index -1.
        self._next = array("i", [_HEAD]) * (size + 1)
        self._previous = array("i", [_HEAD]) * (size + 1)
        self._until = array("d", [0.0]) * size
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, index: int) -> bool:
        return self._previous[index] != _HEAD or self._next[_HEAD] == index

    def add(self, index: int, until: float) -> None:
        """Put `index`, which does not rest, at the end."""
        last = self._previous[_HEAD]
        self._next[last] = self._previous[_HEAD] = index
        self._previous[index], self._next[index] = last, _HEAD
        self._until[index] = until
        self._count += 1

    def remove(self, index: int) -> None:
        """Take out `index`, which rests."""
        before, behind = self._previous[index], self._next[index]
        self._next[before], self._previous[behind] = behind, before
        self._previous[index] = self._next[index] = _HEAD
        self._count -= 1

    @property
    def first(self) -> int | None:
        """The index that came first; None when none rests."""
        first = self._next[_HEAD]
        return None if first == _HEAD else first

    def is_over(self, index: int, now: float) -> bool:
        """Whether the time of `index`, which rests, has come."""
        return self._until[index] <= now


# Gives a random integer in [0, n): chance is an argument, so that tests own it.
RandomBelow = Callable[[int], int]


class PortPool:
    """The ports of one transport on one address; drawing a single one costs constant time.

    `_free` holds free ports in no order; `_place[port - first]` is a port's index there or -1.
    `_resting` holds the indexes of ports that rest.
    """

    def __init__(self, ports: PortRange, random_below: RandomBelow) -> None:
        self._range = ports
        self._random_below = random_below
        self._free = array("H", range(ports.first, ports.last + 1))
        self._place = array("i", range(len(ports)))
        self._resting = Resting(len(ports))

    def draw(self, count: int, now: float) -> int:
        """Take `count` consecutive ports, the lowest a multiple of `count`; give the lowest.

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
        """Take this port, rested or not; those outside the range are nobody's to draw.

        Raises AddressInUse when it is drawn already.
        """
        if port not in self._range:
            return
        if not self._is_drawable(port):
            raise AddressInUse("port-is-bound")
        self._remove(port)

    def rest(self, port: int, until: float) -> None:
        """Give a port back; it may be drawn again from `until` on, sooner in need."""
        if port in self._range:
            self._resting.add(port - self._range.first, until)

    @property
    def free(self) -> int:
        """How many ports can be drawn, resting ones included."""
        return len(self._free) + len(self._resting)

    def _wake(self, now: float) -> None:
        while (index := self._resting.first) is not None and self._resting.is_over(index, now):
            self._resting.remove(index)
            self._place[index] = len(self._free)
            self._free.append(index + self._range.first)

    def _find_one(self) -> int | None:
        if self._free:
            return self._free[self._random_below(len(self._free))]
        index = self._resting.first
        return None if index is None else index + self._range.first

    def _find_run(self, count: int) -> int | None:
        # Runs are rare (RTP pairs); a scan from a random start is simple and fair.
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
    """The pools of every gateway address and transport, made when first needed."""

    def __init__(self, ports: PortRange, random_below: RandomBelow) -> None:
        self.range = ports
        self._random_below = random_below
        self._pools: dict[tuple[Transport, IpAddress], PortPool] = {}

    def of(self, transport: Transport, address: IpAddress) -> PortPool:
        """Give the pool of one transport on one address."""
        key = (transport, address)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = PortPool(self.range, self._random_below)
        return pool
