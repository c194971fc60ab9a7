from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest
from bench.errors import Absent
from bench.runner import run
from bench.scale import QUICK, Scale
from bench.work.item import Case, Item, Measure, Metric, Stand

_ROUNDS = replace(QUICK, rounds=3)


class _Diary(Item):
    """An item that measures nothing but writes down who was asked when."""

    name = "diary"
    title = "Diary"
    method = "By hand."
    metrics = (Metric("order", "order", ""),)
    setups = ("helper", "sallyport", "dante")
    reference = "helper"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.open: set[str] = set()
        self.fails_at: dict[str, int] = {}

    def cases(self, scale: Scale) -> Sequence[Case]:
        return [Case("first"), Case("second")]

    @contextmanager
    def prepared(self, stand: Stand, setup: str, case: Case, scale: Scale) -> Iterator[Measure]:
        name = f"{case.title} {setup}"
        if self.fails_at.get(name) == -1:
            raise Absent("cannot start")

        def measure() -> Mapping[str, float]:
            self.asked.append(name)
            if self.asked.count(name) == self.fails_at.get(name):
                raise Absent("broke down")
            return {"order": float(len(self.asked))}

        self.open.add(name)
        yield measure
        self.open.remove(name)


class _DiaryOfCases(_Diary):
    compares_cases = True


@pytest.fixture
def diary() -> _Diary:
    return _Diary()


def test_setups_take_turns_and_another_begins_each_round(diary: _Diary) -> None:
    run([diary], _ROUNDS)
    assert diary.asked[:9] == [
        *("first helper", "first sallyport", "first dante"),
        *("first sallyport", "first dante", "first helper"),
        *("first dante", "first helper", "first sallyport"),
    ]


def test_cases_that_are_compared_take_turns_too() -> None:
    diary = _DiaryOfCases()
    run([diary], _ROUNDS)
    assert sorted(diary.asked[:6]) == sorted(
        f"{case} {setup}" for case in ("first", "second") for setup in diary.setups
    )


def test_everything_that_was_prepared_is_taken_down(diary: _Diary) -> None:
    run([diary], _ROUNDS)
    assert diary.open == set()


def test_a_setup_that_cannot_start_is_told_and_the_others_go_on(diary: _Diary) -> None:
    diary.fails_at["first dante"] = -1
    result = run([diary], _ROUNDS)
    assert [(one.case, one.setup, one.reason) for one in result.missing] == [
        ("first", "dante", "cannot start")
    ]
    assert len(result.samples) == 3 * 5


def test_a_setup_that_breaks_down_keeps_what_was_measured(diary: _Diary) -> None:
    diary.fails_at["second helper"] = 2
    result = run([diary], _ROUNDS)
    assert [one.reason for one in result.missing] == ["broke down"]
    assert len(result.values("diary", "second", "helper", "order")) == 1
    assert len(result.values("diary", "second", "dante", "order")) == 3
