"""FutureConnection: the permission for one secondary outbound connection (`IFWXFirewallAction`)."""

from typing import TYPE_CHECKING

from sallyport.addresses import Endpoint
from sallyport.core.connection import PrimaryConnection
from sallyport.core.datapath import DataPath, Pinhole
from sallyport.core.openings import Opening, Traffic

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
        path: DataPath,
    ) -> None:
        super().__init__(pinhole, path=path, is_timed=True)
        self.gateway = gateway
        self.session = session
        self.primary = primary

    @property
    def proxy_address(self) -> Endpoint:
        """Where the client must connect: the far end itself, or a port of ours (full proxy)."""
        return self.pinhole.listen

    async def arm(self) -> None:
        """Open what was allowed with `armed=False`; raises as `Binding.arm`."""
        await self.gateway.openings.arm([self])

    def withdraw(self, reason: str) -> None:
        """Withdraw the permission; a connection already made goes on. Idempotent, never raises."""
        self.gateway.openings.withdraw(self, reason)

    def cancel(self) -> None:
        """Withdraw it for no particular reason (`IFWXFirewallAction::Cancel`)."""
        self.withdraw("cancelled")

    def on_admitted(self, peer: Endpoint) -> None:
        """Write it down."""
        self.primary.note("connect.established", client=peer, server=self.pinhole.target)

    def on_closed(self, reason: str, traffic: Traffic) -> None:
        """Forget it."""
        self.gateway.ledger.permission_closed(self, reason, traffic)
