"""The primitive, step by step: from the arguments of `bind_for_client` to a binding.

Every check comes before the first effect, so that a refused call has changed nothing.
"""

from collections.abc import Sequence
from ipaddress import ip_network
from typing import TYPE_CHECKING
from uuid import UUID

from sallyport import limits
from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.binding import Binding
from sallyport.core.connection import PrimaryConnection, SecondaryConnection
from sallyport.core.datapath import Pinhole
from sallyport.core.future import FutureConnection
from sallyport.core.policy import AccessRule, AllowedAddresses, Relation, Verdict
from sallyport.core.protocols import ProtocolDefinition
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
    from sallyport.core.filter import SessionFilter
    from sallyport.core.gateway import Gateway
    from sallyport.core.session import Session

_NOT_BUILT = (
    BindFlags.NO_KERNEL_MODE
    | BindFlags.BIDIRECTIONAL
    | BindFlags.PROXY_MODE
    | BindFlags.INCREASE_RECEIVE_BUFFER
)

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

    async def bind(
        self,
        session: "Session",
        client_addresses: Sequence[Endpoint],
        *,
        transport: Transport,
        protocol: ProtocolDefinition | UUID,
        proxy_address: Endpoint | None,
        flags: BindFlags,
        backlog: int,
        session_filter: "SessionFilter | None",
        context: object,
        ip_filter: IpFilter | None,
        peer_ports: frozenset[int] | None,
        primary: PrimaryConnection | None,
        armed: bool,
    ) -> Binding:
        """See `Session.bind_for_client`."""
        _check_built(client_addresses, transport, flags, backlog, ip_filter)
        try:
            _check_arguments(client_addresses, proxy_address, flags)
            definition = self._gateway.protocol(protocol)
            verdict = self._ask_policy(session, definition, primary)
            rule, relation = verdict.rule, verdict.relation
            assert rule is not None  # noqa: S101 - an allowing verdict has both
            assert relation is not None  # noqa: S101
            self._check_client_addresses(session, client_addresses, rule, flags)
            self._check_quota(session, rule, len(client_addresses))
            listens = self._choose_listens(
                client_addresses, proxy_address, transport, relation, primary
            )
        except BindError as refusal:
            self._gateway.bind_refused(session, protocol, client_addresses, refusal)
            raise
        binding = Binding(
            self._gateway,
            binding_id=self._gateway.new_binding_id(),
            session=session,
            protocol=definition,
            transport=transport,
            rule=rule,
            flags=flags,
            ip_filter=ip_filter,
            primary=primary,
            session_filter=session_filter,
            context=context,
            created_at=self._gateway.clock(),
        )
        binding.connections = tuple(
            SecondaryConnection(
                binding,
                index,
                Pinhole(
                    id=self._gateway.openings.new_id(),
                    transport=transport,
                    listen=listen,
                    target=client,
                    sources=ip_filter,
                    single=BindFlags.ALLOW_MULTIPLE not in flags,
                    source_ports=peer_ports,
                ),
                is_timed=BindFlags.TIMEOUT in flags,
            )
            for index, (listen, client) in enumerate(zip(listens, client_addresses, strict=True))
        )
        self._gateway.binding_made(binding)
        if armed:
            await binding.arm()
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
        verdict = self._ask_policy(session, protocol, primary, peer=address.address)
        rule = verdict.rule
        assert rule is not None  # noqa: S101 - an allowing verdict has one
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
        self._gateway.future_made(future)
        await self._gateway.openings.arm([future])
        return future

    def _ask_policy(
        self,
        session: "Session",
        protocol: ProtocolDefinition,
        primary: PrimaryConnection | None,
        peer: IpAddress | None = None,
    ) -> Verdict:
        if session.is_over:
            raise Terminating("session-is-over")
        if primary is not None:
            if not primary.is_open or primary.session is not session:
                raise Terminating("primary-has-ended")
            peer = peer or primary.server.address
        verdict = self._gateway.policy.decide(protocol.name, session.client_address, peer)
        if not verdict.allowed:
            raise PolicyDenied(verdict.reason)
        return verdict

    def _check_client_addresses(
        self, session: "Session", addresses: Sequence[Endpoint], rule: AccessRule, flags: BindFlags
    ) -> None:
        """One bad address fails the whole call (SDK return code 5)."""
        widest = max(
            (allowed for flag, allowed in _WIDENED_BY.items() if flag in flags),
            default=AllowedAddresses.CLIENT,
        )
        # The administrator's default is OR-ed in (DefaultAllowedAddressesInBindForClient).
        widest = max(widest, rule.allowed_addresses)
        for endpoint in addresses:
            if not self._is_allowed(session.client_address, endpoint.address, widest):
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

    def _choose_listens(
        self,
        clients: Sequence[Endpoint],
        proxy: Endpoint | None,
        transport: Transport,
        relation: Relation,
        primary: PrimaryConnection | None,
    ) -> list[Endpoint]:
        """Decide where peers connect, holding the ports; the last check and the first effect."""
        if proxy is None and relation is Relation.ROUTE:
            return list(clients)
        if proxy is not None and proxy.address not in self._gateway.policy.gateway_addresses:
            if relation is not Relation.ROUTE or [proxy.address] != [c.address for c in clients]:
                raise AddressNotAvailable("not-an-address-of-the-gateway")
            if proxy.port not in (0, clients[0].port):
                raise AddressNotAvailable("routed-port-is-the-clients-own")
            return list(clients)
        address = proxy.address if proxy is not None else self._external_address(primary)
        base = self._hold(transport, address, proxy.port if proxy else 0, len(clients))
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


def _check_built(
    clients: Sequence[Endpoint],
    transport: Transport,
    flags: BindFlags,
    backlog: int,
    ip_filter: IpFilter | None,
) -> None:
    """Refuse what is not built yet by name: nothing is accepted and ignored."""
    if transport is not Transport.TCP:
        raise NotImplementedError(f"transport={transport.name}")
    if flags & _NOT_BUILT:
        raise NotImplementedError(f"flags={flags & _NOT_BUILT}")
    if backlog != 1:
        raise NotImplementedError("backlog: the client's own listener has the backlog")
    if any(client.is_zero for client in clients):
        raise NotImplementedError("client_addresses: all zeros")
    if ip_filter is not None and ip_filter.single_addresses is None:
        raise NotImplementedError("ip_filter: ranges and prefixes")


def _check_arguments(clients: Sequence[Endpoint], proxy: Endpoint | None, flags: BindFlags) -> None:
    if not 1 <= len(clients) <= limits.MAX_ADDRESSES_PER_CALL:
        raise InvalidArgument(f"client_addresses: 1 to {limits.MAX_ADDRESSES_PER_CALL}")
    if BindFlags.TIMEOUT in flags and BindFlags.ALLOW_MULTIPLE in flags:
        raise InvalidArgument("timeout-excludes-allow-multiple")
    versions = {endpoint.version for endpoint in (*clients, *([proxy] if proxy else []))}
    if len(versions) > 1:
        raise InvalidArgument("addresses-of-two-families")
    if proxy is not None and proxy.port and len(clients) > 1:
        raise InvalidArgument("a-forced-port-needs-a-single-address")
    if any(client.port == 0 for client in clients):
        raise InvalidArgument("client-port-is-zero")
