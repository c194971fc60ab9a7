"""PortReservations: the ports of one gateway address that are held, and how they are given back."""

from collections.abc import Callable

from sallyport import limits
from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.pinholes.datapath import DataPath
from sallyport.core.pinholes.ports import PortPool
from sallyport.errors import AddressInUse
from sallyport.flags import Transport


class PortReservations:
    """Holds ports of one address, of one transport: in the pool, and against local programs.

    One for all binds there: what holds a port is also who takes it back.
    """

    def __init__(
        self,
        path: DataPath,
        transport: Transport,
        address: IpAddress,
        pool: PortPool,
        clock: Callable[[], float],
    ) -> None:
        self.path = path
        """The data path that keeps them from local programs."""
        self._transport = transport
        self._address = address
        self._pool = pool
        self._clock = clock

    def exactly(self, port: int) -> list[Endpoint]:
        """Hold this port; raises AddressInUse, and what `DataPath.reserve` raises."""
        self._pool.take(port)
        held = self._reserved(port, 1)
        if not held:
            raise AddressInUse("proxy-port-taken")
        return held

    def any_run(self, count: int) -> list[Endpoint]:
        """Hold a random run of `count` ports; raises as `exactly`."""
        for _ in range(limits.MAX_PORT_TRIES):
            base = self._pool.draw(count, self._clock())
            if held := self._reserved(base, count):
                return held
        raise AddressInUse("host-occupies-our-ports")

    def give_back(self, place: Endpoint) -> None:
        """Let go of a port; it rests before it is drawn again."""
        self.path.release(self._transport, place)
        self._pool.rest(place.port, self._clock() + limits.PORT_REST_SECONDS)

    def hand_over(self, place: Endpoint, other: "PortReservations") -> None:
        """Have another data path hold a port of the same pool from now on.

        For a moment no data path does, and a local program may take it: raises what
        `DataPath.reserve` raises, AddressInUse among it, and then it is held in the pool alone.
        """
        self.path.release(self._transport, place)
        other.path.reserve(self._transport, place)

    def _reserved(self, base: int, count: int) -> list[Endpoint]:
        """Reserve a run of ports and give it; none when a local program has one of them."""
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
