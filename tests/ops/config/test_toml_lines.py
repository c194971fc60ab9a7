import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.ops.config.toml_lines import KeyPath, line_map

EXAMPLE = """\
# a comment = 1
[gateway]
port_range = "40000-59999"  # [not.a.table]

[networks.internal]
interfaces = [
  "int0",
  # "int1",
  "int2",
]

[[access_rules]]
name = "first"
[[access_rules]]
name = "second # [x]"
from = ["a", "b"]
limits.deep = {x = 1, "quoted \\u0041.key" = [2]}
"""


def test_every_key_and_element_has_the_line_where_it_begins() -> None:
    lines = line_map(EXAMPLE)

    assert lines == {
        ("gateway",): 2,
        ("gateway", "port_range"): 3,
        ("networks",): 5,
        ("networks", "internal"): 5,
        ("networks", "internal", "interfaces"): 6,
        ("networks", "internal", "interfaces", 0): 7,
        ("networks", "internal", "interfaces", 1): 9,
        ("access_rules",): 12,
        ("access_rules", 0): 12,
        ("access_rules", 0, "name"): 13,
        ("access_rules", 1): 14,
        ("access_rules", 1, "name"): 15,
        ("access_rules", 1, "from"): 16,
        ("access_rules", 1, "from", 0): 16,
        ("access_rules", 1, "from", 1): 16,
        ("access_rules", 1, "limits"): 17,
        ("access_rules", 1, "limits", "deep"): 17,
        ("access_rules", 1, "limits", "deep", "x"): 17,
        ("access_rules", 1, "limits", "deep", "quoted A.key"): 17,
        ("access_rules", 1, "limits", "deep", "quoted A.key", 0): 17,
    }


@pytest.mark.parametrize(
    "value",
    [
        '"""\n[x]\ny = 1"""',
        '"""a\\"""\n"""',
        '""""two""\n"""""',
        "'''\n[x] '' \n'''",
        "1979-05-27T07:32:00.5+01:00",
        "[[1, 2], [\n3]]",
        "-1.5e3",
        '"\\" = ["',
        "'\\'",
    ],
)
def test_the_key_after_any_value_is_found_on_its_line(value: str) -> None:
    text = f"before = {value}\nafter = true\n"

    assert line_map(text)["after",] == 2 + value.count("\n")


def test_a_table_below_an_array_of_tables_belongs_to_the_last_of_them() -> None:
    lines = line_map("[[a]]\n[[a]]\n[a.b]\nc = 1\n[[a.d]]\n[[a]]\n[[a.d]]\n")

    assert lines["a", 1, "b", "c"] == 4
    assert lines["a", 1, "d", 0] == 5
    assert lines["a", 2, "d", 0] == 7


def paths(value: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    if path:
        yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from paths(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from paths(item, (*path, index))


MARKS = [
    "[",
    "]",
    "{",
    "}",
    "=",
    ",",
    ".",
    '"',
    "'",
    '"""',
    "'''",
    "\n",
    "\r\n",
    "#",
    " ",
    "\\",
    "-",
]
PIECES = ["[[a]]\n", "[a.b]\n", "a", "b", "1", "\\n", "x = ", "'k'", '"q" = 2\n', "c.d = [{e=1}]\n"]
FRAGMENTS = st.sampled_from(MARKS + PIECES)


@given(st.lists(FRAGMENTS, max_size=25).map("".join))
def test_whatever_tomllib_reads_has_a_line_for_each_of_its_paths(text: str) -> None:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = line_map(text)

    assert set(paths(document)) <= set(lines)
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())


def test_the_projects_own_toml_file_is_mapped_completely() -> None:
    text = (Path(__file__).parents[3] / "pyproject.toml").read_text()

    assert set(paths(tomllib.loads(text))) == set(line_map(text))
