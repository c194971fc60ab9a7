"""The fair poller: the one place that decides whose socket is served next.

A turn gives each client that has news one call, however many connections it has; the others of its
sockets stay ready, in the kernel, and come back with the next turn. Who floods waits for itself,
and who is told to wait (`delay`) has no turn until that is over.
"""

import asyncio
import select
import selectors
import time
from collections import Counter
from collections.abc import Callable, Collection, Hashable
from typing import Final, Protocol

from sallyport import limits

_NOTHING_ASKED: Final = select.EPOLLET
_OVER: Final = select.EPOLLHUP | select.EPOLLERR

# Calls in a turn: some 5 ms, then timers, signals and newcomers get theirs. Those that the kernel
# has named go to the end of its list: the others are next.
_CALLS_PER_TURN = 64


class Watched(Protocol):
    """A socket, or what else has a descriptor."""

    def fileno(self) -> int:
        """Return the descriptor."""


class _Seat:
    """What is known about one descriptor."""

    __slots__ = ("client", "events", "last_turn", "notify")

    def __init__(self, notify: Callable[[int], None], client: Hashable, events: int) -> None:
        self.notify = notify
        self.client = client
        self.events = events
        self.last_turn = 0


class FairPoller:
    """Calls the watchers of sockets at their events, in fair order.

    Errors and hang-ups of every socket are reported, once each time they happen, also of one that
    asked for nothing: a direction that is complete, or whose reader is slow, does not wait for its
    source to be readable, and would learn of a reset only when it next writes there: perhaps never.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Be served by `loop`, whichever that is; without one by the loop of `new_loop`."""
        self._epoll = select.epoll()
        self._seats: dict[int, _Seat] = {}
        self._clients: Counter[Hashable] = Counter()
        self._delayed: dict[Hashable, float] = {}
        """Until when clients are delayed, by the clock."""
        self._resting: dict[Hashable, list[int]] = {}
        """The descriptors of such clients that have had news meanwhile."""
        self.turn = 0
        """Counts how often it has served."""
        self._is_serving = False
        self._afterwards: list[Callable[[], None]] = []
        self._loop = self._home = loop
        if loop is not None:
            loop.add_reader(self._epoll, self.serve)

    def has_others(self, clients: Collection[Hashable]) -> bool:
        """Return whether sockets of any other client are watched."""
        return any(client not in clients for client in self._clients)

    def delay(self, client: Hashable, seconds: float) -> None:
        """Let the sockets of a client wait so long, and longer when it is told again meanwhile.

        Only while other clients have sockets here, not for what adds up to less than
        `limits.DELAY_FORGIVEN`, and never longer than `limits.LONGEST_DELAY` from now on. Resets
        are told at once.
        """
        if client in self._clients:
            now = time.monotonic()
            until = max(self._delayed.get(client, now), now) + seconds
            self._delayed[client] = min(until, now + limits.LONGEST_DELAY)

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """Make an event loop that serves straight from its wait: about a third less for each event
        than by way of asyncio's handles."""
        self._home = asyncio.SelectorEventLoop(_Guest(self))
        return self._home

    def watch(
        self,
        sock: Watched,
        notify: Callable[[int], None],
        *,
        client: Hashable = None,
        events: int = 0,
    ) -> None:
        """Call `notify` at these epoll events of `sock`; call again to change either.

        `client` groups sockets that share one turn, from the first call on; None gives this one a
        turn of its own. `forget` must come before the socket is closed.
        """
        number = sock.fileno()
        if seat := self._seats.get(number):
            self._epoll.modify(number, events or _NOTHING_ASKED)
            seat.notify, seat.events = notify, events
            return
        # By edge when nothing is asked for, because a socket that was shut in an orderly way stays
        # hung up.
        self._epoll.register(number, events or _NOTHING_ASKED)
        self._seats[number] = _Seat(notify, client, events)
        if client is not None:
            self._clients[client] += 1

    def forget(self, sock: Watched) -> None:
        """Stop watching `sock`; idempotent."""
        seat = self._seats.pop(sock.fileno(), None)
        if seat is None:
            return
        self._epoll.unregister(sock)
        if seat.client is not None:
            self._clients[seat.client] -= 1
            if not self._clients[seat.client]:
                del self._clients[seat.client]
                self._delayed.pop(seat.client, None)

    def close(self) -> None:
        """Stop watching all sockets; idempotent."""
        if self._epoll.closed:
            return
        if self._loop is not None:
            self._loop.remove_reader(self._epoll)
        self._epoll.close()
        self._seats.clear()
        self._clients.clear()
        self._delayed.clear()

    def soon(self, action: Callable[[], None]) -> None:
        """Call `action` when this turn is over, without a turn of the event loop of its own.

        Threads may ask too, as those of filters do by way of the journal; it may take until the
        loop wakes up.
        """
        if self._is_serving or self._home is None:
            self._afterwards.append(action)
        else:
            self._home.call_soon(action)

    def serve(self, timeout: float | None = 0.0) -> None:
        """Wait for news, at most that many seconds, and serve one turn."""
        ready: Collection[tuple[int, int]] = self._epoll.poll(timeout, _CALLS_PER_TURN)
        if self._delayed:
            ready = self._without_delayed(ready)
        if len(ready) > 1 and len(self._clients) > 1:  # A single client keeps no other waiting.
            ready = self._one_each(ready)
        self.turn += 1
        self._is_serving = True
        try:
            for number, events in ready:
                # An earlier call of this very turn may have ended it.
                if seat := self._seats.get(number):
                    seat.last_turn = self.turn
                    try:
                        seat.notify(events)
                    except BaseException as error:  # noqa: BLE001 - it ends no other turn
                        _survive(seat.notify, error)
        finally:
            self._is_serving = False
        if self._afterwards:
            afterwards, self._afterwards = self._afterwards, []
            for action in afterwards:
                try:
                    action()
                except BaseException as error:  # noqa: BLE001 - as above
                    _survive(action, error)

    def _without_delayed(self, ready: Collection[tuple[int, int]]) -> Collection[tuple[int, int]]:
        """Leave out whose client is delayed, and do not ask about it until that is over."""
        now, others = time.monotonic(), []
        for number, events in ready:
            client = self._seats[number].client
            seconds = self._delayed.get(client, 0.0) - now
            if seconds <= 0.0:
                self._delayed.pop(client, None)
            seconds -= limits.DELAY_FORGIVEN
            if seconds <= 0.0 or events & _OVER or not self.has_others((client,)):
                others.append((number, events))
                continue
            if client not in self._resting:
                self._resting[client] = []
                asyncio.get_running_loop().call_later(seconds, self._go_on, client)
            self._resting[client].append(number)
            self._epoll.modify(number, _NOTHING_ASKED)
        return others

    def _go_on(self, client: Hashable) -> None:
        """Ask again about the sockets of a client that has rested.

        Whatever it was told meanwhile: by datagrams, whose source can be forged, that never ends.
        """
        if client in self._delayed:
            over = time.monotonic() + limits.DELAY_FORGIVEN
            self._delayed[client] = min(self._delayed[client], over)
        for number in self._resting.pop(client):
            # It may have been closed meanwhile, or be another client's.
            if seat := self._seats.get(number):
                self._epoll.modify(number, seat.events or _NOTHING_ASKED)

    def _one_each(self, ready: Collection[tuple[int, int]]) -> Collection[tuple[int, int]]:
        """Choose for each client the socket that was served longest ago; the shortest line first,
        so that who asks for little waits for one call of a flood and not for two.

        Who asked for nothing waits in no line: an edge that is passed over does not come back.
        """
        seats = self._seats
        lines: dict[Hashable, list[tuple[int, int]]] = {}
        for one in ready:
            seat = seats[one[0]]
            lines.setdefault((seat.events and seat.client) or one[0], []).append(one)
        shortest_first = sorted(lines.values(), key=len)
        return [min(line, key=lambda one: seats[one[0]].last_turn) for line in shortest_first]


def _survive(culprit: Callable[..., None], error: BaseException) -> None:
    """Log a fault, as asyncio's handles do: CancelledError is one there too."""
    if isinstance(error, (SystemExit, KeyboardInterrupt)):
        raise error
    asyncio.get_running_loop().call_exception_handler(
        {"message": f"Exception in {culprit!r}", "exception": error}
    )


class _Guest(selectors.EpollSelector):
    """The descriptors of asyncio itself: together one of those that are watched."""

    def __init__(self, poller: FairPoller) -> None:
        super().__init__()
        self._poller = poller
        self._has_news = False
        poller.watch(self, self._on_ready, events=select.EPOLLIN)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Serve one turn; give what there is for asyncio."""
        self._has_news = False
        self._poller.serve(timeout)
        return super().select(0) if self._has_news else []

    def close(self) -> None:
        """Close it; it is watched no more."""
        self._poller.forget(self)
        super().close()

    def _on_ready(self, _events: int) -> None:
        self._has_news = True
