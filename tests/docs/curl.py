"""The curl commands of the documents, as a reader copies them."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/**/*.md", "contrib/**/*.md")


def examples() -> Iterator[tuple[str, str]]:
    """Yield each command with the name of its page."""
    for pattern in PAGES:
        for page in sorted(ROOT.glob(pattern)):
            for line in re.findall(
                r"^\$ (.*\bcurl .*)$", page.read_text(encoding="utf-8"), re.MULTILINE
            ):
                if "sallyport" in line or "127.0.0.1" in line:
                    yield str(page.relative_to(ROOT)), line
