import os
import re
from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.shipped import FILTERS, KNOWN, UNNAMED_SETTINGS

from sallyport.addresses import Endpoint, IpInterface, PortRange
from sallyport.core.policy.hosts import Hosts
from sallyport.core.policy.rules import (
    AccessRule,
    Action,
    Network,
    NetworkRule,
    PublishingRule,
    Relation,
)
from sallyport.core.policy.terms import AllowedAddresses
from sallyport.errors import ConfigErrors, StartupError
from sallyport.ops.config.load import from_interfaces, load, parse
from sallyport.ops.config.settings import DataPathChoice, GatewaySettings

EXAMPLE = """\
[gateway]
data_path = "auto"                 # auto | kernel | user
port_range = "40000-59999"         # external ports that bindings may use
control_socket = "/run/sallyport/control.sock"

[networks.internal]
interfaces = ["int0"]
addresses = ["10.0.0.0/24", "fd00:a::/64"]

[networks.external]
interfaces = ["ext0"]              # no addresses: all that no other network claims

[[network_rules]]                  # no relation between two networks = no traffic between them
from = "internal"
to = "external"
ipv4 = "nat"                       # nat | route
ipv6 = "route"

[[access_rules]]                   # in order, first match wins, the last word is deny
name = "office ftp"
action = "allow"
protocols = ["ftp", "tftp"]
from = ["internal"]
to = ["external"]
max_bindings_per_client = 64
allowed_addresses = "client"       # client | class-c | network | all
client_ports = "1024-65535"

[[publishing_rules]]               # inbound: a server of ours, reachable from outside
name = "our ftp server"
protocol = "ftp-server"
listen = "203.0.113.1:21"
server = "10.0.0.20:21"
full_proxy = false

[filters.ftp]
"""
DEFAULT_FILTERS: dict[str, dict[str, object]] = {
    "ftp": {
        "read_only": False,
        "deny": (),
        "tls": "pass",
        "passive_range": None,
        "any_peer": False,
        "transfer_wait": 3600,
        "trust_pasv_address": "server",
        "strict_data_port": False,
        "trace_users": False,
    },
    "tftp": {"read_only": False},
    **UNNAMED_SETTINGS,
}
NETWORKS = """\
[networks.internal]
interfaces = ["int0"]
addresses = ["10.0.0.0/24"]
[networks.external]
interfaces = ["ext0"]
"""


def complaints(text: str) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        parse(text, "f")
    return [str(error) for error in caught.value.errors]


def test_the_manuals_example_means_what_it_says() -> None:
    configuration = parse(EXAMPLE, "sallyport.toml")

    assert configuration.gateway == GatewaySettings(
        data_path=DataPathChoice.AUTO,
        port_range=PortRange(40000, 59999),
        control_socket=Path("/run/sallyport/control.sock"),
        masquerade=True,
    )
    assert configuration.policy.networks == (
        Network("internal", ("int0",), (ip_network("10.0.0.0/24"), ip_network("fd00:a::/64"))),
        Network("external", ("ext0",), ()),
    )
    assert configuration.policy.network_rules == (
        NetworkRule("internal", "external", ipv4=Relation.NAT, ipv6=Relation.ROUTE),
    )
    assert configuration.policy.access_rules == (
        AccessRule(
            name="office ftp",
            action=Action.ALLOW,
            protocols=frozenset({"ftp", "tftp"}),
            sources=Hosts.of("internal"),
            destinations=Hosts.of("external"),
            max_bindings_per_client=64,
            allowed_addresses=AllowedAddresses.CLIENT,
        ),
    )
    assert configuration.policy.publishing_rules == (
        PublishingRule(
            name="our ftp server",
            protocol="ftp-server",
            listen=Endpoint.parse("203.0.113.1:21"),
            server=Endpoint.parse("10.0.0.20:21"),
            full_proxy=False,
            max_bindings_per_client=64,
        ),
    )
    assert configuration.policy.filter_settings == DEFAULT_FILTERS


def test_the_readmes_example_can_be_run() -> None:
    readme = Path(__file__).parents[3].joinpath("README.md").read_text(encoding="utf-8")
    example, *_parts = re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)

    policy = parse(example, "README.md").policy

    assert [rule.name for rule in policy.access_rules] == ["office ftp"]
    assert [rule.name for rule in policy.publishing_rules] == ["our ftp server"]


def test_every_key_can_say_something_else_than_its_default() -> None:
    configuration = parse(
        EXAMPLE.replace('"auto" ', '"user" ')
        .replace("40000-59999", "2000-2999")
        .replace("/run/sallyport/control.sock", '/run/s"\nmasquerade = false\n#')
        .replace('"client" ', '"class-c" ')
        .replace("[filters.ftp]", '[filters.ftp]\ntrust_pasv_address = "replace"'),
        "f",
    )

    assert configuration.gateway == GatewaySettings(
        DataPathChoice.USER,
        PortRange(2000, 2999),
        Path("/run/s"),
        masquerade=False,
    )
    assert configuration.policy.access_rules[0].allowed_addresses is AllowedAddresses.CLASS_C
    assert configuration.policy.filter_settings["ftp"] == {
        **DEFAULT_FILTERS["ftp"],
        "trust_pasv_address": "replace",
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            NETWORKS + '[gateway]\nport_range = "40000"',
            "f:7: '40000' is not FIRST-LAST; write a range within 1024-65535, such as 40000-59999",
        ),
        (
            NETWORKS + '[gateway]\nport_range = "1500-65000"',
            "f:7: port_range 1500-65000 leaves 535 consecutive ports for masquerading, which"
            " needs 1024; write a smaller range or masquerade = false",
        ),
        (
            NETWORKS + "[gateway]\nnode = 2\nworkers = 5",
            "f:8: a node of a pair has at most 4 workers, not 5; write workers = 4 or fewer",
        ),
        (
            NETWORKS + '[gateway]\ncontrol_socket = "run"',
            "f:7: control_socket 'run' is not an absolute path; begin it with /",
        ),
        (
            NETWORKS.replace("10.0.0.0/24", "10.0.0.1/24"),
            "f:3: '10.0.0.1/24' has host bits set; write '10.0.0.0/24'",
        ),
        (
            NETWORKS.replace("10.0.0.0/24", "office"),
            "f:3: 'office' is not a network; write one like 10.0.0.0/24",
        ),
        (
            NETWORKS.replace("10.0.0.0/24", "fe80::%eth0/64"),
            "f:3: 'fe80::%eth0/64' has a zone; write the network alone",
        ),
        (
            NETWORKS.replace("10.0.0.0/24", "0.0.0.0/0"),
            "f:3: '0.0.0.0/0' claims everything; leave the key addresses out instead",
        ),
        (
            NETWORKS + 'addresses = [\n"10.1.0.0/16",\n"10.0.0.128/25"]',
            "f:8: 10.0.0.128/25 overlaps 10.0.0.0/24 of 'internal'; write networks that are apart",
        ),
        (
            NETWORKS.replace('"10.0.0.0/24"', '"10.0.0.0/24", "10.0.0.0/24"'),
            "f:3: 10.0.0.0/24 overlaps 10.0.0.0/24 of 'internal'; write networks that are apart",
        ),
        (
            NETWORKS.replace('["int0"]', '["int0", "int0"]'),
            "f:2: int0 stands before it; name it once",
        ),
        (
            NETWORKS + '[networks.dmz]\ninterfaces = ["dmz0"]',
            "f:6: 'dmz' has no addresses like 'external', and only one network can have what"
            ' others leave; write addresses = ["10.0.0.0/24"]',
        ),
        (
            NETWORKS.replace("addresses", "adresses"),
            "f:3: unknown key 'adresses' in networks.internal; write 'addresses'",
        ),
        ("", "f:1: no networks; write [networks.internal] and [networks.external]"),
        (
            NETWORKS + '[[network_rules]]\nfrom = "internal"\nto = "extern"\nipv4 = "nat"',
            "f:8: no network is named 'extern'; write 'external'",
        ),
        (
            NETWORKS + '[[network_rules]]\nfrom = "internal"\nto = "external"',
            'f:6: the rule relates nothing; write ipv4 = "nat" or ipv6 = "route"',
        ),
        (
            NETWORKS + '[[network_rules]]\nfrom = "internal"\nto = "external"\nipv4 = "nat"\n' * 2,
            "f:10: a rule from 'internal' to 'external' stands above; write one rule for both",
        ),
        (
            EXAMPLE.replace('"ftp", "tftp"]', '"ftp", "ftp-server"]'),
            "f:22: no filter speaks 'ftp-server'; write one of: " + KNOWN,
        ),
        (
            EXAMPLE.replace('to = ["external"]', 'to = ["external",\n"dmz"]'),
            "f:25: no network and no set is named 'dmz'; write one of: internal, external",
        ),
        (
            EXAMPLE + EXAMPLE[EXAMPLE.index("[[access") : EXAMPLE.index("[[publishing")],
            "f:38: a rule named 'office ftp' stands above; rename one",
        ),
        ("a = nat", "f:1: not TOML: Invalid value at column 5; check quotes and brackets"),
        ("\n\na = [", "f:3: not TOML: Invalid value; check quotes and brackets"),
        ("a = " + "[" * 5000, "f:1: arrays are nested too deeply; write flat lists"),
    ],
)
def test_what_cannot_be_meant_is_told_with_its_line(text: str, complaint: str) -> None:
    assert complaints(text) == [complaint]


def test_one_reading_tells_all_mistakes_in_the_order_of_lines() -> None:
    text = EXAMPLE.replace("40000-59999", "x").replace("fd00:a::/64", "?").replace('"nat" ', '"n" ')

    assert [complaint.split(":")[1] for complaint in complaints(text)] == ["3", "8", "16"]


def test_a_number_too_long_for_python_is_a_mistake_in_the_file() -> None:
    assert complaints("a = " + "9" * 5000)[0].startswith("f:1: not TOML: Exceeds the limit")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"a = 1\n\xff", ":2: byte 0xff is not UTF-8; save the file as UTF-8"),
        (b"#" * (1024 * 1024 + 1), ":1: longer than 1048576 bytes; name a TOML file"),
    ],
)
def test_files_that_are_no_text_are_told_so(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "f.toml"
    path.write_bytes(content)

    with pytest.raises(ConfigErrors) as caught:
        load(path)

    assert str(caught.value) == f"{path}{complaint}"


def test_a_missing_file_is_told_as_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match="cannot be read: No such file or directory"):
        load(tmp_path / "none.toml")


def test_a_file_means_the_same_as_its_text(tmp_path: Path) -> None:
    path = tmp_path / "f.toml"
    path.write_text(EXAMPLE)

    read, parsed = load(path), parse(EXAMPLE, "anything")
    assert (read.gateway, read.policy) == (parsed.gateway, parsed.policy)
    assert [one.kind.name for one in read.filters] == [*FILTERS]


PIECES = st.sampled_from([*EXAMPLE.splitlines(keepends=True), "= 0x" + "f" * 5000, "[", "'", "\0"])


@given(st.one_of(st.text(), st.lists(PIECES, max_size=30).map("".join)))
@example("'\x1e0")  # to Python a separator of lines, to TOML and to editors none
def test_any_text_is_a_configuration_or_a_configuration_error(text: str) -> None:
    lines = [1]
    try:
        parse(text, "f")
    except ConfigErrors as caught:
        lines = [error.line for error in caught.errors]

    assert lines
    assert all(1 <= line <= text.count("\n") + 1 for line in lines)


NAMES = st.text("abcdefghijklmnop_-", min_size=1, max_size=12)


@given(
    ports=st.integers(2048, 65535).flatmap(
        lambda first: st.integers(first, 65535).map(lambda last: PortRange(first, last))
    ),
    inside=NAMES,
    relation=st.sampled_from(Relation),
    reach=st.sampled_from(AllowedAddresses),
    quota=st.integers(1, 60000),
    lowest=st.integers(1, 65535),
)
def test_what_is_written_is_what_is_read(
    *,
    ports: PortRange,
    inside: str,
    relation: Relation,
    reach: AllowedAddresses,
    quota: int,
    lowest: int,
) -> None:
    word = {0: "client", 1: "class-c", 2: "network", 3: "all"}[reach]
    configuration = parse(
        f"""
        gateway.port_range = "{ports}"
        networks.{inside} = {{ interfaces = ["in"], addresses = ["192.0.2.0/25"] }}
        networks.OUT.interfaces = ["out"]
        network_rules = [{{ from = "{inside}", to = "OUT", ipv6 = "{relation}" }}]
        [[access_rules]]
        name = "{inside}"
        action = "deny"
        protocols = ["ftp"]
        from = ["{inside}", "OUT"]
        to = ["OUT"]
        allowed_addresses = "{word}"
        max_bindings_per_client = {quota}
        client_ports = "{lowest}-65535"
        """,
        "f",
    )

    assert configuration.gateway.port_range == ports
    assert configuration.policy.networks == (
        Network(inside, ("in",), (ip_network("192.0.2.0/25"),)),
        Network("OUT", ("out",)),
    )
    assert configuration.policy.network_rules == (NetworkRule(inside, "OUT", ipv6=relation),)
    assert configuration.policy.access_rules == (
        AccessRule(
            inside,
            Action.DENY,
            frozenset({"ftp"}),
            Hosts.of(inside, "OUT"),
            Hosts.of("OUT"),
            max_bindings_per_client=quota,
            allowed_addresses=reach,
            client_ports=PortRange(lowest, 65535),
        ),
    )


def interfaces(**addresses: Sequence[str]) -> dict[str, list[IpInterface]]:
    return {name: [ip_interface(text) for text in texts] for name, texts in addresses.items()}


def test_two_interfaces_make_a_small_gateway() -> None:
    addresses = interfaces(
        int0=["10.0.0.1/24", "10.0.0.2/24", "fe80::1/64", "fd00:a::1/64"],
        ext0=["203.0.113.1/24", "fe80::2/64"],
    )

    configuration = from_interfaces("int0", "ext0", addresses.__getitem__)

    assert configuration.gateway == GatewaySettings()
    assert configuration.policy.networks == (
        Network("internal", ("int0",), (ip_network("10.0.0.0/24"), ip_network("fd00:a::/64"))),
        Network("external", ("ext0",)),
    )
    assert configuration.policy.network_rules == (
        NetworkRule("internal", "external", Relation.NAT, Relation.ROUTE),
    )
    assert configuration.policy.access_rules == (
        AccessRule(
            "default outbound",
            Action.ALLOW,
            frozenset({"ftp", "tftp"}),
            Hosts.of("internal"),
            Hosts.of("external"),
        ),
    )
    assert configuration.policy.filter_settings == DEFAULT_FILTERS


@pytest.mark.parametrize(
    ("internal", "external", "complaint"),
    [
        ("int0", "int0", "int0 cannot be internal and external"),
        ("bare", "ext0", "bare has no address"),
        ("int0", "same", r"int0 and same are both in 10\.0\.0\.0/24"),
    ],
)
def test_interfaces_that_make_no_gateway_are_refused(
    internal: str, external: str, complaint: str
) -> None:
    addresses = interfaces(
        int0=["10.0.0.1/24"], ext0=["203.0.113.1/24"], bare=["fe80::1/64"], same=["10.0.0.9/16"]
    )

    with pytest.raises(StartupError, match=complaint):
        from_interfaces(internal, external, addresses.__getitem__)


SOURCE = 'interfaces = ["ext0"]              # no addresses: all that no other network claims'


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ('"203.0.113.7"', ["203.0.113.7"]),
        ('["203.0.113.7", "2001:db8::7"]', ["203.0.113.7", "2001:db8::7"]),
    ],
)
def test_a_network_may_name_the_gateways_own_address_for_each_ip_version(
    written: str, expected: list[str]
) -> None:
    policy = parse(EXAMPLE.replace(SOURCE, f"{SOURCE}\nsource = {written}"), "f").policy
    external = next(one for one in policy.networks if one.is_external)

    assert list(map(str, external.source)) == expected
    assert policy.source_towards(ip_address("203.0.113.9")) == external.source[0]
    assert policy.source_towards(ip_address("10.0.0.8")) is None


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ('"203.0.113"', "is not an address; write one like 203.0.113.1"),
        ('"127.0.0.1"', "write an address of the gateway"),
        ('["203.0.113.1", "203.0.113.2"]', "two IPv4 addresses; write one of them"),
    ],
)
def test_a_source_that_cannot_be_meant_is_an_error_with_what_to_write(
    written: str, says: str
) -> None:
    with pytest.raises(ConfigErrors) as caught:
        parse(EXAMPLE.replace(SOURCE, f"{SOURCE}\nsource = {written}"), "f")

    assert says in str(caught.value)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_bytes(b"\xef\xbb\xbf" + b'[gateway]\ndata_path = "user"\nport_range = "no"\n')

    with pytest.raises(ConfigErrors) as errors:
        load(file)
    assert {error.line for error in errors.value.errors} >= {3}


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_refused_at_once(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "a.toml")

    with pytest.raises(ConfigErrors, match=r"not a regular file|Is a directory"):
        load(tmp_path / "a.toml")


@pytest.mark.parametrize(
    "text",
    [
        "[gateway]\n[gateway]\n",
        "[a.b]\n[a.b]\n",
        "[gateway]\nport_range = 'x'\nport_range = 'y'\n",
        "a = {}\n[a.b]\n",
        "a.b = 1\n[a]\n",
        "a = []\n[[a]]\n",
    ],
)
def test_no_text_of_python_shows_through(text: str) -> None:
    with pytest.raises(ConfigErrors) as errors:
        parse(text, "a.toml")
    assert "('" not in str(errors.value)
