"""SerialRunner: the order in which one connection's filter code runs, and the fence around it.

Filters are `async def` but know no event loop. Most awaits on a session are answered at once, so a
coroutine is stepped in place; only one that really waits is handed to whoever owns an event loop.
"""

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from sallyport import limits
from sallyport.core.runtime.deadlines import Deadline

Work = Coroutine[Any, Any, None]

# Carries a waiting coroutine on: (coroutine, what it yielded, called when it is done or failed).
Suspend = Callable[[Work, Any, Callable[[BaseException | None], None]], None]

_Result = TypeVar("_Result")

_DONE: Final = object()


class FilterStuck(BaseException):
    """A filter's turn did not end; raised inside it by whoever watches.

    No Exception, because a loop may well contain `except Exception: continue`.
    """


# What filter code raises by itself, leaving included; a caller who gives up waiting is no fault.
FAULTS: Final = (Exception, SystemExit, FilterStuck)


class FilterRunning:
    """Whether filter code runs at this moment; a watchdog reads it to find code that loops.

    `number` changes with every turn, so that two looks a while apart tell a long one from many.
    What filters do to each other within one turn is part of it: two of them can loop together.
    """

    __slots__ = ("number", "running")

    def __init__(self) -> None:
        self.running = False
        self.number = 0

    def run(self, step: Callable[[], _Result]) -> _Result:
        """Run filter code: give what it gives, raise what it raises."""
        was_running, self.running = self.running, True
        self.number += not was_running
        try:
            return step()
        finally:
            self.running = was_running


def waited_too_long(seconds: float) -> TimeoutError:
    """Make the fault of a filter that waits for more than the kernel."""
    return TimeoutError(f"waited {seconds:g} s")


def impatient(
    suspend: Suspend,
    call_later: Callable[[float, Callable[[], None]], Deadline],
    give_up: Callable[[BaseException], None],
) -> Suspend:
    """Give a `suspend` that calls `give_up` with TimeoutError when a coroutine waits too long.

    What a filter may wait for is the kernel; who waits forever holds its connection (attack X07).
    """

    def suspend_impatiently(
        work: Work,
        yielded: Any,  # noqa: ANN401 - whatever the coroutine yields
        done: Callable[[BaseException | None], None],
    ) -> None:
        seconds = limits.FILTER_WAIT_SECONDS
        limit = call_later(seconds, lambda: give_up(waited_too_long(seconds)))

        def finished(error: BaseException | None) -> None:
            limit.cancel()
            done(error)

        suspend(work, yielded, finished)

    return suspend_impatiently


def _nothing() -> None:
    pass


class SerialRunner:
    """Runs `async def` methods one after another; an exception stops it and is told to `fault`.

    Each is called in its turn, so that the fence is around the call itself too. `fault` is called
    at most once, with the filter whose code raised. After a fault or `close()` nothing runs any
    more.
    """

    def __init__(
        self,
        suspend: Suspend,
        filter_running: FilterRunning,
        fault: Callable[[BaseException, str], None],
    ) -> None:
        self._suspend = suspend
        self._filter_running = filter_running
        self._fault = fault
        self._waiting: deque[tuple[Callable[..., Work], tuple[object, ...], str]] = deque()
        self.owner = ""
        """Whose code is running: the name of a filter."""
        self._busy = False
        self._has_waited = False
        self._closed = False
        self.on_idle: Callable[[], None] = _nothing
        """Called when the last of what waited is done: feeding may go on."""

    @property
    def is_busy(self) -> bool:
        """Whether something waits; whoever feeds the runner should pause."""
        return self._busy

    @property
    def is_closed(self) -> bool:
        """Whether nothing runs any more; a coroutine that waits may still come back."""
        return self._closed

    def run(
        self, method: Callable[..., Work], arguments: tuple[object, ...] = (), owner: str = ""
    ) -> None:
        """Run a method of the filter `owner` now, or after everything that was given before it."""
        if self._closed:
            return
        self._waiting.append((method, arguments, owner))
        if self._busy:
            self._has_waited = True
        else:
            self._drain()

    def close(self) -> None:
        """Run nothing more, nor what waits for its turn. Idempotent."""
        self._closed = True
        self._waiting.clear()

    def fail(self, error: BaseException, owner: str) -> None:
        """Close, and tell `fault` if nothing has failed before. Idempotent."""
        if not self._closed:
            self.close()
            self._fault(error, owner)

    def _drain(self) -> None:
        self._busy = True
        try:
            if self._filter_running.run(self._go_on):
                return
        except BaseException as error:  # noqa: BLE001 - a fence: what a filter raises stays here
            self.fail(error, self.owner)
        self._busy = False
        if self._has_waited:
            self._has_waited = False
            if not self._closed:
                self.on_idle()

    def _go_on(self) -> bool:
        """Run what waits; give whether it has to wait for somebody else."""
        while self._waiting:
            method, arguments, self.owner = self._waiting.popleft()
            work = method(*arguments)
            # As `work.send(None)`, but its end, which is the rule, raises nothing.
            yielded = next(work.__await__(), _DONE)
            if yielded is not _DONE:
                self._has_waited = True
                self._suspend(work, yielded, self._resumed)
                return True
        return False

    def _resumed(self, error: BaseException | None) -> None:
        if error is not None:
            self.fail(error, self.owner)
        self._drain()
