from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from sallyport.core.runtime.deadlines import Deadlines


class Clockwork:
    """Deadlines with a record of what fired and of every wake-up asked for."""

    def __init__(self) -> None:
        self.fired: list[str] = []
        self.wakes: list[float] = []
        self.deadlines = Deadlines(self.wakes.append)


def test_actions_fire_in_order_of_time_and_then_of_setting() -> None:
    clock = Clockwork()
    for when, name in [(3.0, "late"), (1.0, "first"), (1.0, "second"), (2.0, "middle")]:
        clock.deadlines.set(when, partial(clock.fired.append, name))

    clock.deadlines.fire(2.0)
    assert clock.fired == ["first", "second", "middle"]
    assert clock.deadlines.next == 3.0
    clock.deadlines.fire(3.0)
    assert clock.fired[3:] == ["late"]
    assert clock.deadlines.next is None


def test_nothing_fires_before_its_time_or_twice() -> None:
    clock = Clockwork()
    clock.deadlines.set(1.0, lambda: clock.fired.append("once"))

    clock.deadlines.fire(0.999)
    assert clock.fired == []
    clock.deadlines.fire(1.0)
    clock.deadlines.fire(9.0)
    assert clock.fired == ["once"]


def test_a_cancelled_action_never_fires() -> None:
    clock = Clockwork()
    doomed = clock.deadlines.set(1.0, lambda: clock.fired.append("doomed"))
    clock.deadlines.set(2.0, lambda: clock.fired.append("other"))

    doomed.cancel()
    doomed.cancel()
    assert len(clock.deadlines) == 1
    assert clock.deadlines.next == 2.0
    clock.deadlines.fire(5.0)
    assert clock.fired == ["other"]


def test_cancelling_what_has_fired_is_harmless() -> None:
    clock = Clockwork()
    fired = clock.deadlines.set(1.0, lambda: None)
    clock.deadlines.set(2.0, lambda: None)
    clock.deadlines.fire(1.0)

    fired.cancel()
    assert len(clock.deadlines) == 1


def test_what_was_put_off_fires_at_its_new_time_and_in_the_order_of_times() -> None:
    clock = Clockwork()
    patient = clock.deadlines.set(1.0, lambda: clock.fired.append("put off"))
    clock.deadlines.set(2.0, lambda: clock.fired.append("other"))

    patient.put_off(3.0)
    assert clock.deadlines.next == 2.0
    clock.deadlines.fire(2.0)
    assert clock.fired == ["other"]
    assert len(clock.deadlines) == 1
    clock.deadlines.fire(3.0)
    assert clock.fired == ["other", "put off"]


def test_what_was_put_off_can_be_cancelled() -> None:
    clock = Clockwork()
    doomed = clock.deadlines.set(1.0, lambda: clock.fired.append("doomed"))
    doomed.put_off(3.0)

    assert clock.deadlines.next == 3.0
    doomed.cancel()
    doomed.put_off(4.0)
    clock.deadlines.fire(5.0)

    assert (clock.fired, len(clock.deadlines)) == ([], 0)


def test_an_action_may_set_and_cancel_deadlines() -> None:
    clock = Clockwork()
    doomed = clock.deadlines.set(2.0, lambda: clock.fired.append("doomed"))

    def act() -> None:
        doomed.cancel()
        clock.deadlines.set(2.0, lambda: clock.fired.append("due"))
        clock.deadlines.set(9.0, lambda: clock.fired.append("later"))

    clock.deadlines.set(1.0, act)
    clock.deadlines.fire(2.0)

    assert clock.fired == ["due"]
    assert clock.deadlines.next == 9.0


def test_whoever_owns_the_timer_hears_of_every_earlier_deadline_and_no_later_one() -> None:
    clock = Clockwork()
    for when in (5.0, 7.0, 3.0, 3.0, 4.0, 1.0):
        clock.deadlines.set(when, lambda: None)

    assert clock.wakes == [5.0, 3.0, 1.0]


def test_cancelled_entries_are_swept_out_before_they_outnumber_the_living() -> None:
    clock = Clockwork()
    living = [clock.deadlines.set(1e6, lambda: None) for _ in range(10)]
    for number in range(100_000):
        clock.deadlines.set(number, lambda: None).cancel()

    assert len(clock.deadlines) == len(living)
    # The heap itself is what would grow, and nothing public shows it.
    assert len(clock.deadlines._heap) < 200


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=300), st.integers(0, 50))
def test_exactly_the_due_and_not_cancelled_fire_whatever_was_swept(
    entries: list[tuple[int, bool]], now: int
) -> None:
    clock = Clockwork()
    made = [
        clock.deadlines.set(when, partial(clock.fired.append, str(number)))
        for number, (when, _) in enumerate(entries)
    ]
    for deadline, (_, is_cancelled) in zip(made, entries, strict=True):
        if is_cancelled:
            deadline.cancel()
    clock.deadlines.fire(now)

    due = [
        (when, number)
        for number, (when, is_cancelled) in enumerate(entries)
        if when <= now and not is_cancelled
    ]
    assert clock.fired == [str(number) for _, number in sorted(due)]
    assert len(clock.deadlines) == sum(not c for _, c in entries) - len(due)
