from sallyport import limits
from sallyport.ops.processes.lifeline import Lifeline


def test_one_that_serves_hangs_after_five_silent_seconds() -> None:
    line = Lifeline(0.0)
    line.serves(100.0)
    line.alive(103.0)

    assert not line.hangs(108.0)
    assert line.hangs(108.1)


def test_one_has_the_rest_of_its_time_after_a_host_was_suspended() -> None:
    line = Lifeline(0.0)
    line.serves(100.0)
    line.unwatched(3600.0)

    assert not line.hangs(3705.0)
    assert line.hangs(3705.1)


def test_one_that_starts_is_given_more_time() -> None:
    line = Lifeline(0.0)

    assert not line.hangs(limits.WORKER_START_SECONDS)
    assert line.hangs(limits.WORKER_START_SECONDS + 0.1)


def test_one_that_reads_a_configuration_is_given_more_time_too() -> None:
    line = Lifeline(0.0)
    line.serves(100.0)
    line.is_changing = True

    assert not line.hangs(100.0 + limits.WORKER_START_SECONDS)


def test_one_that_keeps_ending_is_replaced_ever_later() -> None:
    line = Lifeline(0.0)
    delays = []
    for second in range(6):
        line.started(float(second))
        line.serves(second + 0.5)
        delays.append(line.ended(second + 0.9))

    assert delays == [0.0, 0.2, 1.0, 5.0, 5.0, 5.0]


def test_one_that_served_long_is_replaced_at_once_again() -> None:
    line = Lifeline(0.0)
    line.ended(1.0)
    line.ended(2.0)
    line.started(3.0)
    line.serves(4.0)

    assert line.ended(3.0 + limits.WORKER_PROBATION_SECONDS) == 0.0
