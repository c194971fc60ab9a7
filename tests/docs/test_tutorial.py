"""The tutorial's files, as it prints them, do what it says."""

import re
import sys
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[2] / "docs/tutorial.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"<!-- ([\w.]+) -->\n```\w+\n(.*?)```", TEXT, re.DOTALL))

TESTS = [
    (file, name)
    for file, text in FILES.items()
    for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the files as a reader would."""
    for file, text in FILES.items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    tmp_path.chmod(0o755)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("courier", "duet"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("file", "name"), TESTS)
def test_every_test_of_the_tutorial_passes(file: str, name: str) -> None:
    names: dict[str, object] = {}
    exec(compile(FILES[file], file, "exec"), names)  # noqa: S102 - our own documentation
    test = names[name]

    assert callable(test)
    test()


def test_the_tutorial_tests_its_filter() -> None:
    assert len(TESTS) == 12
