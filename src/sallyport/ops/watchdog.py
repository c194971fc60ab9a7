"""Watchdog: cuts filter code that does not come back (attack X07).

Filters run in the daemon's only thread, so a loop in one would stop everybody. An interval timer
looks at the gateway's `FilterRunning`; when the same step is still running at two looks in a row,
the signal handler raises inside it, and the runner's fence ends that session.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from sallyport.core.runtime.serial import FilterRunning, FilterStuck

# A turn handles one segment: hundreds of microseconds. A second is three orders of magnitude more,
# and still short enough that other clients see a pause, not a failure.
LOOK_SECONDS = 1.0


class Watchdog:
    """Watches one `FilterRunning` every `seconds`; start and stop from the main thread."""

    def __init__(self, filter_running: FilterRunning, seconds: float = LOOK_SECONDS) -> None:
        self._filter_running = filter_running
        self._seconds = seconds
        self._seen = -1

    def start(self) -> None:
        """Begin to look."""
        signal.signal(signal.SIGALRM, self._look)
        signal.setitimer(signal.ITIMER_REAL, self._seconds, self._seconds)

    def stop(self) -> None:
        """Look no more; idempotent."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def _look(self, _signal: int, _frame: FrameType | None) -> None:
        # Python runs this in the main thread between two instructions, so nothing moves meanwhile.
        if not self._filter_running.running:
            self._seen = -1
        elif self._seen == self._filter_running.number:
            self._seen = -1
            raise FilterStuck(f"ran longer than {self._seconds:g} s")
        else:
            self._seen = self._filter_running.number


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise FilterStuck in the block when it takes longer, in every second until it ends.

    For what may take longer than a turn; a watchdog that is running waits meanwhile. For the main
    thread.
    """

    def cut(_signal: int, _frame: FrameType | None) -> None:
        raise FilterStuck(f"it took longer than {seconds:g} s")

    handler = signal.signal(signal.SIGALRM, cut)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds, LOOK_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *timer)
