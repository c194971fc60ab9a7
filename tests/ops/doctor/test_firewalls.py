"""Whose a closed chain is, and what its tool wants; real ones are in interop/test_doctor.py."""

import pytest

from sallyport.ops.doctor.firewalls import FirewallTool, check_firewalls
from sallyport.ops.doctor.rulesets import ChainName, HostRules, NftChain

IPTABLES = "-A DOCKER-USER -m connmark --mark 0x80000000/0x80000000 -j ACCEPT\n"


def host(table: str, *chains: str, family: str = "ip") -> HostRules:
    """A host whose forwarding is closed in `table`, and leads to `chains`."""
    base = NftChain(ChainName(family, table, "FORWARD"), "forward", "drop")
    base.rules = [[{"jump": {"target": name}}] for name in chains]
    others = [NftChain(ChainName(family, table, name)) for name in chains]
    return HostRules({one.name: one for one in (base, *others)})


@pytest.mark.parametrize(
    ("rules", "tool", "typed"),
    [
        (
            host("filter", "ufw-before-forward"),
            FirewallTool.UFW,
            "-A ufw-before-forward -m connmark",
        ),
        (host("filter", "DOCKER-USER", "DOCKER"), FirewallTool.DOCKER, "iptables -I DOCKER-USER"),
        (host("docker-bridges"), FirewallTool.DOCKER, "ip6tables -I DOCKER-USER"),
        (host("filter", "LIBVIRT_FWI"), FirewallTool.LIBVIRT, "iptables -I FORWARD"),
        (
            host("libvirt_network"),
            FirewallTool.LIBVIRT,
            "nft insert rule ip libvirt_network FORWARD",
        ),
        (host("filter", "KUBE-FORWARD"), FirewallTool.KUBE_PROXY, "iptables -I FORWARD"),
        (
            host("router", family="inet"),
            FirewallTool.NFT,
            "nft insert rule inet router FORWARD 'ct mark",
        ),
    ],
)
def test_each_firewall_is_recognised_and_told_in_its_own_words(
    rules: HostRules, tool: FirewallTool, typed: str
) -> None:
    (found,) = check_firewalls(rules, "", ["int0"], ["21/tcp"])

    assert found.what.startswith(tool)
    assert any(line.startswith(typed) for line in found.remedy), found.remedy


@pytest.mark.parametrize(
    ("rules", "iptables"),
    [
        (host("filter", "DOCKER-USER"), IPTABLES),
        (host("sallyport", family="inet"), ""),
        (host("sallyport_guard1", family="inet"), ""),
        (host("filter", family="bridge"), ""),
        (HostRules({}), ""),
    ],
)
def test_what_lets_ours_pass_is_not_named(rules: HostRules, iptables: str) -> None:
    assert list(check_firewalls(rules, iptables, ["int0"], ["21/tcp"])) == []


def test_rules_of_iptables_say_nothing_about_another_table() -> None:
    assert list(check_firewalls(host("router"), IPTABLES, [], []))
