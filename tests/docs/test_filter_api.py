"""The page on the filter API names what exists, and says truly what no built-in filter uses."""

import re
import tokenize
from operator import attrgetter
from pathlib import Path

from sallyport import api

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/reference/filter_api.md").read_text(encoding="utf-8")

_SECTION = TEXT.partition("## Contract without a built-in user")[2]
_ROWS = [line.split("|")[1] for line in _SECTION.splitlines() if line.startswith("| `")]
UNUSED = [name for row in _ROWS for name in re.findall(r"`([\w.]+)`", row)]


def _names_used_in_filters_and_examples() -> set[str]:
    used = set()
    for folder in (ROOT / "src/sallyport/filters", ROOT / "examples"):
        for path in folder.rglob("*.py"):
            with path.open("rb") as source:
                used |= {
                    token.string
                    for token in tokenize.tokenize(source.readline)
                    if token.type == tokenize.NAME
                }
    return used


def test_the_page_has_names_to_check() -> None:
    assert len(UNUSED) > len(_ROWS) > 5


def test_a_name_without_a_built_in_user_is_in_the_api() -> None:
    attrgetter(*UNUSED)(api)


def test_no_built_in_filter_and_no_example_uses_it() -> None:
    used = _names_used_in_filters_and_examples()

    assert "bind_for_client" in used
    assert not [name for name in UNUSED if name.rpartition(".")[2] in used]
