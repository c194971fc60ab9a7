"""Where peers connect; what goes wrong with ports is in test_binder_resources."""

from typing import Any

import pytest
from tests.core.office import CLIENT, EXTERNAL, FTP, Office

from sallyport.addresses import Endpoint
from sallyport.core.places import Place, choose_places
from sallyport.core.policy import Relation
from sallyport.core.request import BindRequest
from sallyport.errors import AddressNotAvailable, BindError, InvalidArgument
from sallyport.flags import BindFlags, Transport

ZERO = Endpoint.parse("0.0.0.0:0")
INSIDE = Endpoint.parse("10.0.0.1:0")


def choose(
    office: Office,
    relation: Relation,
    *clients: Endpoint,
    proxy: Endpoint | None = None,
    **fields: Any,  # noqa: ANN401 - any field of BindRequest
) -> list[Place]:
    primary = office.dial()
    everything: dict[str, Any] = {
        "session": primary.session,
        "client_addresses": clients,
        "transport": Transport.TCP,
        "protocol": FTP,
        "proxy_address": proxy,
        "flags": BindFlags.NONE,
        "backlog": 1,
        "session_filter": None,
        "context": None,
        "ip_filter": None,
        "peer_ports": None,
        "primary": primary,
    }
    request = BindRequest(**(everything | fields))
    return choose_places(office.gateway, request, relation, office.data_path)


def test_behind_nat_each_client_address_gets_a_held_port_of_the_gateway() -> None:
    office = Office()
    places = choose(office, Relation.NAT, CLIENT, CLIENT)

    assert [place.listen.address for place in places] == [EXTERNAL] * 2
    assert all(place.is_held for place in places)
    assert office.data_path.reserved == {(Transport.TCP, place.listen) for place in places}


def test_an_adapter_can_be_forced_and_one_port_on_it() -> None:
    office = Office()
    (any_port,) = choose(office, Relation.NAT, CLIENT, proxy=INSIDE)
    forced = INSIDE.with_port(40123)

    assert any_port.listen.address == INSIDE.address
    assert choose(office, Relation.NAT, CLIENT, proxy=forced) == [Place(forced, is_held=True)]


@pytest.mark.parametrize("proxy", [None, CLIENT, CLIENT.with_port(0)])
def test_a_routed_client_is_reached_at_its_own_address_and_nothing_is_held(
    proxy: Endpoint | None,
) -> None:
    office = Office()

    assert choose(office, Relation.ROUTE, CLIENT, proxy=proxy) == [Place(CLIENT, is_held=False)]
    assert not office.data_path.reserved


def test_a_routed_client_of_unknown_address_is_reached_where_the_proxy_address_says() -> None:
    places = choose(Office(), Relation.ROUTE, ZERO, proxy=CLIENT)

    assert places == [Place(CLIENT, is_held=False)]


@pytest.mark.parametrize(
    ("relation", "clients", "proxy", "error"),
    [
        (Relation.NAT, (CLIENT,), CLIENT, AddressNotAvailable),
        (Relation.ROUTE, (CLIENT,), CLIENT.with_port(1554), AddressNotAvailable),
        (Relation.ROUTE, (CLIENT, CLIENT), CLIENT.with_port(0), AddressNotAvailable),
        (Relation.ROUTE, (ZERO,), None, InvalidArgument),
        (Relation.ROUTE, (ZERO,), CLIENT.with_port(0), InvalidArgument),
        (Relation.ROUTE, (CLIENT, ZERO), None, InvalidArgument),
    ],
)
def test_what_has_no_place_is_refused_and_holds_nothing(
    relation: Relation,
    clients: tuple[Endpoint, ...],
    proxy: Endpoint | None,
    error: type[BindError],
) -> None:
    office = Office()
    with pytest.raises(error):
        choose(office, relation, *clients, proxy=proxy)
    assert not office.data_path.reserved
    assert office.ports.free(Transport.TCP, EXTERNAL) == 1000


def test_without_a_primary_the_proxy_address_must_be_said() -> None:
    with pytest.raises(InvalidArgument, match="proxy-address-needed"):
        choose(Office(), Relation.NAT, CLIENT, primary=None)
