from pathlib import Path

import pytest
from tests.ops.config.offered import SCANNER, TALK, catalogue, offer, write

from sallyport.ops.config.catalogue import Catalogue, read_file
from sallyport.ops.config.load import defaults
from sallyport.ops.config.selection import Choice
from sallyport.ops.control.filter_rows import rows_installed, rows_of
from sallyport.ops.control.schema import FilterRow


def test_a_row_says_where_a_filter_comes_from_and_what_it_registered_for(tmp_path: Path) -> None:
    path = tmp_path / "scanner.py"
    write(path, SCANNER)
    kind = read_file(path, "scanner")

    (row,) = rows_of([Choice(kind, {}, kind.build(None))], {})

    assert row == FilterRow(
        name="scanner",
        origin=f"path {path}",
        api_version=1,
        state="on",
        reason=None,
        protocols=[],
        events=["BindTcp"],
        scope=["primary", "secondary", "any-protocol"],
        sources=["secure-nat", "firewall-client"],
        on_by_default=False,
        summary="Looks at everything.",
    )


def test_a_filter_that_failed_at_work_is_switched_off_and_says_why() -> None:
    faults = {"ftp": "switched off: it failed 8 clients"}

    rows = list(rows_of(defaults(Catalogue.installed()), faults))

    assert [(row.name, row.state, row.reason) for row in rows[:2]] == [
        ("ftp", "switched-off", "switched off: it failed 8 clients"),
        ("tftp", "on", None),
    ]
    assert [row.on_by_default for row in rows[:3]] == [True, True, False]


def test_a_filter_that_does_not_run_is_off(tmp_path: Path) -> None:
    path = tmp_path / "scanner.py"
    write(path, SCANNER)

    (row,) = rows_of([Choice(read_file(path, "scanner"), {}, None)], {})

    assert (row.state, row.reason) == ("off", None)


def test_what_is_installed_is_off_or_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(tmp_path, TALK, "talk = Talk")
    offer(tmp_path, "1 / 0", "broken = Broken", package="bad 0.1")

    talk, broken = rows_installed(catalogue(tmp_path, monkeypatch), ["talk", "broken"])

    assert (talk.state, talk.origin, talk.protocols) == ("off", "package acme 1.2", ["talk"])
    assert (broken.state, broken.origin, broken.api_version) == ("failed", "package bad 0.1", None)
    assert broken.reason == (
        "filter 'broken' (package bad 0.1) fails: ZeroDivisionError: division by zero"
    )
