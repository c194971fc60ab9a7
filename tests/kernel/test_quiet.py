import os
import threading
from time import monotonic

import pytest

from sallyport import limits
from sallyport.kernel.quiet import Quiet


@pytest.fixture
def two() -> tuple[Quiet, Quiet]:
    """Return what two processes hold that share one memory."""
    one, other = Quiet(), Quiet()
    other.join(os.dup(one.fileno()))
    return one, other


def test_without_a_request_no_process_waits(
    two: tuple[Quiet, Quiet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "QUIET_SECONDS", 60.0)
    with two[0].asked():
        pass

    before = monotonic()
    two[1].heed()
    assert monotonic() - before < 30


def test_a_change_waits_until_the_other_process_is_done(two: tuple[Quiet, Quiet]) -> None:
    one, other = two
    done = threading.Event()

    def change() -> None:
        other.heed()
        done.set()

    with one.asked():
        waiting = threading.Thread(target=change)
        waiting.start()
        assert not done.wait(0.05)
    assert done.wait(5)
    waiting.join()


def test_one_that_asks_and_dies_keeps_the_others_waiting_for_a_moment_only(
    two: tuple[Quiet, Quiet], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "QUIET_SECONDS", 0.05)
    asking = two[0].asked()
    asking.__enter__()  # it never comes to its end

    before = monotonic()
    two[1].heed()
    assert 0.03 < monotonic() - before < 2


def test_the_end_of_one_request_does_not_end_anothers(two: tuple[Quiet, Quiet]) -> None:
    one, other = two
    with one.asked():
        asking = other.asked()
        asking.__enter__()
    assert one._until[0] > monotonic()
    asking.__exit__(None, None, None)
    assert one._until[0] == 0.0
