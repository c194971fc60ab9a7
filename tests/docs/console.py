"""The commands of the documents, as a reader types them, and the files that a page has one write.

A block of the kind `console` or `sh` has commands behind a prompt, `#` or `$`, each with what it
prints; where there is no prompt each line is a command. They are typed on the gateway, or where a
comment before the block says: `<!-- typed on the client -->`. Commands that stand `with the
configuration` want a gateway that runs with the page's own. A block after `<!-- NAME -->` is a
file.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "contrib/**/*.md")
    for path in ROOT.glob(pattern)
)

# What pages take for granted that show only a part of a configuration.
NETWORKS = """\
[networks.internal]
interfaces = ["int0"]
addresses = ["10.0.0.0/24", "fd00:a::/64"]
[networks.external]
interfaces = ["ext0"]
[[network_rules]]
from = "internal"
to = "external"
ipv4 = "nat"
ipv6 = "route"
"""

_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[^\n]*) -->\n)?```(?P<kind>[\w-]*)\n(?P<text>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
_PROMPT = re.compile(r"[#$] ")


@dataclass(frozen=True)
class Command:
    """One command of a page, with the lines that it is said to print."""

    page: str
    text: str
    printed: tuple[str, ...] = ()
    is_on_client: bool = False
    is_with_configuration: bool = False


def _blocks(page: str) -> Iterator[tuple[str, str, str]]:
    for found in _BLOCK.finditer((ROOT / page).read_text(encoding="utf-8")):
        yield found["mark"] or "", found["kind"], found["text"]


def commands(page: str) -> Iterator[Command]:
    """Yield the commands of a page in their order."""
    for mark, kind, text in _blocks(page):
        if kind not in {"console", "sh"}:
            continue
        lines = text.splitlines()
        if not any(map(_PROMPT.match, lines)):
            lines = [f"$ {line}" for line in lines]
        starts = [number for number, line in enumerate(lines) if _PROMPT.match(line)]
        for start, after in zip(starts, [*starts[1:], len(lines)], strict=True):
            yield Command(
                page,
                lines[start][2:].strip(),
                tuple(lines[start + 1 : after]),
                "on the client" in mark,
                "with the configuration" in mark,
            )


def files(page: str) -> dict[str, str]:
    """Return the files that a page names, with their contents."""
    return {mark: text for mark, _, text in _blocks(page) if re.fullmatch(r"[\w.]+", mark)}


def settings(page: str) -> list[str]:
    """Return the parts of a configuration that a page shows."""
    return [text for mark, kind, text in _blocks(page) if kind == "toml" and "." not in mark]


def shape(line: str) -> re.Pattern[str]:
    """Return what a printed line looks like: numbers are any, and so is what `…` stands for."""
    escaped = re.sub(r"\d+", r"\\d+", re.escape(line.strip()))
    return re.compile(escaped.replace("…", ".*"))
