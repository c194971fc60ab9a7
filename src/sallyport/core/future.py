"""FutureConnection: the permission for one secondary outbound connection (`IFWXFirewallAction`)."""

from typing import TYPE_CHECKING

from sallyport.addresses import Endpoint
from sallyport.core.connection import PrimaryConnection
from sallyport.core.datapath import FlowCounters, Pinhole
from sallyport.core.openings import Opening

if TYPE_CHECKING:
    from sallyport.core.gateway import Gateway
    from sallyport.core.session import Session


class FutureConnection(Opening):
    """A promise about a connection that may never come; cancel it when it became pointless."""

    __slots__ = ("gateway", "primary", "session")

    def __init__(
        self,
        gateway: "Gateway",
        session: "Session",
        primary: PrimaryConnection,
        pinhole: Pinhole,
    ) -> None:
        super().__init__(pinhole, is_timed=True)
        self.gateway = gateway
        self.session = session
        self.primary = primary

    def cancel(self) -> None:
        """Withdraw the permission; a connection already made goes on. Idempotent, never raises."""
        self.gateway.openings.withdraw(self, "cancelled")

    def on_admitted(self, peer: Endpoint) -> None:
        """Write it down."""
        self.primary.note("connect.established", client=peer, server=self.pinhole.listen)

    def on_closed(self, reason: str, flows: tuple[FlowCounters, ...]) -> None:
        """Forget it."""
        self.gateway.ledger.permission_closed(self, reason, flows)
