"""Places: where connections come to, for each address of one request, and the ports held for it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from sallyport import limits
from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.connection import PrimaryConnection
from sallyport.core.datapath import DataPath
from sallyport.core.policy import Relation
from sallyport.core.request import BindRequest, FutureRequest
from sallyport.errors import AddressInUse, AddressNotAvailable, InvalidArgument
from sallyport.flags import ConnectionFlags, Transport

if TYPE_CHECKING:
    from sallyport.core.gateway import Gateway


class Place(NamedTuple):
    """Where peers connect; `is_held` when a port of the gateway is reserved for it."""

    listen: Endpoint
    is_held: bool


def choose_places(
    gateway: "Gateway", request: BindRequest, relation: Relation, path: DataPath
) -> list[Place]:
    """Choose one place for each client address; holding its port is the first effect of a bind.

    Raises AddressInUse, AddressNotAvailable, InvalidArgument, OutOfResources, KernelError; then
    nothing is held.
    """
    proxy, own = request.proxy_address, gateway.policy.gateway_addresses
    if request.flags.is_proxied and relation is not Relation.NAT:
        raise InvalidArgument("proxy-mode-needs-a-nat-relation")
    if request.is_for_primary:
        return [Place(_spoken_for(request, relation, own), is_held=False)]
    if relation is Relation.ROUTE and (proxy is None or proxy.address not in own):
        return [Place(listen, is_held=False) for listen in _routed(request)]
    if proxy is not None and proxy.address not in own:
        raise AddressNotAvailable("not-an-address-of-the-gateway")
    address = proxy.address if proxy is not None else _external_address(request.primary)
    hold = _Hold(gateway, path, request.transport, address)
    if proxy is not None and proxy.port:
        held = hold.exactly(proxy.port)
    else:
        held = hold.any_run(len(request.client_addresses))
    return [Place(listen, is_held=True) for listen in held]


def choose_redirects(
    gateway: "Gateway", request: FutureRequest, path: DataPath
) -> Sequence[Endpoint]:
    """Choose where the client connects for each address; raises as `choose_places`.

    The address itself, or one of a run of ports of ours.
    """
    inside = _internal_address(gateway, request)
    if inside is None:
        return request.addresses
    return _Hold(gateway, path, request.transport, inside).any_run(len(request.addresses))


def _routed(request: BindRequest) -> tuple[Endpoint, ...]:
    """Peers connect to the client's own address; a proxy address can only say the same."""
    clients, proxy = request.client_addresses, request.proxy_address
    if proxy is not None and len(clients) == 1 and clients[0].is_zero and proxy.port:
        return (proxy,)
    if any(client.is_zero for client in clients):
        raise InvalidArgument("a-routed-address-must-be-known")
    if proxy is not None and [proxy.address] != [client.address for client in clients]:
        raise AddressNotAvailable("not-an-address-of-the-gateway")
    if proxy is not None and proxy.port not in (0, clients[0].port):
        raise AddressNotAvailable("routed-port-is-the-clients-own")
    return clients


def _spoken_for(request: BindRequest, relation: Relation, own: frozenset[IpAddress]) -> Endpoint:
    """Give the address under which a filter says it was reached."""
    (client,), proxy = request.client_addresses, request.proxy_address
    assert proxy is not None  # noqa: S101 - require_sense
    if proxy.address not in own and (relation is not Relation.ROUTE or proxy != client):
        raise AddressNotAvailable("not-an-address-of-the-gateway")
    return proxy


def _internal_address(gateway: "Gateway", request: FutureRequest) -> IpAddress | None:
    """Give our address for the client to connect to; None: it connects to the far end itself."""
    primary, wanted = request.primary, request.internal_address
    if wanted is not None:
        if wanted not in gateway.policy.gateway_addresses:
            raise AddressNotAvailable("not-an-address-of-the-gateway")
        return wanted
    if primary is not None and primary.inside_address is not None:
        # A server that knows its clients by our address dials us.
        is_proxied = ConnectionFlags.INTERNAL_ADDRESS_TRANSLATION in primary.flags
        if is_proxied or request.is_redirected:
            return primary.inside_address.address
    if request.is_redirected:
        raise InvalidArgument("internal-address-needed")
    return None


def _external_address(primary: PrimaryConnection | None) -> IpAddress:
    if primary is None or primary.gateway_address is None:
        raise InvalidArgument("proxy-address-needed-without-a-primary")
    return primary.gateway_address.address


class _Hold(NamedTuple):
    """Holds ports of one gateway address: in the pool, and against local programs."""

    gateway: "Gateway"
    path: DataPath
    transport: Transport
    address: IpAddress

    def exactly(self, port: int) -> list[Endpoint]:
        """Hold this port."""
        self.gateway.take_port(self.transport, self.address, port)
        held = self._reserved(port, 1)
        if not held:
            raise AddressInUse("proxy-port-taken")
        return held

    def any_run(self, count: int) -> list[Endpoint]:
        """Hold a random run of `count` ports."""
        for _ in range(limits.MAX_PORT_TRIES):
            base = self.gateway.draw_ports(self.transport, self.address, count)
            if held := self._reserved(base, count):
                return held
        raise AddressInUse("host-occupies-our-ports")

    def _reserved(self, base: int, count: int) -> list[Endpoint]:
        """Reserve a run of ports and give it; none when a local program has one of them."""
        held: list[Endpoint] = []
        try:
            for port in range(base, base + count):
                place = Endpoint(self.address, port)
                self.path.reserve(self.transport, place)
                held.append(place)
        except AddressInUse:
            return []
        finally:
            if len(held) < count:
                for place in held:
                    self.path.release(self.transport, place)
                self.gateway.rest_ports(self.transport, self.address, base, count)
        return held
