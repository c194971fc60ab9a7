from dataclasses import replace
from ipaddress import ip_address
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.ops.config.load import parse
from sallyport.ops.config.review import Findings, HostFacts, review
from sallyport.ops.config.toml_lines import line_map

NETWORKS = """\
[networks.internal]
interfaces = ["int0"]
addresses = ["10.0.0.0/24"]
[networks.external]
interfaces = ["ext0"]
[[network_rules]]
from = "internal"
to = "external"
ipv4 = "nat"
"""
OUTSIDE, INSIDE = ip_address("203.0.113.1"), ip_address("10.0.0.1")
HOST = HostFacts({"int0": {INSIDE}, "ext0": {OUTSIDE}}, {OUTSIDE, INSIDE})


def rule(name: str, action: str = "allow", *, to: str = "external", protocols: str = "ftp") -> str:
    return (
        f'[[access_rules]]\nname = "{name}"\naction = "{action}"\nprotocols = ["{protocols}"]\n'
        f'from = ["internal"]\nto = ["{to}"]\n'
    )


def look(text: str, host: HostFacts = HOST) -> Findings:
    return review(parse(text, "a.toml"), "a.toml", line_map(text), host)


def test_a_configuration_that_fits_has_nothing_to_say() -> None:
    assert look(NETWORKS + rule("one") + rule("two", protocols="tftp")) == Findings((), ())


def test_an_interface_without_an_address_to_publish_at_is_a_warning_and_none_is_foreign() -> None:
    text = NETWORKS + (
        '[[publishing_rules]]\nname = "ours"\nprotocol = "ftp-server"\n'
        'listen = "ext0:21"\nserver = "10.0.0.20:21"\n'
    )
    assert look(text) == Findings((), ())

    found = look(text, HostFacts({"int0": {INSIDE}, "ext0": ()}, {INSIDE}))

    assert found.errors == ()
    assert [str(one).partition(",")[0] for one in found.warnings] == [
        "a.toml:13: ext0 has no IPv4 address now"
    ]


def test_an_interface_of_a_vrf_is_a_warning_that_says_what_to_do() -> None:
    found = look(NETWORKS, replace(HOST, vrfs={"int0": "blue", "other0": "blue"}))

    assert found.errors == ()
    (one,) = found.warnings
    assert str(one).startswith("a.toml:2: int0 belongs to the VRF blue,")
    assert "`ip link set int0 nomaster`" in str(one)


def test_an_interface_that_is_not_there_is_a_warning_at_its_line() -> None:
    found = look(NETWORKS.replace("int0", "wan7"))

    assert found.errors == ()
    (one,) = found.warnings
    assert str(one).startswith("a.toml:2: there is no interface 'wan7' now;")


@pytest.mark.parametrize(("address", "is_ours"), [("203.0.113.1", True), ("203.0.113.7", False)])
def test_a_published_address_that_is_not_ours_is_an_error_at_its_line(
    address: str, *, is_ours: bool
) -> None:
    text = NETWORKS + (
        '[[publishing_rules]]\nname = "ours"\nprotocol = "ftp-server"\n'
        f'listen = "{address}:21"\nserver = "10.0.0.20:21"\n'
    )
    found = look(text)

    assert [error.line for error in found.errors] == ([] if is_ours else [13])
    assert all(address in error.problem for error in found.errors)


def test_a_rule_below_one_that_decides_all_its_cases_is_shadowed() -> None:
    (one,) = look(NETWORKS + rule("no", "deny") + rule("yes")).warnings

    assert one.line == 16
    assert "'yes' never matches: it is shadowed by 'no'" in one.problem


def test_a_rule_between_networks_that_nothing_relates_never_matches() -> None:
    (one,) = look(NETWORKS + rule("inside", to="internal")).warnings

    assert one.line == 10
    assert "no network rule relates" in one.problem


CASES = st.lists(
    st.tuples(
        st.sets(st.sampled_from(["ftp", "tftp"]), min_size=1),
        st.sets(st.sampled_from(["internal", "external"]), min_size=1),
    ),
    max_size=5,
)


@given(CASES)
def test_exactly_the_rules_that_decide_nothing_are_called_useless(
    rules: list[tuple[set[str], set[str]]],
) -> None:
    text = NETWORKS
    for number, (protocols, destinations) in enumerate(rules):
        text += (
            f'[[access_rules]]\nname = "r{number}"\naction = "allow"\n'
            f'protocols = {sorted(protocols)}\nfrom = ["internal"]\nto = {sorted(destinations)}\n'
        )
    policy = parse(text, "a.toml").policy
    deciding = set()
    for protocol, peer in product(["ftp", "tftp"], ["203.0.113.9", "10.0.0.9"]):
        decided_by = policy.decide(protocol, ip_address("10.0.0.8"), ip_address(peer)).rule
        deciding.add(None if decided_by is None else decided_by.name)
    useless = {f"r{number}" for number in range(len(rules))} - deciding

    assert {one.problem.split("'")[1] for one in look(text).warnings} == useless


def test_a_rule_for_some_users_or_hosts_shadows_none_below_it() -> None:
    some = rule("some").replace('from = ["internal"]', 'from = ["10.0.0.8"]')
    users = '[[users]]\nname = "alice"\n' + rule("alice") + 'users = ["alice"]\n'

    assert not look(NETWORKS + some + users + rule("all")).warnings


def test_a_rule_for_hosts_between_which_nothing_is_related_never_matches() -> None:
    text = rule("inside").replace('to = ["external"]', 'to = ["10.0.0.9-10.0.0.20"]')
    (one,) = look(NETWORKS + text).warnings

    assert "no network rule relates" in one.problem
