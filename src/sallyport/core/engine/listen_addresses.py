"""ListenAddresses: the addresses that a bind or permission listens at, one for each requested."""

from collections.abc import Sequence

from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.model.engine import Engine
from sallyport.core.model.request import BindRequest, FutureRequest
from sallyport.core.pinholes.datapath import DataPath
from sallyport.core.pinholes.reservations import PortReservations
from sallyport.core.policy.rules import Relation
from sallyport.errors import AddressNotAvailable, InvalidArgument
from sallyport.flags import ConnectionFlags

_NAT, _ROUTE = Relation

# The addresses that peers connect to, one for each client address, and the reservations that hold
# their ports; None where no port of the gateway is used.
ListenAddresses = tuple[Sequence[Endpoint], PortReservations | None]


def choose_listen_addresses(
    engine: Engine, request: BindRequest, relation: Relation, path: DataPath
) -> ListenAddresses:
    """Choose one address for each client address, and hold its port: the first effect of a bind.

    On a routed relation it is the client's own address, else the wanted or the external address of
    the gateway. Raises AddressInUse, AddressNotAvailable, InvalidArgument, OutOfResources,
    KernelError; then no port is held.
    """
    proxy, own = request.proxy_address, engine.policy.gateway_addresses
    if request.flags.is_proxied and relation is not _NAT:
        raise InvalidArgument("proxy-mode-needs-a-nat-relation")
    if request.is_for_primary:
        return [_spoken_for(request, relation, own)], None
    if relation is _ROUTE and (proxy is None or proxy.address not in own):
        return _routed(request), None
    if proxy is not None and proxy.address not in own:
        raise AddressNotAvailable("not-an-address-of-the-gateway")
    address = proxy.address if proxy is not None else _external_address(engine, request)
    reservations = engine.reservations_at(path, request.transport, address)
    if proxy is not None and proxy.port:
        if request.is_shared:
            return reservations.shared(proxy.port), reservations
        return reservations.exactly(proxy.port, len(request.client_addresses)), reservations
    return reservations.any_run(len(request.client_addresses)), reservations


def choose_redirects(engine: Engine, request: FutureRequest, path: DataPath) -> ListenAddresses:
    """Choose the address that the client connects to, for each address of a permission.

    It is the address itself, or one of a run of gateway ports. Raises as
    `choose_listen_addresses`.
    """
    inside = _internal_address(engine, request)
    if inside is None:
        return request.addresses, None
    reservations = engine.reservations_at(path, request.transport, inside)
    return reservations.any_run(len(request.addresses)), reservations


def _routed(request: BindRequest) -> tuple[Endpoint, ...]:
    """Return the clients' own addresses; a proxy address may only name the same.

    Raises InvalidArgument for a client address that is not known, AddressNotAvailable for a proxy
    address that is not the client's.
    """
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
    """Return the address under which a filter says it was reached."""
    (client,), proxy = request.client_addresses, request.proxy_address
    assert proxy is not None  # noqa: S101 - require_sense
    if proxy.address not in own and (relation is not Relation.ROUTE or proxy != client):
        raise AddressNotAvailable("not-an-address-of-the-gateway")
    return proxy


def _internal_address(engine: Engine, request: FutureRequest) -> IpAddress | None:
    """Return our address for the client to connect to; None: it connects to the far end itself."""
    primary, wanted = request.primary, request.internal_address
    if wanted is not None:
        if wanted not in engine.policy.gateway_addresses:
            raise AddressNotAvailable("not-an-address-of-the-gateway")
        return wanted
    if primary is not None and primary.inside_address is not None:
        # A published server in full proxy sees our address as its client's, so it dials us.
        is_proxied = ConnectionFlags.INTERNAL_ADDRESS_TRANSLATION in primary.flags
        if is_proxied or request.is_redirected:
            return primary.inside_address.address
    if request.is_redirected:
        raise InvalidArgument("internal-address-needed")
    return None


def _external_address(engine: Engine, request: BindRequest) -> IpAddress:
    """Return our address for peers: the primary's, else the one that this client always has."""
    primary = request.primary
    if primary is not None and primary.gateway_address is not None:
        return primary.gateway_address.address
    own = engine.policy.external_address(request.session.client_address)
    if own is None:
        raise InvalidArgument("proxy-address-needed-without-a-primary")
    return own
