"""Accepting connections: in turns, and with rests while there is no descriptor to be had."""

import asyncio
import socket
from collections.abc import Callable

from sallyport.addresses import Endpoint
from sallyport.io.sockets import EXHAUSTED, PAUSE_SECONDS, endpoint_of, prepare_leg

# Accepts per wake-up: about a millisecond with the dialling, then the others get their turn.
_ACCEPTS_PER_TURN = 16


class Acceptor:
    """Takes connections from a listening socket, which stays the caller's, while it is on.

    `accepted` gets each one as a leg (`sockets.prepare_leg`), with who it is from; it may turn the
    acceptor off.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: socket.socket,
        accepted: Callable[[socket.socket, Endpoint], None],
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._accepted = accepted
        self._is_on = False
        self._is_waiting = False
        self._is_resting = False

    def turn(self, *, is_on: bool) -> None:
        """Accept from now on, or let them wait in the queue. Idempotent."""
        self._is_on = is_on
        self._settle()

    def _settle(self) -> None:
        is_wanted = self._is_on and not self._is_resting
        if is_wanted and not self._is_waiting:
            self._loop.add_reader(self._listener, self._accept)
        elif self._is_waiting and not is_wanted:
            self._loop.remove_reader(self._listener)
        self._is_waiting = is_wanted

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
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
            prepare_leg(leg)
            self._accepted(leg, endpoint_of(name))

    def _rest(self) -> None:
        """Leave the queue alone for a moment: without a descriptor, accepting would only spin."""
        self._is_resting = True
        self._loop.call_later(PAUSE_SECONDS, self._go_on)
        self._settle()

    def _go_on(self) -> None:
        self._is_resting = False
        self._settle()
