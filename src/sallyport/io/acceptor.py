"""Accepting connections: in turns, and with rests while there is no descriptor to be had."""

import asyncio
import select
import socket
from collections.abc import Callable

from sallyport.addresses import Endpoint
from sallyport.io.fair_poller import FairPoller
from sallyport.io.sockets import EXHAUSTED, PAUSE_SECONDS, endpoint_of

# Accepts per wake-up: about a millisecond with the dialling, then the others get their turn.
_ACCEPTS_PER_TURN = 16


class Acceptor:
    """Takes connections from a listening socket, which stays the caller's, while it is on.

    The listener was made a leg (`sockets.prepare_leg`) before it began to listen: what it accepts
    inherits that, and is one too. `accepted` gets each one, with who it is from; it may turn the
    acceptor off.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        poller: FairPoller,
        listener: socket.socket,
        accepted: Callable[[socket.socket, Endpoint], None],
    ) -> None:
        self._loop = loop
        self._poller = poller
        self._listener = listener
        self._accepted = accepted
        self._is_on = False
        self._is_waiting = False
        self._is_resting = False
        self._last_turn = -1
        """The turn of the poller in which something came."""

    def turn(self, *, is_on: bool) -> None:
        """Accept from now on, or let them wait in the queue. Idempotent."""
        self._is_on = is_on
        self._settle()

    def _settle(self) -> None:
        is_wanted = self._is_on and not self._is_resting
        if is_wanted and not self._is_waiting:
            self._poller.watch(self._listener, self._accept, events=select.EPOLLIN)
        elif self._is_waiting and not is_wanted:
            self._poller.forget(self._listener)
        self._is_waiting = is_wanted

    def _accept(self, _events: int) -> None:
        # Where one comes now and then, the call that finds no other is saved.
        is_crowded = self._poller.turn == self._last_turn + 1
        self._last_turn = self._poller.turn
        for _ in range(_ACCEPTS_PER_TURN if is_crowded else 1):
            if not self._is_waiting:
                return
            try:
                leg, name = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                # Anything else is the fault of one connection, which is gone (accept(2)).
                if error.errno in EXHAUSTED:
                    self._rest()
                continue
            leg.setblocking(False)
            self._accepted(leg, endpoint_of(name))

    def _rest(self) -> None:
        """Leave the queue alone for a moment: without a descriptor, accepting would only spin."""
        self._is_resting = True
        self._loop.call_later(PAUSE_SECONDS, self._go_on)
        self._settle()

    def _go_on(self) -> None:
        self._is_resting = False
        self._settle()
