"""Values that cross from a worker to the supervisor."""

from ipaddress import ip_address, ip_network

import msgspec
import pytest

from sallyport.addresses import Endpoint, PortRange
from sallyport.core.policy.hosts import Hosts
from sallyport.core.policy.rules import Network, NetworkRule, PublishingRule, Relation
from sallyport.flags import Transport
from sallyport.ipfilter import IpFilter
from sallyport.kernel.base_table import GatewayRules
from sallyport.kernel.interception import Interception
from sallyport.ops.processes.ground import GuardRules
from sallyport.ops.processes.values import plain, value_of

RULES = GuardRules(
    networks=(
        Network("inside", ("int0", "int1"), (ip_network("10.0.0.0/24"), ip_network("fd00::/64"))),
        Network("outside", ("ext0",), source=(ip_address("203.0.113.1"),)),
    ),
    network_rules=(NetworkRule("inside", "outside", ipv4=Relation.NAT),),
    publishing_rules=(
        PublishingRule(
            "ours",
            "ftp-server",
            Endpoint.parse("203.0.113.1:21"),
            Endpoint.parse("10.0.0.20:21"),
            sources=Hosts(frozenset({"outside"}), IpFilter.of("198.51.100.0/24")),
            max_flows_per_binding=9,
            max_lifetime=60,
            max_idle=50,
            external_ports=PortRange(40000, 40009),
            filters={"ftp": {"strict_data_port": True}},
        ),
    ),
    gateway=GatewayRules(
        PortRange(40000, 49999),
        masquerade=False,
        interceptions=(
            Interception(4, 21, (2121,)),
            Interception(6, 69, (1069,), Transport.UDP, server=ip_address("fd00::20")),
        ),
        forwarded=frozenset({4, 6}),
    ),
)


def test_what_the_guard_must_know_arrives_as_it_was() -> None:
    words = msgspec.json.decode(msgspec.json.encode(plain(RULES)))

    assert value_of(GuardRules, words) == RULES


@pytest.mark.parametrize(
    "words",
    [
        None,
        [],
        {"networks": []},
        {"networks": [], "network_rules": [], "publishing_rules": [], "gateway": 1},
        {"networks": "x", "network_rules": [], "publishing_rules": [], "gateway": {}},
        {"unknown": 1},
    ],
)
def test_anything_else_is_refused_by_one_kind_of_error(words: object) -> None:
    with pytest.raises(ValueError, match="GuardRules"):
        value_of(GuardRules, words)


def test_what_has_no_words_is_not_written() -> None:
    with pytest.raises(TypeError, match="no words"):
        plain(object())
