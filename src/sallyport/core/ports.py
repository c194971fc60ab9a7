"""Ports: which gateway ports a binding gets. Random within the range (RFC 6056 section 3.3.1).

A released port rests before it is drawn again, because its last peer may still hold the old pair
of endpoints in TIME_WAIT. When every other port is taken the longest rested one is drawn: a
shorter rest is better than a refusal.
"""

from array import array
from collections import deque
from collections.abc import Callable

from sallyport import limits
from sallyport.addresses import IpAddress, PortRange
from sallyport.errors import AddressInUse
from sallyport.flags import Transport

# Gives a random integer in [0, n): chance is an argument, so that tests own it.
RandomBelow = Callable[[int], int]


class PortPool:
    """The ports of one transport on one address; every draw costs constant time.

    `_free` holds free ports in no order; `_place[port - first]` is a port's index there or -1.
    """

    def __init__(self, ports: PortRange, random_below: RandomBelow) -> None:
        self._range = ports
        self._random_below = random_below
        self._free = array("H", range(ports.first, ports.last + 1))
        self._place = array("i", range(len(ports)))
        self._resting: deque[tuple[float, int]] = deque()

    def draw(self, count: int, now: float) -> int:
        """Take `count` consecutive ports, the lowest a multiple of `count`; give the lowest.

        Raises AddressInUse when no such run of ports is left.
        """
        while self._resting and self._resting[0][0] <= now:
            self._put_back(self._resting.popleft()[1])
        base = self._find(count)
        while base is None:
            if not self._resting:
                raise AddressInUse("no-free-port")
            self._put_back(self._resting.popleft()[1])
            base = self._find(count)
        for port in range(base, base + count):
            self._take(port)
        return base

    def rest(self, port: int, until: float) -> None:
        """Give a drawn port back; it may be drawn again from `until` on, sooner in need."""
        self._resting.append((until, port))

    @property
    def free(self) -> int:
        """How many ports can be drawn, resting ones included."""
        return len(self._free) + len(self._resting)

    def _find(self, count: int) -> int | None:
        if count == 1:
            return self._free[self._random_below(len(self._free))] if self._free else None
        # Aligned runs are rare (RTP pairs); a scan from a random start is simple and fair.
        first_base = -(-self._range.first // count) * count
        slots = (self._range.last + 1 - first_base) // count
        if slots <= 0 or len(self._free) < count:
            return None
        start = self._random_below(slots)
        for step in range(slots):
            base = first_base + (start + step) % slots * count
            offset = base - self._range.first
            if all(self._place[offset + i] >= 0 for i in range(count)):
                return base
        return None

    def _take(self, port: int) -> None:
        place = self._place[port - self._range.first]
        last = self._free[-1]
        self._free[place] = last
        self._place[last - self._range.first] = place
        self._place[port - self._range.first] = -1
        self._free.pop()

    def _put_back(self, port: int) -> None:
        self._place[port - self._range.first] = len(self._free)
        self._free.append(port)


class Ports:
    """The pools of every gateway address and transport, made when first needed."""

    def __init__(self, ports: PortRange, random_below: RandomBelow) -> None:
        self.range = ports
        self._random_below = random_below
        self._pools: dict[tuple[Transport, IpAddress], PortPool] = {}

    def draw(self, transport: Transport, address: IpAddress, count: int, now: float) -> int:
        """Take `count` consecutive ports of `address` (see `PortPool.draw`)."""
        return self._pool(transport, address).draw(count, now)

    def rest(self, transport: Transport, address: IpAddress, port: int, now: float) -> None:
        """Give one drawn port back, to rest for `limits.PORT_REST_SECONDS`."""
        self._pool(transport, address).rest(port, now + limits.PORT_REST_SECONDS)

    def free(self, transport: Transport, address: IpAddress) -> int:
        """How many ports of `address` can be drawn."""
        return self._pool(transport, address).free

    def _pool(self, transport: Transport, address: IpAddress) -> PortPool:
        key = (transport, address)
        if key not in self._pools:
            self._pools[key] = PortPool(self.range, self._random_below)
        return self._pools[key]
