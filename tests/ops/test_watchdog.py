import signal
from collections.abc import Callable, Coroutine, Generator, Iterator
from itertools import count
from typing import Any

import pytest

from sallyport.core.runtime.serial import FilterStuck, Strand, Turn, Work
from sallyport.ops.watchdog import Watchdog, at_most
from sallyport.testing import VirtualWorld

# Short enough for a test, long enough for two looks to fall into an endless loop.
LOOK = 0.02


@pytest.fixture
def turn() -> Iterator[Turn]:
    turn = Turn()
    watchdog = Watchdog(turn, LOOK)
    watchdog.start()
    yield turn
    watchdog.stop()


def strand_of(turn: Turn, faults: list[BaseException]) -> Strand:
    return Strand(VirtualWorld().park, turn, lambda error, _owner: faults.append(error))


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
def test_x07_a_filter_that_loops_ends_its_strand_and_nothing_else(
    turn: Turn, loops: Callable[[], Work]
) -> None:
    faults: list[BaseException] = []
    other_faults: list[BaseException] = []

    strand_of(turn, faults).run(loops)
    strand_of(turn, other_faults).run(ends)

    assert [type(fault) for fault in faults] == [FilterStuck]
    assert other_faults == []


class AnswersItself(Coroutine[Any, Any, None]):
    """Not `async def`: cut between being made and being given away, one complains when it dies."""

    def __init__(self, strand: Strand) -> None:
        self._strand = strand

    def send(self, _value: object) -> None:
        raise AssertionError("it does not wait")

    def throw(self, *_error: object) -> None:
        raise AssertionError("nobody throws")

    def close(self) -> None:
        pass

    def __await__(self) -> Generator[Any, Any, None]:
        self._strand.run(AnswersItself, (self._strand,))
        return (None for _ in ())


def test_x07_neighbours_that_keep_each_other_busy_loop_too(turn: Turn) -> None:
    faults: list[BaseException] = []
    strand = strand_of(turn, faults)

    strand.run(AnswersItself, (strand,))

    assert [type(fault) for fault in faults] == [FilterStuck]
    assert strand.is_closed
    assert not strand.is_busy


def test_many_short_steps_are_not_a_long_one(turn: Turn) -> None:
    faults: list[BaseException] = []
    strand = strand_of(turn, faults)

    # Some hundreds of milliseconds of steps, each with a number of its own.
    for _ in range(100_000):
        strand.run(ends)

    assert faults == []
    assert turn.number == 100_000


def test_nothing_is_raised_outside_a_step(turn: Turn) -> None:
    for _ in range(2_000_000):
        pass

    assert not turn.running


def test_a_block_that_takes_too_long_is_cut_and_the_watchdog_looks_on(turn: Turn) -> None:
    before = signal.getsignal(signal.SIGALRM)

    with pytest.raises(FilterStuck, match=r"longer than 0\.05 s"), at_most(0.05):
        turn.run(lambda: [None for _ in count()])

    assert signal.getsignal(signal.SIGALRM) == before
    with pytest.raises(FilterStuck, match=r"longer than 0\.02 s"):
        turn.run(lambda: [None for _ in count()])
