"""After AUTH TLS the passive ports of a server are open to the one client that speaks TLS."""

from dataclasses import replace

import pytest
from tests.filters.published import NAT, PROXIED, ROUTED, Way, every_way, greeted
from tests.filters.talk import IPV4, OK, READY, Family, both_families
from tests.filters.talk import greeted as greeted_inside

from sallyport.addresses import PortRange
from sallyport.core.policy.rules import PublishingRule
from sallyport.filters.ftp import FTP_SERVER, FtpFilter, FtpSettings
from sallyport.testing import Dialogue
from sallyport.testing.world import make_gateway, make_policy

HELLO = b"\x16\x03\x01\x00\x04hiya"
RANGE = FtpSettings(passive_range=PortRange(50000, 50002))
AGREED = b"234 Go ahead.\r\n"


def in_tls(dialogue: Dialogue) -> Dialogue:
    """Let both sides speak TLS."""
    dialogue.client_says(b"AUTH TLS\r\n").server_hears(b"AUTH TLS\r\n").pinholes()
    dialogue.server_says(AGREED).client_hears(AGREED)
    return dialogue.client_says(HELLO).server_hears(HELLO)


def pinholes_of(way: Way, client: str = "") -> list[str]:
    server, listen = way.rule.server.address, way.rule.listen.address
    client = client or way.client.rpartition(":")[0].strip("[]")

    def at(address: object, port: int) -> str:
        return f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"

    return [f"{at(listen, p)} -> {at(server, p)} from {client}" for p in (50000, 50001, 50002)]


@every_way
def test_the_range_of_a_published_server_is_open_to_who_speaks_tls(way: Way) -> None:
    dialogue = in_tls(greeted(way, RANGE)).pinholes(*pinholes_of(way))
    events = [event for event, _ in dialogue.world.journal.records]
    assert events.count("range.opened") == 1
    for _ in range(2):
        for port in (50000, 50002):
            listen = f"{str(way.rule.listen).rpartition(':')[0]}:{port}"
            dialogue.connects(way.client.replace("50002", f"{port + 9000}"), listen)
            dialogue.finishes(way.client.replace("50002", f"{port + 9000}"))
    stranger = way.client.replace("203.0.113.9", "203.0.113.10").replace("::9", "::10")
    dialogue.cannot_connect(stranger, str(way.rule.listen.with_port(50000)))

    dialogue.client_closes().server_closes().pinholes()
    assert not dialogue.data_path.reserved
    assert not list(dialogue.gateway.sessions)


@both_families
def test_the_range_of_a_server_outside_is_open_to_its_client(family: Family) -> None:
    dialogue = in_tls(greeted_inside(family, RANGE))
    server = family.server.rpartition(":")[0]
    inside = family.client.rpartition(":")[0].strip("[]")
    dialogue.pinholes(
        *(f"{server}:{p} -> {server}:{p} from {inside}" for p in (50000, 50001, 50002))
    )

    dialogue.connects(family.client, f"{server}:50001")
    dialogue.client_closes().server_closes().pinholes()


@every_way
def test_each_client_has_its_own_and_it_ends_with_its_last_connection(way: Way) -> None:
    first = in_tls(greeted(way, RANGE))
    host = way.client.rpartition(":")[0]
    same = begin_beside(first, way, f"{host}:50010")
    other_host = host.replace("203.0.113.9", "203.0.113.10").replace("::9", "::10")
    other = begin_beside(first, way, f"{other_host}:50000")
    mine, theirs = pinholes_of(way), pinholes_of(way, other_host.strip("[]"))
    assert set(open_now(first)) == {*mine, *theirs}

    first.client_closes().server_closes()
    assert set(open_now(same)) == {*mine, *theirs}
    same.client_closes().server_closes()
    assert set(open_now(other)) == {*theirs}
    other.client_closes().server_closes()
    assert not open_now(other)
    assert not other.data_path.reserved


def begin_beside(first: Dialogue, way: Way, client: str) -> Dialogue:
    """Return another client's dialogue with the same server, in TLS."""
    dialogue = Dialogue(FtpFilter(RANGE), published=way.rule, client=client, beside=first)
    dialogue.server_says(READY).client_hears(READY)
    dialogue.client_says(b"AUTH TLS\r\n").server_says(AGREED).client_hears(AGREED)
    return dialogue


def open_now(dialogue: Dialogue) -> list[str]:
    return [
        f"{hole.listen} -> {hole.target} from {hole.sources}"
        for hole in dialogue.data_path.pinholes.values()
    ]


def test_a_connection_that_did_not_open_the_range_leaves_it_as_it_is() -> None:
    first = in_tls(greeted(NAT, RANGE))
    same = begin_beside(first, NAT, "203.0.113.9:50010")
    opened = tuple(first.data_path.pinholes)

    same.client_closes().server_closes()
    assert tuple(first.data_path.pinholes) == opened
    assert told_of_the_range(first) == ["range.opened"]
    first.client_closes().server_closes().pinholes()


def test_a_connection_that_leaves_tls_and_comes_back_keeps_the_range_it_opened() -> None:
    dialogue = in_tls(greeted(NAT, RANGE)).server_says(HELLO).client_hears(HELLO)
    opened = tuple(dialogue.data_path.pinholes)
    dialogue.server_says(OK).client_hears(OK).client_says(b"NOOP\r\n").server_hears(b"NOOP\r\n")
    dialogue.server_says(OK).client_hears(OK)

    dialogue.client_says(b"AUTH TLS\r\n").server_hears(b"AUTH TLS\r\n")
    dialogue.server_says(AGREED).client_hears(AGREED).client_says(HELLO).server_hears(HELLO)
    assert tuple(dialogue.data_path.pinholes) == opened
    dialogue.client_closes().server_closes().pinholes()
    assert told_of_the_range(dialogue) == ["range.opened"]


def told_of_the_range(dialogue: Dialogue) -> list[str]:
    return [event for event, _ in dialogue.world.journal.records if event.startswith("range.")]


def test_a_transfer_goes_on_when_the_connection_that_opened_the_range_ends() -> None:
    first = in_tls(greeted(NAT, RANGE))
    same = begin_beside(first, NAT, "203.0.113.9:50010")
    first.connects("203.0.113.9:40001", "203.0.113.1:50001")

    first.client_closes().server_closes()
    same.connects("203.0.113.9:40002", "203.0.113.1:50001")
    same.finishes("203.0.113.9:40001").finishes("203.0.113.9:40002")
    same.client_closes().server_closes().pinholes()
    assert not same.data_path.reserved


def test_ports_that_count_beyond_the_quota_are_not_opened_at_all() -> None:
    rule = replace(NAT.rule, max_bindings_per_client=2)
    dialogue = Dialogue(FtpFilter(RANGE), published=rule).server_says(READY).client_hears(READY)

    in_tls(dialogue).pinholes().noted("range.refused", "too-many-bindings").still_open()


def test_without_a_range_nothing_is_opened_and_it_is_said_what_cannot_work() -> None:
    dialogue = in_tls(greeted(NAT)).pinholes()
    ((_, said),) = [one for one in dialogue.world.journal.records if one[0] == "stream.opaque"]
    assert "passive mode cannot work: write the server's passive ports" in str(said["consequence"])

    inside = in_tls(greeted_inside())
    ((_, said),) = [one for one in inside.world.journal.records if one[0] == "stream.opaque"]
    assert "active mode cannot work: PORT cannot be rewritten" in str(said["consequence"])


@pytest.mark.parametrize("way", [NAT, PROXIED, ROUTED])
def test_where_tls_comes_first_the_range_is_open_from_the_start(way: Way) -> None:
    rule: PublishingRule = replace(way.rule, is_in_tls=True)
    dialogue = Dialogue(FtpFilter(RANGE), published=rule).pinholes(*pinholes_of(way))
    dialogue.noted("stream.opaque", "begins-with-tls")
    dialogue.client_says(HELLO).server_hears(HELLO).server_says(HELLO).client_hears(HELLO)

    dialogue.client_resets().pinholes()
    assert dialogue.connection.protocol == FTP_SERVER


def test_no_other_bind_draws_a_port_of_the_range() -> None:
    policy = replace(
        make_policy(),
        filter_settings={"ftp": {"passive_range": PortRange(40000, 40499)}},
    )
    gateway = make_gateway([FtpFilter()], policy=policy)
    dialogue = Dialogue(FtpFilter(), within=gateway).server_says(READY).client_hears(READY)
    for _ in range(30):
        dialogue.client_says(IPV4.ask)
        (hole,) = dialogue.data_path.pinholes.values()
        assert hole.listen.port >= 40500
