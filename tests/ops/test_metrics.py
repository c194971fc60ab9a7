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
    "operation",
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


def _targets() -> list[tuple[str, dict[str, str]]]:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return [
        (panel["title"], target)
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    ]


@pytest.mark.parametrize(("panel", "target"), _targets(), ids=lambda value: str(value)[:40])
def test_a_panel_asks_for_labels_that_its_metric_has(panel: str, target: dict[str, str]) -> None:
    expression = target["expr"]
    (name,) = _named(expression)
    metric = METRICS[re.sub("_bucket$", "", name) if name not in METRICS else name]
    # Prometheus itself adds which gateway was asked, and the bound of a bucket.
    known = {*metric.labels, "instance", "le"}
    grouped = re.findall(r"\bby \(([^)]*)\)", expression)
    matched = re.findall(r"[{,](\w+)=", expression)

    assert {one.strip() for words in grouped for one in words.split(",")} | set(matched) <= known
    assert set(re.findall(r"{{(\w+)}}", target.get("legendFormat", ""))) <= known, panel


def _promtool(*check: str) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is missing: scripts/bootstrap unpacks it")
    done = subprocess.run([promtool, *check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_alerts_and_their_tests() -> None:
    _promtool("check", "rules", str(ALERTS))
    _promtool("test", "rules", str(ALERTS.with_name("alerts_test.yml")))


def test_prometheus_understands_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": target["expr"].replace("$instance", "one|two")}
        for number, (_, target) in enumerate(_targets())
    ]
    file = tmp_path / "panels.yml"
    # YAML is what promtool reads, and every JSON is YAML.
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")

    _promtool("check", "rules", str(file))
