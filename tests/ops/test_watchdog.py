from collections.abc import Iterator
from itertools import count

import pytest

from sallyport.core.strand import Strand, Turn
from sallyport.ops.watchdog import FilterStuck, Watchdog
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


def strand_of(turn: Turn, faults: list[Exception]) -> Strand:
    return Strand(VirtualWorld().park, turn, lambda error, _owner: faults.append(error))


async def never_ends() -> None:
    for _ in count():
        pass


async def ends() -> None:
    pass


def test_x07_a_filter_that_loops_ends_its_strand_and_nothing_else(turn: Turn) -> None:
    faults: list[Exception] = []
    other_faults: list[Exception] = []

    strand_of(turn, faults).run(never_ends())
    strand_of(turn, other_faults).run(ends())

    assert [type(fault) for fault in faults] == [FilterStuck]
    assert other_faults == []


def test_many_short_steps_are_not_a_long_one(turn: Turn) -> None:
    faults: list[Exception] = []
    strand = strand_of(turn, faults)

    # Some hundreds of milliseconds of steps, each with a number of its own.
    for _ in range(100_000):
        strand.run(ends())

    assert faults == []
    assert turn.number == 100_000


def test_nothing_is_raised_outside_a_step(turn: Turn) -> None:
    for _ in range(2_000_000):
        pass

    assert not turn.running
