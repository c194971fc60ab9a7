from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from sallyport.core.pinholes.ports import Resting


def test_the_first_to_come_is_the_first() -> None:
    resting = Resting(3)
    assert (resting.first, len(resting)) == (None, 0)

    resting.add(2, 10.0)
    resting.add(0, 20.0)

    assert (resting.first, len(resting)) == (2, 2)


def test_who_has_rested_wakes_first_to_come_first() -> None:
    resting = Resting(3)
    resting.add(2, 10.0)
    resting.add(0, 20.0)

    woken = [resting.wake(now) for now in (9.9, 10.0, 19.9, 20.0, 99.0)]

    assert woken == [None, 2, None, 0, None]
    assert len(resting) == 0


def test_one_alone_rests_too() -> None:
    resting = Resting(2)
    resting.add(1, 1.0)
    assert 1 in resting
    assert 0 not in resting

    resting.remove(1)
    assert 1 not in resting
    assert resting.first is None


@given(st.lists(st.integers(0, 7)))
def test_it_is_a_queue_from_which_any_member_can_be_taken(steps: list[int]) -> None:
    resting, model = Resting(8), OrderedDict[int, None]()
    for index in steps:
        if index in model:
            resting.remove(index)
            del model[index]
        else:
            resting.add(index, 1.0)
            model[index] = None
        assert resting.first == next(iter(model), None)
        assert len(resting) == len(model)
        assert [one in resting for one in range(8)] == [one in model for one in range(8)]
