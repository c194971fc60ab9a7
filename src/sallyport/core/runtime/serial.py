"""SerialRunner: the order in which one connection's filter code runs, and the fence around it.

Filters are `async def` but use no event loop. Most awaits on a session have their result at once,
so the runner steps a coroutine in place, which costs a function call. Only a coroutine that really
waits (for the kernel) is handed to `suspend`, whose owner has an event loop; until it is done, the
calls that come after it wait in a queue.

The runner is the unit of order and the unit of failure: the calls of one connection never overlap,
and the first exception stops all that come after it.
"""

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from sallyport import limits
from sallyport.core.runtime.deadlines import Deadline

Work = Coroutine[Any, Any, None]

# Resumes a coroutine that waits. Arguments: the coroutine, the value it yielded, and a callback for
# its end, which gets the exception that ended it, or None.
Suspend = Callable[[Work, Any, Callable[[BaseException | None], None]], None]

_Result = TypeVar("_Result")

# Calls an action after so many seconds.
CallLater = Callable[[float, Callable[[], None]], Deadline]

_DONE: Final = object()


class FilterStuck(BaseException):
    """A step of filter code did not return; the watchdog raises this inside it.

    It is no `Exception`, because the loop that does not end may contain `except Exception:
    continue`.
    """


# What counts as a filter's fault. SystemExit is in it, because a filter may not stop the daemon.
# CancelledError is not: then the caller gave up waiting, and the filter did nothing wrong.
FAULTS: Final = (Exception, SystemExit, FilterStuck)


class FilterRunning:
    """Says whether filter code runs at this moment; a watchdog reads it to find code that loops.

    `number` changes with every outermost step. A watchdog that looks twice and finds the same
    number saw one long step; two numbers are two short ones. A step that runs inside another one
    does not change it, because two filters that call each other can loop together.
    """

    __slots__ = ("number", "running")

    def __init__(self) -> None:
        self.running = False
        self.number = 0

    def run(self, step: Callable[[], _Result]) -> _Result:
        """Run filter code: return what it returns, raise what it raises."""
        was_running = self.begin()
        try:
            return step()
        finally:
            self.running = was_running

    def begin(self) -> bool:
        """Take note that filter code runs; return what `running` is to be set to when it ends."""
        was_running, self.running = self.running, True
        self.number += not was_running
        return was_running


def waited_too_long(seconds: float) -> TimeoutError:
    """Return the fault of a filter that waited for `seconds`, longer than the kernel ever takes."""
    return TimeoutError(f"waited {seconds:g} s")


def _nothing() -> None:
    pass


class SerialRunner:
    """Runs `async def` methods one after another; the first exception stops it.

    * A method given while another one runs or waits is queued. A filter that sends bytes to its
      neighbour therefore returns before the neighbour is called: no recursion, no re-entrance.
    * The method itself is queued, not its coroutine, so that the fence is around the call as well.
    * `fault(error, owner)` is called at most once, with the name of the filter whose code raised.
    * After a fault or `close()` nothing runs any more.
    * With `call_later` a method that waits longer than `limits.FILTER_WAIT_SECONDS` is at fault. It
      may wait for the kernel only; one that waits for ever would hold its connection, which is
      read no further meanwhile (attack X07).
    * `on_idle` is called only if a method had to wait, or after `report`:
      the reader of the sockets, who paused because of `is_busy`, then reads on.
    """

    def __init__(
        self,
        suspend: Suspend,
        filter_running: FilterRunning,
        fault: Callable[[BaseException, str], None],
        call_later: CallLater | None = None,
    ) -> None:
        self._suspend = suspend
        self._call_later = call_later
        self._limit: Deadline | None = None
        self._filter_running = filter_running
        self._fault = fault
        self._waiting: deque[tuple[Callable[..., Work], tuple[object, ...], str]] = deque()
        self.owner = ""
        """The name of the filter whose code is running; a fault is counted against it."""
        self.is_busy = False
        """Whether a method runs or waits; the reader of the sockets should pause."""
        self.is_closed = False
        """Whether nothing runs any more; a coroutine that waits may still finish its step."""
        self._must_report = False
        self.on_idle: Callable[[], None] = _nothing
        """Called when the queue is empty again after a wait: reading may go on."""

    def run(
        self, method: Callable[..., Work], arguments: tuple[object, ...] = (), owner: str = ""
    ) -> None:
        """Call a method of the filter `owner` now, or after every method that was given before."""
        if self.is_closed:
            return
        self._waiting.append((method, arguments, owner))
        if self.is_busy:
            self._must_report = True
        else:
            self._drain()

    def report(self) -> None:
        """Call `on_idle` when nothing runs or waits any more: at once when it is so."""
        if self.is_busy:
            self._must_report = True
        elif not self.is_closed:
            self.on_idle()

    def close(self) -> None:
        """Run nothing more and empty the queue. Idempotent."""
        self.is_closed = True
        self._waiting.clear()

    def fail(self, error: BaseException, owner: str) -> None:
        """Close, and call `fault` unless the runner is closed already. Idempotent."""
        if not self.is_closed:
            self.close()
            self._fault(error, owner)

    def _drain(self) -> None:
        """Run the queue until it is empty, or a coroutine waits."""
        self.is_busy = True
        try:
            was_running = self._filter_running.begin()
            try:
                while self._waiting:
                    method, arguments, self.owner = self._waiting.popleft()
                    work = method(*arguments)
                    # The same step as `work.send(None)`. A coroutine that ends at once is the rule,
                    # and `next` with a default tells it without the cost of a StopIteration.
                    yielded = next(work.__await__(), _DONE)
                    if yielded is not _DONE:
                        self._wait_for(work, yielded)
                        return
            finally:
                self._filter_running.running = was_running
        except BaseException as error:  # noqa: BLE001 - a fence: what a filter raises stays here
            self.fail(error, self.owner)
        self.is_busy = False
        if self._must_report:
            self._must_report = False
            if not self.is_closed:
                self.on_idle()

    def _wait_for(self, work: Work, yielded: object) -> None:
        self._must_report = True
        if self._call_later is not None:
            self._limit = self._call_later(limits.FILTER_WAIT_SECONDS, self._give_up)
        self._suspend(work, yielded, self._resumed)

    def _give_up(self) -> None:
        self.fail(waited_too_long(limits.FILTER_WAIT_SECONDS), self.owner)

    def _resumed(self, error: BaseException | None) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
        if error is not None:
            self.fail(error, self.owner)
        self._drain()
