"""What the file of a declarative filter may say, and what is said about what it may not."""

import re
from pathlib import Path

import msgspec
import pytest

from sallyport.errors import DeclarationError
from sallyport.filters.declaration import (
    BindShape,
    Declaration,
    ProtocolShape,
    RuleShape,
    read_declaration,
)
from sallyport.filters.declarative import load_declarative

HEAD = """
name = "talk"
api_version = 1
[protocol]
name = "talk"
port = 5005
"""
RULE = """
[[rules]]
from = "client"
pattern = 'CALL (?P<port>[0-9]+)'
"""
BIND = 'bind = { transport = "tcp" }\n'
FILE = HEAD + RULE + BIND


def refused(text: str) -> tuple[tuple[str | int, ...], str]:
    with pytest.raises(DeclarationError) as caught:
        load_declarative(text, "talk.toml")
    assert str(caught.value) == caught.value.problem
    return caught.value.key, caught.value.problem


def test_a_short_file_is_a_filter() -> None:
    made = load_declarative(FILE, "talk.toml")

    assert (made.name, made.api_version) == ("talk", 1)
    assert [(p.name, p.transport.name, p.port) for p in made.protocols] == [("talk", "TCP", 5005)]


def test_a_short_file_has_safe_defaults() -> None:
    declaration, (rule,) = read_declaration(FILE)

    assert (declaration.max_line, declaration.on_long_line) == (1024, "pass")
    assert (rule.shape.on_refusal, rule.shape.reply, rule.shape.restore) == ("drop", None, False)
    assert rule.shape.bind is not None
    assert (rule.shape.bind.peers, rule.shape.bind.flags) == ("server", ("timeout",))


def test_the_description_says_which_file_it_is() -> None:
    assert load_declarative(FILE, "/etc/talk.toml").__doc__ == "Declared in /etc/talk.toml."


def test_what_is_not_toml_says_where() -> None:
    key, problem = refused('name = "talk\n')

    assert key == ()
    assert problem.startswith("this is not TOML: ")
    assert problem.endswith("(at line 1, column 13)")


def test_a_document_of_any_depth_and_numbers_of_any_length_are_answered() -> None:
    assert refused("a = " + "[" * 5000)[1].startswith("this is not TOML: ")
    assert refused(FILE.replace("5005", "0x1" + "0" * 5000)) == (
        ("protocol", "port"),
        "port cannot be a number of thousands of digits; write a port number from 1 to 65535",
    )


def test_a_key_that_looks_like_a_place_is_not_taken_for_one() -> None:
    key, problem = refused("'x` - at `$.rules[0]' = 5\n" + FILE)

    assert key == ("x` - at `$.rules[0]",)
    assert problem.startswith("unknown key 'x` - at `$.rules[0]' in the file; write one of: name,")


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        ("", (), "the file has no key 'name'; give it 1 to 32 small letters, digits or -"),
        (
            FILE.replace("talk", "Talk it", 1),
            ("name",),
            'name cannot be "Talk it"; write 1 to 32 small letters, digits or -',
        ),
        (
            FILE.replace("api_version = 1", 'api_version = "1"'),
            ("api_version",),
            'api_version cannot be "1"; write the version of the interface, such as 1',
        ),
        (
            "max_lines = 5\n" + FILE,
            ("max_lines",),
            "unknown key 'max_lines' in the file; write 'max_line'",
        ),
        (
            "max_line = 63\n" + FILE,
            ("max_line",),
            "max_line cannot be 63; write a number of bytes from 64 to 8192",
        ),
        (
            FILE.replace("port = 5005", "ports = 5005"),
            ("protocol", "ports"),
            "unknown key 'ports' in protocol; write 'port'",
        ),
        (
            FILE.replace("port = 5005", ""),
            ("protocol",),
            "protocol has no key 'port'; give it a port number from 1 to 65535",
        ),
        (HEAD, (), "the file has no key 'rules'; give it keys below one or more [[rules]]"),
        (
            "rules = []\n" + HEAD,
            ("rules",),
            "rules cannot be []; write keys below one or more [[rules]]",
        ),
        (
            "rules = [5]\n" + HEAD,
            ("rules", 0),
            "rules cannot be 5; write keys below one or more [[rules]]",
        ),
        (
            FILE.replace('"client"', '"clients"'),
            ("rules", 0, "from"),
            'from cannot be "clients"; write "client" or "server"',
        ),
        (
            FILE + RULE + 'bind = { transport = "sctp" }',
            ("rules", 1, "bind", "transport"),
            'transport cannot be "sctp"; write "tcp" or "udp"',
        ),
        (
            FILE.replace("transport =", "flags = [5], transport ="),
            ("rules", 0, "bind", "flags", 0),
            'flags cannot be 5; write a list of "timeout", "allow-multiple", "bidirectional",'
            ' "no-kernel-mode"',
        ),
        (
            FILE.replace("transport", "port = 5, transport"),
            ("rules", 0, "bind", "port"),
            "unknown key 'port' in bind; write 'transport'",
        ),
        (
            FILE + "bound = 5",
            ("rules", 0, "bound"),
            "unknown key 'bound' in rules; write 'bind'",
        ),
        (
            FILE + 'reply = "two\\nlines"',
            ("rules", 0, "reply"),
            'reply cannot be "two\\nlines"; write 1 to 200 printable ASCII characters',
        ),
    ],
)
def test_a_mistake_is_told_with_its_place_and_what_to_write(
    text: str, key: tuple[str | int, ...], problem: str
) -> None:
    assert refused(text) == (key, problem)


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        (
            FILE.replace("[0-9]+", "([0-9]+)+"),
            ("pattern",),
            "pattern cannot be this: the group before '+' is repeated, which may take for ever;"
            " repeat a single character or a set, or make the group optional with ?",
        ),
        (HEAD + RULE, (), "a rule has bind or action; write one of them, not both"),
        (
            FILE + 'action = "refuse"',
            (),
            "a rule has bind or action; write one of them, not both",
        ),
        (
            HEAD + RULE + 'action = "refuse"\nrestore = true',
            ("restore",),
            "nothing is told without bind; leave restore out",
        ),
        (
            FILE.replace('"client"', '"server"'),
            ("from",),
            'only a line of the client binds, or a server could open any port; write "client"',
        ),
        (
            FILE.replace("?P<port>", "?P<address>"),
            ("pattern",),
            "pattern has no group for the port; write (?P<port>[0-9]+) where it stands",
        ),
        (
            HEAD
            + RULE.replace("[0-9]+)", "[0-9]+) (?P<port2>[0-9]+)")
            + 'bind = { transport = "udp", count = 1 }',
            ("bind", "count"),
            "count cannot be 1, the pattern names 2 ports; write 2",
        ),
        (
            HEAD + RULE + 'bind = { transport = "tcp", flags = ["bidirectional"] }',
            ("bind", "flags"),
            'flag "bidirectional" is for udp; leave it out',
        ),
        (
            HEAD + RULE + 'bind = { transport = "udp", flags = ["allow-multiple", "timeout"] }',
            ("bind", "flags"),
            'flags "timeout" and "allow-multiple" exclude each other; leave one out',
        ),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(
    text: str, key: tuple[str | int, ...], problem: str
) -> None:
    assert refused(text) == (("rules", 0, *key), problem)


# -- the reference --------------------------------------------------------------------------------

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "declarative_filters.md"


def test_the_reference_has_every_key() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `([a-z0-9_.]+)` \|", text, re.MULTILINE))
    tables: dict[str, type[msgspec.Struct]] = {
        "": Declaration,
        "protocol.": ProtocolShape,
        " ": RuleShape,
        "  ": BindShape,
    }
    keys = {
        prefix.strip() + field.encode_name
        for prefix, shape in tables.items()
        for field in msgspec.structs.fields(shape)
    }

    assert rows == keys - {"protocol", "rules"}


def test_the_example_of_the_reference_is_a_filter() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    example = text.partition("```toml\n")[2].partition("```")[0]

    assert load_declarative(example, "talk.toml").name == "talk"
