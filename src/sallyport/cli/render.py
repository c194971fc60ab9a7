"""How answers look: aligned tables for people, one JSON object for programs."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec

from sallyport.ops.control.schema import Document

# Most gateways have one process, and know no names of users.
SELDOM = frozenset({"WORKER", "USER"})

_GAP = "  "
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True, slots=True)
class Output:
    """How and about which gateway one command answers; made by `options.with_output`."""

    control_socket: Path
    as_json: bool = False
    has_color: bool = False

    def json(self, document: Document) -> None:
        """Print `document` as one JSON object on one line."""
        print_json(document)

    def table(self, headers: Sequence[str], rows: Iterable[Sequence[str]], nothing: str) -> None:
        """Print rows below headers; without rows print `nothing` on stderr.

        A column of `SELDOM` in which no row has anything is left out.
        """
        rows = list(rows)
        if not rows:
            click.echo(nothing, err=True)
            return
        columns = [
            (header, *cells)
            for header, *cells in zip(headers, *rows, strict=True)
            if header not in SELDOM or any(cell != or_dash(None) for cell in cells)
        ]
        head, *body = align(list(zip(*columns, strict=True)))
        self.line(head, bold=True)
        for row in body:
            self.line(row)

    def facts(self, facts: Mapping[str, str]) -> None:
        """Print one `name  value` line for each fact, but of `SELDOM` ones without a value."""
        told = [
            (name, value)
            for name, value in facts.items()
            if name.upper() not in SELDOM or value != or_dash(None)
        ]
        for line in align(told):
            self.line(line)

    def line(self, text: str, *, bold: bool = False) -> None:
        """Print one line of data."""
        click.echo(click.style(text, bold=True) if bold and self.has_color else text)


def print_json(document: Document) -> None:
    """Print `document` as one JSON object on one line."""
    click.echo(msgspec.json.encode(document))


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines with aligned columns and no blanks at the end."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        _GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def color_wanted(*, refused: bool) -> bool:
    """Whether stdout shows colour: a terminal that can, and NO_COLOR is not set (no-color.org)."""
    return (
        not refused
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM") != "dumb"
        and sys.stdout.isatty()
    )


def duration(seconds: float) -> str:
    """Return a length of time by its two largest units: `2h 5m`."""
    whole = int(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    parts = [(days, "d"), (hours, "h"), (minutes, "m"), (whole % 60, "s")]
    while len(parts) > 1 and parts[0][0] == 0:
        parts.pop(0)
    return " ".join(f"{number}{unit}" for number, unit in parts[:2])


def size(count: int) -> str:
    """Return a number of bytes in the largest binary unit below it: `1.5 MiB`."""
    number, unit = float(count), 0
    while number >= 1024 and unit < len(_UNITS) - 1:
        number, unit = number / 1024, unit + 1
    return f"{count} B" if unit == 0 else f"{number:.1f} {_UNITS[unit]}"


def or_dash(value: str | int | None) -> str:
    """Return a value as text, or a dash where there is none."""
    return "-" if value is None or value == "" else str(value)
