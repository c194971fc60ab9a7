"""The marks: what is documented for others stays, and no bit has two meanings."""

from sallyport import limits
from sallyport.kernel import marks


def test_the_documented_bit_is_bit_31() -> None:
    assert marks.PIN == 0x80000000


def test_no_bit_of_a_mark_has_two_meanings() -> None:
    parts = [marks.PIN, marks.WON, marks.KILL, marks.END_ORIGINAL, marks.END_REPLY]
    parts.append(marks.GENERATION)

    assert sum(parts) == marks.PIN | marks.WON | marks.KILL | marks.ENDS | marks.GENERATION
    assert marks.DELIVER & marks.UNTRACKED == 0


def test_the_nodes_of_a_pair_share_the_series_and_one_alone_has_all() -> None:
    first, second = marks.series_of(1), marks.series_of(2)

    assert len(first) == len(second) == limits.MAX_WORKERS_OF_NODE * 2
    assert [*first, *second] == [*marks.series_of(None)] == [*range(marks.SERIES_COUNT)]
