from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.policy.hosts import Hosts
from sallyport.core.policy.rules import (
    AccessRule,
    Action,
    Network,
    NetworkRule,
    Policy,
    PublishingRule,
    Relation,
    Verdict,
)
from sallyport.testing.world import GATEWAY_ADDRESSES, make_policy

CLIENT, PEER = ip_address("10.0.0.8"), ip_address("198.51.100.9")
CLIENT6, PEER6 = ip_address("fd00:a::8"), ip_address("2001:db8::9")

INTERNAL = Network("internal", ("int0",), (ip_network("10.0.0.0/8"), ip_network("fd00:a::/64")))
PERIMETER = Network("perimeter", ("dmz0",), (ip_network("10.9.0.0/16"),))
LAB = Network("lab", ("lab0",), (ip_network("10.9.7.0/24"),))
EXTERNAL = Network("external", ("ext0",))
NETWORKS = (EXTERNAL, INTERNAL, PERIMETER, LAB)


def rule(name: str, action: Action = Action.ALLOW, *protocols: str) -> AccessRule:
    return AccessRule(
        name,
        action,
        frozenset(protocols or ("ftp",)),
        sources=Hosts.of("internal"),
        destinations=Hosts.of("external"),
    )


def policy(*rules: AccessRule) -> Policy:
    return replace(make_policy(), access_rules=rules)


def test_the_first_rule_that_matches_decides() -> None:
    decisive, later = rule("first"), rule("second", Action.DENY)

    assert policy(decisive, later).decide("ftp", CLIENT, PEER) == Verdict(
        allowed=True, reason="allowed-by-rule", rule=decisive, relation=Relation.NAT
    )
    assert policy(later, decisive).decide("ftp", CLIENT, PEER) == Verdict(
        allowed=False, reason="denied-by-rule", rule=later, relation=Relation.NAT
    )


def test_rules_for_other_protocols_sources_or_destinations_are_passed_over() -> None:
    other_protocol = rule("tftp only", Action.DENY, "tftp")
    other_source = replace(rule("from outside", Action.DENY), sources=Hosts.of("external"))
    other_way = replace(rule("to inside", Action.DENY), destinations=Hosts.of("internal"))
    matching = rule("matching")
    verdict = policy(other_protocol, other_source, other_way, matching).decide("ftp", CLIENT, PEER)

    assert verdict.rule is matching


def test_the_last_word_is_deny() -> None:
    for rules in ((), (rule("tftp", Action.ALLOW, "tftp"),)):
        verdict = policy(*rules).decide("ftp", CLIENT, PEER)
        assert (verdict.allowed, verdict.reason, verdict.rule) == (False, "no-rule-matched", None)


def test_without_a_network_rule_no_access_rule_is_asked() -> None:
    lonely = replace(make_policy(), network_rules=())
    assert lonely.decide("ftp", CLIENT, PEER).reason == "no-network-rule"


def test_a_relation_holds_in_its_own_direction_and_family_only() -> None:
    only6 = replace(
        make_policy(), network_rules=(NetworkRule("internal", "external", None, Relation.ROUTE),)
    )

    assert only6.relation(CLIENT, PEER) is None
    assert only6.relation(CLIENT6, PEER6) is Relation.ROUTE
    assert only6.relation(PEER6, CLIENT6) is None
    assert make_policy().relation(CLIENT, PEER) is Relation.NAT


def test_the_longest_prefix_claims_an_address_whatever_the_order() -> None:
    for networks in (NETWORKS, NETWORKS[::-1]):
        ours = Policy(networks)
        found = [
            ours.network_of(ip_address(text))
            for text in ("10.0.0.8", "10.9.0.8", "10.9.7.8", "198.51.100.9", "fd00:a::8")
        ]
        assert found == [INTERNAL, PERIMETER, LAB, EXTERNAL, INTERNAL]


def test_what_no_network_claims_is_external_or_nowhere() -> None:
    assert Policy(NETWORKS).network_of(ip_address("2001:db8::9")) is EXTERNAL
    assert Policy((INTERNAL,)).network_of(PEER) is None
    assert Policy((INTERNAL,)).decide("ftp", CLIENT, PEER).reason == "no-network-rule"
    assert Policy((INTERNAL,)).decide("ftp", PEER, CLIENT).reason == "no-network-rule"


def test_a_peer_nobody_can_name_yet_may_be_anyone_outside() -> None:
    assert Policy(NETWORKS).network_of(None) is EXTERNAL
    assert make_policy().decide("ftp", CLIENT, None).allowed
    assert Policy((INTERNAL,)).network_of(None) is None


@pytest.mark.parametrize(
    "peer", [*GATEWAY_ADDRESSES, "127.0.0.1", "127.8.8.8", "::1", "0.0.0.0", "::"]
)
def test_x08_k06_the_gateway_itself_is_nobodys_peer(peer: str) -> None:
    client = CLIENT if ip_address(peer).version == 4 else CLIENT6
    verdict = make_policy().decide("ftp", client, ip_address(peer))

    assert verdict == Verdict(allowed=False, reason="peer-is-gateway")


@pytest.mark.parametrize(
    ("networks", "network_rules", "rules", "complaint"),
    [
        ((INTERNAL, INTERNAL), (), (), "same name"),
        ((EXTERNAL, replace(EXTERNAL, name="other")), (), (), "no addresses"),
        ((INTERNAL,), (NetworkRule("internal", "external"),), (), "does not exist"),
        ((EXTERNAL,), (NetworkRule("internal", "external"),), (), "does not exist"),
        ((INTERNAL,), (), (rule("office"),), "'office' names a network"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(
    networks: tuple[Network, ...],
    network_rules: tuple[NetworkRule, ...],
    rules: tuple[AccessRule, ...],
    complaint: str,
) -> None:
    with pytest.raises(ValueError, match=complaint):
        Policy(networks, network_rules, rules)


LISTEN, SERVER = Endpoint.parse("203.0.113.1:21"), Endpoint.parse("10.0.0.20:21")
PUBLISHED = PublishingRule("published", "ftp-server", LISTEN, SERVER)


@pytest.mark.parametrize(
    ("publishing_rules", "complaint"),
    [
        ((PUBLISHED, replace(PUBLISHED, name="again")), "listen at one place"),
        (
            (replace(PUBLISHED, listen=Endpoint.parse("[2001:db8::1]:21")),),
            "another family than its server",
        ),
    ],
)
def test_publishing_rules_that_cannot_be_meant_are_refused(
    publishing_rules: tuple[PublishingRule, ...], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        Policy(NETWORKS, publishing_rules=publishing_rules)


@pytest.mark.parametrize(
    ("rule", "protocol", "peer", "reason"),
    [
        (PUBLISHED, "ftp-server", "198.51.100.7", "allowed-by-rule"),
        (replace(PUBLISHED, name="gone"), "ftp-server", "198.51.100.7", "rule-is-gone"),
        (PUBLISHED, "ftp", "198.51.100.7", "no-rule-matched"),
        (PUBLISHED, "ftp-server", "203.0.113.1", "peer-is-gateway"),
        (PUBLISHED, "ftp-server", "10.0.0.9", "no-network-rule"),
    ],
)
def test_a_publishing_rule_lets_its_protocol_reach_its_server_from_outside(
    rule: PublishingRule, protocol: str, peer: str, reason: str
) -> None:
    policy = replace(make_policy(), publishing_rules=(PUBLISHED,))
    verdict = policy.decide_published(rule, protocol, ip_address(peer))

    assert (verdict.allowed, verdict.reason) == (reason == "allowed-by-rule", reason)
    assert (verdict.rule, verdict.relation) == (
        (PUBLISHED, Relation.NAT) if verdict.allowed else (None, None)
    )


def test_the_same_question_gets_the_same_answer() -> None:
    policy = make_policy()
    first = policy.decide("ftp", CLIENT, PEER)

    assert policy.decide("ftp", ip_address("10.0.0.8"), ip_address("198.51.100.9")) is first
    assert policy.decide("tftp", CLIENT, PEER).reason == "no-rule-matched"
    assert policy.decide("ftp", PEER, CLIENT).reason == "no-network-rule"
    assert not policy.decide("ftp", CLIENT, ip_address(GATEWAY_ADDRESSES[0])).allowed


def test_a_scan_of_the_network_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_KEPT_VERDICTS", 16)
    policy = make_policy()
    verdicts = [policy.decide("ftp", CLIENT, PEER + number) for number in range(100)]

    assert all(verdict.allowed for verdict in verdicts)
    # Nothing public shows what is kept.
    assert len(policy._verdicts) <= 16


def test_another_policy_answers_for_itself() -> None:
    policy = make_policy()
    assert policy.decide("ftp", CLIENT, PEER).allowed

    assert not replace(policy, access_rules=()).decide("ftp", CLIENT, PEER).allowed
    assert replace(policy) == policy


# -- the external address of a client that has no primary connection ------------------------------

OWN = ip_address("203.0.113.1")


def test_a_client_behind_nat_always_has_the_same_external_address() -> None:
    policy = replace(make_policy(), own_addresses={"external": (OWN,)})

    assert policy.external_address(ip_address("10.0.0.8")) == OWN
    assert policy.external_address(ip_address("10.0.0.9")) == OWN


def test_the_source_of_the_external_network_comes_before_what_its_interfaces_have() -> None:
    virtual = ip_address("203.0.113.7")
    plain = replace(make_policy(), own_addresses={"external": (OWN,)})
    networks = tuple(
        replace(one, source=(virtual,)) if one.is_external else one for one in plain.networks
    )

    assert replace(plain, networks=networks).external_address(ip_address("10.0.0.8")) == virtual


@pytest.mark.parametrize("client", ["fd00:a::8", "203.0.113.9"])
def test_where_nothing_is_translated_there_is_no_external_address_of_ours(client: str) -> None:
    policy = replace(make_policy(), own_addresses={"external": (OWN,)})

    assert policy.external_address(ip_address(client)) is None


def test_x08_the_gateway_is_no_client_of_its_own() -> None:
    policy = replace(make_policy(), gateway_addresses=frozenset({OWN}))

    assert policy.decide("ftp", OWN, PEER).reason == "client-is-gateway"


def test_a_host_in_no_network_has_no_relation_and_sees_no_address_of_ours() -> None:
    inside = make_policy().networks[0]
    policy = Policy((inside,))
    nowhere = ip_address("192.0.2.1")

    assert policy.relation(nowhere, CLIENT) is None
    assert policy.relation(CLIENT, nowhere) is None
    assert policy.address_towards(nowhere, 4) is None
