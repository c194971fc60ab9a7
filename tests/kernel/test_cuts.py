"""What a start would cut, asked of flows as conntrack has them; reading them is for tests/netns."""

from ipaddress import ip_address, ip_network

import pytest
from tests.wire.test_conntrack import EVENT4

from sallyport.addresses import Endpoint
from sallyport.core.policy.rules import Network, NetworkRule, Policy, Relation
from sallyport.flags import Transport
from sallyport.kernel.cuts import ForwardedFlow, cuts, read_flow

POLICY = Policy(
    (
        Network("internal", ("int0",), (ip_network("10.0.0.0/24"), ip_network("fd00:a::/64"))),
        Network("office", ("off0",), (ip_network("10.1.0.0/24"),)),
        Network("guests", ("gue0",), (ip_network("10.2.0.0/24"),)),
        Network("external", ("ext0",)),
    ),
    (
        NetworkRule("internal", "external", Relation.NAT, Relation.ROUTE),
        NetworkRule("internal", "office", Relation.ROUTE),
    ),
)
OWN = {ip_address("10.0.0.1"), ip_address("203.0.113.1")}
SUPERVISED = {(Transport.TCP, 21), (Transport.UDP, 69)}


def flow(
    client: str, dialled: str, server: str | None = None, transport: Transport = Transport.TCP
) -> ForwardedFlow:
    opener, asked, answers = map(Endpoint.parse, (client, dialled, server or dialled))
    return ForwardedFlow(transport, opener, asked, answers)


def told(*flows: ForwardedFlow, policy: Policy = POLICY) -> list[str]:
    return [str(cut) for cut in cuts(policy, SUPERVISED, flows, OWN)]


@pytest.mark.parametrize(
    "passing",
    [
        flow("10.0.0.8:1024", "203.0.113.9:443"),
        flow("[fd00:a::8]:1024", "[2001:db8::9]:443"),
        flow("10.0.0.8:1024", "10.0.0.9:443"),
        flow("10.0.0.8:1024", "10.1.0.9:443"),
        # Routed inside networks see each other.
        flow("10.1.0.9:1024", "10.0.0.8:443"),
        # The host's own port forwards.
        flow("203.0.113.9:1024", "203.0.113.1:8080", "10.0.0.8:80"),
        # The host itself: a service of its own, a download of its own.
        flow("203.0.113.9:1024", "203.0.113.1:22"),
        flow("203.0.113.1:1024", "203.0.113.9:21"),
        # Other programs' ports, and servers outside that outside hosts talk to.
        flow("203.0.113.8:1024", "203.0.113.9:21"),
    ],
    ids=str,
)
def test_what_passes_after_a_start_too_is_not_told(passing: ForwardedFlow) -> None:
    assert told(passing) == []


def test_a_server_inside_that_is_reached_from_outside_is_told_once_with_who_reaches_it() -> None:
    found = told(
        flow("203.0.113.66:1024", "10.0.0.8:443"),
        flow("203.0.113.67:1024", "10.0.0.8:443"),
        flow("[2001:db8::9]:1024", "[fd00:a::8]:443"),
    )

    assert found == [
        "10.0.0.8:443 (TCP) in internal is reached from external now, by 2 connections such as that"
        " of 203.0.113.66: a start drops new ones; add a network rule that relates the two, publish"
        " the server, or forward the port by a rule of the host (dnat)",
        "[fd00:a::8]:443 (TCP) in internal is reached from external now, by 1 connection such as"
        " that of 2001:db8::9: a start drops new ones; add a network rule that relates the two,"
        " publish the server, or forward the port by a rule of the host (dnat)",
    ]


def test_networks_without_a_relation_are_told_together_whatever_their_hosts_ask_for() -> None:
    found = told(
        flow("10.2.0.5:1024", "203.0.113.9:443"),
        flow("10.2.0.6:1024", "203.0.113.10:80"),
    )

    assert found == [
        "2 connections from guests to external pass now, such as 10.2.0.5 to 203.0.113.9:443 (TCP):"
        " a start drops new ones; add a network rule that relates the two"
    ]


def test_connections_of_a_supervised_protocol_end() -> None:
    found = told(
        flow("10.0.0.8:1024", "203.0.113.9:21"),
        flow("10.0.0.8:69", "203.0.113.9:69", transport=Transport.UDP),
    )

    assert found == [
        "TCP port 21 is supervised, and 1 connection to it passes unsupervised now, such as"
        " 10.0.0.8 to 203.0.113.9:21: a start ends them; let them finish first",
        "UDP port 69 is supervised, and 1 connection to it passes unsupervised now, such as"
        " 10.0.0.8 to 203.0.113.9:69: a start ends them; let them finish first",
    ]


def test_a_connection_of_a_supervised_protocol_that_is_over_is_not_told() -> None:
    over = flow("10.0.0.8:1024", "203.0.113.9:21")._replace(is_over=True)

    assert told(over) == []


def test_a_report_of_conntrack_says_who_opened_what_and_whether_it_is_over() -> None:
    found = read_flow(EVENT4, 0)

    assert found is not None
    assert (found.transport, found.is_over) == (Transport.TCP, False)
    assert read_flow(EVENT4[:-4], 0) is None


def test_hosts_of_no_network_reach_nobody_inside_and_each_other_as_before() -> None:
    alone = Policy((POLICY.networks[0],))

    (found,) = told(flow("192.0.2.7:1024", "10.0.0.8:80"), policy=alone)
    assert found.startswith("10.0.0.8:80 (TCP) in internal is reached from no network now, by 1 ")
    assert told(flow("192.0.2.7:1024", "198.51.100.1:80"), policy=alone) == []
    assert told(flow("10.0.0.8:1024", "198.51.100.1:80"), policy=alone) == []


def test_the_most_frequent_are_told_and_no_more_than_a_page() -> None:
    scan = [flow("203.0.113.66:1024", f"10.0.0.8:{port}") for port in range(1, 100)]
    found = cuts(POLICY, SUPERVISED, [*scan, scan[41]], OWN)

    assert len(found) == 8
    assert (found[0].connections, found[0].example, found[0].network) == (2, scan[41], "internal")
