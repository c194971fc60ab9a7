"""The harness end to end, a fraction of a second each: that it runs, not how fast."""

from dataclasses import replace

import pytest
from bench.results import Run
from bench.runner import run
from bench.scale import QUICK
from bench.work import ITEMS

pytestmark = pytest.mark.netns

# Those that need nothing but this package and the kernel.
_OURS = {"direct", "helper", "sallyport", "kernel", "user"}

# Seconds: on a busy machine a transfer has been seen to take a tenth.
_TINY = replace(
    QUICK,
    rounds=1,
    seconds=0.2,
    connections=(2,),
    idle=(10,),
    live=(10,),
    blocks=(1, 2),
    binds=20,
    held=10,
    bulk=1 << 20,
    cycles=1000,
)


def _measured(name: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    item = ITEMS[name]
    monkeypatch.setattr(item, "setups", tuple(one for one in item.setups if one in _OURS))
    return run([item], _TINY)


@pytest.mark.parametrize("name", ITEMS)
def test_every_item_measures_every_setup(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    result = _measured(name, monkeypatch)
    assert result.missing == []
    assert {sample.setup for sample in result.samples} == set(ITEMS[name].setups)


def test_capped_workers_are_measured_or_said_to_be_impossible() -> None:
    result = run([ITEMS["workers"]], _TINY)
    assert all(one.reason.startswith("no worker can be capped") for one in result.missing)
    told = {one.setup for one in result.missing} | {sample.setup for sample in result.samples}
    assert told == set(ITEMS["workers"].setups)


def test_transfers_arrive_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    result = _measured("transfers", monkeypatch)
    assert {sample.values["failures"] for sample in result.samples} == {0.0}
    assert all(sample.values["rate"] > 0 for sample in result.samples)


def test_a_peer_that_is_not_installed_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.setups.base.shutil.which", lambda _program: None)
    monkeypatch.setattr(ITEMS["memory"], "setups", ("dante",))
    result = run([ITEMS["memory"]], _TINY)
    assert [one.reason for one in result.missing] == [
        "danted: not installed (scripts/bootstrap bench does it)"
    ]
