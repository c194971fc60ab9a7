"""All zeros at the bind, and the client address that comes later."""

from typing import Any

import pytest
from tests.core.office import CLIENT, NEIGHBOUR, PEER, Office, run

from sallyport.addresses import Endpoint
from sallyport.core.model.secondary import SecondaryConnection
from sallyport.core.policy.rules import Action
from sallyport.core.policy.terms import AllowedAddresses
from sallyport.errors import (
    AddressNotAllowed,
    AddressNotAvailable,
    BindError,
    InvalidArgument,
    OutOfResources,
    PolicyDenied,
)
from sallyport.flags import BindFlags, Transport
from sallyport.testing.world import make_policy

ZERO = Endpoint.parse("0.0.0.0:0")
ZERO6 = Endpoint.parse("[::]:0")
CLIENT6 = Endpoint.parse("[fd00:a::8]:1553")


def unknown(office: Office, **arguments: Any) -> SecondaryConnection:  # noqa: ANN401 - any argument of bind_for_client
    return office.bind(office.dial(), ZERO, **arguments).connections[0]


# -- all zeros, and the address that comes later ----------------------------------------------


@pytest.mark.parametrize("armed", [True, False])
def test_zeros_hold_a_port_at_which_nobody_gets_in_until_the_address_is_given(armed: bool) -> None:
    office = Office()
    secondary = unknown(office, armed=armed)
    said_so_far = secondary.client_address
    assert said_so_far is None
    assert office.data_path.reserved == {(Transport.TCP, secondary.proxy_address)}
    assert office.data_path.connect(PEER, secondary.proxy_address) is None

    run(secondary.set_client_address(CLIENT))
    assert secondary.client_address == CLIENT
    if not armed:
        assert office.data_path.connect(PEER, secondary.proxy_address) is None
        binding = secondary.binding
        assert binding is not None
        run(binding.arm())
    assert office.data_path.connect(PEER, secondary.proxy_address) == CLIENT


def test_known_and_unknown_addresses_may_stand_in_one_call() -> None:
    office = Office()
    binding = office.bind(office.dial(), CLIENT, ZERO)
    known, later = binding.connections

    assert office.data_path.connect(PEER, known.proxy_address) == CLIENT
    assert office.data_path.connect(PEER, later.proxy_address) is None
    run(later.set_client_address(CLIENT.with_port(1554)))
    assert office.data_path.connect(PEER, later.proxy_address) == CLIENT.with_port(1554)


@pytest.mark.parametrize("is_unknown", [True, False])
def test_a_client_address_is_given_once(is_unknown: bool) -> None:
    office = Office()
    secondary = unknown(office) if is_unknown else office.bind(office.dial()).connections[0]
    if is_unknown:
        run(secondary.set_client_address(CLIENT))

    with pytest.raises(InvalidArgument, match="client-address-was-given"):
        run(secondary.set_client_address(CLIENT.with_port(1554)))
    assert secondary.client_address == CLIENT


def test_of_two_that_give_the_address_at_once_the_first_wins() -> None:
    office = Office()
    secondary = unknown(office)
    office.data_path.is_slow = True
    first = secondary.set_client_address(CLIENT)
    first.send(None)
    with pytest.raises(InvalidArgument, match="client-address-was-given"):
        run(secondary.set_client_address(CLIENT.with_port(1554)))
    with pytest.raises(StopIteration):
        first.send(None)

    assert office.data_path.connect(PEER, secondary.proxy_address) == CLIENT


@pytest.mark.parametrize(
    ("client", "error", "reason"),
    [
        (NEIGHBOUR, AddressNotAllowed, "not-the-clients-address"),
        (CLIENT.with_port(1023), AddressNotAllowed, "client-port-below-minimum"),
        (Endpoint.parse("10.0.0.1:2049"), AddressNotAllowed, "not-the-clients-address"),
        (CLIENT.with_port(0), InvalidArgument, "not-a-client-address"),
        (ZERO, InvalidArgument, "not-a-client-address"),
        (CLIENT6, InvalidArgument, "not-a-client-address"),
    ],
)
def test_a_late_address_is_checked_by_the_rules_of_the_bind(
    client: Endpoint, error: type[BindError], reason: str
) -> None:
    office = Office()
    secondary = unknown(office)
    before = office.holdings()

    with pytest.raises(error, match=reason):
        run(secondary.set_client_address(client))
    assert office.holdings() == before
    run(secondary.set_client_address(CLIENT))
    assert office.data_path.connect(PEER, secondary.proxy_address) == CLIENT


def test_a_late_address_may_be_what_the_flags_of_the_bind_or_the_rule_allow() -> None:
    by_flag, by_rule = Office(), Office(allowed_addresses=AllowedAddresses.NETWORK)
    flagged = unknown(by_flag, flags=BindFlags.ALLOW_ADDRESSES_IN_NETWORK)
    ruled = unknown(by_rule)
    for secondary in (flagged, ruled):
        run(secondary.set_client_address(NEIGHBOUR))
        assert secondary.client_address == NEIGHBOUR


def test_a_late_address_asks_the_policy_of_its_own_moment() -> None:
    office = Office()
    secondary = unknown(office)
    office.gateway.policy = make_policy(action=Action.DENY)

    with pytest.raises(PolicyDenied):
        run(secondary.set_client_address(CLIENT))
    assert secondary.client_address is None


def test_zeros_of_the_other_family_are_not_the_clients() -> None:
    office = Office()
    primary = office.dial()
    with pytest.raises(AddressNotAllowed):
        office.bind(primary, ZERO6, proxy_address=Endpoint.parse("[2001:db8::1]:0"))
    assert not office.data_path.reserved


def test_when_the_data_path_refuses_the_address_it_is_as_unknown_as_before() -> None:
    office = Office()
    secondary = unknown(office)
    office.data_path.fail_next = OutOfResources("set-full")
    with pytest.raises(OutOfResources):
        run(secondary.set_client_address(CLIENT))
    assert secondary.client_address is None

    run(secondary.set_client_address(CLIENT))
    assert office.data_path.connect(PEER, secondary.proxy_address) == CLIENT


# -- zeros on a routed relation ---------------------------------------------------------------


def routed(office: Office, **arguments: Any) -> SecondaryConnection:  # noqa: ANN401 - any argument of bind_for_client
    primary = office.dial("[fd00:a::8]:50000", "[2001:db8::9]:21")
    return office.bind(primary, ZERO6, **arguments).connections[0]


@pytest.mark.parametrize("proxy", [None, Endpoint.parse("[fd00:a::8]:0")])
def test_a_routed_bind_must_know_where_the_client_will_listen(proxy: Endpoint | None) -> None:
    office = Office()
    with pytest.raises(InvalidArgument, match="a-routed-address-must-be-known"):
        routed(office, proxy_address=proxy)
    assert not office.data_path.pinholes


def test_on_a_routed_relation_the_proxy_address_can_say_it() -> None:
    office = Office()
    secondary = routed(office, proxy_address=CLIENT6)
    peer = Endpoint.parse("[2001:db8::9]:20")
    assert secondary.proxy_address == CLIENT6
    assert not office.data_path.reserved
    assert office.data_path.connect(peer, CLIENT6) is None

    with pytest.raises(InvalidArgument, match="routed-address-is-the-proxy-address"):
        run(secondary.set_client_address(CLIENT6.with_port(1554)))
    run(secondary.set_client_address(CLIENT6))
    assert office.data_path.connect(peer, CLIENT6) == CLIENT6
    secondary.kill()
    assert office.ports.of(Transport.TCP, CLIENT6.address).free == 1000


@pytest.mark.parametrize(
    ("proxy", "error"),
    [
        ("[fd00:a::9]:1553", AddressNotAllowed),
        ("[fd00:a::8]:80", AddressNotAllowed),
        ("[2001:db8::9]:1553", AddressNotAllowed),
    ],
)
def test_a_routed_proxy_address_is_checked_as_the_clients(
    proxy: str, error: type[BindError]
) -> None:
    office = Office()
    with pytest.raises(error):
        routed(office, proxy_address=Endpoint.parse(proxy))
    assert not office.data_path.pinholes


def test_a_routed_client_of_unknown_address_may_have_a_port_of_the_gateway() -> None:
    office = Office()
    secondary = routed(office, proxy_address=Endpoint.parse("[2001:db8::1]:0"))
    run(secondary.set_client_address(CLIENT6))

    peer = Endpoint.parse("[2001:db8::9]:20")
    assert office.data_path.connect(peer, secondary.proxy_address) == CLIENT6


def test_behind_nat_zeros_make_no_foreign_proxy_address_available() -> None:
    office = Office()
    with pytest.raises(AddressNotAvailable):
        office.bind(office.dial(), ZERO, proxy_address=CLIENT)
