"""OpeningRegistry over a data path in memory, and one that keeps what it is told."""

from tests.core.office import CLIENT, PEER, run

from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import DataPath, Pinhole
from sallyport.core.pinholes.registry import Opening, OpeningRegistry, Traffic
from sallyport.core.runtime.deadlines import Deadlines
from sallyport.flags import Transport
from sallyport.testing import MemoryDataPath

LISTEN = Endpoint.parse("203.0.113.1:40000")
OTHER_PEER = PEER.with_port(21)


class Recorded(Opening):
    """Keeps what it is told."""

    __slots__ = ("told", "traffic_at_end")

    def __init__(self, pinhole: Pinhole, *, path: DataPath, is_timed: bool) -> None:
        super().__init__(pinhole, path=path, is_timed=is_timed)
        self.told: list[str] = []
        self.traffic_at_end: Traffic | None = None

    def on_armed(self) -> None:
        self.told.append("armed")

    def on_admitted(self, peer: Endpoint) -> None:
        self.told.append(f"admitted {peer.port}")

    def on_refused(self, peer: Endpoint) -> None:
        self.told.append(f"refused {peer.port}")

    def on_closed(self, reason: str, traffic: Traffic) -> None:
        self.told.append(reason)
        self.traffic_at_end = traffic


class Bench:
    """OpeningRegistry over a data path in memory."""

    def __init__(self, data_path: MemoryDataPath | None = None) -> None:
        self.data_path = data_path or MemoryDataPath([LISTEN.address])
        self.now = 0.0
        self.deadlines = Deadlines(lambda _: None)
        self.registry = OpeningRegistry([self.data_path], self.deadlines, lambda: self.now)

    def add(
        self,
        transport: Transport = Transport.TCP,
        *,
        single: bool = True,
        is_timed: bool = False,
        offset: int = 0,
        target: Endpoint | None = CLIENT,
    ) -> Recorded:
        listen = LISTEN.with_port(LISTEN.port + offset)
        pinhole = Pinhole(self.registry.new_id(), transport, listen, target, None, single)
        opening = Recorded(pinhole, path=self.data_path, is_timed=is_timed)
        self.registry.add(opening)
        return opening

    def armed(
        self, transport: Transport = Transport.TCP, *, single: bool = True, is_timed: bool = False
    ) -> Recorded:
        opening = self.add(transport, single=single, is_timed=is_timed)
        run(self.registry.arm([opening]))
        return opening

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.deadlines.fire(self.now)
