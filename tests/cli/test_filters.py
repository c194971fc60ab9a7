import json
from pathlib import Path
from typing import Any

import pytest
from tests.ops.config.offered import TALK, catalogue, offer, write

from sallyport.cli import filters, main
from sallyport.ops.config.catalogue import Catalogue
from sallyport.ops.control.schema import FilterRow, Filters

FILE = """\
[networks.internal]
interfaces = ["int0"]
addresses = ["10.0.0.0/24"]
[networks.external]
interfaces = ["ext0"]
[filters.talk]
path = "talk.py"
[[access_rules]]
name = "all"
action = "allow"
protocols = ["talk"]
from = ["internal"]
to = ["external"]
"""
NOBODY = ["--control-socket", "/nowhere/control.sock"]


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert main(["filters", "list", *arguments, "--json"]) == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["filters"]
    return rows


def test_without_a_gateway_those_on_by_default_are_on(capsys: pytest.CaptureFixture[str]) -> None:
    rows = listed(capsys, *NOBODY)

    assert [(row["name"], row["state"]) for row in rows[:2]] == [("ftp", "on"), ("tftp", "on")]
    assert rows[0]["protocols"] == ["ftp", "ftp-server"]
    assert all(row["state"] in {"off", "failed"} for row in rows[2:])


def test_a_package_that_offers_a_name_of_ours_is_shown_as_the_trouble_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(tmp_path, TALK, "ftp = Talk")
    offered = catalogue(tmp_path, monkeypatch)
    monkeypatch.setattr(Catalogue, "installed", lambda: offered)

    rows = {row["name"]: row for row in listed(capsys, *NOBODY)}

    assert rows["ftp"]["reason"] == (
        "builtin and package acme 1.2 both offer a filter 'ftp'; uninstall one of them"
    )
    assert [rows[name]["state"] for name in ("ftp", "tftp")] == ["failed", "off"]


def test_of_a_file_it_is_told_what_it_would_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "talk.py", TALK)
    file = tmp_path / "f.toml"
    file.write_text(FILE)

    rows = {row["name"]: row for row in listed(capsys, "--config", str(file))}

    assert [(name, rows[name]["state"]) for name in ("ftp", "tftp", "talk")] == [
        ("ftp", "off"),
        ("tftp", "off"),
        ("talk", "on"),
    ]
    assert rows["talk"]["origin"] == f"path {tmp_path / 'talk.py'}"


def test_a_file_with_mistakes_is_told_as_by_check_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "f.toml"
    file.write_text(FILE)

    assert main(["filters", "list", "--config", str(file)]) == 78
    assert capsys.readouterr().err.startswith(f"{file}:7: {tmp_path / 'talk.py'} cannot be read")


def row(**fields: object) -> FilterRow:
    values: dict[str, Any] = {
        "name": "scan",
        "origin": "package acme 1.2",
        "api_version": 1,
        "state": "on",
        "reason": None,
        "protocols": [],
        "events": ["BindTcp", "ConnectTcp"],
        "scope": ["primary", "secondary"],
        "sources": ["secure-nat"],
        "on_by_default": False,
        "summary": "Scans.",
    }
    return FilterRow(**(values | fields))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[FilterRow]:
    """Return the rows that a running gateway answers with."""
    rows: list[FilterRow] = []
    monkeypatch.setattr(filters, "request", lambda *_args, **_named: Filters(filters=rows))
    return rows


def test_a_running_gateway_is_asked_and_the_others_installed_are_off(
    asked: list[FilterRow], capsys: pytest.CaptureFixture[str]
) -> None:
    asked.append(row(name="tftp", state="switched-off", reason="it failed 8 clients"))

    rows = listed(capsys)

    assert [(one["name"], one["state"]) for one in rows[:2]] == [
        ("tftp", "switched-off"),
        ("ftp", "off"),
    ]


def test_people_see_a_table_and_why_something_is_off_beside_it(
    asked: list[FilterRow], capsys: pytest.CaptureFixture[str]
) -> None:
    asked.append(row(state="switched-off", reason="it failed 8 clients"))

    assert main(["filters", "list", "--no-color"]) == 0

    shown = capsys.readouterr()
    head, first = shown.out.splitlines()[:2]
    assert head.split() == ["FILTER", "STATE", "ORIGIN", "API", "PROTOCOLS", "EVENTS", "WHAT"]
    assert " ".join(first.split()) == (
        "scan switched-off package acme 1.2 1 - BindTcp, ConnectTcp (secondary) from secure-nat"
        " only Scans."
    )
    assert "scan: it failed 8 clients\n" in shown.err
