"""DatagramQueue: datagrams of all clients at one socket, served in fair order.

The first datagram of a conversation costs as much as a control connection, and a socket gives them
in the order in which they came: who floods would have all the turns. So they are read quickly and
served in turns, one of each client; and of the time no more than half goes to those that have had
to wait. What a client sends faster than that waits for itself, and is lost when it is too much.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable

from sallyport import limits

Serve = Callable[[], None]
"""Does with one datagram what is to be done."""


class DatagramQueue:
    """Keeps what clients have sent until it is their turn."""

    def __init__(
        self,
        later: Callable[[float, Callable[[], None]], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`later` calls a function in so many seconds; by default that of the running loop."""
        self._later = later or _in_the_running_loop
        self._clock = clock
        self._lines: OrderedDict[Hashable, deque[tuple[int, Serve]]] = OrderedDict()
        """Of each client what waits; who has waited longest is first."""
        self._bytes = 0
        self._is_turn_due = False

    def is_full_for(self, client: Hashable) -> bool:
        """Whether the next datagram of this client would be lost."""
        return len(self._lines.get(client, ())) >= limits.MAX_QUEUED_DATAGRAMS

    def put(self, client: Hashable, size: int, serve: Serve) -> bool:
        """Let a datagram of `size` bytes wait for its turn; False when it is lost."""
        if self.is_full_for(client) or self._bytes + size > limits.MAX_QUEUED_DATAGRAM_BYTES:
            return False
        self._lines.setdefault(client, deque()).append((size, serve))
        self._bytes += size
        return True

    def serve(self) -> None:
        """Serve those whose turn it is, now unless a turn is due anyway."""
        if not self._is_turn_due:
            self._turn()

    def clear(self) -> None:
        """Lose all that waits."""
        self._lines.clear()
        self._bytes = 0

    def _turn(self) -> None:
        """Serve one datagram of each of the clients that have waited longest."""
        self._is_turn_due = False
        began = self._clock()
        for _ in range(min(len(self._lines), limits.MAX_DATAGRAMS_SERVED_PER_TURN)):
            client, line = self._lines.popitem(last=False)
            size, serve = line.popleft()
            self._bytes -= size
            if line:
                self._lines[client] = line
            serve()
        if self._lines:
            self._is_turn_due = True
            self._later(self._clock() - began, self._turn)


def _in_the_running_loop(seconds: float, action: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(seconds, action)
