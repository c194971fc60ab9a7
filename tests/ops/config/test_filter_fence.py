"""What a filter's code may do while it is loaded, and what becomes of it."""

import os
import sys
from pathlib import Path

import pytest
from tests.ops.config.offered import TALK
from tests.ops.config.test_catalogue import complaint, written

from sallyport import limits
from sallyport.ops import watchdog
from sallyport.ops.config.catalogue import FilterUnusable, read_file


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("\n1 / 0", "ZeroDivisionError: division by zero (line 2)"),
        ('raise ValueError("a\\n\\x1b[2Jb\\tc")', "ValueError: a [2Jb c (line 1)"),
        ("import asyncio\nraise asyncio.CancelledError", "CancelledError: (line 2)"),
    ],
)
def test_what_a_file_raises_is_one_line_that_says_where(
    text: str, problem: str, tmp_path: Path
) -> None:
    assert complaint(written(tmp_path, text)) == f"filter 'talk' fails: {problem}"


@pytest.mark.parametrize(
    "loop", ["while True: pass", "while True:\n  try: input()\n  except Exception: pass"]
)
def test_a_file_that_never_ends_is_cut(
    loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine it takes a while before the file's first line runs.
    monkeypatch.setattr(limits, "FILTER_LOAD_SECONDS", 0.3)
    monkeypatch.setattr(watchdog, "LOOK_SECONDS", 0.02)

    assert "fails: FilterStuck: it took longer than 0.3 s (line" in complaint(
        written(tmp_path, loop)
    )


def test_what_a_file_prints_is_no_answer_of_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    read_file(written(tmp_path, TALK + "\nprint('hello')\n"), "talk")

    assert capsys.readouterr() == ("", "hello\n")


def test_a_file_read_again_and_again_leaves_one_module(tmp_path: Path) -> None:
    path = written(tmp_path, TALK)
    read_file(path, "talk")
    before = set(sys.modules)

    read_file(path, "talk")
    path.write_text("1 / 0")
    complaint(path)

    assert set(sys.modules) == before


@pytest.mark.parametrize("name", ["loop.py", "a\0b.py"])
def test_a_path_that_leads_nowhere_is_the_files_mistake(name: str, tmp_path: Path) -> None:
    (tmp_path / "loop.py").symlink_to("loop.py")

    with pytest.raises(FilterUnusable, match=r"loop|null (byte|character)|too many levels"):
        read_file(tmp_path / name, "talk")


def test_a_pipe_is_not_waited_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FILTER_LOAD_SECONDS", 0.02)
    os.mkfifo(tmp_path / "talk.py", 0o600)

    assert "fails: FilterStuck" in complaint(tmp_path / "talk.py")
