"""Whatever becomes of a valid file: a configuration, or mistakes in an operator's words."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ops.config.test_load import EXAMPLE

from sallyport.errors import ConfigErrors
from sallyport.ops.config.load import parse

MORE = """
[sets]
staff = ["10.0.0.16/28", "fd00:a::100-fd00:a::1ff"]
[[users]]
name = "alice"
groups = ["lab"]
[schedules]
office = ["mon-fri 08:00-18:00"]
[frontends.pcp]
min_lifetime = 120
[[access_rules]]
name = "more"
action = "allow"
protocols = ["tftp"]
from = ["staff", "10.0.0.8"]
to = ["203.0.113.0/24"]
users = ["alice", "@lab"]
schedule = "office"
frontends = ["transparent", "pcp"]
client_ports = "1024-65535"
max_lifetime = 3600
[access_rules.filters.tftp]
read_only = true
[[publishing_rules]]
name = "following"
protocol = "ftp-server"
listen = "ext0:2121"
server = "10.0.0.21:21"
"""
LINES = (EXAMPLE + MORE).splitlines()
VALUES = (
    *("", "1", "-1", "1.5", "true", '""', '"x"', '"ext0:21"', "[]", "[[]]", '["x", "x"]', "{}"),
    *("{a = 1}", "1979-05-27", '"10.0.0.0/24"', '["fd00:a::/64"]', '"%s"', "9" * 30, "inf", "nan"),
)

# What only a reader of the program's language understands.
PYTHON = re.compile(
    r"Traceback|<class|<enum|object at 0x|NoneType|msgspec|Error\b|Exception|Expected `|__|\bdict\b"
)

# An edit: what is done, at which line, and with what.
EDITS = st.tuples(
    st.sampled_from(["drop", "twice", "swap", "value", "cut", "insert"]),
    st.integers(0, len(LINES) - 1),
    st.sampled_from(VALUES),
    st.integers(0, 60),
)


def edited(lines: list[str], edit: tuple[str, int, str, int]) -> list[str]:
    what, at, value, column = edit
    at = min(at, len(lines) - 1)
    line = lines[at]
    match what:
        case "drop":
            new = []
        case "twice":
            new = [line, line]
        case "swap":
            return [*lines[at + 1 :], *lines[: at + 1]]
        case "value":
            new = [f"{line.partition('=')[0]}= {value}"]
        case "cut":
            new = [line[:column] + line[column + 1 :]]
        case _:
            new = [line[:column] + value + line[column:]]
    return [*lines[:at], *new, *lines[at + 1 :]] or [""]


@settings(max_examples=200)
@given(st.lists(EDITS, min_size=1, max_size=4))
def test_a_file_that_was_changed_anyhow_has_mistakes_in_words_and_nothing_else(
    edits: list[tuple[str, int, str, int]],
) -> None:
    lines = LINES
    for edit in edits:
        lines = edited(lines, edit)
    text = "\n".join(lines)
    try:
        parse(text, "f")
    except ConfigErrors as found:
        for error in found.errors:
            assert 1 <= error.line <= len(lines) + 1
            assert error.problem.strip()
            assert not PYTHON.search(error.problem), error
