from dataclasses import replace
from ipaddress import ip_network

import pytest
from tests.core.office import CLIENT, Office

from sallyport.addresses import Endpoint, PortRange
from sallyport.core.policy.rules import Network
from sallyport.core.policy.terms import AllowedAddresses
from sallyport.errors import (
    AddressNotAllowed,
)
from sallyport.flags import BindFlags
from sallyport.testing.world import make_policy

CLIENT6 = "[fd00:a::8]:50000"
SERVER6 = "[2001:db8::9]:21"
SAME_24 = "10.0.0.200:1553"
SAME_NETWORK = "10.0.1.8:1553"
ELSEWHERE = "192.0.2.8:1553"
WIDE = replace(
    make_policy(),
    networks=(
        Network("internal", ("int0",), (ip_network("10.0.0.0/16"), ip_network("fd00:a::/48"))),
        Network("external", ("ext0",)),
    ),
)


@pytest.mark.parametrize(
    ("flag", "administrator", "allowed"),
    [
        (BindFlags.NONE, AllowedAddresses.CLIENT, set()),
        (BindFlags.ALLOW_ADDRESSES_IN_CLASS_C_NETWORK, AllowedAddresses.CLIENT, {SAME_24}),
        (BindFlags.ALLOW_ADDRESSES_IN_NETWORK, AllowedAddresses.CLIENT, {SAME_24, SAME_NETWORK}),
        (
            BindFlags.ALLOW_ADDRESSES_ALL,
            AllowedAddresses.CLIENT,
            {SAME_24, SAME_NETWORK, ELSEWHERE},
        ),
        (BindFlags.NONE, AllowedAddresses.CLASS_C, {SAME_24}),
        (BindFlags.NONE, AllowedAddresses.NETWORK, {SAME_24, SAME_NETWORK}),
        (BindFlags.NONE, AllowedAddresses.ALL, {SAME_24, SAME_NETWORK, ELSEWHERE}),
        (
            BindFlags.ALLOW_ADDRESSES_IN_NETWORK | BindFlags.ALLOW_ADDRESSES_IN_CLASS_C_NETWORK,
            AllowedAddresses.CLASS_C,
            {SAME_24, SAME_NETWORK},
        ),
    ],
)
def test_client_addresses_are_those_the_flags_or_the_administrator_allow(
    flag: BindFlags, administrator: AllowedAddresses, allowed: set[str]
) -> None:
    policy = replace(
        WIDE, access_rules=(replace(WIDE.access_rules[0], allowed_addresses=administrator),)
    )
    office = Office(policy=policy)
    primary = office.dial()

    for text in (SAME_24, SAME_NETWORK, ELSEWHERE):
        address = Endpoint.parse(text)
        if text in allowed:
            assert office.bind(primary, CLIENT, address, flags=flag).connections
        else:
            with pytest.raises(AddressNotAllowed, match="not-the-clients-address"):
                office.bind(primary, CLIENT, address, flags=flag)


@pytest.mark.parametrize(
    ("text", "is_allowed"), [("[fd00:a::77]:1553", True), ("[fd00:a:0:1::8]:1553", False)]
)
def test_the_class_c_of_an_ipv6_client_is_its_slash_64(text: str, is_allowed: bool) -> None:
    office = Office(policy=WIDE)
    primary = office.dial(CLIENT6, SERVER6)
    flags = BindFlags.ALLOW_ADDRESSES_IN_CLASS_C_NETWORK
    if is_allowed:
        assert office.bind(primary, Endpoint.parse(text), flags=flags).connections
    else:
        with pytest.raises(AddressNotAllowed):
            office.bind(primary, Endpoint.parse(text), flags=flags)


@pytest.mark.parametrize(
    "flag", [BindFlags.ALLOW_ADDRESSES_IN_NETWORK, BindFlags.ALLOW_ADDRESSES_ALL]
)
def test_no_flag_allows_an_address_of_the_other_family(flag: BindFlags) -> None:
    office = Office()
    with pytest.raises(AddressNotAllowed):
        office.bind(office.dial(), Endpoint.parse("[fd00:a::8]:1553"), flags=flag)
    with pytest.raises(AddressNotAllowed):
        office.bind(office.dial(CLIENT6, SERVER6), CLIENT, flags=flag)


@pytest.mark.parametrize(
    "text",
    ["10.0.0.1:2049", "203.0.113.1:2049", "127.0.0.1:2049", "127.3.2.1:2049", "0.0.0.0:2049"],
)
def test_x08_no_flag_lets_a_pinhole_lead_to_the_gateway_itself(text: str) -> None:
    office = Office(allowed_addresses=AllowedAddresses.ALL)
    primary = office.dial()
    with pytest.raises(AddressNotAllowed, match="not-the-clients-address"):
        office.bind(primary, Endpoint.parse(text), flags=BindFlags.ALLOW_ADDRESSES_ALL)
    assert not office.data_path.reserved


def test_ports_below_1024_are_refused_unless_the_rule_allows_them() -> None:
    strict = Office()
    primary = strict.dial()
    with pytest.raises(AddressNotAllowed, match="client-port-below-minimum"):
        strict.bind(primary, CLIENT.with_port(1023))

    office = Office(client_ports=PortRange(20, 65535))
    primary = office.dial()
    assert office.bind(primary, CLIENT.with_port(20)).connections
    with pytest.raises(AddressNotAllowed):
        office.bind(primary, CLIENT.with_port(19))
