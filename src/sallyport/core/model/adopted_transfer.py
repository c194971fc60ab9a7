"""AdoptedTransfer: a transfer that an earlier process let in, and that this one has found."""

from typing import TYPE_CHECKING

from sallyport.addresses import Endpoint
from sallyport.core.model.engine import Engine
from sallyport.core.pinholes.datapath import DataPath, Pinhole
from sallyport.core.pinholes.registry import Opening, Traffic

if TYPE_CHECKING:
    from sallyport.core.model.session import Session


class AdoptedTransfer(Opening):
    """One running flow, and no more: the pinhole, the filter and the rule are forgotten."""

    __slots__ = ("began", "engine", "is_inbound", "session")

    def __init__(
        self,
        engine: Engine,
        pinhole: Pinhole,
        *,
        path: DataPath,
        is_timed: bool,
        session: "Session",
        is_inbound: bool,
    ) -> None:
        """`is_timed`: nothing but silence tells its end, as of UDP."""
        super().__init__(pinhole, path=path, is_timed=is_timed)
        self.engine = engine
        self.session = session
        self.is_inbound = is_inbound
        """Whether the peer connected to the client; else the client did."""
        self.began = engine.clock()
        """When it was found."""

    def ends(self, source: Endpoint) -> tuple[Endpoint | None, Endpoint | None]:
        """Return client and peer, of the flow that `source` opened."""
        other = self.pinhole.target
        return (other, source) if self.is_inbound else (source, other)

    def on_admitted(self, peer: Endpoint) -> None:
        """Record that it was found."""
        self.engine.transfer_adopted(self, peer)

    def on_closed(self, reason: str, traffic: Traffic) -> None:
        """Release what it counts for, and record its sums."""
        self.engine.transfer_closed(self, reason, traffic)
