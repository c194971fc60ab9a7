"""The marks: what is documented for others stays, and no bit has two meanings."""

from sallyport.kernel import marks


def test_the_documented_bit_is_bit_31() -> None:
    assert marks.PIN == 0x80000000


def test_no_bit_of_a_mark_has_two_meanings() -> None:
    parts = [marks.PIN, marks.WON, marks.KILL, marks.END_ORIGINAL, marks.END_REPLY]
    parts.append(marks.GENERATION)

    assert sum(parts) == marks.PIN | marks.WON | marks.KILL | marks.ENDS | marks.GENERATION
    assert marks.DELIVER & marks.UNTRACKED == 0
