"""The primitive, step by step: from the arguments of `bind_for_client` to a binding.

Every check comes before the first effect, so that a refused call has changed nothing.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.engine.dispatch import flow_event, permitted_event
from sallyport.core.engine.grants import Grants
from sallyport.core.engine.listen_addresses import choose_listen_addresses, choose_redirects
from sallyport.core.model.binding import Binding
from sallyport.core.model.chain import Priority
from sallyport.core.model.engine import Engine
from sallyport.core.model.factory import PortFactory
from sallyport.core.model.filter import DataFilter
from sallyport.core.model.future_connection import FutureConnection
from sallyport.core.model.negotiated import Negotiated
from sallyport.core.model.request import BindRequest, FutureRequest
from sallyport.core.model.secondary import SecondaryConnection
from sallyport.core.pinholes.datapath import DataPath
from sallyport.core.pinholes.lifecycle import State
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rules import Rule
from sallyport.core.policy.trail import Trail
from sallyport.errors import (
    AddressNotAllowed,
    BadContext,
    BindError,
    InvalidArgument,
    NoSuchBind,
    Terminating,
)
from sallyport.flags import BindFlags, Transport
from sallyport.ipfilter import IpFilter

if TYPE_CHECKING:
    from sallyport.core.model.session import Session

# What a bind that stands already can still be given (`RetroactiveAllowBind`).
_APPROVAL_FLAGS = BindFlags.BIDIRECTIONAL | BindFlags.INCREASE_RECEIVE_BUFFER


class Binder:
    """Checks requests and turns them into openings."""

    def __init__(self, engine: Engine, grants: Grants) -> None:
        self._engine = engine
        self._grants = grants

    async def bind(self, request: BindRequest, *, armed: bool) -> Binding:
        """Do what `Session.bind_for_client` promises."""
        engine = self._engine
        begun = engine.clock()
        trail = Trail() if request.session.is_traced else None
        try:
            protocol, rule, relation = self._grants.check(request, trail)
            path, is_filtered = self._path_for(request, protocol)
            addresses, reservations = choose_listen_addresses(engine, request, relation, path)
            if reservations is None:
                for address, client in zip(addresses, request.client_addresses, strict=True):
                    if client.is_zero:
                        # On a routed relation the proxy address says where the client will listen.
                        self._grants.check_client_address(
                            request.session, address, request.flags, rule
                        )
        except BindError as refusal:
            if trail is not None:
                engine.tracing.bind_decided(request, trail, refusal.reason)
            engine.bind_refused(request, refusal)
            raise
        if trail is not None:
            engine.tracing.bind_decided(request, trail, "allowed-by-rule")
        if rule.max_binds_per_minute is not None:
            self._grants.spend(request.session, request.primary, rule, len(addresses))
        binding = Binding(engine, engine.new_binding_id(), request, protocol, rule)
        for address, client in zip(addresses, request.client_addresses, strict=True):
            pinhole = request.pinhole(
                engine.registry.new_id(), address, client, rule.max_flows_per_binding
            )
            connection = SecondaryConnection(
                binding, pinhole, path=path, is_filtered=is_filtered, reservations=reservations
            )
            binding.connections += (connection,)
        self._register(binding, request)
        try:
            await engine.ask_about_bind(binding)
            self._decide_path_again(binding)
        except BaseException as error:  # giving up while asking leaves nothing held either
            if isinstance(error, BindError):
                engine.bind_refused(request, error)
            binding.withdraw("refused")
            raise
        if armed:
            await binding.arm()
        engine.bind_times.add(engine.clock() - begun)
        return binding

    def _register(self, binding: Binding, request: BindRequest) -> None:
        """Enter a binding into the books, with what gives its flows their data filters."""
        if request.is_for_primary:
            (emulated,) = binding.connections
            emulated.become_emulated(emulated.path, emulated.asked_by)
        self._engine.binding_made(binding, request)
        if request.make_data_filter is not None:
            binding.session.factories += _factories(binding, request.make_data_filter)

    async def complete_client_address(
        self, connection: SecondaryConnection, client: Endpoint
    ) -> None:
        """Do what `SecondaryConnection.set_client_address` promises."""
        binding = connection.binding
        if binding is None or connection.is_closed:
            raise Terminating("connection-has-ended")
        if connection.client_address is not None:
            raise InvalidArgument("client-address-was-given")
        if client.port == 0 or client.version != connection.proxy_address.version:
            raise InvalidArgument("not-a-client-address")
        if not connection.holds_port and client != connection.proxy_address:
            raise InvalidArgument("routed-address-is-the-proxy-address")
        rule, _ = self._grants.ask_policy(
            binding.session, binding.protocol, binding.primary, asker=binding.asker
        )
        self._grants.check_client_address(binding.session, client, binding.flags, rule)
        await self._engine.registry.retarget(connection, client)

    async def restrict_peers(
        self,
        connections: Sequence[SecondaryConnection],
        ip_filter: IpFilter | None,
        peer_ports: frozenset[int] | None,
    ) -> None:
        """Do what `SecondaryConnection.set_ip_filter` and `Binding.set_peers` promise."""
        for connection in connections:
            if connection.is_emulated:
                raise BadContext("no-peer-connects-to-an-emulated-port")
            if connection.is_closed:
                raise Terminating("connection-has-ended")
        await self._engine.registry.set_peers(connections, ip_filter, peer_ports)

    def extend(self, binding: Binding, seconds: float) -> float:
        """Do what `Binding.extend` promises."""
        if not 0 < seconds < math.inf:
            raise InvalidArgument("lifetime-is-not-positive")
        if binding.state is State.CLOSED:
            raise Terminating("connection-has-ended")
        rule, _ = self._grants.ask_policy(
            binding.session, binding.protocol, binding.primary, asker=binding.asker
        )
        return binding.live(seconds, rule.max_lifetime) or seconds

    def require_sendable(self, connection: Negotiated, peer: Endpoint) -> None:
        """Do what `SecondaryConnection.send_to` promises."""
        if connection.transport is not Transport.UDP:
            raise BadContext("send-to-is-for-udp")
        if connection.is_emulated and connection.reservations is None:
            raise BadContext("no-port-is-held")
        if connection.is_closed:
            raise Terminating("connection-has-ended")
        self.require_peer(connection, peer)

    def require_peer(self, connection: Negotiated, peer: Endpoint) -> None:
        """Check that `peer` may be at the other end of an opening: of a permission, the client.

        Raises InvalidArgument, AddressNotAllowed when the bind keeps it out, PolicyDenied.
        """
        pinhole = connection.pinhole
        if peer.port == 0 or peer.version != pinhole.listen.version:
            raise InvalidArgument("not-a-peer-address")
        if pinhole.sources is not None and peer.address not in pinhole.sources:
            raise AddressNotAllowed("peer-is-not-admitted")
        if pinhole.source_ports is not None and peer.port not in pinhole.source_ports:
            raise AddressNotAllowed("peer-port-is-not-admitted")
        far_end = peer
        if isinstance(connection, FutureConnection) and pinhole.target is not None:
            far_end = pinhole.target
        self._grants.ask_policy(
            connection.session,
            connection.protocol,
            connection.primary,
            peer=far_end.address,
            asker=connection.asker,
        )

    async def allow(self, request: FutureRequest, *, armed: bool) -> tuple[FutureConnection, ...]:
        """Carry out `Session.allow_future_connect` and `Session.redirect_connections`."""
        engine, session = self._engine, request.session
        request.require_sense()
        trail = Trail() if session.is_traced else None
        rules = [self._rule_towards(request, address, trail) for address in request.addresses]
        for rule in rules:
            self._grants.check_quota(session, request.primary, rule, len(rules), trail)
        if trail is not None:
            engine.tracing.permission_decided(request, trail)
        flags = request.flags
        if any(self._is_intercepted(request.transport, one) for one in request.addresses):
            flags |= BindFlags.NO_KERNEL_MODE
        path, is_filtered = engine.path_for(
            session, request.protocol, flags, permitted_event(request.transport)
        )
        listens, reservations = choose_redirects(engine, request, path)
        futures = tuple(
            FutureConnection(
                request,
                engine,
                request.pinhole(
                    engine.registry.new_id(), listen, address, rule.max_flows_per_binding
                ),
                path,
                rule,
                is_filtered=is_filtered,
                reservations=reservations,
            )
            for listen, address, rule in zip(listens, request.addresses, rules, strict=True)
        )
        for rule in rules:
            self._grants.spend(session, request.primary, rule, 1)
        for future in futures:
            engine.permission_made(future)
        if armed:
            await engine.registry.arm(futures)
        return futures

    async def approve(
        self,
        session: "Session",
        transport: Transport,
        address: Endpoint,
        protocol: ProtocolDefinition,
        *,
        flags: BindFlags,
        ip_filter: IpFilter | None,
    ) -> bool:
        """Do what `Session.retroactive_allow_bind` promises."""
        engine = self._engine
        if address.port == 0:
            raise InvalidArgument("the-port-must-be-known")
        if flags & ~_APPROVAL_FLAGS:
            raise InvalidArgument("flags-mean-nothing-here")
        is_answered = flags.is_bidirectional
        if is_answered and transport is not Transport.UDP:
            raise InvalidArgument("bidirectional-is-for-udp")
        if session.is_ending:
            raise Terminating("session-is-over")
        binding, connection = _bound_by_client(session, transport, address)
        if connection.state is not State.RESERVED:
            return False
        pinhole = connection.pinhole
        try:
            self._grants.ask_policy(session, protocol, binding.primary, asker=binding.asker)
            connection.pinhole = replace(
                pinhole,
                sources=pinhole.sources if ip_filter is None else ip_filter,
                is_answered=pinhole.is_answered or is_answered,
                receive_buffer=limits.INCREASED_RECEIVE_BUFFER
                if flags.is_roomy
                else pinhole.receive_buffer,
            )
            await engine.registry.arm([connection])
        except BindError as refusal:
            engine.arming_refused(binding, refusal)
            raise
        binding.flags |= flags
        return True

    def _path_for(
        self, request: BindRequest, protocol: ProtocolDefinition
    ) -> tuple[DataPath, bool]:
        """Decide which data path it is, and whether filters are asked about each flow."""
        if request.is_for_primary:
            return self._engine.user_path, True
        return self._engine.path_for(
            request.session, protocol, request.flags, flow_event(request.transport)
        )

    def _decide_path_again(self, binding: Binding) -> None:
        """Move a binding to user mode if a data filter is expected at one of its ports.

        A filter that was told of the bind may have attached one or set a factory, which is for this
        binding alone; and now its ports are known. Raises OutOfResources, and what
        `DataPath.reserve` raises.
        """
        factories = binding.session.factories
        if not factories:
            return
        event = flow_event(binding.transport)
        if not any(
            factory.may_meet(event, connection.proxy_address)
            for factory in factories
            for connection in binding.connections
        ):
            return
        path = self._engine.user_path
        for connection in binding.connections:
            if connection.path is not path:
                if connection.reservations is not None:
                    listen = connection.proxy_address
                    there = self._engine.reservations_at(path, binding.transport, listen.address)
                    connection.reservations.hand_over(listen, there)
                    connection.reservations = there
                connection.path = path
            connection.is_filtered = True

    def _is_intercepted(self, transport: Transport, address: Endpoint) -> bool:
        """Whether the kernel would take a connection there for one of a supervised protocol.

        A server chooses its passive ports without a thought of us. The kernel intercepts before it
        looks at pinholes, but a socket of user mode comes first.
        """
        ports = self._engine.policy.intercepted_ports
        return transport is Transport.TCP and address.port in ports

    def _rule_towards(self, request: FutureRequest, address: Endpoint, trail: Trail | None) -> Rule:
        """Find the rule that lets the client connect to `address`."""
        rule, _ = self._grants.ask_policy(
            request.session, request.protocol, request.primary, peer=address.address, trail=trail
        )
        if address.port < rule.min_server_port:
            raise AddressNotAllowed("server-port-below-minimum")
        return rule


def _factories(binding: Binding, make: Callable[[], DataFilter]) -> Iterator[PortFactory]:
    """Yield what gives a data filter to each flow that comes to the ports of a binding."""
    for connection in binding.connections:
        yield PortFactory(
            connection,
            make,
            priority=Priority.NAT,
            context=binding.context,
            owner=connection.asked_by,
            is_multiple=True,
        )


def _bound_by_client(
    session: "Session", transport: Transport, address: Endpoint
) -> tuple[Binding, SecondaryConnection]:
    """Find the port that a Firewall client bound itself; raises NoSuchBind.

    A bind that a filter of the session asked for is that filter's to arm.
    """
    for binding in session.bindings.values():
        for connection in binding.connections if binding.transport is transport else ():
            bound = connection.proxy_address
            if (
                not connection.asked_by
                and bound.port == address.port
                and (address.address.is_unspecified or address.address == bound.address)
            ):
                return binding, connection
    raise NoSuchBind("the-client-bound-nothing-there")
