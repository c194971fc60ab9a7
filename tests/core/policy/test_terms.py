"""The limits of a rule, asked through the primitive."""

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from tests.core.office import CLIENT, EXTERNAL, FTP, Office, run
from tests.core.test_published import RULE, PublishingOffice

from sallyport.addresses import Endpoint, PortRange
from sallyport.core.model.binding import Binding
from sallyport.core.policy.hosts import Hosts
from sallyport.core.policy.rules import Asker
from sallyport.core.policy.schedules import Schedule
from sallyport.core.policy.terms import Frontend, Peers
from sallyport.errors import AddressNotAllowed, PolicyDenied, QuotaExceeded
from sallyport.flags import BindFlags, Transport
from sallyport.ipfilter import IpFilter

PEERS = IpFilter.of("198.51.100.9")


def bind(office: Office, client: Endpoint = CLIENT, **changes: Any) -> Binding:  # noqa: ANN401
    fields: dict[str, Any] = {"primary": office.dial(), "ip_filter": PEERS} | changes
    session = office.gateway.client_session(client.address)
    return run(session.bind_for_client([client], transport=Transport.TCP, protocol=FTP, **fields))


@pytest.mark.parametrize(
    ("port", "reason"),
    [
        (2999, "client-port-below-minimum"),
        (3000, None),
        (3999, None),
        (4000, "client-port-above-maximum"),
    ],
)
def test_peers_are_let_in_at_the_clients_ports_of_the_rule_alone(
    port: int, reason: str | None
) -> None:
    office = Office(client_ports=PortRange(3000, 3999))
    if reason is None:
        assert bind(office, CLIENT.with_port(port)).connections
    else:
        with pytest.raises(AddressNotAllowed, match=reason):
            bind(office, CLIENT.with_port(port))


def test_a_range_of_high_client_ports_says_nothing_about_servers() -> None:
    office = Office(client_ports=PortRange(3000, 3999))
    permission = office.dial().session.allow_future_connect(
        Endpoint.parse("198.51.100.9:50000"), protocol=FTP
    )

    assert run(permission).proxy_address.port == 50000


def test_pinned_peers_must_be_named_and_any_need_not() -> None:
    with pytest.raises(PolicyDenied, match="peers-are-not-named"):
        bind(Office(peers=Peers.PINNED), ip_filter=None)

    assert bind(Office(peers=Peers.PINNED)).ip_filter == PEERS
    assert bind(Office(peers=Peers.ANY), ip_filter=None).ip_filter is None


@pytest.mark.parametrize(
    ("granted", "port", "is_met"),
    [
        (PortRange(40010, 40019), 40010, True),
        (PortRange(40010, 40019), 40009, False),
        (None, 40500, True),
        (None, 2222, False),
    ],
)
def test_a_clients_wish_for_a_port_of_ours_is_met_within_what_the_rule_grants(
    granted: PortRange | None, port: int, is_met: bool
) -> None:
    office = Office(external_ports=granted)
    wish: dict[str, Any] = {"proxy_address": Endpoint(EXTERNAL, port), "frontend": Frontend.PCP}
    if is_met:
        assert bind(office, **wish).proxy_address.port == port
    else:
        with pytest.raises(AddressNotAllowed, match="external-port-is-not-granted"):
            bind(office, **wish)


def test_a_filters_own_choice_of_a_port_is_no_wish_of_a_client() -> None:
    office = Office(external_ports=PortRange(40010, 40019))

    assert bind(office, proxy_address=Endpoint(EXTERNAL, 40500)).proxy_address.port == 40500


def test_f23_binds_are_limited_by_the_minute_for_each_client_alone() -> None:
    office = Office(max_binds_per_minute=3)
    for _ in range(3):
        bind(office).withdraw()
    with pytest.raises(QuotaExceeded, match="too-many-binds-a-minute"):
        bind(office)
    neighbour = Endpoint.parse("10.0.0.9:1553")
    assert bind(office, neighbour, primary=office.dial(str(neighbour))).connections

    office.world.seconds += 20
    assert bind(office).connections


def test_x02_what_was_refused_for_another_reason_costs_nothing_of_the_rate() -> None:
    office = Office(max_binds_per_minute=1)
    for _ in range(5):
        with pytest.raises(AddressNotAllowed):
            bind(office, CLIENT.with_port(22))

    assert bind(office).connections


@pytest.mark.parametrize(
    ("client", "is_admitted"),
    [
        (str(CLIENT), False),
        ("10.0.0.8:50001", False),
        ("10.0.0.9:50000", True),
        ("[fd00:a::8]:50000", True),
    ],
)
def test_connections_are_limited_by_the_minute_for_each_client_alone(
    client: str, is_admitted: bool
) -> None:
    office = Office(max_connections_per_minute=2)
    for _ in range(2):
        office.admit(str(CLIENT)).kill("gone")
    server = "[2001:db8::9]:21" if client.startswith("[") else "198.51.100.9:21"
    if is_admitted:
        assert office.admit(client, server).is_open
    else:
        with pytest.raises(QuotaExceeded, match="too-many-connections-a-minute"):
            office.admit(client, server)
        event, refused = office.world.journal.records[-1]
        assert (event, refused["reason"]) == ("connect.refused", "too-many-connections-a-minute")
        assert refused["rule"] == "test rule"

        office.world.seconds += 30
        assert office.admit(client, server).is_open


def test_a_connection_that_was_refused_costs_nothing_of_the_rate() -> None:
    office = Office(max_connections_per_minute=1, max_controls=1)
    first = office.admit()
    for _ in range(5):
        with pytest.raises(QuotaExceeded, match=r"too-many-connections$"):
            office.admit()
    office.world.seconds += 60
    first.kill("gone")

    assert office.admit().is_open


def test_binds_and_connections_have_rates_of_their_own() -> None:
    office = Office(max_connections_per_minute=1, max_binds_per_minute=1)
    primary = office.dial()
    office.bind(primary).withdraw()
    with pytest.raises(QuotaExceeded, match="too-many-binds-a-minute"):
        office.bind(primary)


def test_each_client_of_a_published_server_has_a_rate_of_its_own() -> None:
    office = PublishingOffice(replace(RULE, max_connections_per_minute=1))
    office.publish()
    with pytest.raises(QuotaExceeded, match="too-many-connections-a-minute"):
        office.publish()

    assert office.publish(Endpoint.parse("198.51.100.8:50000")).is_open


def test_a_binding_ends_at_the_lifetime_of_its_rule_and_no_timer_outlives_it() -> None:
    office = Office(max_lifetime=600)
    early, late = bind(office, flags=BindFlags.NONE), bind(office, flags=BindFlags.NONE)
    waiting = len(office.gateway.deadlines)
    early.withdraw()

    assert len(office.gateway.deadlines) == waiting - 1
    office.world.pass_time(office.gateway, 599)
    assert late.session.bindings
    office.world.pass_time(office.gateway, 1)
    assert not late.session.bindings
    assert office.world.journal.reasons("binding.closed")[-1] == "max-lifetime-reached"


def test_a_rule_with_a_schedule_is_asked_again_for_each_bind() -> None:
    office = Office(schedule=Schedule.parse("office", ["mon 00:00-00:10"]))
    primary = office.dial()
    assert bind(office, primary=primary).connections

    office.world.minute = 10
    with pytest.raises(PolicyDenied, match="outside-the-schedule"):
        bind(office, primary=primary)


def test_users_have_sessions_of_their_own_and_share_the_quota_of_their_address() -> None:
    office = Office(max_bindings_per_client=1)
    gateway, server = office.gateway, Endpoint.parse("198.51.100.9:21")
    alice, bob, nobody = (
        gateway.admit_primary(FTP, CLIENT, server, Asker(user)) for user in ("alice", "bob", None)
    )

    assert [one.session.user for one in (alice, bob, nobody)] == ["alice", "bob", None]
    assert len({one.session.id for one in (alice, bob, nobody)}) == 3
    assert gateway.admit_primary(FTP, CLIENT, server, Asker("bob")).session is bob.session
    alice.gateway_address = bob.gateway_address = Endpoint(EXTERNAL, 5000)

    def ask(primary: Any) -> Binding:  # noqa: ANN401
        asked = primary.session.bind_for_client(
            [CLIENT], transport=Transport.TCP, protocol=FTP, primary=primary
        )
        binding: Binding = run(asked)
        return binding

    ask(alice)
    with pytest.raises(QuotaExceeded, match="too-many-bindings"):
        ask(bob)


def test_published_servers_let_in_the_clients_of_their_rule_alone() -> None:
    partner = replace(RULE, sources=Hosts(addresses=IpFilter.of("198.51.100.0/24")))
    policy = replace(PublishingOffice().gateway.policy, publishing_rules=(partner,))

    verdicts = [
        policy.decide_published(partner, partner.protocol, ip_address(peer))
        for peer in ("198.51.100.9", "192.0.2.9")
    ]

    assert [one.allowed for one in verdicts] == [True, False]
    assert verdicts[1].reason == "client-is-not-published-to"
