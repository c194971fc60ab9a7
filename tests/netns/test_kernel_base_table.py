"""The base table on a real kernel: nft takes it for any policy, and it does what it says."""

import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.netns import kernel_bench
from tests.netns.kernel_bench import (
    PATIENCE,
    POLICY,
    RULES,
    SILENCE,
    both_guards,
    dial,
    listen,
)

from sallyport.addresses import Endpoint, IpNetwork, PortRange
from sallyport.core.policy.rules import Network, NetworkRule, Policy, PublishingRule, Relation
from sallyport.kernel import table
from sallyport.kernel.base_table import GatewayRules
from sallyport.kernel.interception import Interception
from sallyport.kernel.pins_table import render_pins
from sallyport.lab.network import Lab

pytestmark = pytest.mark.netns

_IP_TRANSPARENT, _IPV6_TRANSPARENT = 19, 75


@pytest.fixture(scope="module")
def wires() -> Iterator[Lab]:
    with Lab.build("kdr") as lab:
        kernel_bench.make_gateway(lab)
        for family in ("-4", "-6"):
            rule = ["ip", family, "rule", "add", "fwmark", "0x10000/0x10000", "lookup", "77"]
            lab.gateway.run(rule)
            route = ["ip", family, "route", "add", "local", "default", "dev", "lo", "table", "77"]
            lab.gateway.run(route)
        yield lab


def install(lab: Lab, policy: Policy, rules: GatewayRules) -> None:
    with lab.gateway.entered():
        table.load(both_guards(policy, rules))


_PREFIXES = [
    ip_network(text)
    for text in ("10.0.0.0/8", "10.0.0.0/24", "10.0.1.0/24", "192.168.7.1/32", "fd00:a::/64")
]
_RELATION = st.none() | st.sampled_from(Relation)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    networks = [Network("external", ("ext0", "ppp+"))]
    for index in range(draw(st.integers(0, 3))):
        addresses: tuple[IpNetwork, ...] = tuple(
            draw(st.lists(st.sampled_from(_PREFIXES), min_size=1, max_size=4))
        )
        networks.append(Network(f"n{index}", (f"int{index}", "br-lan"), addresses))
    name = st.sampled_from([network.name for network in networks])
    rules = st.builds(NetworkRule, name, name, _RELATION, _RELATION)
    return Policy(tuple(networks), tuple(draw(st.lists(rules, max_size=4))))


@st.composite
def gateway_rules(draw: st.DrawFn) -> GatewayRules:
    first = draw(st.integers(1, 60000))
    chosen = draw(st.sets(st.tuples(st.sampled_from([4, 6]), st.integers(1, 65535)), max_size=3))
    return GatewayRules(
        PortRange(first, draw(st.integers(first, 60000))),
        draw(st.booleans()),
        tuple(Interception(version, port, (2121,)) for version, port in chosen),
    )


@settings(max_examples=60, deadline=None)
@given(policy=policies(), rules=gateway_rules())
def test_nft_takes_the_base_table_of_any_policy(
    wires: Lab, policy: Policy, rules: GatewayRules
) -> None:
    # Loaded, not only checked: the kernel has to agree too.
    install(wires, policy, rules)


def test_the_base_table_is_replaced_and_removed_as_a_whole(wires: Lab) -> None:
    install(wires, POLICY, RULES)
    once = wires.gateway.run(["nft", "list", "table", "inet", "sallyport"]).stdout
    install(wires, POLICY, RULES)

    assert wires.gateway.run(["nft", "list", "table", "inet", "sallyport"]).stdout == once


def test_nat_hides_the_client_and_keeps_off_our_ports(wires: Lab) -> None:
    install(wires, POLICY, RULES)
    with listen(wires.server, "203.0.113.9:8080") as server:
        with wires.client.entered():
            client = socket.create_connection(
                ("203.0.113.9", 8080), PATIENCE, source_address=("10.0.0.8", 45000)
            )
        accepted, source = server.accept()

        assert source[0] == "203.0.113.1"
        assert source[1] in range(1024, 40000)
        client.close()
        accepted.close()


def test_masquerade_can_be_left_to_the_host(wires: Lab) -> None:
    install(wires, POLICY, replace(RULES, masquerade=False))
    with listen(wires.server, "203.0.113.9:8080") as server:
        client = dial(wires.client, "203.0.113.9:8080")
        accepted, source = server.accept()

        assert source[0] == "10.0.0.8"
        client.close()
        accepted.close()


def test_a_routed_relation_shows_the_client(wires: Lab) -> None:
    install(wires, POLICY, RULES)
    with listen(wires.server, "[2001:db8::9]:8080") as server:
        client = dial(wires.client, "[2001:db8::9]:8080")
        accepted, source = server.accept()

        assert source[0] == "fd00:a::8"
        client.close()
        accepted.close()


@pytest.mark.parametrize("inside", ["10.0.0.8:8080", "[fd00:a::8]:8080"])
def test_nobody_outside_begins_a_connection_inwards(wires: Lab, inside: str) -> None:
    install(wires, POLICY, RULES)
    with listen(wires.client, inside):
        with pytest.raises(TimeoutError):
            dial(wires.server, inside, SILENCE)

        # The same connection where policy wants it: it was the rule that stopped it.
        opened = replace(POLICY.network_rules[0], source="external", destination="internal")
        both = replace(opened, ipv4=Relation.ROUTE, ipv6=Relation.ROUTE)
        install(wires, replace(POLICY, network_rules=(both,)), RULES)
        dial(wires.server, inside).close()


def test_without_a_network_rule_nothing_passes(wires: Lab) -> None:
    install(wires, replace(POLICY, network_rules=()), RULES)
    with listen(wires.server, "203.0.113.9:8080"), pytest.raises(TimeoutError):
        dial(wires.client, "203.0.113.9:8080", SILENCE)


@pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("is_to_vendor", [True, False], ids=["vendor", "external"])
def test_of_networks_that_share_an_interface_each_has_its_own_relation(
    wires: Lab, family: int, is_to_vendor: bool
) -> None:
    prefixes = ip_network("203.0.113.9/32"), ip_network("2001:db8::9/128")
    vendor = Network("vendor", ("ext0",), prefixes)
    named = NetworkRule(
        "internal", "vendor" if is_to_vendor else "external", Relation.NAT, Relation.ROUTE
    )
    networks = (*POLICY.networks, vendor)
    install(wires, replace(POLICY, networks=networks, network_rules=(named,)), RULES)
    hosts = wires.server, wires.stranger
    reached, other = hosts if is_to_vendor else reversed(hosts)

    for host, is_reached in ((reached, True), (other, False)):
        place = str(Endpoint(host.address(family), 8080))
        with listen(host, place):
            if is_reached:
                dial(wires.client, place).close()
            else:
                with pytest.raises(TimeoutError):
                    dial(wires.client, place, SILENCE)


def test_an_address_that_no_inside_network_claims_does_not_leave(wires: Lab) -> None:
    elsewhere = Network("internal", ("int0",), (ip_network("192.168.0.0/24"),))
    install(wires, replace(POLICY, networks=(elsewhere, POLICY.networks[1])), RULES)
    with listen(wires.server, "203.0.113.9:8080"), pytest.raises(TimeoutError):
        dial(wires.client, "203.0.113.9:8080", SILENCE)


_INTERCEPTED = replace(
    RULES, interceptions=(Interception(4, 8021, (2121,)), Interception(6, 8021, (2121,)))
)


def transparent_listener(lab: Lab, version: int) -> socket.socket:
    with lab.gateway.entered():
        sock = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6)
    if version == 4:
        sock.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
    sock.settimeout(PATIENCE)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1" if version == 4 else "::1", 2121))
    sock.listen()
    return sock


@pytest.mark.parametrize(
    ("version", "server"), [(4, "203.0.113.9:8021"), (6, "[2001:db8::9]:8021")]
)
def test_control_connections_reach_our_listener_with_their_destination(
    wires: Lab, version: int, server: str
) -> None:
    install(wires, POLICY, _INTERCEPTED)
    with transparent_listener(wires, version) as ours, dial(wires.client, server) as client:
        accepted, source = ours.accept()
        with accepted:
            client.sendall(b"USER anonymous\r\n")

            assert accepted.recv(64) == b"USER anonymous\r\n"
            assert source[0] == str(wires.client.address(version))
            host, port = accepted.getsockname()[:2]
            assert (host, port) == (str(wires.server.address(version)), 8021)


@pytest.mark.parametrize("server", ["203.0.113.9:8021", "[2001:db8::9]:8021"])
def test_while_nobody_listens_an_intercepted_protocol_does_not_pass_by_us(
    wires: Lab, server: str
) -> None:
    install(wires, POLICY, _INTERCEPTED)
    with listen(wires.server, server), pytest.raises(ConnectionRefusedError):
        dial(wires.client, server)


def test_who_spoke_with_us_does_not_go_on_past_us_when_we_are_gone(wires: Lab) -> None:
    place = Endpoint.parse("[fd00:a::8]:8021")
    item = Interception(6, place.port, (2121,), server=place.address)
    rule = PublishingRule("published", "ftp-server", place, place)
    install(wires, replace(POLICY, publishing_rules=(rule,)), replace(RULES, interceptions=(item,)))
    with listen(wires.client, str(place)):
        with transparent_listener(wires, 6) as ours:
            peer = dial(wires.server, str(place), source_port=6666)
            accepted, _ = ours.accept()
        with peer, accepted:
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            accepted.close()
            with pytest.raises(ConnectionResetError):
                peer.recv(1)

        with pytest.raises(ConnectionRefusedError):
            dial(wires.server, str(place), source_port=6666)


def test_we_connect_in_the_clients_name_and_hear_the_answer(wires: Lab) -> None:
    install(wires, POLICY, _INTERCEPTED)
    with listen(wires.server, "[2001:db8::9]:8021") as server:
        with wires.gateway.entered():
            ours = socket.socket(socket.AF_INET6)
        with ours:
            ours.settimeout(PATIENCE)
            ours.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
            ours.bind(("fd00:a::8", 0))
            ours.connect(("2001:db8::9", 8021))
            accepted, source = server.accept()
            with accepted:
                accepted.sendall(b"220 ready\r\n")

                assert ours.recv(64) == b"220 ready\r\n"
                assert source[0] == "fd00:a::8"


def test_nft_checks_the_pins_table(wires: Lab) -> None:
    done = wires.gateway.run(["nft", "-c", "-f", "-"], stdin=render_pins(60))

    assert done.stderr == ""
