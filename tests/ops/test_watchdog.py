import signal
from collections.abc import Callable, Coroutine, Generator, Iterator
from itertools import count
from typing import Any

import pytest

from sallyport.core.runtime.serial import FilterRunning, FilterStuck, SerialRunner, Work
from sallyport.ops.watchdog import Watchdog, at_most
from sallyport.testing import VirtualWorld

# Short enough for a test, long enough for two looks to fall into an endless loop.
LOOK = 0.02


@pytest.fixture
def filter_running() -> Iterator[FilterRunning]:
    filter_running = FilterRunning()
    watchdog = Watchdog(filter_running, LOOK)
    watchdog.start()
    yield filter_running
    watchdog.stop()


def runner_of(filter_running: FilterRunning, faults: list[BaseException]) -> SerialRunner:
    return SerialRunner(
        VirtualWorld().suspend, filter_running, lambda error, _owner: faults.append(error)
    )


async def never_ends() -> None:
    for _ in count():
        pass


async def never_ends_whatever_is_raised() -> None:
    while True:
        try:
            await never_ends()
        except Exception:  # noqa: BLE001, S112 - as careless as a filter can be
            continue


async def ends() -> None:
    pass


@pytest.mark.parametrize("loops", [never_ends, never_ends_whatever_is_raised])
def test_x07_a_filter_that_loops_ends_its_runner_and_nothing_else(
    filter_running: FilterRunning, loops: Callable[[], Work]
) -> None:
    faults: list[BaseException] = []
    other_faults: list[BaseException] = []

    runner_of(filter_running, faults).run(loops)
    runner_of(filter_running, other_faults).run(ends)

    assert [type(fault) for fault in faults] == [FilterStuck]
    assert other_faults == []


class AnswersItself(Coroutine[Any, Any, None]):
    """Not `async def`: cut between being made and being given away, one complains when it dies."""

    def __init__(self, runner: SerialRunner) -> None:
        self._runner = runner

    def send(self, _value: object) -> None:
        raise AssertionError("it does not wait")

    def throw(self, *_error: object) -> None:
        raise AssertionError("nobody throws")

    def close(self) -> None:
        pass

    def __await__(self) -> Generator[Any, Any, None]:
        self._runner.run(AnswersItself, (self._runner,))
        return (None for _ in ())


def test_x07_neighbours_that_keep_each_other_busy_loop_too(filter_running: FilterRunning) -> None:
    faults: list[BaseException] = []
    runner = runner_of(filter_running, faults)

    runner.run(AnswersItself, (runner,))

    assert [type(fault) for fault in faults] == [FilterStuck]
    assert runner.is_closed
    assert not runner.is_busy


def test_many_short_steps_are_not_a_long_one(filter_running: FilterRunning) -> None:
    faults: list[BaseException] = []
    runner = runner_of(filter_running, faults)

    # Some hundreds of milliseconds of steps, each with a number of its own.
    for _ in range(100_000):
        runner.run(ends)

    assert faults == []
    assert filter_running.number == 100_000


def test_nothing_is_raised_outside_a_step(filter_running: FilterRunning) -> None:
    for _ in range(2_000_000):
        pass

    assert not filter_running.running


def test_a_block_that_takes_too_long_is_cut_and_the_watchdog_looks_on(
    filter_running: FilterRunning,
) -> None:
    before = signal.getsignal(signal.SIGALRM)

    with pytest.raises(FilterStuck, match=r"longer than 0\.05 s"), at_most(0.05):
        filter_running.run(lambda: [None for _ in count()])

    assert signal.getsignal(signal.SIGALRM) == before
    with pytest.raises(FilterStuck, match=r"longer than 0\.02 s"):
        filter_running.run(lambda: [None for _ in count()])
