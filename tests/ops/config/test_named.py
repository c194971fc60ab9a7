"""The language of rules: sets, hosts, users, schedules, limits, and settings of filters."""

import dataclasses
from ipaddress import ip_address

import pytest

from sallyport.addresses import PortRange
from sallyport.core.policy.hosts import Hosts
from sallyport.core.policy.schedules import read_minute
from sallyport.core.policy.terms import AllowedAddresses, Frontend, Peers, Terms
from sallyport.errors import ConfigErrors
from sallyport.ipfilter import IpFilter
from sallyport.ops.config.load import Configuration, parse
from sallyport.ops.config.rule_shapes import TermsShape
from sallyport.ops.control.schema import TermsRow

WHOLE = """\
[networks.internal]
interfaces = ["int0"]
addresses = ["10.0.0.0/24", "fd00:a::/64"]
[networks.vendor]
interfaces = ["ext0"]
addresses = ["198.51.100.0/24"]
[networks.external]
interfaces = ["ext0"]
[[network_rules]]
from = "internal"
to = "external"
ipv4 = "nat"
ipv6 = "route"
[sets]
staff = ["10.0.0.16/28", "fd00:a::100-fd00:a::1ff"]
[[users]]
name = "alice"
groups = ["lab"]
[schedules]
office = ["mon-fri 08:00-18:00"]
[[access_rules]]
name = "office ftp"
action = "allow"
protocols = ["ftp", "tftp"]
from = ["internal", "staff"]
to = ["vendor", "203.0.113.9", "192.0.2.0/25", "192.0.2.200-192.0.2.203"]
users = ["alice", "@lab"]
schedule = "office"
frontends = ["transparent", "pcp"]
max_bindings_per_client = 64
max_binds_per_minute = 600
max_connections_per_minute = 300
max_lifetime = 3600
max_idle = 300
allowed_addresses = "client"
client_ports = "1024-65535"
external_ports = "40000-59999"
peers = "pinned"
[access_rules.filters.ftp]
strict_data_port = true
[[publishing_rules]]
name = "our ftp server"
protocol = "ftp-server"
listen = "203.0.113.1:21"
server = "10.0.0.20:21"
from = ["external"]
full_proxy = false
[filters.ftp]
ports = [21, 2121, "tls:990"]
trust_pasv_address = "replace"
"""


def read(*changes: tuple[str, str]) -> Configuration:
    text = WHOLE
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    return parse(text, "f")


def test_every_key_of_the_language_has_its_meaning() -> None:
    policy = read().policy
    (rule,), (published,) = policy.access_rules, policy.publishing_rules

    assert rule.sources == Hosts(
        frozenset({"internal"}),
        IpFilter.of("10.0.0.16/28").include_range(
            ip_address("fd00:a::100"), ip_address("fd00:a::1ff")
        ),
    )
    assert rule.destinations.networks == {"vendor"}
    assert rule.destinations.texts[1:] == (
        "192.0.2.0-192.0.2.127",
        "192.0.2.200-192.0.2.203",
        "203.0.113.9",
    )
    assert rule.users == frozenset({"alice", "@lab"})
    assert rule.schedule is not None
    assert rule.schedule.holds(read_minute("mon 08:00"))
    assert rule.frontends == frozenset({Frontend.TRANSPARENT, Frontend.PCP})
    assert (rule.max_lifetime, rule.max_idle) == (3600, 300)
    assert (rule.max_binds_per_minute, rule.max_connections_per_minute) == (600, 300)
    assert rule.allowed_addresses is AllowedAddresses.CLIENT
    assert rule.client_ports == PortRange(1024, 65535)
    assert rule.external_ports == PortRange(40000, 59999)
    assert rule.peers is Peers.PINNED
    assert rule.filters == {"ftp": {"strict_data_port": True}}
    assert published.sources == Hosts.of("external")
    assert policy.groups == {"alice": {"lab"}}
    assert policy.is_timed


def test_the_settings_of_ftp_are_values_in_a_rule() -> None:
    text = 'read_only = true\ndeny = ["SITE"]\npassive_range = "50000-50099"\ntransfer_wait = 90'
    changes = ("strict_data_port = true", text), ("max_bindings_per_client = 64\n", "")
    configuration = read(*changes)
    (rule,), (published,) = configuration.policy.access_rules, configuration.policy.publishing_rules
    assert (rule.max_bindings_per_client, published.max_bindings_per_client) == (164, 64)
    assert configuration.policy.kept_ports == frozenset(range(50000, 50100))

    assert rule.filters == {
        "ftp": {
            "read_only": True,
            "deny": ("SITE",),
            "passive_range": PortRange(50000, 50099),
            "transfer_wait": 90,
        }
    }


def test_a_protocol_is_spoken_at_each_port_that_its_filter_has_in_the_configuration() -> None:
    spoken = {(one.name, one.dialled_port, one.is_in_tls) for one in read().supervised}

    assert spoken == {
        ("ftp", 21, False),
        ("ftp", 2121, False),
        ("ftp", 990, True),
        ("tftp", 69, False),
    }
    assert read().supervised_names == ("ftp", "tftp")


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        (
            '"internal", "staff"',
            '"internal", "staf"',
            "f:25: no network and no set is named 'staf'; write 'staff'",
        ),
        (
            '"203.0.113.9"',
            '"203.0.113.900"',
            "f:26: '203.0.113.900' is no address, prefix or range; write one like 10.0.0.8,"
            " 10.0.0.16/28 or 10.0.0.8-10.0.0.15",
        ),
        ('"alice", "@lab"', '"alicia"', "f:27: no user is named 'alicia'; write 'alice'"),
        ('"alice", "@lab"', '"@lob"', "f:27: no user is in the group '@lob'; write '@lab'"),
        (
            'schedule = "office"',
            'schedule = "ofice"',
            "f:28: no schedule is named 'ofice'; write 'office'",
        ),
        (
            '"mon-fri 08:00-18:00"',
            '"mon-fri 8-18"',
            "f:20: 'mon-fri 8-18' is no time of a week; write one like \"mon-fri 08:00-18:00\"",
        ),
        (
            '"1024-65535"',
            '"1024-"',
            "f:36: '1024-' is no range of ports; write one within 1-65535, such as 1024-65535",
        ),
        (
            "max_lifetime",
            "max_life",
            "f:33: unknown key 'max_life' in access_rules; write 'max_lifetime'",
        ),
        (
            "strict_data_port = true",
            "strict_dataport = true",
            "f:40: unknown key 'strict_dataport' in access_rules.filters.ftp; write"
            " 'strict_data_port'",
        ),
        (
            "strict_data_port = true",
            'deny = ["SITE", "dele"]',
            'f:40: deny cannot be "dele"; write a list of verbs in capitals, such as ["SITE",'
            ' "DELE"]',
        ),
        (
            "strict_data_port = true",
            'passive_range = "50099-50000"',
            'f:40: passive_range cannot be "50099-50000"; write a range of ports, such as'
            ' "50000-50099"',
        ),
        (
            "strict_data_port = true",
            'passive_range = "50000-50099"',
            "f:30: 64 is less than the 100 ports of a passive_range; write 100 or more",
        ),
        (
            "strict_data_port = true",
            'tls = "off"',
            'f:40: tls cannot be "off"; write "pass" or "refuse"',
        ),
        (
            "[access_rules.filters.ftp]",
            "[access_rules.filters.rtsp]",
            "f:39: the filter 'rtsp' speaks no protocol of this rule; write 'ftp'",
        ),
        (
            "staff = [",
            "internal = [",
            "f:15: a network is named 'internal' already; rename one of them",
        ),
        (
            "staff = [",
            '"st aff" = [',
            'f:15: "st aff" cannot be a name in sets; write 1 to 32 letters, digits, - or _',
        ),
        (
            'from = ["external"]',
            'from = ["extern"]',
            "f:46: no network and no set is named 'extern'; write 'external'",
        ),
        (
            '[21, 2121, "tls:990"]',
            '[21, 2121, "ssl:990"]',
            'f:49: ports cannot be "ssl:990"; write a list of ports, such as [21, 2121, "tls:990"]',
        ),
        (
            "[21, 2121,",
            "[21, 21,",
            "f:49: 21 is no port or stands before; write each port once, 1-65535",
        ),
        ("[21, 2121,", "[21, 69,", None),
    ],
)
def test_a_mistake_is_told_with_its_line_and_what_to_write(
    before: str, after: str, problem: str | None
) -> None:
    if problem is None:
        assert read((before, after)).supervised
        return
    with pytest.raises(ConfigErrors) as caught:
        read((before, after))
    assert problem in [str(error) for error in caught.value.errors]


def test_the_name_of_an_unknown_table_finds_the_new_ones() -> None:
    with pytest.raises(ConfigErrors, match="unknown table 'schedule'; write 'schedules'"):
        read(("[schedules]", "[schedule]"))


@pytest.mark.parametrize("table", ["sets = 1", "schedules = 1", "users = 1"])
def test_tables_of_another_kind_are_told(table: str) -> None:
    with pytest.raises(ConfigErrors, match="is not a"):
        parse(table, "f")


def test_a_second_user_of_one_name_is_told() -> None:
    with pytest.raises(ConfigErrors, match="a user 'alice' stands above; write one"):
        read(("[schedules]", '[[users]]\nname = "alice"\n[schedules]'))


def test_a_key_of_a_rule_has_one_name_in_the_policy_in_the_file_and_in_lists() -> None:
    names = {one.name for one in dataclasses.fields(Terms)}

    assert names == set(TermsShape.__struct_fields__)
    assert names == set(TermsRow.__struct_fields__) - {"name"}
