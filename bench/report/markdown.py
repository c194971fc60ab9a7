"""The report as Markdown: a table for each case, targets first."""

from collections.abc import Iterator, Sequence

from bench.report.targets import TARGETS
from bench.results import Run
from bench.stats import Spread
from bench.work.item import Item, Metric


def render(run: Run, items: Sequence[Item], drawn: Sequence[str]) -> str:
    """Return the whole report; `drawn` are the names of the plots beside it."""
    return "\n".join([*_head(run), *_targets(run), *_items(run, items, drawn)]) + "\n"


def _head(run: Run) -> Iterator[str]:
    yield f"# Benchmarks of {run.began[:10]}"
    yield ""
    yield (
        f"{run.rounds} rounds ({run.scale}), interleaved: in each round every setup does the same"
        f" work, one after the other. It took {run.seconds / 60:.0f} minutes. Figures are medians,"
        " with the first and third quartile in brackets. All hosts are network namespaces of one"
        " machine which the load shares: **only ratios within this run mean anything**."
    )
    yield ""
    yield "To repeat it: `make bench`. Raw figures: `results.json`."
    yield ""
    for name, value in run.machine.items():
        yield f"* {name}: {value}"
    yield ""


def _targets(run: Run) -> Iterator[str]:
    rows = [(target, target.reached(run)) for target in TARGETS]
    if not any(reached for _, reached in rows):
        return
    yield "## Targets"
    yield ""
    yield "| what | target | reached | met |"
    yield "|---|---|---|---|"
    for target, reached in rows:
        text, met = reached or ("not measured in this run", None)
        yield f"| {target.what} | {target.wanted} | {text} | {_VERDICTS[met]} |"
    yield ""


_VERDICTS = {True: "yes", False: "**no**", None: ""}


def _items(run: Run, items: Sequence[Item], drawn: Sequence[str]) -> Iterator[str]:
    for item in items:
        cases = run.cases(item.name)
        gone = [one for one in run.missing if one.item == item.name]
        if not cases and not gone:
            continue
        yield f"## {item.title}"
        yield ""
        yield item.method
        yield ""
        for name in drawn:
            if name.startswith(f"{item.name}-"):
                yield f"![{name}]({name})"
                yield ""
        for case in cases:
            yield from _table(run, item, case)
        if gone:
            yield "Not measured:"
            yield ""
            for one in gone:
                yield f"* {item.title_of(one.setup)}, {one.case}: {one.reason}"
            yield ""


def _table(run: Run, item: Item, case: str) -> Iterator[str]:
    yield f"### {case}"
    yield ""
    metrics = [m for m in item.metrics if any(_of(run, item, case, s, m) for s in item.setups)]
    rows = [
        (setup, [_cell(run, item, case, setup, metric) for metric in metrics])
        for setup in item.setups
        if any(_of(run, item, case, setup, metric) for metric in metrics)
    ]
    compared = next((m for m in metrics if m.is_compared), None)
    head = ["", *(f"{m.title}{f', {m.unit}' if m.unit else ''}" for m in metrics)]
    if compared is not None and len(rows) > 1:
        head.append(f"{compared.title} ÷ {item.title_of(item.reference)}")
        for setup, cells in rows:
            cells.append(_ratio(run, item, case, setup, compared))
    yield f"| {' | '.join(head)} |"
    yield f"|---|{'---:|' * (len(head) - 1)}"
    for setup, cells in rows:
        yield f"| {item.title_of(setup)} | {' | '.join(cells)} |"
    yield ""


def _of(run: Run, item: Item, case: str, setup: str, metric: Metric) -> list[float]:
    return run.values(item.name, case, setup, metric.key)


def _cell(run: Run, item: Item, case: str, setup: str, metric: Metric) -> str:
    values = _of(run, item, case, setup, metric)
    if not values:
        return "–"
    spread = Spread.of(values)
    middle, low, high = (
        f"{value:,.{metric.digits}f}" for value in (spread.median, spread.low, spread.high)
    )
    return middle if low == high else f"{middle} ({low}–{high})"


def _ratio(run: Run, item: Item, case: str, setup: str, metric: Metric) -> str:
    ours = _of(run, item, case, setup, metric)
    theirs = _of(run, item, case, item.reference, metric)
    if not ours or not theirs or not all(theirs):
        return "–"
    # Round by round: what the machine did meanwhile divides out.
    ratios = [a / b for a, b in zip(ours, theirs, strict=False)]
    return f"{Spread.of(ratios).median:.2f}"
