"""The names of metrics, by Prometheus' own rules, and what contrib/ makes of them."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sallyport.ops.metrics import METRICS
from sallyport.reasons import REASONS

CONTRIB = Path(__file__).parents[2] / "contrib"
ALERTS = CONTRIB / "prometheus/alerts.yml"
DASHBOARD = CONTRIB / "grafana/sallyport.json"

# What may be a label: each is bounded by the configuration, by the number of workers or by code.
BOUNDED = {
    *("worker", "filter", "verdict", "reason", "direction", "transport", "result", "version"),
}


@pytest.mark.parametrize("name", METRICS)
def test_a_name_follows_the_conventions_of_prometheus(name: str) -> None:
    meaning = METRICS[name]

    assert re.fullmatch(r"sallyport_[a-z_]+", name)
    assert name.endswith("_total") == (meaning.kind == "counter")
    assert meaning.text.endswith(".")
    assert set(meaning.labels) <= BOUNDED


def _named(text: str) -> set[str]:
    return set(re.findall(r"sallyport_[a-z_]+", text))


def _known() -> set[str]:
    parts = {
        f"{name}_{part}"
        for name, one in METRICS.items()
        if one.kind == "histogram"
        for part in ("bucket", "sum", "count")
    }
    return METRICS.keys() | parts


def test_alerts_and_dashboard_ask_for_metrics_that_there_are() -> None:
    for path in (ALERTS, DASHBOARD):
        named = _named(path.read_text(encoding="utf-8"))
        assert named
        assert named <= _known(), path.name


def test_the_dashboard_is_json_whose_panels_all_ask_something() -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    panels = [one for one in dashboard["panels"] if one["type"] != "row"]

    assert len({one["title"] for one in panels}) == len(panels) > 8
    assert len({one["id"] for one in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in panels:
        assert all(_named(target["expr"]) for target in panel["targets"]), panel["title"]


def test_alerts_name_reasons_that_are_registered() -> None:
    text = ALERTS.read_text(encoding="utf-8")
    for words in re.findall(r'reason=~?"([^"]*)"', text):
        assert set(words.split("|")) <= REASONS.keys() | {"strangers", "invalid", "spoofed"}


def test_promtool_accepts_the_alerts_and_their_tests() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is missing: scripts/bootstrap unpacks it")
    tests = ALERTS.with_name("alerts_test.yml")
    for check in (["check", "rules", str(ALERTS)], ["test", "rules", str(tests)]):
        done = subprocess.run([promtool, *check], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
