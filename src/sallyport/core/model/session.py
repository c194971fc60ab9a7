"""Session: one client of the gateway, and what may be asked on its behalf (`IFWXSession`)."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from sallyport.addresses import Endpoint, IpAddress, text_of
from sallyport.core.model.binding import Binding
from sallyport.core.model.chain import Priority
from sallyport.core.model.connection import PrimaryConnection
from sallyport.core.model.engine import Engine
from sallyport.core.model.events import Event
from sallyport.core.model.factory import BindFactory, DataFilterFactory
from sallyport.core.model.future_connection import FutureConnection
from sallyport.core.model.hooks import Hooks, Source
from sallyport.core.model.request import BindRequest, FutureRequest
from sallyport.core.model.secondary import SecondaryConnection
from sallyport.core.pinholes.registry import Opening
from sallyport.core.policy.access import check_host_access
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rules import Verdict
from sallyport.errors import Terminating
from sallyport.flags import BindFlags, SessionFlags, Transport
from sallyport.ipfilter import IpFilter

if TYPE_CHECKING:
    from sallyport.core.model.filter import DataFilter, SessionFilter
    from sallyport.core.model.filter_set import FilterSet


class Session:
    """One client address with everything it has open.

    The *client* is always the protected host on whose behalf the gateway listens.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        session_id: str,
        client: IpAddress,
        since: float,
        filter_set: "FilterSet",
        source: Source = Source.SECURE_NAT,
        is_private: bool = False,
    ) -> None:
        self._engine = engine
        self.id = session_id
        self.client_address = client
        self.account = text_of(client)
        """To what is counted what no published connection asked for: the quota is the client's.
        As text, whose hash is worked out once; so it is met again in its other sessions."""
        self.since = since
        self.filter_set = filter_set
        """The application filters of this session, whatever the configuration says now."""
        self.source = source
        """How the client arrived."""
        self.is_private = is_private
        self.primaries: dict[str, PrimaryConnection] = {}
        self.bindings: dict[str, Binding] = {}
        self.filters: dict[str, SessionFilter] = {}
        self.own_hooks: dict[str, Hooks] = {}
        """Of the filters whose events in this session differ from their first ones."""
        self.factories: list[DataFilterFactory] = []
        self.is_ending = False
        """Whether it was killed, or is over: nothing more is opened for it."""
        self.has_failed = False
        """Whether it ends because a filter failed in it."""
        self.is_over = False
        self.openings: dict[int, Opening] = {}
        """Ports and permissions held, by pinhole."""

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
        return await self._engine.bind(request, armed=armed)

    async def allow_future_connect(
        self,
        address: Endpoint,
        *,
        protocol: ProtocolDefinition,
        primary: PrimaryConnection | None = None,
        flags: BindFlags = BindFlags.TIMEOUT,
        session_filter: "SessionFilter | None" = None,
        context: object = None,
        armed: bool = True,
    ) -> FutureConnection:
        """Let the client open one secondary TCP connection to `address` (`AllowFutureConnect`).

        It ends with `primary`, if given. `flags`: TIMEOUT, it must be used within about a minute;
        ALLOW_MULTIPLE, more than one connection; NO_KERNEL_MODE. `session_filter` is told of
        EstablishedConnection and what follows, with `context`. The flow carries our conntrack
        mark, so it passes where forwarding is otherwise denied. `armed=False` reserves only, until
        `FutureConnection.arm()`. Where `primary` is in full proxy the client must connect to
        `FutureConnection.proxy_address`, a port of the gateway.

        Raises PolicyDenied when the rules do not let the client use `protocol` towards `address`,
        AddressNotAllowed for a port below the rule's minimum, InvalidArgument for an address of
        another family than the client's, QuotaExceeded, OutOfResources, KernelError, Terminating.
        """
        request = FutureRequest(
            session=self,
            addresses=(address,),
            transport=Transport.TCP,
            protocol=protocol,
            primary=primary,
            flags=flags,
            session_filter=session_filter,
            context=context,
        )
        (future,) = await self._engine.allow(request, armed=armed)
        return future

    async def redirect_connections(
        self,
        addresses: Sequence[Endpoint],
        *,
        protocol: ProtocolDefinition,
        transport: Transport = Transport.TCP,
        internal_address: IpAddress | None = None,
        primary: PrimaryConnection | None = None,
        flags: BindFlags = BindFlags.TIMEOUT,
        session_filter: "SessionFilter | None" = None,
        context: object = None,
    ) -> tuple[FutureConnection, ...]:
        """Give the client ports of ours to connect to instead of `addresses`
        (`RedirectConnections`): the outbound mirror of `bind_for_client`.

        Element i of the result is for `addresses[i]`, 1 to `limits.MAX_ADDRESSES_PER_CALL` of them:
        the client connects to its `proxy_address`, the lowest port + i, and reaches that one; the
        lowest port is a multiple of their number. `internal_address`: the gateway's address on the
        client's side; None: the one by which it knows `primary`. Everything else is as for
        `allow_future_connect`, and all are opened or none.

        Raises what that raises, and AddressNotAvailable when `internal_address` is not the
        gateway's, AddressInUse when no such ports are left, InvalidArgument when nothing says which
        address the client knows us by.
        """
        request = FutureRequest(
            session=self,
            addresses=tuple(addresses),
            transport=transport,
            protocol=protocol,
            primary=primary,
            flags=flags,
            session_filter=session_filter,
            context=context,
            is_redirected=True,
            internal_address=internal_address,
        )
        return await self._engine.allow(request, armed=True)

    async def emulate_client_bind(
        self,
        client_address: Endpoint,
        proxy_address: Endpoint,
        *,
        transport: Transport,
        protocol: ProtocolDefinition | UUID,
        session_filter: "SessionFilter | None" = None,
        context: object = None,
        is_address_translated: bool = False,
    ) -> SecondaryConnection:
        """Make a connection that a filter received itself the client's (`EmulateClientBind`).

        For a primary inbound connection to a client that bound nothing: a filter listens at a
        well-known port and decides to whom each connection goes. Nothing is bound; `proxy_address`
        is only what events tell. Then `SecondaryConnection.emulate_connection` delivers it, one.
        `is_address_translated`: the client sees the gateway's address instead of the peer's.
        The rules and the client address are checked, and other filters asked, as for a bind; it
        raises what a bind raises.
        """
        request = BindRequest(
            session=self,
            client_addresses=(client_address,),
            transport=transport,
            protocol=protocol,
            proxy_address=proxy_address,
            flags=BindFlags.PROXY_MODE if is_address_translated else BindFlags.NONE,
            backlog=1,
            session_filter=session_filter,
            context=context,
            ip_filter=None,
            peer_ports=None,
            primary=None,
            is_for_primary=True,
        )
        binding = await self._engine.bind(request, armed=True)
        return binding.connections[0]

    async def retroactive_allow_bind(
        self,
        transport: Transport,
        address: Endpoint,
        *,
        protocol: ProtocolDefinition,
        flags: BindFlags = BindFlags.NONE,
        ip_filter: IpFilter | None = None,
    ) -> bool:
        """Approve a bind that a Firewall client made by itself (`RetroactiveAllowBind`).

        Such a bind is only reserved: a filter that sees the client announce it knows that it was
        meant. `address`: the gateway's, zeros match any, the port must be said. `flags`:
        BIDIRECTIONAL, INCREASE_RECEIVE_BUFFER. `ip_filter`: who may connect; None: as it was bound.
        Gives True when it is open now, False when it was approved before.

        Raises NoSuchBind, where `bind_for_client` is the way; PolicyDenied when the rules do not
        let the client use `protocol`; InvalidArgument; Terminating; OutOfResources, KernelError.
        """
        return await self._engine.approve(
            self, transport, address, protocol, flags=flags, ip_filter=ip_filter
        )

    def host_access_check(
        self,
        protocol: ProtocolDefinition | UUID,
        host: IpAddress,
        port: int | None = None,
        *,
        check_publishing: bool = False,
    ) -> Verdict:
        """Ask what the access rules say, without any effect (`HostAccessCheck`).

        Whether this client may use `protocol` towards `host`: for its primary connection, or, with
        another `port` than its own, for a secondary one to there. `check_publishing` asks the
        publishing rules instead: whether `host` may reach this client, a published server, at
        `port` or at any. Raises InvalidArgument for an unknown protocol.
        """
        engine = self._engine
        return check_host_access(
            engine.policy,
            self.client_address,
            engine.protocol(protocol),
            host,
            port,
            check_publishing=check_publishing,
        )

    def set_data_filter_factory(
        self,
        event: type[Event],
        address: Endpoint | None,
        make: "Callable[[], DataFilter]",
        *,
        session_filter: "SessionFilter",
        priority: Priority = Priority.MIDDLE,
        context: object = None,
        flags: BindFlags = BindFlags.NONE,
    ) -> DataFilterFactory:
        """Have a data filter put into a flow that may come (`SetDataFilterFactory`).

        `event`: ConnectTcp or UdpDestination, `address` is then the remote one; AcceptedConnection
        or BindUdp, then the bound one. None, zeros and port 0 match any. What `make` gives is
        attached with `priority` and `context`, for one flow, or every one with ALLOW_MULTIPLE; a
        flow that is denied or finds nobody is none, so `make` must give a new one at every call.
        While it stands, such flows of this session are bound in user mode; for those bound before,
        in the kernel, it comes too late. Cancel what became pointless. Raises InvalidArgument for
        another event, Terminating when the session is over.
        """
        if self.is_ending:
            raise Terminating("session-is-over")
        factory = DataFilterFactory(
            self,
            event,
            address,
            make,
            priority=priority,
            context=context,
            owner=self.name_of(session_filter),
            is_multiple=BindFlags.ALLOW_MULTIPLE in flags,
        )
        self.factories.append(factory)
        return factory

    @property
    def flags(self) -> SessionFlags:
        """What kind of session it is (`GetSessionFlags`)."""
        flags = SessionFlags.NAT if self.source is Source.SECURE_NAT else SessionFlags.NONE
        if self.is_private:
            flags |= SessionFlags.PRIVATE
        return flags | SessionFlags.TERMINATED if self.is_over else flags

    def name_of(self, session_filter: "SessionFilter | None") -> str:
        """Give the name of the filter whose part in this session it is; empty for a stranger's, and
        for nobody's."""
        for name, one in self.filters.items():
            if one is session_filter:
                return name
        return ""

    def hold(self, opening: Opening, primary: PrimaryConnection | None) -> None:
        """Take a port or permission into the client's quota."""
        self.openings[opening.pinhole.id] = opening
        held, account = self._engine.held, self._account(primary)
        held[account] = held.get(account, 0) + 1

    def let_go(self, opening: Opening, primary: PrimaryConnection | None) -> None:
        """Take it out again."""
        del self.openings[opening.pinhole.id]
        held, account = self._engine.held, self._account(primary)
        left = held.pop(account) - 1
        if left:
            held[account] = left

    def forget_attached(self, pinhole_id: int) -> None:
        """Forget what was attached in the event of a bind to a port that is closed."""
        self.factories = [
            one
            for one in self.factories
            if not (isinstance(one, BindFactory) and one.pinhole_id == pinhole_id)
        ]

    def held_for(self, primary: PrimaryConnection | None) -> int:
        """How many ports and permissions are held of the quota that `primary` is charged to.

        Sessions of filters' own have no quota of their own: it is the client's.
        """
        return self._engine.held.get(self._account(primary), 0)

    def kill(self, reason: str = "killed") -> None:
        """End every connection of the client now and reset both ends. Idempotent, never raises."""
        self.is_ending = True
        for primary in self.primaries.values():
            # What ends from here on is told at once, not behind what will never be done.
            primary.runner.close()
        for opening in tuple(self.openings.values()):
            self._engine.registry.kill(opening, reason)
        for primary in tuple(self.primaries.values()):
            primary.kill(reason)
        self._engine.forget_idle(self)

    def _account(self, primary: PrimaryConnection | None) -> str:
        return self.account if primary is None else primary.account
