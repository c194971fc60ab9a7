"""Which rule decides, for hosts, users, ways of asking and times: one table, read as a policy."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.core.policy.hosts import Hosts
from sallyport.core.policy.rules import (
    AccessRule,
    Action,
    Asker,
    Network,
    NetworkRule,
    Policy,
    Relation,
)
from sallyport.core.policy.schedules import Schedule, read_minute
from sallyport.core.policy.terms import Frontend
from sallyport.core.policy.trail import Outcome, Trail
from sallyport.ipfilter import IpFilter

ALLOW, DENY = Action
FTP, TFTP = frozenset({"ftp"}), frozenset({"tftp"})
INTERNAL, OUTSIDE = Hosts.of("internal"), Hosts.of("external", "vendor")
VENDOR, STAFF = Hosts.of("vendor"), Hosts(addresses=IpFilter.of("10.0.0.16/28"))
OFFICE = Schedule.parse("office", ["mon-fri 08:00-18:00"])

POLICY = Policy(
    networks=(
        Network("internal", ("int0",), (ip_network("10.0.0.0/24"),)),
        Network("vendor", ("ext0",), (ip_network("198.51.100.0/24"),)),
        Network("external", ("ext0",)),
    ),
    network_rules=(
        NetworkRule("internal", "vendor", ipv4=Relation.ROUTE),
        NetworkRule("internal", "external", ipv4=Relation.NAT),
    ),
    access_rules=(
        AccessRule(
            "one bad host", DENY, FTP, INTERNAL, Hosts(addresses=IpFilter.of("203.0.113.66"))
        ),
        AccessRule("vendor", ALLOW, FTP, INTERNAL, VENDOR),
        AccessRule("alice", ALLOW, FTP, STAFF, OUTSIDE, users=frozenset({"alice"})),
        AccessRule("the lab", ALLOW, FTP, STAFF, OUTSIDE, users=frozenset({"@lab"})),
        AccessRule("office hours", ALLOW, TFTP, INTERNAL, OUTSIDE, schedule=OFFICE),
        AccessRule(
            "mapped",
            ALLOW,
            frozenset({"map"}),
            INTERNAL,
            OUTSIDE,
            frontends=frozenset({Frontend.PCP}),
        ),
        AccessRule("one host", ALLOW, FTP, Hosts(addresses=IpFilter.of("10.0.0.8")), OUTSIDE),
    ),
    groups={"alice": frozenset(), "bob": frozenset({"lab"})},
)


@pytest.mark.parametrize(
    ("question", "asker", "when", "expected"),
    [
        (("ftp", "10.0.0.8", "203.0.113.9"), Asker(), "mon 09:00", ("one host", "allowed-by-rule")),
        (
            ("ftp", "10.0.0.8", "203.0.113.66"),
            Asker(),
            "mon 09:00",
            ("one bad host", "denied-by-rule"),
        ),
        (("ftp", "10.0.0.9", "198.51.100.7"), Asker(), "mon 09:00", ("vendor", "allowed-by-rule")),
        (("ftp", "10.0.0.9", "203.0.113.9"), Asker(), "mon 09:00", (None, "peer-is-not-in-to")),
        (
            ("ftp", "10.0.0.17", "203.0.113.9"),
            Asker(),
            "mon 09:00",
            (None, "no-rule-for-this-user"),
        ),
        (
            ("ftp", "10.0.0.17", "203.0.113.9"),
            Asker("alice"),
            "mon 09:00",
            ("alice", "allowed-by-rule"),
        ),
        (
            ("ftp", "10.0.0.17", "203.0.113.9"),
            Asker("bob"),
            "mon 09:00",
            ("the lab", "allowed-by-rule"),
        ),
        (
            ("ftp", "10.0.0.17", "203.0.113.9"),
            Asker("eve"),
            "mon 09:00",
            (None, "no-rule-for-this-user"),
        ),
        (
            ("ftp", "10.0.0.32", "203.0.113.9"),
            Asker("alice"),
            "mon 09:00",
            (None, "peer-is-not-in-to"),
        ),
        (
            ("tftp", "10.0.0.9", "203.0.113.9"),
            Asker(),
            "fri 17:59",
            ("office hours", "allowed-by-rule"),
        ),
        (("tftp", "10.0.0.9", "203.0.113.9"), Asker(), "sat 09:00", (None, "outside-the-schedule")),
        (
            ("map", "10.0.0.9", None),
            Asker(None, Frontend.PCP),
            "sat 09:00",
            ("mapped", "allowed-by-rule"),
        ),
        (("map", "10.0.0.9", None), Asker(), "sat 09:00", (None, "no-rule-for-this-frontend")),
        (("rtsp", "10.0.0.9", "203.0.113.9"), Asker(), "sat 09:00", (None, "no-rule-matched")),
        (("ftp", "203.0.113.9", "10.0.0.8"), Asker(), "mon 09:00", (None, "no-network-rule")),
        (("ftp", "198.51.100.7", "203.0.113.9"), Asker(), "mon 09:00", (None, "no-network-rule")),
    ],
)
def test_the_first_rule_that_matches_in_everything_decides_and_the_reason_says_what_did_not(
    question: tuple[str, str, str | None],
    asker: Asker,
    when: str,
    expected: tuple[str | None, str],
) -> None:
    protocol, client, peer = question
    verdict = POLICY.decide(
        protocol,
        ip_address(client),
        None if peer is None else ip_address(peer),
        asker,
        minute=read_minute(when),
    )

    assert (verdict.rule and verdict.rule.name, verdict.reason) == expected
    assert verdict.allowed is (verdict.reason == "allowed-by-rule")


def test_the_nearest_rule_is_named_when_none_matches() -> None:
    verdict = POLICY.decide("ftp", ip_address("10.0.0.17"), ip_address("203.0.113.9"), minute=0)

    assert verdict.rule is None
    assert verdict.nearest == "alice"


def test_networks_that_share_an_interface_are_told_apart_by_their_addresses() -> None:
    relations = [
        POLICY.relation(ip_address("10.0.0.8"), ip_address(peer))
        for peer in ("198.51.100.7", "203.0.113.9")
    ]
    assert relations == [Relation.ROUTE, Relation.NAT]


def test_who_is_not_known_yet_may_be_a_host_that_a_rule_denies() -> None:
    verdict = POLICY.decide("ftp", ip_address("10.0.0.8"), None, minute=0)

    assert (verdict.allowed, verdict.rule and verdict.rule.name) == (False, "one bad host")


def test_who_is_not_known_yet_is_no_host_that_a_rule_allows() -> None:
    narrow = AccessRule("narrow", ALLOW, FTP, INTERNAL, Hosts(addresses=IpFilter.of("203.0.113.9")))
    policy = replace(POLICY, access_rules=(narrow,))

    assert policy.decide("ftp", ip_address("10.0.0.8"), None).reason == "peer-is-not-in-to"


def test_the_trail_has_each_rule_that_was_passed_over_and_why_and_ends_with_the_decision() -> None:
    trail = Trail()
    POLICY.decide(
        "ftp",
        ip_address("10.0.0.17"),
        ip_address("203.0.113.9"),
        Asker("bob"),
        minute=0,
        trail=trail,
    )

    assert [(one.question, one.outcome, one.rule, one.answer) for one in trail.steps] == [
        ("client-network", Outcome.FOUND, None, "internal"),
        ("peer-network", Outcome.FOUND, None, "external"),
        ("relation", Outcome.FOUND, None, "nat"),
        ("rule", Outcome.PASSED_OVER, "one bad host", "to"),
        ("rule", Outcome.PASSED_OVER, "vendor", "to"),
        ("rule", Outcome.PASSED_OVER, "alice", "users"),
        ("rule", Outcome.FOUND, "the lab", "allowed-by-rule"),
    ]


_PROTOCOLS = st.sampled_from(["ftp", "tftp", "map", "rtsp"])
_CLIENTS = st.sampled_from([*map(ip_address, ("10.0.0.8", "10.0.0.17", "198.51.100.7"))])
_PEERS = st.sampled_from([None, *map(ip_address, ("203.0.113.66", "198.51.100.7", "10.0.0.8"))])
_ASKERS = st.builds(Asker, st.sampled_from([None, "alice", "bob"]), st.sampled_from(Frontend))


@given(_PROTOCOLS, _CLIENTS, _PEERS, _ASKERS, st.integers(0, 10079))
def test_whoever_listens_to_the_trail_hears_of_the_verdict_that_everybody_gets(
    protocol: str, client: object, peer: object, asker: Asker, minute: int
) -> None:
    question = protocol, client, peer, asker
    trail = Trail()
    heard = POLICY.decide(*question, minute=minute, trail=trail)  # type: ignore[arg-type]

    assert heard == POLICY.decide(*question, minute=minute)  # type: ignore[arg-type]
    last = trail.steps[-1]
    assert last.outcome is (Outcome.FOUND if heard.allowed else Outcome.REFUSED)
    assert last.answer == heard.reason
