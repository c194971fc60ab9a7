"""The report: Markdown, the raw figures as JSON, plots as SVG, in one folder."""

from pathlib import Path

import msgspec

from bench.report import svg
from bench.report.markdown import render
from bench.results import Run
from bench.stats import Spread
from bench.work import ITEMS
from bench.work.item import Item, Metric


def write_report(run: Run, folder: Path) -> Path:
    """Write everything into `folder`, replacing what is there; gives the Markdown file."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    json = msgspec.json.format(msgspec.json.encode(run), indent=1)
    (folder / "results.json").write_bytes(json + b"\n")
    drawn: list[str] = []
    for item in ITEMS.values():
        for metric in item.metrics:
            if metric.is_drawn and (text := _plot(run, item, metric)):
                drawn.append(f"{item.name}-{metric.key}.svg")
                (folder / drawn[-1]).write_text(text, encoding="utf-8")
    report = folder / "README.md"
    report.write_text(render(run, list(ITEMS.values()), drawn), encoding="utf-8")
    return report


def _plot(run: Run, item: Item, metric: Metric) -> str:
    """Draw one metric in all cases; empty when it was not measured."""
    groups: list[svg.Group] = []
    for case in run.cases(item.name):
        bars = tuple(
            (item.title_of(setup), Spread.of(values))
            for setup in item.setups
            if (values := run.values(item.name, case, setup, metric.key))
        )
        if bars:
            groups.append(svg.Group(case, bars))
    title = f"{item.title}: {metric.title}"
    return svg.bars(title, metric.unit, groups, metric.digits) if groups else ""
