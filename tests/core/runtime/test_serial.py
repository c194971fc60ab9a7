from asyncio import CancelledError
from collections.abc import Callable
from typing import Any

import pytest
from tests.core.office import Pause

from sallyport.core.runtime.serial import FilterRunning, SerialRunner, Work
from sallyport.testing import VirtualWorld


class Bench:
    """A runner with a record of what ran and what failed."""

    def __init__(self) -> None:
        self.world = VirtualWorld()
        self.ran: list[str] = []
        self.faults: list[tuple[str, str]] = []
        self.runner = SerialRunner(self.world.suspend, self.world.filter_running, self.fault)

    def fault(self, error: BaseException, owner: str) -> None:
        self.faults.append((str(error), owner))

    async def say(self, word: str) -> None:
        self.ran.append(word)

    async def wait_and_say(self, word: str) -> None:
        self.ran.append(f"{word}…")
        await Pause()
        self.ran.append(word)

    async def fail(self) -> None:
        raise ValueError("a filter's fault")

    async def wait_and_fail(self) -> None:
        await Pause()
        raise ValueError("a filter's fault")


def test_work_that_need_not_wait_runs_at_once() -> None:
    bench = Bench()
    bench.runner.run(bench.say, ("one",))
    assert bench.ran == ["one"]
    bench.runner.run(bench.say, ("two",))
    assert bench.ran == ["one", "two"]
    assert not bench.runner.is_busy
    assert not bench.world.suspended


def test_work_given_while_other_work_waits_runs_after_it_and_in_order() -> None:
    bench = Bench()
    for word in ("one", "two"):
        bench.runner.run(bench.wait_and_say, (word,))
    bench.runner.run(bench.say, ("three",))
    assert bench.ran == ["one…"]
    assert bench.runner.is_busy

    bench.world.resume()
    assert bench.ran == ["one…", "one", "two…"]
    bench.world.resume()
    assert bench.ran == ["one…", "one", "two…", "two", "three"]
    assert not bench.runner.is_busy


def test_work_given_by_running_work_runs_after_it() -> None:
    bench = Bench()

    async def outer() -> None:
        bench.runner.run(bench.say, ("inner",))
        bench.ran.append("outer")

    bench.runner.run(outer)
    assert bench.ran == ["outer", "inner"]


def test_the_feeder_is_told_when_the_last_of_what_waited_is_done() -> None:
    bench = Bench()
    bench.runner.on_idle = lambda: bench.ran.append("idle")
    bench.runner.run(bench.wait_and_say, ("one",))
    bench.runner.run(bench.wait_and_say, ("two",))

    bench.world.resume()
    assert "idle" not in bench.ran
    bench.world.resume()
    assert bench.ran[-2:] == ["two", "idle"]


def test_who_looked_while_work_was_being_done_is_told_when_it_is_done() -> None:
    bench = Bench()
    bench.runner.on_idle = lambda: bench.ran.append("idle")

    async def outer() -> None:
        bench.runner.run(bench.say, ("inner",))
        assert bench.runner.is_busy

    bench.runner.run(outer)
    assert bench.ran == ["inner", "idle"]
    bench.runner.run(bench.say, ("alone",))
    assert bench.ran == ["inner", "idle", "alone"]


def test_nobody_is_told_that_a_closed_runner_is_idle() -> None:
    bench = Bench()
    bench.runner.on_idle = lambda: bench.ran.append("idle")
    bench.runner.run(bench.wait_and_say, ("one",))
    bench.runner.close()
    bench.world.resume()

    assert bench.ran == ["one…", "one"]


def test_x07_a_method_that_is_no_coroutine_fails_behind_the_fence() -> None:
    bench = Bench()

    def plain(word: str) -> None:
        bench.ran.append(word)

    def other(**_words: str) -> None:
        raise AssertionError("it takes no such arguments")

    bench.runner.run(plain, ("one",), "plain")  # type: ignore[arg-type]
    assert bench.ran == ["one"]
    assert [owner for _, owner in bench.faults] == ["plain"]

    second = Bench()
    second.runner.run(other, ("one",), "other")  # type: ignore[arg-type]
    assert [owner for _, owner in second.faults] == ["other"]


def test_a_call_that_never_came_to_its_turn_is_forgotten() -> None:
    bench = Bench()
    bench.runner.run(bench.wait_and_say, ("one",))
    bench.runner.run(bench.say, ("two",))
    bench.runner.close()
    bench.world.resume()

    assert bench.ran == ["one…", "one"]


@pytest.mark.parametrize("is_waiting", [False, True])
def test_x07_a_fault_is_told_once_and_nothing_runs_any_more(is_waiting: bool) -> None:
    bench = Bench()
    bench.runner.run(bench.wait_and_say, ("one",), "innocent")
    bench.runner.run(bench.wait_and_fail if is_waiting else bench.fail, owner="guilty")
    bench.runner.run(bench.say, ("dropped",), "innocent")
    while bench.world.suspended:
        bench.world.resume()
    bench.runner.run(bench.fail)

    assert bench.ran == ["one…", "one"]
    assert bench.faults == [("a filter's fault", "guilty")]
    assert bench.runner.is_closed


@pytest.mark.parametrize("error", [SystemExit(1), CancelledError()])
def test_x07_what_is_no_exception_stays_behind_the_fence_too(error: BaseException) -> None:
    bench = Bench()

    async def leave() -> None:
        raise error

    bench.runner.run(leave, owner="guilty")

    assert bench.faults == [(str(error), "guilty")]
    assert not bench.runner.is_busy


def test_after_close_nothing_starts_and_no_fault_is_told() -> None:
    bench = Bench()
    bench.runner.run(bench.wait_and_fail)
    bench.runner.run(bench.say, ("dropped",))
    bench.runner.close()
    bench.runner.close()
    bench.world.resume()
    bench.runner.run(bench.say, ("dropped too",))

    assert bench.ran == []
    assert bench.faults == []


def test_work_may_close_its_own_runner() -> None:
    bench = Bench()

    async def last() -> None:
        bench.runner.run(bench.say, ("dropped",))
        bench.runner.close()
        bench.ran.append("last")

    bench.runner.run(last)
    assert bench.ran == ["last"]


def test_a_watchdog_sees_that_filters_run_and_tells_one_long_turn_from_many() -> None:
    filter_running = FilterRunning()
    seen: list[tuple[bool, int]] = []

    def look() -> None:
        seen.append((filter_running.running, filter_running.number))

    def suspend(_work: Work, _yielded: Any, _done: Callable[[Exception | None], None]) -> None:  # noqa: ANN401 - Suspend
        raise AssertionError("nothing waits here")

    def fresh() -> SerialRunner:
        return SerialRunner(suspend, filter_running, lambda _error, _owner: None)

    async def inner() -> None:
        look()

    async def outer() -> None:
        look()
        fresh().run(inner)
        look()

    look()
    fresh().run(outer)
    fresh().run(inner)
    look()
    # What two filters do to each other is one turn: together they must not loop unseen.
    assert seen == [(False, 0), (True, 1), (True, 1), (True, 1), (True, 2), (False, 2)]


def test_failing_from_outside_closes_the_runner_and_is_told_once() -> None:
    bench = Bench()
    bench.runner.run(bench.wait_and_fail)
    bench.runner.fail(TimeoutError("too long"), "guilty")
    bench.runner.fail(TimeoutError("again"), "guilty")
    bench.world.resume()
    bench.runner.run(bench.say, ("dropped",))

    assert bench.faults == [("too long", "guilty")]
    assert bench.ran == []
