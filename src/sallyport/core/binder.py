"""The primitive, step by step: from the arguments of `bind_for_client` to a binding.

Every check comes before the first effect, so that a refused call has changed nothing.
"""

from collections.abc import Sequence
from ipaddress import ip_network
from typing import TYPE_CHECKING

from sallyport import limits
from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.binding import Binding
from sallyport.core.connection import PrimaryConnection, SecondaryConnection
from sallyport.core.datapath import Pinhole
from sallyport.core.future import FutureConnection
from sallyport.core.policy import AccessRule, AllowedAddresses, Relation
from sallyport.core.protocols import ProtocolDefinition
from sallyport.core.request import BindRequest
from sallyport.errors import (
    AddressInUse,
    AddressNotAllowed,
    AddressNotAvailable,
    BindError,
    InvalidArgument,
    PolicyDenied,
    QuotaExceeded,
    Terminating,
)
from sallyport.flags import BindFlags, Transport
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
        request.require_built()
        try:
            request.require_sense()
            protocol = self._gateway.protocol(request.protocol)
            rule, relation = self._ask_policy(request.session, protocol, request.primary)
            self._check_client_addresses(request, rule)
            self._check_quota(request.session, rule, len(request.client_addresses))
            listens = self._choose_listens(request, relation)
        except BindError as refusal:
            self._gateway.ledger.refused(request, refusal)
            raise
        binding = self._make(request, protocol, rule, listens)
        self._gateway.ledger.made(binding)
        if armed:
            await binding.arm()
        return binding

    def _make(
        self,
        request: BindRequest,
        protocol: ProtocolDefinition,
        rule: AccessRule,
        listens: Sequence[Endpoint],
    ) -> Binding:
        gateway = self._gateway
        binding = Binding(gateway, gateway.new_binding_id(), request, protocol, rule)
        pairs = zip(listens, request.client_addresses, strict=True)
        binding.connections = tuple(
            SecondaryConnection(
                binding,
                index,
                Pinhole(
                    id=gateway.openings.new_id(),
                    transport=request.transport,
                    listen=listen,
                    target=client,
                    sources=request.ip_filter,
                    single=BindFlags.ALLOW_MULTIPLE not in request.flags,
                    source_ports=request.peer_ports,
                ),
                is_timed=BindFlags.TIMEOUT in request.flags,
            )
            for index, (listen, client) in enumerate(pairs)
        )
        return binding

    async def allow(
        self,
        session: "Session",
        address: Endpoint,
        *,
        protocol: ProtocolDefinition,
        primary: PrimaryConnection,
    ) -> FutureConnection:
        """See `Session.allow_future_connect`."""
        if address.version != session.client_address.version:
            raise InvalidArgument("addresses-of-two-families")
        rule, _ = self._ask_policy(session, protocol, primary, peer=address.address)
        if address.port < rule.min_client_port:
            raise AddressNotAllowed("server-port-below-minimum")
        self._check_quota(session, rule, 1)
        # The outbound twin of a binding: a pinhole at the server's own address, for one source.
        pinhole = Pinhole(
            id=self._gateway.openings.new_id(),
            transport=Transport.TCP,
            listen=address,
            target=address,
            sources=IpFilter.of(session.client_address),
        )
        future = FutureConnection(self._gateway, session, primary, pinhole)
        self._gateway.ledger.permitted(future)
        await self._gateway.openings.arm([future])
        return future

    def _ask_policy(
        self,
        session: "Session",
        protocol: ProtocolDefinition,
        primary: PrimaryConnection | None,
        peer: IpAddress | None = None,
    ) -> tuple[AccessRule, Relation]:
        if session.is_over:
            raise Terminating("session-is-over")
        if primary is not None:
            if not primary.is_open or primary.session is not session:
                raise Terminating("primary-has-ended")
            peer = peer or primary.server.address
        verdict = self._gateway.policy.decide(protocol.name, session.client_address, peer)
        if not verdict.allowed:
            raise PolicyDenied(verdict.reason)
        assert verdict.rule is not None  # noqa: S101 - an allowing verdict has both
        assert verdict.relation is not None  # noqa: S101
        return verdict.rule, verdict.relation

    def _check_client_addresses(self, request: BindRequest, rule: AccessRule) -> None:
        """One bad address fails the whole call (SDK return code 5)."""
        widest = max(
            (allowed for flag, allowed in _WIDENED_BY.items() if flag in request.flags),
            default=AllowedAddresses.CLIENT,
        )
        # The administrator's default is OR-ed in (DefaultAllowedAddressesInBindForClient).
        widest = max(widest, rule.allowed_addresses)
        for endpoint in request.client_addresses:
            if not self._is_allowed(request.session.client_address, endpoint.address, widest):
                raise AddressNotAllowed("not-the-clients-address")
            if endpoint.port < rule.min_client_port:
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

    def _check_quota(self, session: "Session", rule: AccessRule, wanted: int) -> None:
        if len(session.openings) + wanted > rule.max_bindings_per_client:
            raise QuotaExceeded("too-many-bindings")

    def _choose_listens(self, request: BindRequest, relation: Relation) -> list[Endpoint]:
        """Decide where peers connect, holding the ports; the last check and the first effect."""
        clients, proxy = request.client_addresses, request.proxy_address
        if proxy is None and relation is Relation.ROUTE:
            return list(clients)
        if proxy is not None and proxy.address not in self._gateway.policy.gateway_addresses:
            if relation is not Relation.ROUTE or [proxy.address] != [c.address for c in clients]:
                raise AddressNotAvailable("not-an-address-of-the-gateway")
            if proxy.port not in (0, clients[0].port):
                raise AddressNotAvailable("routed-port-is-the-clients-own")
            return list(clients)
        address = proxy.address if proxy is not None else self._external_address(request.primary)
        base = self._hold(request.transport, address, proxy.port if proxy else 0, len(clients))
        return [Endpoint(address, base + i) for i in range(len(clients))]

    @staticmethod
    def _external_address(primary: PrimaryConnection | None) -> IpAddress:
        if primary is None or primary.gateway_address is None:
            raise InvalidArgument("proxy-address-needed-without-a-primary")
        return primary.gateway_address.address

    def _hold(self, transport: Transport, address: IpAddress, port: int, count: int) -> int:
        """Hold `port`, or for 0 a random run of `count` ports; give the lowest."""
        if port:
            self._gateway.take_port(transport, address, port)
            if not self._reserved(transport, address, port, 1):
                raise AddressInUse("proxy-port-taken")
            return port
        for _ in range(limits.MAX_PORT_TRIES):
            base = self._gateway.draw_ports(transport, address, count)
            if self._reserved(transport, address, base, count):
                return base
        raise AddressInUse("host-occupies-our-ports")

    def _reserved(self, transport: Transport, address: IpAddress, base: int, count: int) -> bool:
        """Reserve every port of a run, or none; False when a local program has one of them."""
        held: list[Endpoint] = []
        try:
            for port in range(base, base + count):
                self._gateway.openings.data_path.reserve(transport, Endpoint(address, port))
                held.append(Endpoint(address, port))
        except AddressInUse:
            return False
        finally:
            if len(held) < count:
                for endpoint in held:
                    self._gateway.openings.data_path.release(transport, endpoint)
                self._gateway.rest_ports(transport, address, base, count)
        return True
