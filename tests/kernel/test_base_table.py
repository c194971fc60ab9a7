"""The base table as text: what is in it for a policy, what is not; nft's opinion: tests/netns."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from sallyport.addresses import Endpoint, PortRange
from sallyport.core.policy.rules import Network, NetworkRule, Policy, PublishingRule, Relation
from sallyport.flags import Transport
from sallyport.kernel import marks
from sallyport.kernel.base_table import (
    GUARD_TABLES,
    GatewayRules,
    render_base,
    render_guard,
    render_removal,
)
from sallyport.kernel.interception import Interception

INTERNAL = Network("internal", ("int0",), (ip_network("10.0.0.0/24"), ip_network("fd00:a::/64")))
EXTERNAL = Network("external", ("ext0",))
DMZ = Network("dmz", ("dmz0",), (ip_network("192.168.7.0/24"),))
POLICY = Policy(
    (INTERNAL, EXTERNAL),
    (NetworkRule("internal", "external", Relation.NAT, Relation.ROUTE),),
)
RULES = GatewayRules(PortRange(40000, 59999))


def lines(policy: Policy = POLICY, rules: GatewayRules = RULES) -> list[str]:
    return [line.strip() for line in render_base(policy, rules).splitlines()]


def guard_lines(policy: Policy = POLICY, rules: GatewayRules = RULES) -> list[str]:
    return [line.strip() for line in render_guard(policy, rules, GUARD_TABLES[0]).splitlines()]


def test_the_script_replaces_the_table_in_one_transaction() -> None:
    assert render_base(POLICY, RULES).startswith(
        "table inet sallyport {\n}\ndelete table inet sallyport\ntable inet sallyport {\n"
    )
    assert render_removal("x") == "table inet x {\n}\ndelete table inet x\n"


def test_each_family_follows_its_own_relation() -> None:
    text = lines()

    assert (
        'iifname { "int0" } oifname { "ext0" } meta nfproto ipv4 ip saddr { 10.0.0.0/24 } accept'
        in text
    )
    assert (
        'iifname { "int0" } oifname { "ext0" } meta nfproto ipv6 ip6 saddr { fd00:a::/64 } accept'
        in text
    )
    masquerades = [line for line in text if "masquerade" in line and line.startswith("iifname")]
    assert len(masquerades) == 2
    assert all("ipv4" in line for line in masquerades)


def test_a_network_with_a_source_is_translated_to_it_and_not_to_what_the_interface_has() -> None:
    external = replace(EXTERNAL, source=(ip_address("203.0.113.7"),))
    text = lines(replace(POLICY, networks=(INTERNAL, external)))
    translations = [line for line in text if line.startswith("iifname") and "snat" in line]

    assert [line.partition("snat ")[2] for line in translations] == [
        "ip to 203.0.113.7:1024-39999",
        "ip to 203.0.113.7",
    ]
    assert not [line for line in text if line.startswith("iifname") and "masquerade" in line]


def test_nothing_begins_from_an_external_network_even_where_it_is_routed() -> None:
    assert not [
        line for line in lines() if line.startswith('iifname { "ext0" } oifname { "int0" }')
    ]


def test_routed_inside_networks_see_each_other() -> None:
    both = Policy((INTERNAL, DMZ), (NetworkRule("internal", "dmz", Relation.ROUTE),))
    back = 'iifname { "dmz0" } oifname { "int0" } meta nfproto ipv4'

    assert f"{back} ip saddr {{ 192.168.7.0/24 }} ip daddr {{ 10.0.0.0/24 }} accept" in lines(both)
    nat = replace(both, network_rules=(NetworkRule("internal", "dmz", Relation.NAT),))
    assert not [line for line in lines(nat) if line.startswith(back)]


def test_a_network_without_addresses_of_a_family_has_no_part_in_it() -> None:
    rule = NetworkRule("dmz", "external", Relation.NAT, Relation.ROUTE)
    text = lines(Policy((DMZ, EXTERNAL), (rule,)))

    assert not [line for line in text if "nfproto ipv6" in line and "foreign" not in line]


@pytest.mark.parametrize(
    ("port_range", "ports"),
    [("40000-59999", "1024-39999"), ("2000-30000", "30001-65535"), ("1-1023", "1024-65535")],
)
def test_masquerade_takes_the_larger_side_of_the_range(port_range: str, ports: str) -> None:
    text = render_base(POLICY, GatewayRules(PortRange.parse(port_range)))

    assert f"masquerade to :{ports}\n" in text


def test_a_range_that_leaves_no_port_to_masquerade_to_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves no port"):
        GatewayRules(PortRange(1024, 65535))
    GatewayRules(PortRange(1024, 65535), masquerade=False)


def test_masquerade_can_be_left_out_and_the_nat_chain_stays() -> None:
    text = lines(rules=replace(RULES, masquerade=False))

    masquerades = [line for line in text if "masquerade" in line]
    assert all("ct mark & 0x8" in line for line in masquerades), "ordinary traffic is translated"
    assert "type nat hook postrouting priority srcnat; policy accept;" in text


def test_at_an_interface_of_no_known_name_only_what_goes_outside_is_translated() -> None:
    policy = replace(POLICY, networks=(INTERNAL, DMZ, EXTERNAL))
    elsewhere = [line for line in lines(policy) if line.startswith("oifname !=")]

    assert elsewhere == [
        'oifname != { "dmz0", "ext0", "int0" } meta nfproto ipv4 ip saddr { 10.0.0.0/24 }'
        " ip daddr != { 10.0.0.0/24, 192.168.7.0/24 } ct mark & 0x80000000 != 0"
        " meta l4proto { 6, 17 } masquerade to :1024-39999"
    ]


def published(listen: str, server: str, transport: Transport = Transport.TCP) -> Policy:
    rule = PublishingRule("r", "x", Endpoint.parse(listen), Endpoint.parse(server), transport)
    return replace(POLICY, publishing_rules=(rule,))


def test_what_a_server_behind_nat_opens_leaves_from_where_it_is_published() -> None:
    text = lines(published("203.0.113.2:21", "10.0.0.20:21"))

    assert (
        'oifname != { "int0" } ip saddr 10.0.0.20 ct mark & 0x80000000 != 0 meta l4proto { 6, 17 }'
        " snat ip to 203.0.113.2:1024-39999"
    ) in text
    assert (
        'iifname { "ext0" } ip daddr 203.0.113.2 tcp dport 21 fib daddr type local'
        " ct mark set ct mark | 0x80000000 accept"
    ) in guard_lines(published("203.0.113.2:21", "10.0.0.20:21"))


def test_a_server_of_datagrams_is_known_by_its_port_too() -> None:
    policy = published("203.0.113.2:69", "10.0.0.20:6969", Transport.UDP)
    own = [line for line in lines(policy) if "snat" in line]

    assert own == [
        'oifname != { "int0" } ip saddr 10.0.0.20 udp sport 6969 ct mark & 0x80000000 != 0'
        " snat ip to 203.0.113.2:69",
        'oifname != { "int0" } ip saddr 10.0.0.20 ct mark & 0x80000000 != 0 meta l4proto { 6, 17 }'
        " snat ip to 203.0.113.2:1024-39999",
    ]
    assert (
        'iifname { "ext0" } ip daddr 203.0.113.2 udp dport 69 fib daddr type local'
        " ct mark set ct mark | 0x80000000 accept"
    ) in guard_lines(policy)


def test_an_unpublished_or_routed_server_is_not_translated_by_itself() -> None:
    routed = published("[fd00:a::8]:21", "[fd00:a::8]:21")

    assert not [line for line in lines() + lines(routed) if "snat" in line]


def test_what_user_mode_opens_in_a_clients_name_is_translated_though_it_came_in_nowhere() -> None:
    ours = (
        'oifname { "ext0" } meta nfproto ipv4 ip saddr { 10.0.0.0/24 }'
        " ct mark & 0x80000000 != 0 meta l4proto { 6, 17 } masquerade to :1024-39999"
    )

    assert ours in lines()
    assert ours in lines(rules=replace(RULES, masquerade=False))


def test_two_listeners_for_one_port_are_refused() -> None:
    with pytest.raises(ValueError, match="same port"):
        replace(RULES, interceptions=(Interception(4, 21, (1,)), Interception(4, 21, (2,))))


def test_without_an_external_network_nobody_is_a_stranger_at_the_gateway_itself() -> None:
    assert not [line for line in lines(Policy((INTERNAL,))) if "th dport 40000-59999" in line]


def test_strangers_with_datagrams_are_dropped_at_our_ports_too() -> None:
    assert (
        'iifname { "ext0" } ct state new ct mark & 0x80000000 == 0'
        " meta l4proto { 6, 17 } th dport 40000-59999 goto drop_strangers"
    ) in lines()


@pytest.mark.parametrize(
    ("port_range", "masquerade", "to"),
    [("40000-59999", True, " to :1024-39999"), ("1024-65535", False, "")],
)
def test_full_proxy_is_translated_whoever_masquerades(
    port_range: str, masquerade: bool, to: str
) -> None:
    text = lines(rules=GatewayRules(PortRange.parse(port_range), masquerade))

    assert (f"ct mark & 0x84000000 == 0x84000000 meta l4proto {{ 6, 17 }} masquerade{to}") in text


VENDOR = Network("vendor", ("ext0",), (ip_network("198.51.100.0/24"),))
LAB = Network("lab", ("int0",), (ip_network("10.9.0.0/24"),))
SHARING = Policy(
    (INTERNAL, LAB, VENDOR, EXTERNAL),
    (
        NetworkRule("internal", "external", Relation.NAT),
        NetworkRule("lab", "vendor", Relation.ROUTE),
    ),
)


def test_networks_that_share_an_interface_are_told_apart_by_addresses() -> None:
    text = lines(SHARING)
    v4 = "meta nfproto ipv4"
    rest = "ip daddr != { 198.51.100.0/24 }"
    out = 'iifname { "int0" } oifname { "ext0" }'

    assert f"{out} {v4} ip saddr {{ 10.0.0.0/24 }} {rest} accept" in text
    assert f"{out} {v4} ip saddr {{ 10.9.0.0/24 }} ip daddr {{ 198.51.100.0/24 }} accept" in text
    assert not [line for line in text if "10.0.0.0/24 } ip daddr { 198.51.100.0/24 }" in line]


def test_one_interface_with_two_networks_lets_nothing_pass_between_them() -> None:
    text = lines(SHARING)
    home = 'iifname { "int0" } oifname { "int0" }'

    assert f"{home} accept" not in text
    for prefix in ("10.0.0.0/24", "10.9.0.0/24"):
        within = f"ip saddr {{ {prefix} }} ip daddr {{ {prefix} }}"
        assert f"{home} meta nfproto ipv4 {within} accept" in text


def test_a_network_beside_the_external_one_is_outside() -> None:
    rules = replace(RULES, interceptions=(Interception(4, 21, (2121,)),))
    text = [*lines(SHARING, rules), *guard_lines(SHARING, rules)]
    intercepted = [line for line in text if "tcp dport 21 " in line]

    assert intercepted
    assert all('iifname { "int0" }' in line for line in intercepted)
    assert not [line for line in text if "198.51.100.0/24" in line and "spoofed" in line]
    assert 'iifname { "ext0" } oifname { "int0" }' not in "".join(
        line for line in text if line.endswith("accept")
    )


def test_nothing_is_written_to_the_mark_of_a_flow_whose_end_may_be_noted_there() -> None:
    for written in (lines(), guard_lines()):
        over = f"ct mark & {marks.ENDS:#x} == {marks.ENDS:#x} accept"
        writes = [
            number for number, line in enumerate(written) if "ct mark set ct mark | 0x1" in line
        ]

        assert written.index(over) < min(writes)
