"""What is handed over are the workers that live; one may end at any moment of it."""

import os
from collections.abc import Callable
from typing import cast

import pytest
from tests.ops.processes.fleet_bench import Bench, played, serve

from sallyport.errors import OperatorError, StartupError
from sallyport.ops.processes.estate import RunningEstate
from sallyport.ops.processes.ground import Ground
from sallyport.ops.processes.member import WorkerLost
from sallyport.ops.processes.takeover import Crew


async def released(bench: Bench, require_heir: Callable[[], None] = lambda: None) -> Crew:
    """Hand over what a bench has, and close what would go to the successor."""
    estate = RunningEstate(bench.fleet, cast("Ground", bench))
    async with bench.fleet.changing:
        crew, descriptors = await estate.release(require_heir)
    assert len(descriptors) == 2 * len(crew.mates)
    for number in descriptors:
        os.close(number)
    return crew


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_every_worker_goes_with_its_connection_and_its_pidfd(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def act(bench: Bench) -> None:
        await serve(bench, workers=2)
        crew = await released(bench)
        assert [(mate.number, mate.index, mate.pid) for mate in crew.mates] == [
            (1, 0, 101),
            (2, 1, 102),
        ]

    played(act, monkeypatch)


@pytest.mark.parametrize(
    ("asked", "ended"), [(101, 101), (102, 101), (101, 102), (102, 102)], ids=str
)
def test_one_that_ends_while_it_or_another_is_asked_is_left_out(
    asked: int, ended: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(bench: Bench) -> None:
        await serve(bench, workers=2)
        bench.ends_when_asked[asked, "outlive"] = ended
        crew = await released(bench)
        assert [mate.pid for mate in crew.mates] == [pid for pid in (101, 102) if pid != ended]

    played(act, monkeypatch)


def test_one_whose_connection_has_ended_already_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def act(bench: Bench) -> None:
        await serve(bench, workers=2)
        bench.processes[102].is_connected = False
        assert [mate.pid for mate in (await released(bench)).mates] == [101]

    played(act, monkeypatch)


def test_one_that_gives_no_answer_keeps_everything_where_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def act(bench: Bench) -> None:
        await serve(bench, workers=2)
        bench.errors[102, "outlive"] = WorkerLost("worker 2 gives no answer")
        before = descriptors()
        with pytest.raises(OperatorError, match="gives no answer"):
            await released(bench)
        assert descriptors() == before
        assert [member.pid for member in bench.fleet.members()] == [101, 102]
        # They are still looked after.
        bench.processes[102].end(-9)
        await bench.recorded("worker.replaced").wait()

    played(act, monkeypatch)


def test_a_successor_that_ends_while_workers_are_asked_keeps_everything_where_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def act(bench: Bench) -> None:
        await serve(bench, workers=2)

        def gone() -> None:
            assert bench.asked[-2:] == [(101, "outlive"), (102, "outlive")]
            raise StartupError("it gave up")

        before = descriptors()
        with pytest.raises(StartupError, match="it gave up"):
            await released(bench, gone)
        assert descriptors() == before
        assert [member.pid for member in bench.fleet.members()] == [101, 102]
        assert all(process.is_alive for process in bench.processes.values())

    played(act, monkeypatch)
