"""Resets of sockets that nobody reads at the moment.

A direction that is complete, or whose reader is slow, does not wait for its source to be readable,
and would learn of a reset only when it next writes there: perhaps never. An epoll set of our own
reports errors for sockets that asked for nothing.
"""

import asyncio
import select
import socket
from collections.abc import Callable

# Per wake-up; what is left keeps the set readable, and the other sockets get their turn.
_HANGUPS_PER_TURN = 64


class Hangups:
    """Calls a socket's action when it is reset or shut both ways; once each time it happens."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._actions: dict[int, Callable[[], None]] = {}
        loop.add_reader(self._epoll, self._tell)

    def watch(self, sock: socket.socket, action: Callable[[], None]) -> None:
        """Tell of `sock` until it is forgotten; `forget` must come before it is closed."""
        # No event is asked for: EPOLLERR and EPOLLHUP always come. By edge, because a socket that
        # was shut in an orderly way stays hung up.
        self._epoll.register(sock, select.EPOLLET)
        self._actions[sock.fileno()] = action

    def forget(self, sock: socket.socket) -> None:
        """Say no more of `sock`; idempotent."""
        if self._actions.pop(sock.fileno(), None) is not None:
            self._epoll.unregister(sock)

    def close(self) -> None:
        """Say no more of any; idempotent."""
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll)
            self._epoll.close()
            self._actions.clear()

    def _tell(self) -> None:
        for descriptor, _ in self._epoll.poll(0, _HANGUPS_PER_TURN):
            # An earlier action of this very turn may have closed the socket.
            if action := self._actions.get(descriptor):
                action()
