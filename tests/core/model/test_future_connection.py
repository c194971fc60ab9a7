from dataclasses import replace

import pytest
from tests.core.office import FTP, Office, run

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import DataPathKind
from sallyport.core.pinholes.lifecycle import State
from sallyport.errors import (
    AddressNotAllowed,
    BadContext,
    BindError,
    InvalidArgument,
    OutOfResources,
    PolicyDenied,
    Terminating,
)
from sallyport.flags import ConnectionFlags, Transport

SERVER = "198.51.100.9:3000"
DATA = Endpoint.parse("10.0.0.8:4711")


def test_the_client_and_nobody_else_may_connect_to_the_server_once() -> None:
    office = Office()
    office.allow(office.dial(), SERVER)
    server = Endpoint.parse(SERVER)

    assert office.data_path.connect(Endpoint.parse("10.0.0.9:4711"), server) is None
    assert office.data_path.connect(DATA, server) == server
    assert office.data_path.connect(DATA.with_port(4712), server) is None
    assert not office.data_path.reserved


@pytest.mark.parametrize(
    ("port", "transport", "kind"),
    [
        (3000, Transport.TCP, DataPathKind.KERNEL),
        (8554, Transport.TCP, DataPathKind.USER),
        (8554, Transport.UDP, DataPathKind.KERNEL),
    ],
)
def test_a_permission_where_another_protocol_is_intercepted_takes_the_path_that_comes_first(
    port: int, transport: Transport, kind: DataPathKind
) -> None:
    office = Office()
    office.gateway.policy = replace(office.gateway.policy, intercepted_ports=frozenset({8554}))

    permission = office.allow(office.dial(), f"198.51.100.9:{port}", transport=transport)

    assert permission.path.kind is kind


def test_a_permission_waits_as_long_as_its_filter_says() -> None:
    office = Office()
    permission = office.allow(office.dial(), SERVER)
    permission.wait(300)
    office.pass_time(299)
    assert permission.is_open

    office.pass_time(1)
    assert permission.is_closed


@pytest.mark.parametrize(
    ("server", "error", "reason"),
    [
        ("198.51.100.9:1023", AddressNotAllowed, "server-port-below-minimum"),
        ("[2001:db8::9]:3000", InvalidArgument, "addresses-of-two-families"),
        ("10.0.0.77:3000", PolicyDenied, "no-network-rule"),
        ("10.0.0.1:3000", PolicyDenied, "peer-is-gateway"),
        ("203.0.113.1:3000", PolicyDenied, "peer-is-gateway"),
        ("127.0.0.1:3000", PolicyDenied, "peer-is-gateway"),
    ],
)
def test_a_refused_permission_has_its_reason_and_has_changed_nothing(
    server: str, error: type[BindError], reason: str
) -> None:
    office = Office()
    primary = office.dial()
    before = office.holdings()

    with pytest.raises(error, match=reason):
        office.allow(primary, server)
    assert office.holdings() == before


def test_a_permission_the_data_path_refuses_leaves_nothing() -> None:
    office = Office()
    primary = office.dial()
    before = office.holdings()
    office.data_path.fail_next = OutOfResources("set-full")

    with pytest.raises(OutOfResources):
        office.allow(primary, SERVER)
    assert office.holdings() == before


def test_a_permission_can_be_reserved_first_and_opened_later() -> None:
    office = Office()
    primary = office.dial()
    address = Endpoint.parse(SERVER)
    future = run(
        primary.session.allow_future_connect(address, protocol=FTP, primary=primary, armed=False)
    )
    assert office.data_path.connect(DATA, address) is None

    run(future.arm())

    assert future.proxy_address == address
    assert office.data_path.connect(DATA, address) == address
    with pytest.raises(Terminating, match="not-in-this-state"):
        run(future.arm())


def test_a_permission_that_was_only_reserved_is_given_back() -> None:
    office = Office()
    primary = office.dial()
    before = office.holdings()
    future = run(
        primary.session.allow_future_connect(
            Endpoint.parse(SERVER), protocol=FTP, primary=primary, armed=False
        )
    )

    future.withdraw("server-refused")

    assert office.holdings() == before


def test_a_permission_that_is_not_used_ends_after_a_minute() -> None:
    office = Office()
    future = office.allow(office.dial(), SERVER)

    office.pass_time(limits.ACCEPT_TIMEOUT_SECONDS - 0.1)
    assert future.state is State.ARMED
    office.pass_time(0.2)
    assert future.is_closed
    assert office.reasons("connect.secondary_closed") == ["timed-out"]
    assert not office.data_path.pinholes


def test_a_used_permission_lasts_as_long_as_its_transfer() -> None:
    office = Office()
    primary = office.dial()
    future = office.allow(primary, SERVER)
    office.data_path.connect(DATA, Endpoint.parse(SERVER))

    office.pass_time(10 * limits.ACCEPT_TIMEOUT_SECONDS)
    primary.close("done")
    assert future.state is State.LIVE

    office.data_path.finish(DATA, 10, 2000)
    assert future.is_closed
    record = office.world.journal.records[-1]
    assert record[0] == "connect.secondary_closed"
    assert (record[1]["from_client_bytes"], record[1]["to_client_bytes"]) == (10, 2000)
    assert not list(office.gateway.sessions)


def test_cancel_takes_an_unused_permission_back_and_leaves_a_transfer_alone() -> None:
    office = Office()
    primary = office.dial()
    unused, used = office.allow(primary, "198.51.100.9:3001"), office.allow(primary, SERVER)
    office.data_path.connect(DATA, Endpoint.parse(SERVER))

    unused.cancel()
    for over in (unused, used):
        with pytest.raises(Terminating, match="action-is-over"):
            over.cancel()

    assert unused.is_closed
    assert used.state is State.LIVE
    assert not office.data_path.pinholes
    assert not office.data_path.resets


def test_an_attempt_that_fails_leaves_the_permission_as_it_was() -> None:
    office = Office()
    future = office.allow(office.dial(), SERVER)
    office.data_path.attempt(DATA, Endpoint.parse(SERVER))

    assert future.state is State.ARMED
    assert office.data_path.connect(DATA, Endpoint.parse(SERVER)) is not None


def test_a_permission_leads_to_the_far_end_that_the_client_asked_for() -> None:
    office = Office()

    assert office.allow(office.dial(), SERVER).flags is ConnectionFlags.NONE


def test_a_permission_over_udp_is_for_the_first_port_of_the_client_that_sends() -> None:
    office = Office()
    permission = office.allow(office.dial(), SERVER, transport=Transport.UDP)
    server = Endpoint.parse(SERVER)

    assert office.data_path.connect(DATA, server) is None
    assert office.data_path.send(Endpoint.parse("10.0.0.9:4711"), server) is None
    assert office.data_path.send(DATA, server, b"12345678") == server
    assert office.data_path.send(DATA.with_port(4712), server) is None
    assert office.data_path.answer(server, DATA)
    assert (permission.latest_peer, permission.traffic().flows) == (DATA, 1)


def test_the_client_hears_a_datagram_in_the_name_of_the_far_end() -> None:
    office = Office()
    permission = office.allow(office.dial(), SERVER, transport=Transport.UDP)

    permission.send_to(DATA, b"ask")

    assert office.data_path.sent == [(Endpoint.parse(SERVER), DATA, b"ask")]


def test_nobody_but_the_client_hears_a_datagram_in_the_name_of_the_far_end() -> None:
    office = Office()
    permission = office.allow(office.dial(), SERVER, transport=Transport.UDP)

    with pytest.raises(AddressNotAllowed, match="peer-is-not-admitted"):
        permission.send_to(Endpoint.parse("10.0.0.9:4711"), b"ask")
    with pytest.raises(InvalidArgument, match="not-a-peer-address"):
        permission.send_to(DATA.with_port(0), b"ask")
    permission.withdraw()
    with pytest.raises(Terminating, match="connection-has-ended"):
        permission.send_to(DATA, b"ask")
    with pytest.raises(BadContext, match="send-to-is-for-udp"):
        office.allow(office.dial(), SERVER).send_to(DATA, b"ask")
    assert office.data_path.sent == []


def test_a_datagram_for_the_client_needs_a_rule_that_still_lets_it_reach_the_far_end() -> None:
    office = Office()
    permission = office.allow(office.dial(), SERVER, transport=Transport.UDP)
    office.gateway.policy = replace(office.gateway.policy, access_rules=())

    with pytest.raises(PolicyDenied, match="no-rule-matched"):
        permission.send_to(DATA, b"ask")
