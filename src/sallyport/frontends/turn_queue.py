"""TurnQueue: what clients begin, at sockets that all of them share, served in fair order.

A control connection or the first datagram of a conversation costs a thousand times what it costs
to send one, and a socket gives them in the order in which they came: who floods would have all the
turns. So they are taken quickly and served in turns, one of each client; and those that have had
to wait leave time to all else that the gateway does. What a client sends faster than that waits
for itself, and is refused when it is too much.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Hashable

from sallyport import limits

Serve = Callable[[], None]
"""Does with what has come what is to be done."""

Rest = Callable[[float, Collection[Hashable]], float]
"""Says for how many seconds the next turn waits: (seconds that this one took, the clients that
wait)."""


def rest_beside_others(
    has_others: Callable[[Collection[Hashable]], bool], at_least: float = 0.0
) -> Rest:
    """Return a rest that leaves time to other clients.

    `has_others`: whether there are any besides those that wait. Where many wait it is no flood of
    one, and each of them leaves time to all others anyway. `at_least`: the rest in any case, in
    times of what the turn took.
    """

    def rest(spent: float, waiting: Collection[Hashable]) -> float:
        share = limits.REST_OF_ONE_CLIENT / len(waiting)
        counted = min(spent, limits.LONGEST_TURN_SECONDS)
        return counted * (share if share > at_least and has_others(waiting) else at_least)

    return rest


class TurnQueue:
    """Keeps what clients have sent until it is their turn."""

    def __init__(
        self,
        *,
        of_one: int,
        of_all: int,
        rest: Rest,
        later: Callable[[float, Callable[[], None]], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`of_one`: how many of one client may wait; `of_all`: the sum of sizes of all that wait.

        What one client has waiting may not take more room than it leaves, so a few that flood leave
        room to others: one has half of it, two a third each (Choudhury and Hahne 1998, dynamic
        thresholds). `later` calls a function in so many seconds, by default in the running loop.
        """
        self._of_one = of_one
        self._room = of_all
        self._rest = rest
        self._later = later or _in_the_running_loop
        self._clock = clock
        self._lines: OrderedDict[Hashable, deque[tuple[int, Serve]]] = OrderedDict()
        """Of each client what waits; who has waited longest is first."""
        self._is_turn_due = False

    def is_full_for(self, client: Hashable) -> bool:
        """Whether the next one of this client would be lost."""
        return len(self._lines.get(client, ())) >= self._of_one

    def has_room_for(self, size: int) -> bool:
        """Whether so much more may wait, of all clients together."""
        return size <= self._room

    def put(self, client: Hashable, size: int, serve: Serve) -> bool:
        """Let something of that size wait for its turn; False when it is lost."""
        has_room = size * (len(self._lines.get(client, ())) + 1) <= self._room
        if not has_room or self.is_full_for(client):
            return False
        self._lines.setdefault(client, deque()).append((size, serve))
        self._room -= size
        return True

    def serve(self) -> None:
        """Serve those whose turn it is, now unless a turn is due anyway."""
        if not self._is_turn_due:
            self._turn()

    def clear(self) -> None:
        """Lose all that waits."""
        self._room += sum(size for line in self._lines.values() for size, _ in line)
        self._lines.clear()

    def _turn(self) -> None:
        """Serve one of each of the clients that have waited longest."""
        self._is_turn_due = False
        began = self._clock()
        try:
            for _ in range(min(len(self._lines), limits.MAX_SERVED_PER_TURN)):
                self._serve_next()
        finally:
            # After a fault too: the others must not wait until a new client comes.
            if self._lines:
                self._is_turn_due = True
                self._later(self._rest(self._clock() - began, self._lines.keys()), self._turn)

    def _serve_next(self) -> None:
        client, line = self._lines.popitem(last=False)
        size, serve = line.popleft()
        self._room += size
        if line:
            self._lines[client] = line
        serve()


def _in_the_running_loop(seconds: float, action: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(seconds, action)
