"""TCP in user mode: the door, where peers are accepted.

Whoever is not let in is reset at once and never counts. A single pinhole deals with one peer at a
time: while its client is dialled the next ones wait in the accept queue; if the client refuses, the
next one gets its chance; if it accepts, whoever waits is reset. So no peer is lost to a listener
that closes and opens again, and exactly one is ever connected through.
"""

import socket

from sallyport.addresses import Endpoint
from sallyport.relay import sockets
from sallyport.relay.doors import Door, Means
from sallyport.relay.streams import Attempt
from sallyport.sockets import EXHAUSTED, endpoint_of

# Accepts per wake-up: about a millisecond with the dialling, then the others get their turn.
_ACCEPTS_PER_TURN = 16


class TcpDoor(Door):
    """Listens while an opening is reachable; otherwise its socket only holds the port."""

    def __init__(self, means: Means, sock: socket.socket, *, is_reserved: bool) -> None:
        super().__init__(means, sock, is_reserved=is_reserved)
        self._is_listening = False
        self._is_accepting = False
        self._is_resting = False

    @property
    def is_needed(self) -> bool:
        """Whether an opening needs the socket; flows have their own."""
        return any(opening.is_open for opening in self.openings)

    def settle(self) -> None:
        """See Door."""
        self.openings = [opening for opening in self.openings if not opening.is_over]
        backlogs = [o.pinhole.backlog for o in self.openings if o.is_reachable]
        if backlogs and not self._is_listening:
            self.show()
            sockets.listen(self.socket, max(backlogs))
        elif self._is_listening and not backlogs:
            self._set_accepting(is_on=False)
            sockets.stop_listening(self.socket)
        self._is_listening = bool(backlogs)
        is_busy = any(o.attempts and o.pinhole.single for o in self.openings)
        self._set_accepting(is_on=self._is_listening and not is_busy and not self._is_resting)

    def close(self) -> None:
        """See Door; what waits in the accept queue is reset."""
        self._set_accepting(is_on=False)
        self.socket.close()

    def _set_accepting(self, *, is_on: bool) -> None:
        if is_on and not self._is_accepting:
            self.means.loop.add_reader(self.socket, self._accept)
        elif self._is_accepting and not is_on:
            self.means.loop.remove_reader(self.socket)
        self._is_accepting = is_on

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            if not self._is_accepting:
                return
            try:
                accepted, name = self.socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                # Anything else is the fault of one connection, which is gone (accept(2)).
                if error.errno in EXHAUSTED:
                    self._rest()
                continue
            self._meet(accepted, endpoint_of(name))

    def _meet(self, accepted: socket.socket, peer: Endpoint) -> None:
        sockets.prepare_leg(accepted)
        opening = self.find(peer)
        if opening is None or opening.is_full:
            accepted.close()
            return
        attempt = Attempt(self.means, opening, accepted, peer)
        opening.attempts.add(attempt)
        self.settle()
        attempt.dial()

    def _rest(self) -> None:
        """Leave the queue alone for a moment: without a descriptor, accepting would only spin."""
        self._is_resting = True
        self.means.loop.call_later(sockets.PAUSE_SECONDS, self._go_on)
        self.settle()

    def _go_on(self) -> None:
        self._is_resting = False
        self.settle()
