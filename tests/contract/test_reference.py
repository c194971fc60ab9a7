"""The reference table names tests that exist, and leaves nothing of the primitive out."""

import inspect
import re
from pathlib import Path

import pytest

from sallyport import errors
from sallyport.core.model.session import Session
from sallyport.errors import (
    AlreadyEmulated,
    AlreadyExists,
    BindError,
    NoSuchBind,
    NotEmulated,
)
from sallyport.flags import BindFlags

TESTS = Path(__file__).parents[1]
REFERENCE = TESTS.parent / "docs/reference/bind_for_client.md"

TEXT = REFERENCE.read_text(encoding="utf-8")
# `bind_for_client` never raises them.
OF_OTHER_CALLS = {AlreadyEmulated, AlreadyExists, NoSuchBind, NotEmulated}
NAMED = sorted(set(re.findall(r"`([\w/]+/test_\w+\.py)::(test_\w+)`", TEXT)))


def test_every_test_that_the_reference_names_exists() -> None:
    written = {
        (file, name)
        for file in {file for file, _ in NAMED}
        for name in re.findall(r"(?m)^def (\w+)\(", (TESTS / file).read_text(encoding="utf-8"))
    }

    assert len(NAMED) > 50
    assert not [one for one in NAMED if one not in written]


def test_every_row_names_a_test() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| ")]
    headings = [row for row in rows if row.endswith("| proved by |")]

    assert len(headings) == 4
    assert [row for row in rows if "::test_" not in row] == headings


@pytest.mark.parametrize("flag", BindFlags, ids=lambda flag: flag.name)
def test_no_flag_is_missing(flag: BindFlags) -> None:
    assert f"| `{flag.name}` |" in TEXT


@pytest.mark.parametrize(
    "parameter", list(inspect.signature(Session.bind_for_client).parameters)[1:]
)
def test_no_parameter_is_missing(parameter: str) -> None:
    assert re.search(rf"`(len\()?{parameter}\b", TEXT)


@pytest.mark.parametrize(
    "error",
    [
        kind
        for kind in vars(errors).values()
        if inspect.isclass(kind)
        and issubclass(kind, BindError)
        and kind not in {BindError, *OF_OTHER_CALLS}
    ],
)
def test_no_error_is_missing(error: type[BindError]) -> None:
    assert f"| `{error.__name__}` |" in TEXT
