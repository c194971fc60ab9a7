"""The page about `sallyport.testing` is true: its examples run, and it leaves nothing out."""

import re
from pathlib import Path

import pytest

from sallyport import testing
from sallyport.testing.promises import PROMISES

TEXT = (Path(__file__).parents[2] / "docs/reference/testing.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_the_examples_run_one_after_another() -> None:
    names: dict[str, object] = {}

    for example in EXAMPLES:
        exec(example, names)  # noqa: S102 - our own documentation

    assert len(EXAMPLES) == 4


@pytest.mark.parametrize("name", testing.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert re.search(rf"\b{name}\b", TEXT)


def test_the_promises_are_there_in_their_order() -> None:
    assert re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE) == [one.__name__ for one in PROMISES]
