"""Entrance: where connections wait for their turn, whichever front end their clients come to.

All listening sockets share it: a client that floods one of them waits for itself at each.
"""

import asyncio
import socket
from collections.abc import Callable
from functools import partial

from sallyport.addresses import Endpoint
from sallyport.core.engine.gateway import Gateway
from sallyport.frontends.turn_queue import TurnQueue, rest_beside_others
from sallyport.io.acceptor import Acceptor
from sallyport.io.fair_poller import FairPoller
from sallyport.io.sockets import has_failed, prepare_leg

# A burst of clients, such as 200 machines at nine in the morning, must not meet a full queue.
_BACKLOG = 1024

Arrived = Callable[[socket.socket, Endpoint], None]
"""Takes a connection over, with who it is from."""


class Entrance:
    """Accepts connections, and gives them in fair order to those who serve them."""

    def __init__(self, gateway: Gateway, poller: FairPoller) -> None:
        self._gateway = gateway
        self._poller = poller
        self._loop = asyncio.get_running_loop()
        self._acceptors: dict[socket.socket, Acceptor] = {}
        # Twice what one client may have waiting: one alone does not keep the others out.
        self._queue = TurnQueue(
            of_one=gateway.controls_of_one,
            of_all=2 * gateway.controls_of_one,
            rest=rest_beside_others(poller.has_others),
        )
        self._waiting: set[socket.socket] = set()
        """Accepted, and not served yet."""

    def open(self, listener: socket.socket, begin: Arrived, refuse: Arrived) -> None:
        """Start to accept at a socket, which stays the caller's.

        `begin` gets each connection at its turn; `refuse` at once one of a client of whom as many
        wait as may.
        """
        prepare_leg(listener)
        listener.listen(_BACKLOG)
        accepted = partial(self._accepted, begin, refuse)
        acceptor = Acceptor(self._loop, self._poller, listener, accepted)
        self._acceptors[listener] = acceptor
        acceptor.turn(is_on=self._queue.has_room_for(1))

    def shut(self, listener: socket.socket) -> None:
        """Accept there no more; what was accepted goes on."""
        self._acceptors.pop(listener).turn(is_on=False)

    def close(self) -> None:
        """Accept nothing more, and let go of who waits; idempotent."""
        for listener in tuple(self._acceptors):
            self.shut(listener)
        self._queue.clear()
        while self._waiting:
            self._waiting.pop().close()

    def _accepted(
        self, begin: Arrived, refuse: Arrived, leg: socket.socket, client: Endpoint
    ) -> None:
        """Let a new connection wait for its turn, at the end of this one if it is alone."""
        host = self._gateway.policy.host_of(client.address)
        if not self._queue.put(host, 1, partial(self._begin, begin, leg, client)):
            refuse(leg, client)
            return
        self._waiting.add(leg)
        self._poller.soon(self._queue.serve)
        if not self._queue.has_room_for(1):
            self._turn_all(is_on=False)

    def _begin(self, begin: Arrived, leg: socket.socket, client: Endpoint) -> None:
        self._waiting.discard(leg)
        self._turn_all(is_on=True)
        if has_failed(leg):  # it has gone: nothing need be decided or dialled
            leg.close()
        else:
            begin(leg, client)

    def _turn_all(self, *, is_on: bool) -> None:
        for acceptor in self._acceptors.values():
            acceptor.turn(is_on=is_on)
