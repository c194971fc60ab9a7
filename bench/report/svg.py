"""Bars with their spread, as SVG that is written by hand: a group for each case."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from bench.stats import Spread

_LEFT, _TOP, _BAR, _GAP, _WIDTH = 210, 44, 15, 26, 520
_RIGHT = 110

# Okabe and Ito's palette: told apart by everybody.
_COLOURS = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9"),
    *("#d55e00", "#999999", "#b8a900", "#333333"),
)


@dataclass(frozen=True, slots=True)
class Group:
    """The bars of one case: name and value, in order."""

    title: str
    bars: tuple[tuple[str, Spread], ...]


def bars(title: str, unit: str, groups: Sequence[Group], digits: int) -> str:
    """Draw horizontal bars from zero to the median, with a line from quartile to quartile."""
    names = list(dict.fromkeys(name for group in groups for name, _ in group.bars))
    top = max((spread.high for group in groups for _, spread in group.bars), default=0.0) or 1.0
    y, body = _TOP, list[str]()
    for group in groups:
        y += _GAP
        body.append(_text(8, y - 7, group.title, "start", bold=True))
        for name, spread in group.bars:
            length = spread.median / top * _WIDTH
            low, high = (_LEFT + at / top * _WIDTH for at in (spread.low, spread.high))
            colour = _COLOURS[names.index(name) % len(_COLOURS)]
            middle = y + _BAR / 2
            body += [
                _text(_LEFT - 6, y + 12, name, "end"),
                f'<rect x="{_LEFT}" y="{y + 1}" width="{length:.1f}" height="{_BAR - 2}"'
                f' fill="{colour}"/>',
                f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}"'
                ' stroke="#000" stroke-width="1.5"/>',
                _text(max(_LEFT + length, high) + 5, y + 12, f"{spread.median:,.{digits}f}"),
            ]
            y += _BAR
    width, height = _LEFT + _WIDTH + _RIGHT, y + 16
    head = f"{title} ({unit})" if unit else title
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
            ' font-family="sans-serif" font-size="12">',
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
            _text(8, 22, head, "start", size=15),
            *body,
            "</svg>\n",
        ]
    )


def _text(
    x: float, y: float, text: str, anchor: str = "start", *, bold: bool = False, size: int = 12
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" font-size="{size}"{weight}>'
        f"{escape(text)}</text>"
    )
