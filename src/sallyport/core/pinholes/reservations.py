"""PortReservations: holds and releases the gateway's ports, one address at a time."""

from collections.abc import Callable

from sallyport import limits
from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.pinholes.datapath import DataPath
from sallyport.core.pinholes.ports import PortPool
from sallyport.errors import AddressInUse
from sallyport.flags import Transport


class PortReservations:
    """Holds ports of one transport on one address: in the pool, and against local programs.

    A port is held twice: the pool keeps it from other binds, the data path's placeholder socket
    keeps it from programs on the gateway. All binds on this address share one object, and the
    object that held a port releases it.
    """

    def __init__(
        self,
        path: DataPath,
        transport: Transport,
        address: IpAddress,
        pool: PortPool,
        clock: Callable[[], float],
        *,
        is_kept: Callable[[int], bool],
    ) -> None:
        """`is_kept`: whether a port is kept for those who ask for it by its number."""
        self.path = path
        """The data path that keeps the ports from local programs."""
        self._transport = transport
        self._address = address
        self._pool = pool
        self._clock = clock
        self._is_kept = is_kept
        self._holders: dict[int, int] = {}
        """How many binds hold each of the ports that are shared."""

    def exactly(self, port: int, count: int = 1) -> list[Endpoint]:
        """Hold this port, and those that follow it up to `count`, and return them.

        Raises AddressInUse when another bind or a local program has one of them, and what
        `DataPath.reserve` raises; then none is held.
        """
        for taken in range(count):
            try:
                self._pool.take(port + taken)
            except AddressInUse:
                self._give_up(port, taken, [])
                raise
        held = self._reserved(port, count)
        if not held:
            raise AddressInUse("proxy-port-taken")
        return held

    def shared(self, port: int) -> list[Endpoint]:
        """Hold this port together with all who share it, and return it, as a list of one.

        Which of them a peer reaches is the data path's to tell. Raises as `exactly`.
        """
        place = Endpoint(self._address, port)
        if port not in self._holders:
            self.path.reserve(self._transport, place, is_shared=True)
        self._holders[port] = self._holders.get(port, 0) + 1
        return [place]

    def any_run(self, count: int) -> list[Endpoint]:
        """Hold a random run of `count` ports and return them, the lowest first.

        The lowest is a multiple of `count`. A run with a port that a local program has is put to
        rest and another one is tried, at most `limits.MAX_PORT_TRIES` times. Raises as `exactly`.
        """
        for _ in range(limits.MAX_PORT_TRIES):
            base = self._pool.draw(count, self._clock())
            if any(map(self._is_kept, range(base, base + count))):
                self._give_up(base, count, [])
            elif held := self._reserved(base, count):
                return held
        raise AddressInUse("host-occupies-our-ports")

    def give_back(self, place: Endpoint) -> None:
        """Release a port; it rests for `limits.PORT_REST_SECONDS` before it is drawn again.

        One that is shared is released with its last holder.
        """
        if place.port in self._holders:
            self._holders[place.port] -= 1
            if not self._holders[place.port]:
                del self._holders[place.port]
                self.path.release(self._transport, place)
            return
        self.path.release(self._transport, place)
        self._pool.rest(place.port, self._clock() + limits.PORT_REST_SECONDS)

    def hand_over(self, place: Endpoint, other: "PortReservations") -> None:
        """Move a port of the same pool to another data path, which holds it from now on.

        For a moment no data path holds it, and a local program may take it: raises what
        `DataPath.reserve` raises, AddressInUse included; the port is then held in the pool alone.
        One that others share stays where it is: raises AddressInUse.
        """
        if place.port in self._holders:
            raise AddressInUse("proxy-port-taken")
        self.path.release(self._transport, place)
        other.path.reserve(self._transport, place)

    def _reserved(self, base: int, count: int) -> list[Endpoint]:
        """Reserve a run of ports and return it; empty when a local program has one of them."""
        held: list[Endpoint] = []
        try:
            for port in range(base, base + count):
                place = Endpoint(self._address, port)
                self.path.reserve(self._transport, place)
                held.append(place)
        except AddressInUse:
            return []
        finally:
            if len(held) < count:
                self._give_up(base, count, held)
        return held

    def _give_up(self, base: int, count: int, held: list[Endpoint]) -> None:
        for place in held:
            self.path.release(self._transport, place)
        until = self._clock() + limits.PORT_REST_SECONDS
        for port in range(base, base + count):
            self._pool.rest(port, until)
