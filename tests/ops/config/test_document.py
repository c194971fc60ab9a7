import tomllib

import pytest

from sallyport.errors import ConfigErrors
from sallyport.ops.config.document import ConfigDocument, Report, nearest, read_document, shown
from sallyport.ops.config.toml_lines import line_map


def read(text: str) -> tuple[ConfigDocument, list[str]]:
    report = Report("f", line_map(text))
    document = read_document(tomllib.loads(text), report)
    return document, [str(error) for error in report.errors]


def test_an_empty_document_has_defaults_and_no_tables() -> None:
    document, complaints = read("")

    assert complaints == []
    assert document.gateway is not None
    assert document.gateway.port_range == "40000-59999"
    assert document.networks == {}
    assert document.access_rules == ()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[gatway]", "f:1: unknown table 'gatway'; write 'gateway'"),
        (
            "[gateway]\nportrange = 1",
            "f:2: unknown key 'portrange' in gateway; write 'port_range'",
        ),
        (
            "gateway = 1",
            "f:1: gateway is 1, not a table; write keys below [gateway]",
        ),
        (
            "[gateway]\ndata_path = 'fast'",
            'f:2: data_path cannot be "fast"; write "auto", "kernel" or "user"',
        ),
        ("[gateway]\nmasquerade = 1", "f:2: masquerade cannot be 1; write true or false"),
        (
            "[gateway]\nworkers = 9",
            'f:2: workers cannot be 9; write a number from 1 to 8, or "auto"',
        ),
        (
            '[gateway]\nworkers = "many"',
            'f:2: workers cannot be "many"; write a number from 1 to 8, or "auto"',
        ),
        ("[gateway]\nnode = 3", "f:2: node cannot be 3; write 1 or 2"),
        (
            "[gateway]\ndrain_seconds = -1",
            "f:2: drain_seconds cannot be -1; write a number of seconds from 0 to 86400",
        ),
        (
            "[networks.a]\ninterfaces = [\n'x',\n'a b']",
            'f:4: interfaces cannot be "a b"; write a list of interface names, such as ["eth0"]',
        ),
        (
            "[networks.a]\ninterfaces = ['x']\naddresses = []",
            "f:3: addresses cannot be []; write a list of networks, such as"
            ' ["10.0.0.0/24"], or leave the key out for all that no other network claims',
        ),
        (
            "[networks.a]",
            "f:1: networks.a has no key 'interfaces';"
            ' give it a list of interface names, such as ["eth0"]',
        ),
        (
            "[networks.'a b']\ninterfaces = ['x']",
            'f:1: "a b" cannot name a network; write 1 to 32 letters, digits, - or _',
        ),
        ("networks = 3", "f:1: networks is not a table; write [networks.NAME]"),
        (
            "network_rules = 3",
            "f:1: network_rules is not an array of tables; write [[network_rules]]",
        ),
        (
            "[[network_rules]]\nfrom='a'\nto='b'\nipv4='natt'",
            'f:4: ipv4 cannot be "natt"; write "nat" or "route"',
        ),
        (
            "[[publishing_rules]]\nname='x'\nprotocol='ftp-server'\nserver='10.0.0.20:21'",
            "f:1: publishing_rules has no key 'listen';"
            ' give it an address, or an interface, and a port, such as "203.0.113.1:21" or'
            ' "ext0:21"',
        ),
        (
            "[[publishing_rules]]\nname='x'\nprotocol='ftp-server'\nserver='10.0.0.20:21'\n"
            "listen='203.0.113.1:21'\nfull_proxi=true",
            "f:6: unknown key 'full_proxi' in publishing_rules; write 'full_proxy'",
        ),
    ],
)
def test_a_mistake_is_told_with_its_line_and_what_to_write(text: str, complaint: str) -> None:
    assert read(text)[1] == [complaint]


@pytest.mark.parametrize(
    ("key", "value", "accepted"),
    [
        ("max_bindings_per_client", "1", True),
        ("max_bindings_per_client", "60000", True),
        ("max_bindings_per_client", "0", False),
        ("max_bindings_per_client", "60001", False),
        ("max_bindings_per_client", "true", False),
        ("max_bindings_per_client", "64.0", False),
        ("max_binds_per_minute", "1", True),
        ("max_binds_per_minute", "0", False),
        ("max_connections_per_minute", "1000000", True),
        ("max_connections_per_minute", "0", False),
        ("max_lifetime", "31536000", True),
        ("max_lifetime", "0", False),
        ("max_flows_per_binding", "16384", True),
        ("max_flows_per_binding", "0", False),
        ("max_idle", "1", True),
        ("max_idle", "0", False),
        ("client_ports", '"1-65535"', True),
        ("client_ports", "1024", False),
        ("peers", '"pinned"', True),
        ("peers", '"all"', False),
        ("users", '["alice", "@lab"]', True),
        ("users", "[]", False),
        ("frontends", '["transparent", "pcp", "socks", "upnp", "api"]', True),
        ("frontends", '["telnet"]', False),
        ("allowed_addresses", '"class-c"', True),
        ("allowed_addresses", '"class_c"', False),
        ("action", '"deny"', True),
        ("action", '"drop"', False),
        ("name", '"two\\nlines"', False),
        ("name", '""', False),
        ("name", '"Büro FTP"', True),
        ("from", "[]", False),
        ("protocols", '"ftp"', False),
    ],
)
def test_access_rules_take_values_within_their_bounds(key: str, value: str, accepted: bool) -> None:
    keys = {
        "name": '"x"',
        "action": '"allow"',
        "protocols": '["ftp"]',
        "from": '["a"]',
        "to": '["b"]',
    } | {key: value}

    document, complaints = read(
        "\n".join(["[[access_rules]]", *(f"{k} = {v}" for k, v in keys.items())])
    )

    assert (document.access_rules[0] is not None, complaints == []) == (accepted, accepted)


def test_all_mistakes_are_raised_together_in_the_order_of_their_lines() -> None:
    report = Report("f", {("a",): 3, ("b",): 2})
    report.add(("a", "missing"), "first told")
    report.add(("b",), "second told")

    with pytest.raises(ConfigErrors) as caught:
        report.raise_if_any()

    assert str(caught.value) == "f:2: second told\nf:3: first told"


def test_without_mistakes_nothing_is_raised() -> None:
    Report("f", {}).raise_if_any()


def test_a_word_unlike_all_others_is_answered_with_the_whole_list() -> None:
    assert nearest("zzz", ("auto", "kernel")) == "write one of: auto, kernel"
    assert nearest("zzz", ()) == "write one of: none exist"


def test_long_values_are_cut() -> None:
    assert shown("x" * 1000) == '"' + "x" * 56 + "..."
    assert shown(16**6000) == "a number of thousands of digits"
