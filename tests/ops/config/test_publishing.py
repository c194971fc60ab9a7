from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from tests.ops.config.offered import TALK, catalogue, offer

from sallyport.addresses import Endpoint, PortRange
from sallyport.core.policy.rules import PublishingRule
from sallyport.errors import ConfigErrors, StartupError
from sallyport.flags import Transport
from sallyport.ops.config.load import parse
from sallyport.ops.config.publishing import is_routed, require_own_addresses, settled

# Seventeen lines; the rule that follows begins in line 18.
NETWORKS = """\
[networks.internal]
interfaces = ["int0"]
addresses = ["10.0.0.0/24", "fd00:a::/64"]
[networks.dmz]
interfaces = ["dmz0"]
addresses = ["192.168.7.0/24"]
[networks.external]
interfaces = ["ext0"]
[[network_rules]]
from = "internal"
to = "external"
ipv4 = "nat"
ipv6 = "route"
[[network_rules]]
from = "internal"
to = "dmz"
ipv4 = "route"
"""


def rule(**keys: str) -> str:
    """Write a rule; the keys stand in the lines after the first, in this order."""
    values = {
        "name": '"our ftp server"',
        "protocol": '"ftp-server"',
        "listen": '"203.0.113.1:21"',
        "server": '"10.0.0.20:21"',
    } | keys
    return "\n".join(["[[publishing_rules]]", *(f"{k} = {v}" for k, v in values.items()), ""])


def complaints(*rules: str) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        parse(NETWORKS + "".join(rules), "f")
    return [str(error) for error in caught.value.errors]


def test_a_rule_follows_the_transport_of_its_protocol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = 'ProtocolDefinition("talk-server", Transport.UDP, 5005, Direction.INBOUND)'
    text = TALK.replace('ProtocolDefinition("talk", Transport.TCP, 5005)', definition)
    text = text.replace("ApplicationFilter, ", "ApplicationFilter, Direction, ")
    offer(tmp_path, text, "talk = Talk")
    offered = catalogue(tmp_path, monkeypatch)

    # One port over both transports: two rules.
    both = rule() + rule(name='"talk"', protocol='"talk-server"')
    rules = parse(NETWORKS + both, "f", offered).policy.publishing_rules

    assert [(one.transport, one.listen) for one in rules] == [
        (transport, Endpoint.parse("203.0.113.1:21")) for transport in Transport
    ]


def test_a_rule_says_which_server_is_reached_where_and_how_far_it_may_go() -> None:
    text = rule(full_proxy="true", max_bindings_per_client="7", client_ports='"30000-30009"')

    assert parse(NETWORKS + text, "f").policy.publishing_rules == (
        PublishingRule(
            name="our ftp server",
            protocol="ftp-server",
            listen=Endpoint.parse("203.0.113.1:21"),
            server=Endpoint.parse("10.0.0.20:21"),
            full_proxy=True,
            max_bindings_per_client=7,
            client_ports=PortRange(30000, 30009),
        ),
    )


def test_a_routed_server_is_published_at_its_own_address() -> None:
    text = rule(listen='"[fd00:a::20]:21"', server='"[fd00:a::20]:21"')
    (published,) = parse(NETWORKS + text, "f").policy.publishing_rules

    assert is_routed(published)


def test_several_servers_share_an_address_of_the_gateway_by_their_ports() -> None:
    second = rule(name='"second"', listen='"203.0.113.1:2121"', server='"10.0.0.20:2121"')

    assert len(parse(NETWORKS + rule() + second, "f").policy.publishing_rules) == 2


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        (
            {"protocol": '"ftp"'},
            "f:20: no filter publishes 'ftp'; write one of:"
            " ftp-server, tftp-server, rtsp-server, sip-server, sip-server-tcp",
        ),
        (
            {"listen": '"203.0.113.1"'},
            "f:21: '203.0.113.1' is not ADDRESS:PORT; write one like 203.0.113.1:21",
        ),
        (
            {"server": '"fd00:a::20:21"'},
            "f:22: 'fd00:a::20:21' is not ADDRESS:PORT; IPv6 is written [address]:port;"
            " write one like 203.0.113.1:21",
        ),
        (
            {"listen": '"0.0.0.0:21"'},
            "f:21: '0.0.0.0:21' does not name one port of one host; write one like 203.0.113.1:21",
        ),
        (
            {"listen": '"203.0.113.1:0"'},
            "f:21: '203.0.113.1:0' does not name one port of one host;"
            " write one like 203.0.113.1:21",
        ),
        (
            {"listen": '"[2001:db8::1]:21"'},
            "f:22: listen and server are addresses of two families; write two of one family",
        ),
        (
            {"server": '"198.51.100.7:21"'},
            "f:22: 198.51.100.7 is in no inside network; name a server in one that has addresses",
        ),
        (
            {"server": '"192.168.7.20:21"'},
            "f:22: no network rule relates 'dmz' to the external network for ipv4; write one with"
            ' ipv4 = "nat" or "route"',
        ),
        (
            {"listen": '"[2001:db8::1]:21"', "server": '"[fd00:a::20]:21"'},
            "f:21: ipv6 is routed, and outside clients know the server's own address; write"
            ' listen = "[fd00:a::20]:21"',
        ),
        (
            {
                "listen": '"[fd00:a::20]:21"',
                "server": '"[fd00:a::20]:21"',
                "full_proxy": "true",
            },
            "f:23: ipv6 is routed, and full proxy translates; write full_proxy = false",
        ),
        (
            {"listen": '"10.0.0.20:21"'},
            "f:21: 10.0.0.20 is behind NAT, where no outside host can reach it; write an outside"
            " address of the gateway",
        ),
        (
            {"listen": '"203.0.113.1:40000"'},
            "f:21: port 40000 is in port_range 40000-59999, where bindings live; write another",
        ),
        (
            {"listen": '"int0:21"'},
            "f:21: 'int0' is neither an address nor an interface of an outside network; write one"
            " like 203.0.113.1:21 or ext0:21",
        ),
        (
            {"listen": '"203.0.113.300:21"'},
            "f:21: '203.0.113.300' is neither an address nor an interface of an outside network;"
            " write one like 203.0.113.1:21 or ext0:21",
        ),
        (
            {"listen": '"ext0:0"'},
            "f:21: 'ext0:0' does not name one port of one interface; write one like ext0:21",
        ),
        (
            {"listen": '"ext0:21"', "server": '"[fd00:a::20]:21"'},
            "f:21: ipv6 is routed, and outside clients know the server's own address; write"
            ' listen = "[fd00:a::20]:21"',
        ),
        (
            {"max_bindings_per_client": "0"},
            "f:23: max_bindings_per_client cannot be 0; write a number from 1 to 60000",
        ),
    ],
)
def test_what_cannot_be_published_is_told_with_its_line(
    keys: dict[str, str], complaint: str
) -> None:
    assert complaints(rule(**keys)) == [complaint]


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        (
            {"server": '"10.0.0.21:21"', "listen": '"203.0.113.2:21"'},
            "f:24: a rule named 'our ftp server' stands above; rename one",
        ),
        (
            {"name": '"other"', "server": '"10.0.0.21:21"'},
            "f:26: 203.0.113.1:21 is taken by the rule 'our ftp server'; write another address or"
            " port",
        ),
        (
            {"name": '"other"', "listen": '"203.0.113.2:21"'},
            "f:26: 10.0.0.20 is published at 203.0.113.1 by the rule 'our ftp server'; publish it"
            " there as well",
        ),
        (
            {"name": '"other"', "listen": '"ext0:21"'},
            "f:26: 10.0.0.20 is published at 203.0.113.1 by the rule 'our ftp server'; publish it"
            " there as well",
        ),
    ],
)
def test_rules_that_contradict_those_above_are_told(keys: dict[str, str], complaint: str) -> None:
    assert complaints(rule(), rule(**keys)) == [complaint]


def test_two_rules_cannot_follow_one_interface_at_one_port() -> None:
    first, second = (
        rule(name=f'"{number}"', listen='"ext0:21"', server=f'"10.0.0.{number}:21"')
        for number in (20, 21)
    )

    assert complaints(first, second) == [
        "f:26: ext0:21 is taken by the rule '20'; write another address or port"
    ]


def followed(text: str, *addresses: str) -> list[tuple[str, str]]:
    """Return what is published where while ext0 has these addresses."""
    there = [ip_address(address) for address in addresses]
    rules = settled(parse(text, "f").policy.publishing_rules, {"ext0": there})
    return [(str(one.listen), str(one.server)) for one in rules]


def test_a_rule_with_an_interface_listens_at_each_address_of_its_servers_family() -> None:
    both = NETWORKS.replace('ipv6 = "route"', 'ipv6 = "nat"')
    four = rule(listen='"ext0:21"')
    six = rule(name='"6"', listen='"ext0:21"', server='"[fd00:a::20]:21"')

    assert followed(both + four + six, "203.0.113.1", "2001:db8::1", "203.0.113.7") == [
        ("203.0.113.1:21", "10.0.0.20:21"),
        ("203.0.113.7:21", "10.0.0.20:21"),
        ("[2001:db8::1]:21", "[fd00:a::20]:21"),
    ]
    assert followed(both + four) == []


def test_what_is_written_about_one_address_holds_there_beside_the_interface() -> None:
    written = rule(name='"written"', server='"10.0.0.21:21"')

    assert followed(
        NETWORKS + rule(listen='"ext0:21"') + written, "203.0.113.1", "203.0.113.7"
    ) == [("203.0.113.1:21", "10.0.0.21:21"), ("203.0.113.7:21", "10.0.0.20:21")]


def test_networks_that_are_wrong_are_told_without_blaming_the_rules_that_rest_on_them() -> None:
    text = NETWORKS.replace("10.0.0.0/24", "office") + rule()

    with pytest.raises(ConfigErrors) as caught:
        parse(text, "f")
    assert str(caught.value) == "f:3: 'office' is not a network; write one like 10.0.0.0/24"


def test_at_start_the_address_behind_nat_must_be_one_of_ours() -> None:
    policy = parse(NETWORKS + rule(), "f").policy
    ours = replace(policy, gateway_addresses=frozenset({ip_address("203.0.113.1")}))

    require_own_addresses(ours)
    with pytest.raises(StartupError, match=r"'our ftp server': 203\.0\.113\.1 is no address"):
        require_own_addresses(policy)


def test_at_start_a_routed_servers_address_need_not_be_ours() -> None:
    text = rule(listen='"[fd00:a::20]:21"', server='"[fd00:a::20]:21"')

    require_own_addresses(parse(NETWORKS + text, "f").policy)
