"""EventFeed: what happens to one connection, for a program that iterates over it.

The reader waits in its own event loop, which the core does not know: it is handed a `Waiter`.
"""

from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Protocol

from sallyport import limits

if TYPE_CHECKING:
    from sallyport.core.model.events import Event


class Waiter(Protocol):
    """One coroutine waits, somebody wakes it."""

    def wake(self) -> None:
        """Let the waiting one go on, or the next `wait` return at once; never blocks."""

    async def wait(self) -> None:
        """Wait until `wake` was called since the last `wait` returned."""


class EventFeed(AsyncIterator["Event"]):
    """An iterator over events; it ends after the last one, ConnectionTerminating.

    A reader that does not keep up loses the oldest events, never the last: `lost` counts them.
    """

    def __init__(self, waiter: Waiter) -> None:
        self.lost = 0
        self._waiter = waiter
        self._unread: deque[Event] = deque()
        self._is_over = False

    def put(self, event: "Event") -> None:
        """Take one event; never blocks, never raises."""
        if len(self._unread) == limits.MAX_UNREAD_EVENTS:
            self._unread.popleft()
            self.lost += 1
        self._unread.append(event)
        self._waiter.wake()

    def end(self) -> None:
        """Take no more events: iteration ends when those taken are read."""
        self._is_over = True
        self._waiter.wake()

    async def __anext__(self) -> "Event":
        while not self._unread:
            if self._is_over:
                raise StopAsyncIteration
            await self._waiter.wait()
        return self._unread.popleft()
