from pathlib import Path
from xml.etree import ElementTree

import msgspec
from bench.report import write_report
from bench.report.markdown import render
from bench.report.svg import Group, bars
from bench.report.targets import TARGETS
from bench.results import Run
from bench.stats import Spread
from bench.work import ITEMS
from tests.bench.runs import CASE, missing, run_of


def _lines(run: Run) -> list[str]:
    return render(run, list(ITEMS.values()), []).splitlines()


def test_a_setup_is_told_with_its_spread_and_its_ratio_round_by_round() -> None:
    run = run_of({"helper": {"rate": [1000.0, 2000.0]}, "sallyport": {"rate": [500.0, 1500.0]}})
    lines = _lines(run)
    assert "| kernel helper | 1,500 (1,000–2,000) | 1.00 |" in lines
    # 0.5 in the first round and 0.75 in the second.
    assert "| Sallyport | 1,000 (500–1,500) | 0.62 |" in lines


def test_what_could_not_be_measured_is_told_with_its_reason() -> None:
    run = missing(run_of({"helper": {"rate": [1000.0]}}), "dante", "danted: not installed")
    assert f"* Dante, SOCKS BIND, {CASE}: danted: not installed" in _lines(run)


def test_an_item_of_which_nothing_was_measured_still_says_why() -> None:
    run = missing(run_of({}), "dante", "danted: not installed")
    assert f"## {ITEMS['transfers'].title}" in _lines(run)


def test_a_target_that_is_missed_is_told_as_such() -> None:
    rates = {"helper": 1000.0, "sallyport": 600.0, "dante": 500.0}
    run = run_of({setup: {"rate": [rate, rate]} for setup, rate in rates.items()})
    row = next(line for line in _lines(run) if "≥ 0.5 × kernel helper" in line)
    assert row.endswith("| 0.60 × helper, 1.20 × Dante | **no** |")


def test_a_target_that_is_met_is_told_as_such() -> None:
    rates = {"helper": 1000.0, "sallyport": 600.0, "dante": 400.0}
    run = run_of({setup: {"rate": [rate, rate]} for setup, rate in rates.items()})
    row = next(line for line in _lines(run) if "≥ 0.5 × kernel helper" in line)
    assert row.endswith("| 0.60 × helper, 1.50 × Dante | yes |")


def test_no_target_is_judged_without_figures() -> None:
    assert [target.what for target in TARGETS if target.reached(run_of({}))] == []


def test_latency_is_judged_by_what_is_added_to_routing() -> None:
    figures = {
        "routed": {"p50": [80.0, 90.0], "p99": [150.0, 150.0]},
        "sallyport": {"p50": [180.0, 200.0], "p99": [400.0, 420.0]},
    }
    run = run_of(figures, item="latency", case="0 idle sessions")
    target = next(one for one in TARGETS if one.what == "time added to PORT → 200")
    assert target.reached(run) == ("p50 105 µs, p99 260 µs", True)


def test_growth_is_a_leak_when_it_would_hold_an_object_for_every_cycle() -> None:
    target = next(one for one in TARGETS if one.what == "many open and close cycles")
    verdicts = []
    for each in (15.0, 17.0):
        figures = {"kernel": {"grown_kib": [900.0], "each_bytes": [each]}}
        verdict = target.reached(run_of(figures, item="cycles", case="1,000,000 cycles"))
        assert verdict is not None
        verdicts.append(verdict[1])
    assert verdicts == [True, False]


def test_the_figures_come_back_from_the_file(tmp_path: Path) -> None:
    run = run_of({"helper": {"rate": [1000.0, 2000.0]}})
    write_report(run, tmp_path)
    read = msgspec.json.decode((tmp_path / "results.json").read_bytes(), type=Run)
    assert read == run


def test_every_plot_the_report_names_is_there_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "old.svg").write_text("of an earlier run")
    report = write_report(run_of({"helper": {"rate": [1000.0, 2000.0]}}), tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.svg")) == ["transfers-rate.svg"]
    assert "(transfers-rate.svg)" in report.read_text(encoding="utf-8")


def test_a_plot_is_xml_whatever_it_is_called() -> None:
    text = bars("a < b", "µs", [Group("1 & 2", (("x", Spread(2.0, 1.0, 4.0, 5)),))], 1)
    drawing = ElementTree.fromstring(text)  # noqa: S314 - our own
    assert "2.0" in [element.text for element in drawing.iter()]


def test_the_longest_bar_with_its_spread_fills_the_width() -> None:
    spreads = Spread(50.0, 50.0, 50.0, 5), Spread(100.0, 100.0, 100.0, 5)
    group = Group("case", tuple(zip("ab", spreads, strict=True)))
    drawing = ElementTree.fromstring(bars("title", "", [group], 0))  # noqa: S314 - our own
    widths = [
        element.get("width") for element in drawing.iter() if element.get("fill", "")[:2] == "#0"
    ]
    assert widths[:1] == ["260.0"]
