"""The file between two gateways: who may have written it, and for which boot it holds."""

import os
from pathlib import Path

import pytest

from sallyport.errors import StartupError
from sallyport.ops.processes import kept_mappings
from sallyport.ops.processes.kept_mappings import load, save, together

BOOK: dict[str, object] = {"began": 12.5, "leases": [{"count": 1}]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "netns-1.mappings"


def test_what_one_gateway_leaves_the_next_one_finds_once(file: Path) -> None:
    save(file, BOOK)
    assert file.stat().st_mode & 0o777 == 0o600

    assert load(file) == BOOK
    assert load(file) is None


@pytest.mark.parametrize("book", [None, {"began": 1.0, "leases": []}])
def test_without_mappings_nothing_is_left(file: Path, book: dict[str, object] | None) -> None:
    save(file, book)

    assert not file.exists()


def test_after_a_boot_its_times_mean_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(file, BOOK)
    monkeypatch.setattr(kept_mappings, "_boot", lambda: "another")

    assert load(file) is None


@pytest.mark.parametrize("text", [b"", b"{", b'{"version":1}', b"\xff", b"[" * 5000])
def test_what_cannot_be_read_is_nothing(file: Path, text: bytes) -> None:
    file.write_bytes(text)
    file.chmod(0o600)

    assert load(file) is None


def test_a_file_of_another_version_is_not_read(file: Path) -> None:
    save(file, BOOK)
    file.write_bytes(file.read_bytes().replace(b'"version":1', b'"version":2'))

    assert load(file) is None


def test_a_file_that_others_could_have_written_is_refused(file: Path) -> None:
    save(file, BOOK)
    file.chmod(0o622)
    with pytest.raises(StartupError, match="can write it"):
        load(file)

    os.remove(file)
    file.symlink_to("/etc/passwd")
    with pytest.raises(StartupError, match="cannot read"):
        load(file)


def test_the_books_of_workers_are_one_and_the_latest_loss_counts() -> None:
    other: dict[str, object] = {"began": 20.0, "leases": [{"count": 2}]}

    assert together([None, BOOK, other]) == {
        "began": 20.0,
        "leases": [{"count": 1}, {"count": 2}],
    }
    assert together([None]) is None
