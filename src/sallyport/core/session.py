"""Session: one client of the gateway, and what may be asked on its behalf (`IFWXSession`)."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.binding import Binding
from sallyport.core.connection import PrimaryConnection
from sallyport.core.future import FutureConnection
from sallyport.core.openings import Opening
from sallyport.core.protocols import Direction, ProtocolDefinition
from sallyport.core.request import BindRequest
from sallyport.flags import BindFlags, Transport
from sallyport.ipfilter import IpFilter

if TYPE_CHECKING:
    from sallyport.core.filter import SessionFilter
    from sallyport.core.gateway import Gateway


class Session:
    """One client address with everything it has open.

    The *client* is always the protected host on whose behalf the gateway listens.
    """

    def __init__(
        self, gateway: "Gateway", *, session_id: str, client: IpAddress, since: float
    ) -> None:
        self._gateway = gateway
        self.id = session_id
        self.client_address = client
        self.since = since
        self.primaries: dict[str, PrimaryConnection] = {}
        self.bindings: dict[str, Binding] = {}
        self.filters: dict[str, SessionFilter] = {}
        self.is_over = False
        self.openings: dict[int, Opening] = {}
        """Ports and permissions held, by pinhole."""
        self._held: Counter[IpAddress | None] = Counter()

    async def bind_for_client(
        self,
        client_addresses: Sequence[Endpoint],
        *,
        transport: Transport,
        protocol: ProtocolDefinition | UUID,
        proxy_address: Endpoint | None = None,
        flags: BindFlags = BindFlags.NONE,
        backlog: int = 1,
        session_filter: "SessionFilter | None" = None,
        context: object = None,
        ip_filter: IpFilter | None = None,
        peer_ports: frozenset[int] | None = None,
        primary: PrimaryConnection | None = None,
        armed: bool = True,
    ) -> Binding:
        """Bind gateway ports at which peers reach the client (`IFWXSession::BindForClient`).

        `client_addresses`: where the client listens, 1 to `limits.MAX_ADDRESSES_PER_CALL`, one for
        each port wanted; all zeros when not known yet (`SecondaryConnection.set_client_address`).
        `protocol` is what the access rules are asked about. `proxy_address`: None for the gateway's
        external address of the primary and any port; on a routed relation the client's own address.
        `backlog`: how many connections may wait in user mode; in the kernel it is the client's own.
        `ip_filter`: None lets anyone connect, an empty one nobody. `peer_ports`: the ports peers
        must connect from; None for any.
        `primary`: the binding ends with it. `armed=False` reserves only, until `Binding.arm()`.

        A refused call has opened nothing and changed nothing. Raises

        * PolicyDenied: no rule lets this client use `protocol` towards the peer;
        * AddressNotAllowed: a client address or port is outside what the rule allows;
        * AddressInUse, AddressNotAvailable: the proxy address is taken, or not the gateway's;
        * QuotaExceeded: the client holds as many bindings as its rule grants;
        * OutOfResources: descriptors or kernel tables are full, or the data path that is needed is
          not there; KernelError: the kernel refused;
        * InvalidArgument: contradictory arguments;
        * Terminating: the session is over, or the primary has ended.
        """
        request = BindRequest(
            session=self,
            client_addresses=tuple(client_addresses),
            transport=transport,
            protocol=protocol,
            proxy_address=proxy_address,
            flags=flags,
            backlog=backlog,
            session_filter=session_filter,
            context=context,
            ip_filter=ip_filter,
            peer_ports=peer_ports,
            primary=primary,
        )
        return await self._gateway.binder.bind(request, armed=armed)

    async def allow_future_connect(
        self,
        address: Endpoint,
        *,
        protocol: ProtocolDefinition,
        primary: PrimaryConnection,
        armed: bool = True,
    ) -> FutureConnection:
        """Let the client open one secondary TCP connection to `address` (`AllowFutureConnect`).

        It must be used within about a minute and ends with `primary`. The flow carries our
        conntrack mark, so it passes where forwarding is otherwise denied. `armed=False` reserves
        only, until `FutureConnection.arm()`. Where `primary` is in full proxy the client must
        connect to `FutureConnection.proxy_address`, a port of the gateway (`RedirectConnections`).

        Raises PolicyDenied when the rules do not let the client use `protocol` towards `address`,
        AddressNotAllowed for a port below the rule's minimum, InvalidArgument for an address of
        another family than the client's, QuotaExceeded, OutOfResources, KernelError, Terminating.
        """
        return await self._gateway.binder.allow(
            self, address, protocol=protocol, primary=primary, armed=armed
        )

    def hold(self, opening: Opening, primary: PrimaryConnection | None) -> None:
        """Take a port or permission into the client's quota."""
        self.openings[opening.pinhole.id] = opening
        self._held[_charged(primary)] += 1

    def let_go(self, opening: Opening, primary: PrimaryConnection | None) -> None:
        """Take it out again."""
        del self.openings[opening.pinhole.id]
        who = _charged(primary)
        self._held[who] -= 1
        if not self._held[who]:
            del self._held[who]

    def held_for(self, primary: PrimaryConnection | None) -> int:
        """How many ports and permissions are held of the quota that `primary` is charged to."""
        return self._held[_charged(primary)]

    def kill(self, reason: str = "killed") -> None:
        """End every connection of the client now and reset both ends. Idempotent, never raises."""
        for opening in tuple(self.openings.values()):
            self._gateway.openings.kill(opening, reason)
        for primary in tuple(self.primaries.values()):
            primary.kill(reason)


def _charged(primary: PrimaryConnection | None) -> IpAddress | None:
    """Whose quota it is: each client of a published server has its own, so that a flooder outside
    uses up nobody else's; everything else is the protected host's.
    """
    if primary is None or primary.direction is Direction.OUTBOUND:
        return None
    return primary.peer.address
