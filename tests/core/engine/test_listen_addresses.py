"""Where peers connect; what goes wrong with ports is in test_binder_resources."""

from dataclasses import replace
from typing import Any

import pytest
from tests.core.office import CLIENT, EXTERNAL, FTP, Office

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.engine.listen_addresses import ListenAddresses, choose_listen_addresses
from sallyport.core.model.request import BindRequest
from sallyport.core.policy.rules import Relation
from sallyport.errors import AddressInUse, AddressNotAvailable, BindError, InvalidArgument
from sallyport.flags import BindFlags, Transport
from sallyport.testing.world import make_policy

ZERO = Endpoint.parse("0.0.0.0:0")
INSIDE = Endpoint.parse("10.0.0.1:0")


def choose(
    office: Office,
    relation: Relation,
    *clients: Endpoint,
    proxy: Endpoint | None = None,
    **fields: Any,  # noqa: ANN401 - any field of BindRequest
) -> ListenAddresses:
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
    return choose_listen_addresses(office.gateway, request, relation, office.data_path)


def test_behind_nat_each_client_address_gets_a_held_port_of_the_gateway() -> None:
    office = Office()
    addresses, reservations = choose(office, Relation.NAT, CLIENT, CLIENT)

    assert [address.address for address in addresses] == [EXTERNAL] * 2
    assert office.data_path.reserved == {(Transport.TCP, address) for address in addresses}
    assert reservations is not None
    for address in addresses:
        reservations.give_back(address)
    assert not office.data_path.reserved


def test_a_port_that_was_given_back_rests_for_the_time_of_the_limits() -> None:
    office = Office(ports="40000-40001")
    (first,), reservations = choose(office, Relation.NAT, CLIENT)
    assert reservations is not None
    reservations.give_back(first)

    office.world.pass_time(office.gateway, limits.PORT_REST_SECONDS - 0.1)
    (second,) = reservations.any_run(1)
    assert second != first
    reservations.give_back(second)
    office.world.pass_time(office.gateway, 0.1)
    assert reservations.any_run(1) == [first]


def test_an_adapter_can_be_forced_and_one_port_on_it() -> None:
    office = Office()
    (any_port,), _ = choose(office, Relation.NAT, CLIENT, proxy=INSIDE)
    forced = INSIDE.with_port(40123)

    assert any_port.address == INSIDE.address
    addresses, reservations = choose(office, Relation.NAT, CLIENT, proxy=forced)
    assert list(addresses) == [forced]
    assert reservations is not None


@pytest.mark.parametrize("proxy", [None, CLIENT, CLIENT.with_port(0)])
def test_a_routed_client_is_reached_at_its_own_address_and_nothing_is_held(
    proxy: Endpoint | None,
) -> None:
    office = Office()

    assert choose(office, Relation.ROUTE, CLIENT, proxy=proxy) == ((CLIENT,), None)
    assert not office.data_path.reserved


def test_a_routed_client_of_unknown_address_is_reached_where_the_proxy_address_says() -> None:
    addresses = choose(Office(), Relation.ROUTE, ZERO, proxy=CLIENT)

    assert addresses == ((CLIENT,), None)


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
    assert office.ports.of(Transport.TCP, EXTERNAL).free == 1000


def test_without_a_primary_the_proxy_address_must_be_said() -> None:
    with pytest.raises(InvalidArgument, match="proxy-address-needed"):
        choose(Office(), Relation.NAT, CLIENT, primary=None)


def test_without_a_primary_a_client_is_reached_where_its_network_reaches_out() -> None:
    office = Office(policy=replace(make_policy(), own_addresses={"external": (EXTERNAL,)}))
    assert office.gateway.external_address(CLIENT.address) == EXTERNAL

    (address,), _ = choose(office, Relation.NAT, CLIENT, primary=None)

    assert address.address == EXTERNAL


def test_a_port_that_is_shared_is_given_back_with_its_last_holder() -> None:
    office = Office()
    proxy = Endpoint(EXTERNAL, 50000)
    held = []
    for _ in range(3):
        addresses, reservations = choose(office, Relation.NAT, CLIENT, proxy=proxy, is_shared=True)
        assert addresses == [proxy]
        assert reservations is not None
        held.append(reservations)

    for reservations in held:
        assert office.data_path.reserved == {(Transport.TCP, proxy)}
        reservations.give_back(proxy)
    assert not office.data_path.reserved


def test_a_port_that_is_shared_moves_to_no_other_data_path() -> None:
    office = Office()
    proxy = Endpoint(EXTERNAL, 50000)
    _, reservations = choose(office, Relation.NAT, CLIENT, proxy=proxy, is_shared=True)
    assert reservations is not None

    with pytest.raises(AddressInUse, match="proxy-port-taken"):
        reservations.hand_over(proxy, reservations)


def test_a_port_that_is_held_is_not_shared() -> None:
    office = Office()
    proxy = Endpoint(EXTERNAL, 50000)
    choose(office, Relation.NAT, CLIENT, proxy=proxy)

    with pytest.raises(AddressInUse):
        choose(office, Relation.NAT, CLIENT, proxy=proxy, is_shared=True)
