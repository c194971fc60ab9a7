"""The figures in the README are those of the newest report that is kept."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def section(path: Path, title: str) -> str:
    """Return what stands under a heading, up to the next."""
    _, _, behind = path.read_text(encoding="utf-8").partition(f"{title}\n")
    return behind.partition("\n#")[0]


_KEPT = ROOT / "docs/benchmarks"
_NEWEST = re.findall(r"\((2[^)]*/README\.md)\)", (_KEPT / "README.md").read_text(encoding="utf-8"))[
    0
]
REPORTED = set(re.findall(r"[\d.]*\d", section(_KEPT / _NEWEST, "## Targets")))
CLAIMED = sorted(set(re.findall(r"[\d.]*\d", section(ROOT / "README.md", "### How fast"))))


@pytest.mark.parametrize("figure", CLAIMED)
def test_what_the_readme_claims_was_measured(figure: str) -> None:
    assert figure in REPORTED


def test_the_readme_claims_something() -> None:
    assert len(CLAIMED) > 5
