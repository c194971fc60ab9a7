"""What is explained is what happens: the same verdict, the same reason, the same rule."""

from dataclasses import replace
from ipaddress import ip_address
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.core.office import FTP, Office, WatchingFilter, run

from sallyport import limits
from sallyport.addresses import Endpoint, PortRange
from sallyport.core.engine.explainer import Question
from sallyport.core.engine.gateway import Gateway
from sallyport.core.policy.hosts import Hosts
from sallyport.core.policy.rules import AccessRule, Action, Asker, Policy, PublishingRule
from sallyport.core.policy.schedules import Schedule
from sallyport.core.policy.terms import Frontend, Peers
from sallyport.errors import BindError
from sallyport.flags import Transport
from sallyport.ipfilter import IpFilter
from sallyport.testing.world import VirtualWorld, make_gateway, make_policy

CLIENTS = [*map(ip_address, ("10.0.0.8", "10.0.0.17", "198.51.100.7"))]
SERVERS = [Endpoint.parse(text) for text in ("203.0.113.9:21", "198.51.100.7:21", "203.0.113.1:21")]
HOSTS = st.sampled_from(
    [
        Hosts.of("internal"),
        Hosts.of("external"),
        Hosts(addresses=IpFilter.of("10.0.0.16/28", "203.0.113.9")),
        Hosts(addresses=IpFilter.of("10.0.0.8", "198.51.100.0/24")),
    ]
)
RULES = st.builds(
    AccessRule,
    name=st.sampled_from(["one", "two", "three"]),
    action=st.sampled_from([Action.ALLOW, Action.ALLOW, Action.DENY]),
    protocols=st.sampled_from([frozenset({"ftp"}), frozenset({"ftp", "tftp"}), frozenset({"x"})]),
    sources=HOSTS,
    destinations=HOSTS,
    users=st.sampled_from([None, None, frozenset({"alice"}), frozenset({"@lab"})]),
    schedule=st.sampled_from([None, None, Schedule("day", ((0, 600),))]),
    frontends=st.sampled_from([None, None, frozenset({Frontend.TRANSPARENT})]),
    max_bindings_per_client=st.sampled_from([1, 2, 64]),
    max_binds_per_minute=st.sampled_from([None, 1, 2]),
    max_connections_per_minute=st.sampled_from([None, None, 1, 2]),
    client_ports=st.sampled_from([PortRange(1024, 65535), PortRange(20, 2000)]),
    peers=st.sampled_from(Peers),
)
PUBLISHED = PublishingRule(
    "ours",
    "ftp",
    Endpoint.parse("203.0.113.1:21"),
    Endpoint.parse("10.0.0.20:21"),
    sources=Hosts(addresses=IpFilter.of("198.51.100.0/25")),
    max_bindings_per_client=1,
)


class Request(NamedTuple):
    client: int
    server: int
    user: str | None
    frontend: Frontend
    port: int
    minute: int


REQUESTS = st.builds(
    Request,
    st.integers(0, 2),
    st.integers(0, 2),
    st.sampled_from([None, "alice", "bob"]),
    st.sampled_from([Frontend.TRANSPARENT, Frontend.SOCKS]),
    st.sampled_from([22, 1024, 1999, 50000]),
    st.sampled_from([0, 599, 600]),
)


def policy_of(rules: list[AccessRule]) -> Policy:
    distinct = {rule.name: rule for rule in rules}
    return replace(
        make_policy(),
        access_rules=tuple(distinct.values()),
        publishing_rules=(PUBLISHED,),
        groups={"alice": frozenset(), "bob": frozenset({"lab"})},
    )


def happens(gateway: Gateway, question: Question) -> tuple[bool, str, str | None]:
    """Do what the question is about; return the verdict, the reason and the deciding rule."""
    client = Endpoint(question.client, 50000)
    rule = gateway.policy.published_at(
        question.client, question.server, question.protocol.transport
    )
    try:
        if rule is not None:
            primary = gateway.admit_published(rule, client)
        else:
            primary = gateway.admit_primary(FTP, client, question.server, question.asker)
        primary.gateway_address = Endpoint.parse("203.0.113.1:50000")
        assert question.bind_port is not None
        binding = run(
            primary.session.bind_for_client(
                [Endpoint(primary.session.client_address, question.bind_port)],
                transport=Transport.TCP,
                protocol=FTP,
                ip_filter=IpFilter.of(primary.peer.address),
                primary=primary,
            )
        )
    except BindError as refusal:
        return False, str(refusal), None
    return True, "allowed-by-rule", binding.rule.name


def compare(rules: list[AccessRule], requests: list[Request]) -> None:
    world = VirtualWorld()
    gateway, _, _ = make_gateway([WatchingFilter()], policy=policy_of(rules), world=world)
    for request in requests:
        world.minute = request.minute
        question = Question(
            CLIENTS[request.client],
            SERVERS[request.server],
            FTP,
            Asker(request.user, request.frontend),
            bind_port=request.port,
        )
        explained = gateway.explain(question).verdict
        allowed, reason, rule = happens(gateway, question)

        assert (explained.allowed, explained.reason) == (allowed, reason)
        if rule is not None:
            assert explained.rule is not None
            assert explained.rule.name == rule


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(RULES, max_size=4), st.lists(REQUESTS, min_size=1, max_size=6))
def test_what_is_explained_is_what_happens(
    rules: list[AccessRule], requests: list[Request]
) -> None:
    compare(rules, requests)


@pytest.mark.soak
@pytest.mark.timeout(1200)
@settings(max_examples=10_000, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(RULES, max_size=4), st.lists(REQUESTS, min_size=1, max_size=6))
def test_what_is_explained_is_what_happens_ten_thousand_times(
    rules: list[AccessRule], requests: list[Request]
) -> None:
    compare(rules, requests)


def test_an_explanation_changes_nothing() -> None:
    gateway, _, world = make_gateway()
    question = Question(CLIENTS[0], SERVERS[0], FTP, bind_port=5000)
    for _ in range(3):
        assert gateway.explain(question).verdict.allowed

    assert not list(gateway.sessions)
    assert not gateway.held
    assert not world.journal.records


def test_a_moment_other_than_now_can_be_asked_about() -> None:
    rule = replace(make_policy().access_rules[0], schedule=Schedule("day", ((0, 600),)))
    gateway, _, world = make_gateway(policy=replace(make_policy(), access_rules=(rule,)))
    world.minute = 700
    question = Question(CLIENTS[0], SERVERS[0], FTP, bind_port=5000)

    assert gateway.explain(question).verdict.reason == "outside-the-schedule"
    assert gateway.explain(replace(question, minute=599)).verdict.allowed


def test_a_connection_alone_can_be_asked_about() -> None:
    gateway, _, _ = make_gateway()
    question = Question(CLIENTS[0], SERVERS[0], FTP)

    assert gateway.explain(question).verdict.allowed
    # The limits of a bind are asked about only where there is one.
    assert gateway.explain(replace(question, bind_port=22)).verdict.reason == (
        "client-port-below-minimum"
    )


def test_too_many_control_connections_are_explained_as_they_are_refused() -> None:
    office = Office(max_controls=1)
    office.admit()
    with pytest.raises(BindError) as refusal:
        office.admit()

    explained = office.gateway.explain(Question(CLIENTS[0], SERVERS[0], FTP))

    assert (explained.verdict.allowed, explained.verdict.reason) == (False, str(refusal.value))
    assert (explained.steps[-1].question, explained.steps[-1].answer) == (
        "controls",
        str(refusal.value),
    )


@pytest.mark.parametrize(
    ("client", "server"), [(0, 0), (2, 2)], ids=["of a client inside", "of a published server"]
)
def test_a_range_without_a_free_port_is_explained_as_the_bind_is_refused(
    client: int, server: int
) -> None:
    rule = replace(PUBLISHED, max_bindings_per_client=64)
    own = {"external": (ip_address("203.0.113.1"),)}
    policy = replace(make_policy(), publishing_rules=(rule,), own_addresses=own)
    gateway, _, _ = make_gateway([WatchingFilter()], policy=policy, ports="40000-40001")
    question = Question(CLIENTS[client], SERVERS[server], FTP, bind_port=5000)

    for is_left in (True, True, False):
        explained = gateway.explain(question)
        allowed, reason, _ = happens(gateway, question)
        assert (explained.verdict.allowed, explained.verdict.reason) == (allowed, reason)
        assert allowed is is_left
    assert (reason, explained.steps[-1].answer) == ("no-free-port", "no-free-port")


def test_a_range_without_a_free_port_is_no_matter_where_no_port_of_ours_is_drawn() -> None:
    ours = (ip_address("203.0.113.1"), ip_address("2001:db8::1"))
    policy = replace(make_policy(), own_addresses={"external": ours})
    office = Office(ports="40000-40000", policy=policy)
    for address in ours:
        office.ports.of(Transport.TCP, address).draw(1, 0)
    alone = Question(CLIENTS[0], SERVERS[0], FTP)
    there = Endpoint.parse("[2001:db8::9]:21")
    routed = Question(ip_address("fd00:a::8"), there, FTP, bind_port=5000)

    assert not office.gateway.explain(replace(alone, bind_port=5000)).verdict.allowed
    assert office.gateway.explain(alone).verdict.allowed
    assert office.gateway.explain(routed).verdict.allowed


def test_the_last_step_says_why_a_bind_is_refused_that_no_rule_speaks_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_BINDINGS", 0)
    gateway, _, _ = make_gateway()

    explained = gateway.explain(Question(CLIENTS[0], SERVERS[0], FTP, bind_port=5000))

    assert explained.verdict.reason == "too-many-bindings-of-all"
    assert (explained.steps[-1].question, explained.steps[-1].answer) == (
        "bind",
        "too-many-bindings-of-all",
    )
