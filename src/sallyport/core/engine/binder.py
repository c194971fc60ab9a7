"""The primitive, step by step: from the arguments of `bind_for_client` to a binding.

Every check comes before the first effect, so that a refused call has changed nothing.
"""

from ipaddress import ip_network
from typing import TYPE_CHECKING

from sallyport import limits
from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.engine.dispatch import flow_event, permitted_event
from sallyport.core.engine.listen_addresses import choose_listen_addresses, choose_redirects
from sallyport.core.model.binding import Binding
from sallyport.core.model.connection import PrimaryConnection
from sallyport.core.model.engine import Engine
from sallyport.core.model.future_connection import FutureConnection
from sallyport.core.model.request import BindRequest, FutureRequest
from sallyport.core.model.secondary import SecondaryConnection
from sallyport.core.pinholes.datapath import DataPath
from sallyport.core.pinholes.lifecycle import State
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rules import AllowedAddresses, PublishingRule, Relation, Rule
from sallyport.errors import (
    AddressNotAllowed,
    BadContext,
    BindError,
    InvalidArgument,
    NoSuchBind,
    PolicyDenied,
    QuotaExceeded,
    Terminating,
)
from sallyport.flags import BindFlags, Transport
from sallyport.ipfilter import IpFilter

if TYPE_CHECKING:
    from sallyport.core.model.session import Session

_WIDENED_BY = {
    BindFlags.ALLOW_ADDRESSES_IN_CLASS_C_NETWORK: AllowedAddresses.CLASS_C,
    BindFlags.ALLOW_ADDRESSES_IN_NETWORK: AllowedAddresses.NETWORK,
    BindFlags.ALLOW_ADDRESSES_ALL: AllowedAddresses.ALL,
}

# What a bind that stands already can still be given (`RetroactiveAllowBind`).
_APPROVAL_FLAGS = BindFlags.BIDIRECTIONAL | BindFlags.INCREASE_RECEIVE_BUFFER

# "Class C" is taken literally as /24 (semantics 12, slip 9). IPv6 has no classes; a /64 is the
# block of neighbours a /24 was meant to be.
_NEIGHBOURS = {4: 24, 6: 64}


class Binder:
    """Checks requests and turns them into openings."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def bind(self, request: BindRequest, *, armed: bool) -> Binding:
        """See `Session.bind_for_client`."""
        engine = self._engine
        try:
            request.require_sense()
            protocol = engine.protocol(request.protocol)
            rule, relation = self._ask_policy(request.session, protocol, request.primary)
            for client in request.client_addresses:
                self._check_client_address(request.session, client, request.flags, rule)
            self._check_quota(request.session, request.primary, rule, len(request.client_addresses))
            path, is_filtered = self._path_for(request, protocol)
            addresses, reservations = choose_listen_addresses(engine, request, relation, path)
            if reservations is None:
                for address, client in zip(addresses, request.client_addresses, strict=True):
                    if client.is_zero:
                        # On a routed relation the proxy address says where the client will listen.
                        self._check_client_address(request.session, address, request.flags, rule)
        except BindError as refusal:
            engine.bind_refused(request, refusal)
            raise
        binding = Binding(engine, engine.new_binding_id(), request, protocol, rule)
        for address, client in zip(addresses, request.client_addresses, strict=True):
            pinhole = request.pinhole(engine.registry.new_id(), address, client)
            connection = SecondaryConnection(
                binding, pinhole, path=path, is_filtered=is_filtered, reservations=reservations
            )
            binding.connections += (connection,)
        if request.is_for_primary:
            (emulated,) = binding.connections
            emulated.become_emulated(path, emulated.asked_by)
        engine.binding_made(binding)
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
        return binding

    async def complete_client_address(
        self, connection: SecondaryConnection, client: Endpoint
    ) -> None:
        """See `SecondaryConnection.set_client_address`."""
        binding = connection.binding
        if binding is None or connection.is_closed:
            raise Terminating("connection-has-ended")
        if connection.client_address is not None:
            raise InvalidArgument("client-address-was-given")
        if client.port == 0 or client.version != connection.proxy_address.version:
            raise InvalidArgument("not-a-client-address")
        if not connection.holds_port and client != connection.proxy_address:
            raise InvalidArgument("routed-address-is-the-proxy-address")
        rule, _ = self._ask_policy(binding.session, binding.protocol, binding.primary)
        self._check_client_address(binding.session, client, binding.flags, rule)
        await self._engine.registry.retarget(connection, client)

    async def restrict_peers(
        self, connection: SecondaryConnection, ip_filter: IpFilter | None
    ) -> None:
        """See `SecondaryConnection.set_ip_filter`."""
        if connection.is_emulated:
            raise BadContext("no-peer-connects-to-an-emulated-port")
        if connection.is_closed:
            raise Terminating("connection-has-ended")
        await self._engine.registry.set_sources(connection, ip_filter)

    def require_sendable(self, connection: SecondaryConnection, peer: Endpoint) -> None:
        """See `SecondaryConnection.send_to`."""
        if connection.transport is not Transport.UDP:
            raise BadContext("send-to-is-for-udp")
        if connection.is_emulated and not connection.holds_port:
            raise BadContext("no-port-is-held")
        if connection.is_closed:
            raise Terminating("connection-has-ended")
        self.require_peer(connection, peer)

    def require_peer(self, connection: SecondaryConnection, peer: Endpoint) -> None:
        """Check that `peer` may be at the other end of a bound port.

        Raises InvalidArgument, AddressNotAllowed when the bind keeps it out, PolicyDenied.
        """
        pinhole = connection.pinhole
        if peer.port == 0 or peer.version != connection.proxy_address.version:
            raise InvalidArgument("not-a-peer-address")
        if pinhole.sources is not None and peer.address not in pinhole.sources:
            raise AddressNotAllowed("peer-is-not-admitted")
        if pinhole.source_ports is not None and peer.port not in pinhole.source_ports:
            raise AddressNotAllowed("peer-port-is-not-admitted")
        self._ask_policy(
            connection.session, connection.protocol, connection.primary, peer=peer.address
        )

    async def allow(self, request: FutureRequest, *, armed: bool) -> tuple[FutureConnection, ...]:
        """See `Session.allow_future_connect` and `Session.redirect_connections`."""
        engine, session = self._engine, request.session
        request.require_sense()
        rules = [self._rule_towards(request, address) for address in request.addresses]
        for rule in rules:
            self._check_quota(session, request.primary, rule, len(rules))
        path, is_filtered = engine.path_for(
            session, request.protocol, request.flags, permitted_event(request.transport)
        )
        listens, reservations = choose_redirects(engine, request, path)
        futures = tuple(
            FutureConnection(
                request,
                engine,
                request.pinhole(engine.registry.new_id(), listen, address),
                path,
                rule,
                is_filtered=is_filtered,
                reservations=reservations,
            )
            for listen, address, rule in zip(listens, request.addresses, rules, strict=True)
        )
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
        """See `Session.retroactive_allow_bind`."""
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
            self._ask_policy(session, protocol, binding.primary)
            connection.pinhole = pinhole._replace(
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
        factories, event = binding.session.factories, flow_event(binding.transport)
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

    def _rule_towards(self, request: FutureRequest, address: Endpoint) -> Rule:
        """Find the rule that lets the client connect to `address`."""
        rule, _ = self._ask_policy(
            request.session, request.protocol, request.primary, peer=address.address
        )
        if address.port < rule.min_client_port:
            raise AddressNotAllowed("server-port-below-minimum")
        return rule

    def _ask_policy(
        self,
        session: "Session",
        protocol: ProtocolDefinition,
        primary: PrimaryConnection | None,
        peer: IpAddress | None = None,
    ) -> tuple[Rule, Relation]:
        if session.is_ending:
            raise Terminating("session-is-over")
        if primary is not None and (not primary.is_open or primary.session is not session):
            raise Terminating("primary-has-ended")
        policy = self._engine.policy
        if primary is not None and peer is None and primary.is_granted(protocol, policy):
            return primary.rule, primary.relation
        if primary is not None and isinstance(primary.rule, PublishingRule):
            # Such a rule lets one client outside reach one server: nobody else follows from it.
            if peer not in (None, primary.peer.address):
                raise PolicyDenied("peer-is-not-the-published-connections")
            verdict = policy.decide_published(primary.rule, protocol.name, primary.peer.address)
        else:
            peer = primary.peer.address if primary is not None and peer is None else peer
            verdict = policy.decide(protocol.name, session.client_address, peer)
        if not verdict.allowed:
            raise PolicyDenied(verdict.reason)
        assert verdict.rule is not None  # noqa: S101 - an allowing verdict has both
        assert verdict.relation is not None  # noqa: S101
        return verdict.rule, verdict.relation

    def _check_client_address(
        self, session: "Session", client: Endpoint, flags: BindFlags, rule: Rule
    ) -> None:
        """One bad address fails the whole call (SDK return code 5)."""
        if client.is_zero:
            # Not known yet: the same check waits for it in `complete`.
            if client.version != session.client_address.version:
                raise AddressNotAllowed("not-the-clients-address")
            return
        own = session.client_address
        if client.address != own and not self._is_allowed(own, client.address, flags, rule):
            raise AddressNotAllowed("not-the-clients-address")
        if client.port < rule.min_client_port:
            raise AddressNotAllowed("client-port-below-minimum")

    def _is_allowed(
        self, client: IpAddress, address: IpAddress, flags: BindFlags, rule: Rule
    ) -> bool:
        """Whether a client may name an address that is not its own."""
        policy = self._engine.policy
        # Nothing translates between families; a pinhole never leads to the gateway (attack X08).
        if address.version != client.version or policy.is_own(address):
            return False
        asked = (allowed for flag, allowed in _WIDENED_BY.items() if flag in flags)
        # The administrator's default is OR-ed in (DefaultAllowedAddressesInBindForClient).
        widest = max(asked, default=AllowedAddresses.CLIENT)
        widest = max(widest, rule.allowed_addresses)
        if widest is AllowedAddresses.ALL:
            return True
        if widest is AllowedAddresses.NETWORK:
            return policy.network_of(address) == policy.network_of(client)
        if widest is AllowedAddresses.CLASS_C:
            return address in ip_network((client, _NEIGHBOURS[client.version]), strict=False)
        return False

    def _check_quota(
        self, session: "Session", primary: PrimaryConnection | None, rule: Rule, wanted: int
    ) -> None:
        if len(self._engine.registry) + wanted > limits.MAX_BINDINGS:
            raise QuotaExceeded("too-many-bindings-of-all")
        if session.held_for(primary) + wanted > rule.max_bindings_per_client:
            raise QuotaExceeded("too-many-bindings")


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
