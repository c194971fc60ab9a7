"""Each list of the gateway's says the same of its rows: in columns for people, in JSON whole."""

import json
from collections.abc import Mapping
from itertools import pairwise

import msgspec
import pytest
from tests.cli.test_observe import BINDING, SESSION
from tests.cli.test_transfers import ACTIVE

from sallyport.cli import main, observe, transfers
from sallyport.ops.control.schema import (
    BindingRow,
    Bindings,
    Document,
    SessionRow,
    Sessions,
    TransferRow,
    Transfers,
)

Row = SessionRow | BindingRow | TransferRow

# What every list shows of a row that has it.
SHOWN = {"worker": 2, "frontend": "socks", "user": "anna"}

LISTS: Mapping[str, Row] = {"sessions": SESSION, "bindings": BINDING, "transfers": ACTIVE}


def known_of(row: Row) -> dict[str, object]:
    """Those of the fields that the row of this list has."""
    names = {field.name for field in msgspec.structs.fields(row)}
    return {name: value for name, value in SHOWN.items() if name in names}


def full(row: Row) -> Row:
    return msgspec.structs.replace(row, **known_of(row))


def answer_with(monkeypatch: pytest.MonkeyPatch, *rows: Row) -> None:
    """Answer each list with those of the rows that are its own."""

    def request(_path: object, _command: str, *, expect: type, **_arguments: object) -> Document:
        if expect is Sessions:
            return Sessions(sessions=[row for row in rows if isinstance(row, SessionRow)])
        if expect is Bindings:
            return Bindings(bindings=[row for row in rows if isinstance(row, BindingRow)])
        return Transfers(transfers=[row for row in rows if isinstance(row, TransferRow)])

    for module in (observe, transfers):
        monkeypatch.setattr(module, "request", request)


@pytest.mark.parametrize("name", LISTS)
def test_a_list_has_a_column_for_worker_frontend_and_user_where_its_rows_have_them(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = LISTS[name]
    answer_with(monkeypatch, row, full(row))
    assert main([name, "list"]) == 0
    head, plain, known = capsys.readouterr().out.splitlines()

    for field, value in known_of(row).items():
        begin = head.index(field.upper())
        assert known[begin:].split()[0] == str(value)
        was = getattr(row, field)
        assert plain[begin:].split()[0] == ("-" if was is None else was)


@pytest.mark.parametrize("name", LISTS)
def test_the_columns_of_a_list_are_aligned(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = LISTS[name]
    answer_with(monkeypatch, row, full(row), msgspec.structs.replace(row, id="much-longer"))
    assert main([name, "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    begins = [at for at, (a, b) in enumerate(pairwise("x" + lines[0])) if a == " " != b]

    assert begins
    for line in lines:
        assert all(line[at - 2 : at] == "  " and line[at] != " " for at in begins)


@pytest.mark.parametrize("name", LISTS)
def test_a_column_in_which_no_row_has_anything_is_left_out(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer_with(monkeypatch, LISTS[name])
    assert main([name, "list"]) == 0
    head = capsys.readouterr().out.splitlines()[0].split()

    assert not {"WORKER", "USER"} & set(head)


@pytest.mark.parametrize("name", LISTS)
def test_the_same_fields_are_in_json(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = LISTS[name]
    answer_with(monkeypatch, full(row))
    assert main([name, "list", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)[name]

    assert {field: found[field] for field in known_of(row)} == known_of(row)
