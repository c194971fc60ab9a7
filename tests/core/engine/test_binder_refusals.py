from typing import Any
from uuid import UUID

import pytest
from tests.core.office import CLIENT, EXTERNAL, FTP, NEIGHBOUR, Office, run

from sallyport.addresses import Endpoint
from sallyport.core.pinholes.lifecycle import State
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rules import Action
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
from sallyport.testing.world import make_policy

CLIENT6 = "[fd00:a::8]:50000"
SERVER6 = "[2001:db8::9]:21"
BELOW = CLIENT.with_port(1023)


@pytest.mark.parametrize(
    ("clients", "arguments", "error", "hresult", "reason"),
    [
        ([CLIENT] * 65, {}, InvalidArgument, 0x80070057, "count-of-addresses"),
        (
            [CLIENT],
            {"flags": BindFlags.TIMEOUT | BindFlags.ALLOW_MULTIPLE},
            InvalidArgument,
            0x80070057,
            "timeout-excludes-allow-multiple",
        ),
        (
            [CLIENT],
            {
                "transport": Transport.UDP,
                "flags": BindFlags.TIMEOUT | BindFlags.ALLOW_MULTIPLE,
            },
            InvalidArgument,
            0x80070057,
            "timeout-excludes-allow-multiple",
        ),
        (
            [CLIENT],
            {"flags": BindFlags.BIDIRECTIONAL},
            InvalidArgument,
            0x80070057,
            "bidirectional-is-for-udp",
        ),
        (
            [CLIENT],
            {"flags": BindFlags.PROXY_MODE},
            InvalidArgument,
            0x80070057,
            "proxy-mode-is-inherited-from-the-primary",
        ),
        (
            [CLIENT],
            {"flags": BindFlags.PROXY_MODE, "primary": None},
            InvalidArgument,
            0x80070057,
            "proxy-mode-is-inherited-from-the-primary",
        ),
        ([CLIENT], {"backlog": 0}, InvalidArgument, 0x80070057, "backlog-out-of-range"),
        ([CLIENT], {"backlog": 4097}, InvalidArgument, 0x80070057, "backlog-out-of-range"),
        (
            [CLIENT, Endpoint.parse("[fd00:a::8]:1553")],
            {},
            InvalidArgument,
            0x80070057,
            "addresses-of-two-families",
        ),
        (
            [CLIENT],
            {"proxy_address": Endpoint.parse("[2001:db8::1]:0")},
            InvalidArgument,
            0x80070057,
            "addresses-of-two-families",
        ),
        (
            [CLIENT, CLIENT],
            {"proxy_address": Endpoint(EXTERNAL, 40000)},
            InvalidArgument,
            0x80070057,
            "a-forced-port-needs-a-single-address",
        ),
        ([CLIENT.with_port(0)], {}, InvalidArgument, 0x80070057, "client-port-is-zero"),
        (
            [CLIENT],
            {"protocol": UUID("00000000-0000-4000-8000-000000000001")},
            InvalidArgument,
            0x80070057,
            "unknown-protocol",
        ),
        (
            [CLIENT],
            {"protocol": ProtocolDefinition("rtsp", Transport.TCP, 554)},
            PolicyDenied,
            0xC004000D,
            "no-rule-matched",
        ),
        ([NEIGHBOUR], {}, AddressNotAllowed, 0xC004002E, "not-the-clients-address"),
        ([CLIENT, NEIGHBOUR], {}, AddressNotAllowed, 0xC004002E, "not-the-clients-address"),
        ([BELOW], {}, AddressNotAllowed, 0xC004002E, "client-port-below-minimum"),
        ([CLIENT, BELOW], {}, AddressNotAllowed, 0xC004002E, "client-port-below-minimum"),
        (
            [CLIENT],
            {"proxy_address": Endpoint.parse("192.0.2.77:0")},
            AddressNotAvailable,
            0x80072741,
            "not-an-address-of-the-gateway",
        ),
        (
            [CLIENT],
            {"proxy_address": CLIENT},  # legal on a routed relation only
            AddressNotAvailable,
            0x80072741,
            "not-an-address-of-the-gateway",
        ),
        (
            [CLIENT],
            {"proxy_address": Endpoint(EXTERNAL, 2121)},
            AddressInUse,
            0x80072740,
            "proxy-port-taken",
        ),
        ([CLIENT] * 9, {}, QuotaExceeded, 0xC0040033, "too-many-bindings"),
        (
            [CLIENT],
            {"primary": None},
            InvalidArgument,
            0x80070057,
            "proxy-address-needed-without-a-primary",
        ),
    ],
)
def test_a_refused_call_has_its_code_and_reason_and_has_changed_nothing(
    clients: list[Endpoint],
    arguments: dict[str, Any],
    error: type[BindError],
    hresult: int,
    reason: str,
) -> None:
    office = Office(max_bindings_per_client=8)
    office.data_path.occupied.add((Transport.TCP, Endpoint(EXTERNAL, 2121)))
    primary = office.dial()
    before = office.holdings()

    with pytest.raises(error) as caught:
        office.bind(primary, *clients, **arguments)

    assert caught.value.reason == reason
    assert caught.value.hresult == hresult
    assert office.reasons("binding.refused") == [reason]
    assert office.world.journal.records[-1][1]["code"] == error.code
    assert office.holdings() == before


def test_no_address_at_all_is_refused() -> None:
    office = Office()
    session = office.dial().session
    with pytest.raises(InvalidArgument):
        run(session.bind_for_client([], transport=Transport.TCP, protocol=FTP))


def test_a_bind_before_the_server_answered_has_no_proxy_address_to_use() -> None:
    office = Office()
    with pytest.raises(InvalidArgument, match="proxy-address-needed"):
        office.bind(office.admit())


@pytest.mark.parametrize(
    ("proxy", "reason"),
    [
        ("[fd00:a::8]:1554", "routed-port-is-the-clients-own"),
        ("[fd00:a::9]:1553", "not-an-address-of-the-gateway"),
    ],
)
def test_a_routed_proxy_address_is_the_clients_own_or_none(proxy: str, reason: str) -> None:
    office = Office()
    primary = office.dial(CLIENT6, SERVER6)
    with pytest.raises(AddressNotAvailable, match=reason):
        office.bind(
            primary,
            Endpoint.parse("[fd00:a::8]:1553"),
            proxy_address=Endpoint.parse(proxy),
        )
    assert not office.data_path.pinholes


def test_a_rule_that_denies_refuses_the_bind_as_well() -> None:
    office = Office()
    primary = office.dial()
    office.gateway.policy = make_policy(action=Action.DENY)

    with pytest.raises(PolicyDenied, match="denied-by-rule"):
        office.bind(primary)


def test_an_ended_primary_a_foreign_one_and_an_ended_session_can_bind_nothing() -> None:
    office = Office()
    mine, other = office.dial(), office.dial("10.0.0.9:50000")
    with pytest.raises(Terminating, match="primary-has-ended"):
        office.bind(mine, primary=other)

    mine.close("done")
    before = office.holdings()
    with pytest.raises(Terminating, match="session-is-over"):
        office.bind(mine)
    with pytest.raises(Terminating, match="session-is-over"):
        office.bind(mine, primary=None, proxy_address=Endpoint(EXTERNAL, 0))
    with pytest.raises(Terminating, match="session-is-over"):
        office.allow(mine, "198.51.100.9:3000")
    assert office.holdings() == before


def test_an_ended_primary_can_bind_nothing_while_its_session_goes_on() -> None:
    office = Office()
    first, second = office.dial(), office.dial("10.0.0.8:50002")
    first.close("done")

    with pytest.raises(Terminating, match="primary-has-ended"):
        office.bind(first)
    assert office.bind(second).state is State.ARMED


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"clients": "10.0.0.8:6000"}, "client_addresses"),
        ({"transport": "tcp"}, "transport"),
        ({"transport": 6}, "transport"),
        ({"protocol": "ftp"}, "protocol"),
        ({"proxy_address": "203.0.113.1:0"}, "proxy_address"),
        ({"flags": 0}, "flags"),
        ({"backlog": "1"}, "backlog"),
        ({"ip_filter": "198.51.100.9"}, "ip_filter"),
        ({"peer_ports": [20]}, "peer_ports"),
    ],
)
def test_an_argument_of_a_wrong_type_is_named(arguments: dict[str, Any], named: str) -> None:
    office = Office()
    primary, before = office.dial(), office.holdings()
    clients = [arguments.pop("clients")] if "clients" in arguments else []

    with pytest.raises(InvalidArgument, match=f"^wrong-type-of-{named}$"):
        office.bind(primary, *clients, **arguments)
    assert office.holdings() == before
