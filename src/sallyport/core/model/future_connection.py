"""FutureConnection: the permission for one secondary outbound connection (`IFWXFirewallAction`)."""

from sallyport.addresses import Endpoint
from sallyport.core.model.arguments import takes
from sallyport.core.model.engine import Engine
from sallyport.core.model.negotiated import Negotiated
from sallyport.core.model.request import FutureRequest
from sallyport.core.pinholes.datapath import Arrival, DataPath, Pinhole
from sallyport.core.pinholes.lifecycle import State
from sallyport.core.pinholes.registry import Traffic
from sallyport.core.pinholes.reservations import PortReservations
from sallyport.core.policy.rules import Rule
from sallyport.errors import Terminating
from sallyport.flags import ConnectionFlags


class FutureConnection(Negotiated):
    """Permits a connection that may never come; cancel it when it is no longer needed.

    For the data path it is a pinhole like a bound port: the one source is the client, and the
    address is the far end's own, or one of the gateway's when the client is redirected.
    """

    __slots__ = ("created_at",)

    is_secondary = True

    def __init__(
        self,
        request: FutureRequest,
        engine: Engine,
        pinhole: Pinhole,
        path: DataPath,
        rule: Rule,
        *,
        is_filtered: bool,
        reservations: PortReservations | None,
    ) -> None:
        super().__init__(
            engine,
            pinhole,
            path=path,
            is_timed=request.flags.is_timed,
            is_filtered=is_filtered,
            session=request.session,
            protocol=request.protocol,
            rule=rule,
            primary=request.primary,
            session_filter=request.session_filter,
            context=request.context,
            reservations=reservations,
        )
        self.created_at = engine.clock()

    @property
    def flags(self) -> ConnectionFlags:
        """Always NONE: the far end is the one the client asked for."""
        return ConnectionFlags.NONE

    @property
    def proxy_address(self) -> Endpoint:
        """Where the client must connect: the far end itself, or, redirected, a gateway port."""
        return self.pinhole.listen

    @property
    def age(self) -> float:
        """For how many seconds it has been."""
        return self.engine.clock() - self.created_at

    async def arm(self) -> None:
        """Open a permission made with `armed=False`; raises as `Binding.arm`."""
        await self.engine.registry.arm([self])

    @takes(seconds=int | float)
    def wait(self, seconds: float) -> None:
        """Set its time limit to `seconds` from now while unused; as `Binding.wait`."""
        self.engine.registry.wait(self, seconds)

    def cancel(self) -> None:
        """Cancel the permission (`IFWXFirewallAction::Cancel`).

        Raises Terminating when it was used up, ran out of time, or was cancelled already.
        """
        if not self.is_open and self.state is not State.RESERVED:
            raise Terminating("action-is-over")
        self.withdraw("cancelled")

    def on_arrived(self, peer: Endpoint, arrival: Arrival) -> None:
        """Ask the filters (`fwx_Connect_Tcp`, `fwx_Udp_Destination`, secondary)."""
        self.engine.ask_about_flow(self, peer, arrival)

    def on_admitted(self, peer: Endpoint) -> None:
        """Notify the filter that asked for it (`fwx_EstablishedConnection`)."""
        self.engine.permission_used(self, peer)

    def on_refused(self, peer: Endpoint) -> None:
        """Notify the filter that asked for it (`ConnectionRefused`)."""
        self.engine.permission_failed(self, peer)

    def on_turned_away(self, peer: Endpoint) -> None:
        """Record it in the journal."""
        self.engine.flow_turned_away(self, peer)

    def on_closed(self, reason: str, traffic: Traffic) -> None:
        """Release what it held and notify the filter that asked for it."""
        self.engine.permission_closed(self, reason, traffic)
