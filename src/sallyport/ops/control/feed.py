"""What one reader of a stream has not read yet."""

import asyncio
from collections import deque
from collections.abc import Callable

import msgspec
from msgspec import Raw

from sallyport import limits
from sallyport.ops.control.schema import Lost


class Feed:
    """Holds items for one reader until it takes them; made within an event loop.

    Who writes never waits: what does not fit is lost, and the reader is told there how much.
    """

    def __init__(self) -> None:
        self._items: deque[Raw] = deque()
        self._lost = 0
        self._filled = asyncio.Event()
        self._is_closed = False
        self._undo: list[Callable[[], object]] = []

    def put(self, item: Raw, lost: int = 0) -> None:
        """Add an encoded document; `lost` is how many before it did not get as far as here."""
        self._lost += lost
        if self._is_closed:
            return
        if len(self._items) >= limits.MAX_STREAM_ITEMS:
            self._lost += 1
            return
        self._tell_lost()
        self._items.append(item)
        self._filled.set()

    async def take(self) -> Raw | None:
        """Return the next item as soon as there is one; None when the feed is closed."""
        while True:
            if not self._items:
                self._tell_lost()
            if self._items:
                return self._items.popleft()
            if self._is_closed:
                return None
            self._filled.clear()
            await self._filled.wait()

    def at_end(self, undo: Callable[[], object]) -> None:
        """Call `undo` when the feed is closed: it ends what writes into it."""
        self._undo.append(undo)

    def close(self) -> None:
        """End the feed, from either side; what is in it can still be read. Idempotent."""
        self._is_closed = True
        self._filled.set()
        undo, self._undo = self._undo, []
        for one in undo:
            one()

    def _tell_lost(self) -> None:
        if self._lost:
            self._items.append(Raw(msgspec.json.encode(Lost(lost=self._lost))))
            self._lost = 0
