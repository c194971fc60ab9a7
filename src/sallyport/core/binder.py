"""The primitive, step by step: from the arguments of `bind_for_client` to a binding.

Every check comes before the first effect, so that a refused call has changed nothing.
"""

from ipaddress import ip_network
from typing import TYPE_CHECKING

from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.bind_events import ask_filters
from sallyport.core.binding import Binding
from sallyport.core.connection import PrimaryConnection, SecondaryConnection
from sallyport.core.datapath import Pinhole
from sallyport.core.future import FutureConnection
from sallyport.core.places import choose_places, hold_one
from sallyport.core.policy import AllowedAddresses, PublishingRule, Relation, Rule
from sallyport.core.protocols import ProtocolDefinition
from sallyport.core.request import BindRequest
from sallyport.errors import (
    AddressNotAllowed,
    BadContext,
    BindError,
    InvalidArgument,
    KernelError,
    PolicyDenied,
    QuotaExceeded,
    Terminating,
)
from sallyport.flags import BindFlags, ConnectionFlags, Transport
from sallyport.ipfilter import IpFilter

if TYPE_CHECKING:
    from sallyport.core.gateway import Gateway
    from sallyport.core.session import Session

_WIDENED_BY = {
    BindFlags.ALLOW_ADDRESSES_IN_CLASS_C_NETWORK: AllowedAddresses.CLASS_C,
    BindFlags.ALLOW_ADDRESSES_IN_NETWORK: AllowedAddresses.NETWORK,
    BindFlags.ALLOW_ADDRESSES_ALL: AllowedAddresses.ALL,
}

# "Class C" is taken literally as /24 (semantics 12, slip 9). IPv6 has no classes; a /64 is the
# block of neighbours a /24 was meant to be.
_NEIGHBOURS = {4: 24, 6: 64}


class Binder:
    """Checks requests and turns them into openings."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway

    async def bind(self, request: BindRequest, *, armed: bool) -> Binding:
        """See `Session.bind_for_client`."""
        gateway = self._gateway
        try:
            request.require_sense()
            protocol = gateway.protocol(request.protocol)
            rule, relation = self._ask_policy(request.session, protocol, request.primary)
            for client in request.client_addresses:
                self._check_client_address(request.session, client, request.flags, rule)
            self._check_quota(request.session, request.primary, rule, len(request.client_addresses))
            path = gateway.path_for(protocol, request.flags)
            places = choose_places(gateway, request, relation, path)
            for place, client in zip(places, request.client_addresses, strict=True):
                if client.is_zero and not place.is_held:
                    # On a routed relation the proxy address says where the client will listen.
                    self._check_client_address(request.session, place.listen, request.flags, rule)
        except (BindError, KernelError) as refusal:
            gateway.ledger.refused(request, refusal)
            raise
        binding = Binding(gateway, gateway.new_binding_id(), request, protocol, rule)
        pairs = zip(places, request.client_addresses, strict=True)
        binding.connections = tuple(
            SecondaryConnection(
                binding,
                index,
                request.pinhole(gateway.openings.new_id(), place.listen, client),
                path=path,
                is_timed=BindFlags.TIMEOUT in request.flags,
                holds_port=place.is_held,
            )
            for index, (place, client) in enumerate(pairs)
        )
        gateway.ledger.made(binding)
        try:
            await ask_filters(gateway, binding)
        except BaseException as error:  # giving up while asking leaves nothing held either
            if isinstance(error, BindError):
                gateway.ledger.refused(request, error)
            binding.withdraw("refused")
            raise
        if armed:
            await binding.arm()
        return binding

    async def complete(self, connection: SecondaryConnection, client: Endpoint) -> None:
        """See `SecondaryConnection.set_client_address`."""
        binding = connection.binding
        if connection.is_closed:
            raise Terminating("connection-has-ended")
        if connection.client_address is not None:
            raise InvalidArgument("client-address-was-given")
        if client.port == 0 or client.version != connection.proxy_address.version:
            raise InvalidArgument("not-a-client-address")
        if not connection.holds_port and client != connection.proxy_address:
            raise InvalidArgument("routed-address-is-the-proxy-address")
        rule, _ = self._ask_policy(binding.session, binding.protocol, binding.primary)
        self._check_client_address(binding.session, client, binding.flags, rule)
        await self._gateway.openings.retarget(connection, client)

    async def restrict(self, connection: SecondaryConnection, ip_filter: IpFilter | None) -> None:
        """See `SecondaryConnection.set_ip_filter`."""
        if connection.is_closed:
            raise Terminating("connection-has-ended")
        await self._gateway.openings.set_sources(connection, ip_filter)

    def require_peer(self, connection: SecondaryConnection, peer: Endpoint) -> None:
        """See `SecondaryConnection.send_to`."""
        binding, sources = connection.binding, connection.pinhole.sources
        if binding.transport is not Transport.UDP:
            raise BadContext("send-to-is-for-udp")
        if connection.is_closed:
            raise Terminating("connection-has-ended")
        if peer.port == 0 or peer.version != connection.proxy_address.version:
            raise InvalidArgument("not-a-peer-address")
        if sources is not None and peer.address not in sources:
            raise AddressNotAllowed("peer-is-not-admitted")
        self._ask_policy(binding.session, binding.protocol, binding.primary, peer=peer.address)

    async def allow(
        self,
        session: "Session",
        address: Endpoint,
        *,
        protocol: ProtocolDefinition,
        primary: PrimaryConnection,
        armed: bool,
    ) -> FutureConnection:
        """See `Session.allow_future_connect`."""
        if address.version != session.client_address.version:
            raise InvalidArgument("addresses-of-two-families")
        rule, _ = self._ask_policy(session, protocol, primary, peer=address.address)
        if address.port < rule.min_client_port:
            raise AddressNotAllowed("server-port-below-minimum")
        self._check_quota(session, primary, rule, 1)
        path = self._gateway.path_for(protocol, BindFlags.NONE)
        listen = address
        if primary.inside_address is not None and (
            ConnectionFlags.INTERNAL_ADDRESS_TRANSLATION in primary.flags
        ):
            # A server that knows its clients by our address dials us (`RedirectConnections`).
            inside = primary.inside_address.address
            listen = hold_one(self._gateway, path, Transport.TCP, inside)
        # The outbound twin of a binding: a pinhole at the far end's own address, for one source.
        pinhole = Pinhole(
            id=self._gateway.openings.new_id(),
            transport=Transport.TCP,
            listen=listen,
            target=address,
            sources=IpFilter.of(session.client_address),
        )
        future = FutureConnection(self._gateway, session, primary, pinhole, path)
        self._gateway.ledger.permitted(future)
        if armed:
            await future.arm()
        return future

    def _ask_policy(
        self,
        session: "Session",
        protocol: ProtocolDefinition,
        primary: PrimaryConnection | None,
        peer: IpAddress | None = None,
    ) -> tuple[Rule, Relation]:
        if session.is_over:
            raise Terminating("session-is-over")
        if primary is not None and (not primary.is_open or primary.session is not session):
            raise Terminating("primary-has-ended")
        policy = self._gateway.policy
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
        widest = max(
            (allowed for flag, allowed in _WIDENED_BY.items() if flag in flags),
            default=AllowedAddresses.CLIENT,
        )
        # The administrator's default is OR-ed in (DefaultAllowedAddressesInBindForClient).
        widest = max(widest, rule.allowed_addresses)
        if not self._is_allowed(session.client_address, client.address, widest):
            raise AddressNotAllowed("not-the-clients-address")
        if client.port < rule.min_client_port:
            raise AddressNotAllowed("client-port-below-minimum")

    def _is_allowed(self, client: IpAddress, address: IpAddress, widest: AllowedAddresses) -> bool:
        if address == client:
            return True
        policy = self._gateway.policy
        # Nothing translates between families; a pinhole never leads to the gateway (attack X08).
        if address.version != client.version or policy.is_own(address):
            return False
        if widest is AllowedAddresses.ALL:
            return True
        if widest is AllowedAddresses.NETWORK:
            return policy.network_of(address) == policy.network_of(client)
        if widest is AllowedAddresses.CLASS_C:
            return address in ip_network((client, _NEIGHBOURS[client.version]), strict=False)
        return False

    @staticmethod
    def _check_quota(
        session: "Session", primary: PrimaryConnection | None, rule: Rule, wanted: int
    ) -> None:
        if session.held_for(primary) + wanted > rule.max_bindings_per_client:
            raise QuotaExceeded("too-many-bindings")
