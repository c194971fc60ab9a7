"""Places: where peers connect, for each client address of one bind, and the ports held for it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sallyport import limits
from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.connection import PrimaryConnection
from sallyport.core.datapath import DataPath
from sallyport.core.policy import Relation
from sallyport.core.request import BindRequest
from sallyport.errors import AddressInUse, AddressNotAvailable, InvalidArgument
from sallyport.flags import BindFlags, Transport

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
    if BindFlags.PROXY_MODE in request.flags and relation is not Relation.NAT:
        raise InvalidArgument("proxy-mode-needs-a-nat-relation")
    if relation is Relation.ROUTE and (proxy is None or proxy.address not in own):
        return [Place(listen, is_held=False) for listen in _routed(request)]
    if proxy is not None and proxy.address not in own:
        raise AddressNotAvailable("not-an-address-of-the-gateway")
    address = proxy.address if proxy is not None else _external_address(request.primary)
    hold = _Hold(gateway, path, request.transport, address)
    count = len(request.client_addresses)
    base = hold.port(proxy.port) if proxy is not None and proxy.port else hold.any_run(count)
    return [Place(Endpoint(address, base + i), is_held=True) for i in range(count)]


def hold_one(
    gateway: "Gateway", path: DataPath, transport: Transport, address: IpAddress
) -> Endpoint:
    """Hold a random port of a gateway address; raises as `choose_places`."""
    return Endpoint(address, _Hold(gateway, path, transport, address).any_run(1))


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


def _external_address(primary: PrimaryConnection | None) -> IpAddress:
    if primary is None or primary.gateway_address is None:
        raise InvalidArgument("proxy-address-needed-without-a-primary")
    return primary.gateway_address.address


@dataclass(frozen=True, slots=True)
class _Hold:
    """Holds ports of one gateway address: in the pool, and against local programs."""

    gateway: "Gateway"
    path: DataPath
    transport: Transport
    address: IpAddress

    def port(self, port: int) -> int:
        """Hold exactly this port."""
        self.gateway.take_port(self.transport, self.address, port)
        if not self._is_reserved(port, 1):
            raise AddressInUse("proxy-port-taken")
        return port

    def any_run(self, count: int) -> int:
        """Hold a random run of `count` ports; give the lowest."""
        for _ in range(limits.MAX_PORT_TRIES):
            base = self.gateway.draw_ports(self.transport, self.address, count)
            if self._is_reserved(base, count):
                return base
        raise AddressInUse("host-occupies-our-ports")

    def _is_reserved(self, base: int, count: int) -> bool:
        """Reserve every port of a run, or none; False when a local program has one of them."""
        held: list[Endpoint] = []
        try:
            for port in range(base, base + count):
                self.path.reserve(self.transport, Endpoint(self.address, port))
                held.append(Endpoint(self.address, port))
        except AddressInUse:
            return False
        finally:
            if len(held) < count:
                for endpoint in held:
                    self.path.release(self.transport, endpoint)
                self.gateway.rest_ports(self.transport, self.address, base, count)
        return True
