"""Session: one client of the gateway, and the calls on its behalf (`IFWXSession`)."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.model.arguments import each, require, takes
from sallyport.core.model.binding import Binding
from sallyport.core.model.bundle import Bundle
from sallyport.core.model.chain import Priority
from sallyport.core.model.connection import PrimaryConnection
from sallyport.core.model.engine import Engine
from sallyport.core.model.events import Event
from sallyport.core.model.factory import DataFilterFactory, PortFactory
from sallyport.core.model.filter import SessionFilter
from sallyport.core.model.future_connection import FutureConnection
from sallyport.core.model.hooks import Hooks, Source
from sallyport.core.model.request import BindRequest, FutureRequest
from sallyport.core.model.secondary import SecondaryConnection
from sallyport.core.pinholes.registry import Opening
from sallyport.core.policy.access import check_host_access
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rules import Asker, Verdict
from sallyport.core.policy.terms import Frontend
from sallyport.core.runtime.deadlines import Deadline
from sallyport.errors import InvalidArgument, Terminating
from sallyport.flags import BindFlags, SessionFlags, Transport
from sallyport.ipfilter import IpFilter

if TYPE_CHECKING:
    from sallyport.core.model.filter import DataFilter
    from sallyport.core.model.filter_set import FilterSet


class Session:
    """One client address with its connections, bindings, permissions and filters.

    The *client* is always the protected host, on whose behalf the gateway listens: also of an
    inbound connection, where it is the published server.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        session_id: str,
        client: IpAddress,
        since: float,
        filter_set: "FilterSet",
        user: str | None = None,
        frontend: Frontend = Frontend.TRANSPARENT,
        source: Source = Source.SECURE_NAT,
        is_private: bool = False,
    ) -> None:
        self._engine = engine
        self.id = session_id
        self.client_address = client
        self.user = user
        """The name that a front end knows the client's user by; None: only the address is known."""
        self.frontend = frontend
        """How its requests come that belong to no primary connection and do not say."""
        self.account = engine.policy.host_of(client)
        """The name under which this client's quota is counted, in all of its sessions. Connections
        of outside clients to a published server have names of their own
        (`PrimaryConnection.account`). A string, because it keeps its hash once computed."""
        self.since = since
        self.filter_set = filter_set
        """The application filters of this session; a reload does not change them."""
        self.source = source
        """How the client reached the gateway."""
        self.is_private = is_private
        self.primaries: dict[str, PrimaryConnection] = {}
        self.bindings: dict[str, Binding] = {}
        self.filters: dict[str, SessionFilter] = {}
        self.own_hooks: dict[str, Hooks] = {}
        """The hooks of this session, by filter name, where `SessionFilter.hooks` sets its own."""
        self.factories: list[DataFilterFactory] = []
        self.is_ending = False
        """Whether it was killed or is over: no port is opened for it any more."""
        self.has_failed = False
        """Whether connections of it end because a filter failed, at this moment, or the session
        itself ends and one failed in the events of that."""
        self.is_over = False
        self.is_traced = False
        """Whether an operator looks at it (`Tracing`)."""
        self.unused: Deadline | None = None
        """When it ends if nothing is added to it; only where it was made before it was used."""
        self.bundles: set[Bundle] = set()
        """What ends together, and has not ended."""
        self.openings: dict[int, Opening] = {}
        """The bound ports and permissions it holds, by the id of their pinhole."""

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
        frontend: Frontend | None = None,
        user: str | None = None,
        lifetime: float | None = None,
        idle: float | None = None,
        shared: bool = False,
        close_with_primary: Literal["withdraw", "kill"] = "withdraw",
        bundle: Bundle | None = None,
        make_data_filter: "Callable[[], DataFilter] | None" = None,
        armed: bool = True,
    ) -> Binding:
        """Bind gateway ports at which peers reach the client (`IFWXSession::BindForClient`).

        * `client_addresses`: where the client listens, one for each port wanted, 1 to
          `limits.MAX_ADDRESSES_PER_CALL`; all zeros when not known yet
          (`SecondaryConnection.set_client_address`).
        * `transport`: TCP or UDP, of the ports. `protocol`: the protocol that the access rules are
          asked about, or its UUID.
        * `proxy_address`: the gateway address and port to bind, port 0 for any. None: any port at
          the gateway's external address of `primary`; on a routed relation the client's own.
        * `backlog`: how many connections may wait in user mode, 1 to `limits.MAX_BACKLOG`; on the
          kernel path the client's own listener decides.
        * `session_filter`: notified of EstablishedConnection and the events that follow, with
          `context`; None: no filter is.
        * `ip_filter`: the addresses that may connect; None admits any, an empty filter none.
          `peer_ports`: the ports that peers must connect from; None for any.
        * `frontend`: the front end by which the client itself asked: the port of `proxy_address` is
          then the client's wish, which the rule may not grant. None: a filter asks. `user`: whom
          that front end knows, where it is not the user of this session.
        * `primary`: the binding ends with this connection.
        * `lifetime`: seconds after which it lets no peer in any more, unless `Binding.extend` comes
          first; the rule may give it less. None: as long as the rule lets it.
        * `idle`: seconds without traffic, both ways and over all its ports, after which it ends,
          `limits.MIN_IDLE_SECONDS` or more, and what runs is reset; they count from `arm` on, and
          the rule may give it less. It ends up to a quarter of that late. None: silence does not
          end it, unless the rule says so.
        * `shared`: the port of `proxy_address` may be that of other bindings that share it, with
          other peers.
        * `close_with_primary`: what the end of `primary` does: "withdraw" lets no new flow in, and
          those under way may finish; "kill" ends them too, as media must that has no end of its
          own.
        * `bundle`: what it ends with instead of `primary`, which then only says whom the rules are
          asked about, and may be over.
        * `make_data_filter`: returns a new data filter for each flow that comes to the port, which
          is then in user mode: a port at which a protocol's own words arrive.
        * `armed`: False reserves only, until `Binding.arm()`.

        Returns the binding; `Binding.proxy_address` is the address to announce. A refused call has
        opened nothing and changed nothing. Raises

        * PolicyDenied: no rule lets this client use `protocol` towards the peer;
        * AddressNotAllowed: a client address or port is outside what the rule allows;
        * AddressInUse: the proxy address is taken, or a filter denied the bind;
        * AddressNotAvailable: the proxy address is not the gateway's;
        * QuotaExceeded: the client holds as many ports and permissions as its rule grants;
        * OutOfResources: descriptors or kernel tables are full, or the data path that is needed is
          not there; KernelError: the kernel refused;
        * InvalidArgument: the arguments contradict each other;
        * Terminating: the session is over, or the primary has ended.
        """
        if primary is not None:
            require("primary", primary, PrimaryConnection)
        request = BindRequest(
            self,
            each("client_addresses", client_addresses, Endpoint),
            transport,
            protocol,
            proxy_address,
            flags,
            backlog,
            session_filter,
            context,
            ip_filter,
            peer_ports,
            primary,
            frontend,
            user,
            lifetime,
            idle,
            shared,
            close_with_primary,
            bundle,
            make_data_filter,
        )
        return await self._engine.bind(request, armed=armed)

    def bundle(self, primary: PrimaryConnection, session_filter: SessionFilter) -> Bundle:
        """Begin a bundle: bindings and timers that end together, a call for example.

        It may outlive `primary`, the connection it is begun for. Raises Terminating when the
        session is over.
        """
        require("primary", primary, PrimaryConnection)
        if self.is_ending:
            raise Terminating("session-is-over")
        made = Bundle(self._engine, self, primary, self.name_of(session_filter))
        self.bundles.add(made)
        return made

    @takes(
        address=Endpoint,
        protocol=ProtocolDefinition,
        primary=PrimaryConnection | None,
        transport=Transport,
        flags=BindFlags,
        session_filter=SessionFilter | None,
    )
    async def allow_future_connect(
        self,
        address: Endpoint,
        *,
        protocol: ProtocolDefinition,
        primary: PrimaryConnection | None = None,
        transport: Transport = Transport.TCP,
        flags: BindFlags = BindFlags.TIMEOUT,
        session_filter: "SessionFilter | None" = None,
        context: object = None,
        armed: bool = True,
    ) -> FutureConnection:
        """Permit the client one secondary connection to `address` (`AllowFutureConnect`).

        Over UDP it is one exchange of datagrams: the first port of the client that sends is the
        one; `FutureConnection.send_to` speaks to the client in the name of `address`. The
        permission ends with `primary`, if given. `flags`: TIMEOUT, it must be used within about a
        minute; ALLOW_MULTIPLE, more than one connection; NO_KERNEL_MODE. `session_filter` is
        notified of EstablishedConnection and the events that follow, with `context`. The flow
        carries our conntrack mark, so it passes where forwarding is otherwise denied. `armed=False`
        reserves only, until `FutureConnection.arm()`. Where `primary` is in full proxy the client
        must connect to `FutureConnection.proxy_address`, a port of the gateway.

        Raises PolicyDenied when the rules do not let the client use `protocol` towards `address`,
        AddressNotAllowed for a port below the rule's minimum, InvalidArgument for an address of
        another family than the client's, QuotaExceeded, OutOfResources, KernelError, Terminating.
        """
        request = FutureRequest(
            session=self,
            addresses=(address,),
            transport=transport,
            protocol=protocol,
            primary=primary,
            flags=flags,
            session_filter=session_filter,
            context=context,
        )
        (future,) = await self._engine.allow(request, armed=armed)
        return future

    @takes(
        protocol=ProtocolDefinition,
        transport=Transport,
        internal_address=IpAddress | None,
        primary=PrimaryConnection | None,
        flags=BindFlags,
        session_filter=SessionFilter | None,
    )
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
        """Open gateway ports that the client connects to instead of `addresses`.

        (`RedirectConnections`.) The outbound mirror of `bind_for_client`. Element i of the result
        is for `addresses[i]`, 1 to `limits.MAX_ADDRESSES_PER_CALL` of them: the client connects to
        its `proxy_address`, the lowest port + i, and reaches `addresses[i]`. The lowest port is a
        multiple of the number of addresses. `internal_address` is the gateway's address on the
        client's side; None: the address by which the client knows `primary`. The other arguments
        are those of `allow_future_connect`. All ports are opened or none.

        Raises what `allow_future_connect` raises, AddressNotAvailable when `internal_address` is
        not the gateway's, AddressInUse when no such run of ports is free, InvalidArgument when
        neither `internal_address` nor `primary` says which address the client knows us by.
        """
        request = FutureRequest(
            session=self,
            addresses=each("addresses", addresses, Endpoint),
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

    @takes(client_address=Endpoint, proxy_address=Endpoint)
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
        """Return a port that exists for filters only: they deliver its connection themselves.

        (`EmulateClientBind`.) For an inbound connection to a client that bound no port: a filter
        receives it at a well-known port and decides which client it is for. No port is bound;
        `proxy_address` only appears in events. `SecondaryConnection.emulate_connection` of the
        result then delivers one connection. `is_address_translated`: the client sees the gateway's
        address instead of the peer's. Rules and client address are checked, and other filters are
        asked, as for a bind; raises what `bind_for_client` raises.
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

    @takes(
        transport=Transport,
        address=Endpoint,
        protocol=ProtocolDefinition,
        flags=BindFlags,
        ip_filter=IpFilter | None,
    )
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

        Such a bind is only reserved, until a filter sees the client announce it. `address` is the
        gateway's: zeros match any address, the port must not be 0. `flags`: BIDIRECTIONAL,
        INCREASE_RECEIVE_BUFFER. `ip_filter`: the addresses that may connect; None: as it was bound.
        Returns True when the bind is open now, False when it was approved before.

        Raises NoSuchBind when the client has no such bind (call `bind_for_client` then),
        PolicyDenied when the rules do not let the client use `protocol`, InvalidArgument for port 0
        or other flags, Terminating, OutOfResources, KernelError.
        """
        return await self._engine.approve(
            self, transport, address, protocol, flags=flags, ip_filter=ip_filter
        )

    @takes(protocol=ProtocolDefinition | UUID, host=IpAddress, port=int | None)
    def host_access_check(
        self,
        protocol: ProtocolDefinition | UUID,
        host: IpAddress,
        port: int | None = None,
        *,
        check_publishing: bool = False,
    ) -> Verdict:
        """Return what the access rules say, without any effect (`HostAccessCheck`).

        The question is whether this client may use `protocol` towards `host`: for a primary
        connection, or, with a `port` that is not the protocol's own, for a secondary connection to
        that port. `check_publishing` asks the publishing rules instead: whether `host` may reach
        this client, a published server, at `port`, or, with None, at any port. Raises
        InvalidArgument for an unknown protocol.
        """
        engine = self._engine
        return check_host_access(
            engine.policy,
            self.client_address,
            engine.protocol(protocol),
            host,
            port,
            asker=Asker(self.user, self.frontend),
            minute=engine.minute_of_week() if engine.policy.is_timed else None,
            check_publishing=check_publishing,
        )

    @takes(protocol=ProtocolDefinition, transport=Transport, address=Endpoint)
    def neighbour_at(
        self, protocol: ProtocolDefinition, transport: Transport, address: Endpoint
    ) -> Endpoint | None:
        """Return where a bound port leads that belongs to a host of this client's own network.

        A far side may name a port of the gateway that was bound for a neighbour, or for this client
        itself: the two reach each other without the gateway. None for any other address: the port
        of another protocol, a host of another network, and one whose client another worker serves.
        """
        engine = self._engine
        opening = engine.registry.at(transport, address)
        if not isinstance(opening, SecondaryConnection) or opening.client_address is None:
            return None
        owner, network_of = opening.client_address, engine.policy.network_of
        is_same = network_of(owner.address) is network_of(self.client_address)
        return owner if is_same and opening.protocol.name == protocol.name else None

    @takes(
        event=type,
        address=Endpoint | None,
        session_filter=SessionFilter,
        priority=Priority,
        flags=BindFlags,
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
        """Register a factory of data filters for a flow that may come (`SetDataFilterFactory`).

        `event`: ConnectTcp or UdpDestination, with the remote `address`; AcceptedConnection or
        BindUdp, with the bound one. None, an address of zeros and port 0 match any. The data filter
        that `make` returns is attached with `priority` and `context`, to one flow, or with
        ALLOW_MULTIPLE to every one. A flow that is denied or finds no listener does not count, so
        `make` must return a new data filter at every call.

        While the factory is registered, each bind of this session whose flow it could meet is made
        in user mode; a bind made before, in the kernel, stays there. Cancel a factory that is no
        longer needed. Raises InvalidArgument for another event, Terminating when the session is
        over.
        """
        if not callable(make):
            raise InvalidArgument("wrong-type-of-make")
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
        """Return the name of the filter that `session_filter` belongs to in this session.

        Empty for None, and for a session filter of another session.
        """
        for name, one in self.filters.items():
            if one is session_filter:
                return name
        return ""

    def hold(self, opening: Opening, primary: PrimaryConnection | None) -> None:
        """Add a port or permission, and count it against the quota."""
        self.openings[opening.pinhole.id] = opening
        held, account = self._engine.held, self.account_of(primary)
        held[account] = held.get(account, 0) + 1

    def let_go(self, opening: Opening, primary: PrimaryConnection | None) -> None:
        """Remove a port or permission, and count it no longer."""
        del self.openings[opening.pinhole.id]
        held, account = self._engine.held, self.account_of(primary)
        left = held.pop(account) - 1
        if left:
            held[account] = left

    def forget_attached(self, pinhole_id: int) -> None:
        """Remove the data filters that were attached in the event of a bind; its port is closed."""
        self.factories = [
            one
            for one in self.factories
            if not (isinstance(one, PortFactory) and one.pinhole_id == pinhole_id)
        ]

    def held_for(self, primary: PrimaryConnection | None) -> int:
        """Return how many ports and permissions count against the quota of `primary`.

        A private session has no quota of its own: it shares its client's.
        """
        return self._engine.held.get(self.account_of(primary), 0)

    def end_bundles(self, reason: str, *, of: PrimaryConnection | None = None) -> None:
        """End every bundle, or those that were begun for one connection."""
        for one in tuple(self.bundles):
            if of is None or one.primary is of:
                one.end(reason)

    def kill(self, reason: str = "killed") -> None:
        """End every connection of the session now and reset both ends. Idempotent, never raises."""
        self.is_ending = True
        for primary in tuple(self.primaries.values()):
            primary.abandon(reason)
        self.end_bundles(reason)
        for opening in tuple(self.openings.values()):
            self._engine.registry.kill(opening, reason)
        self._engine.forget_idle(self)

    def account_of(self, primary: PrimaryConnection | None) -> str:
        """Return to whose quota goes what is opened for `primary`, or for none."""
        return self.account if primary is None else primary.account
