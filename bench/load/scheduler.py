"""Conversations as generators over one epoll: each waits for one descriptor at a time.

Cheaper than asyncio, because what the load generator spends is missing from what is measured.
"""

import select
import socket
from collections.abc import Generator
from typing import TypeVar

_Result = TypeVar("_Result")

Steps = Generator[int, None, _Result]
"""Yields the descriptor it waits for. What it waits for may not have come when it goes on."""

_EDGES = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET


class Scheduler:
    """Carries conversations on until told to stop."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._waiting: dict[int, Steps[None]] = {}

    def watch(self, sock: socket.socket) -> None:
        """Let conversations wait for a socket; closing the socket is enough to forget it.

        Edges only: a conversation that returns from another descriptor must try before it waits.
        """
        self._epoll.register(sock, _EDGES)

    def start(self, steps: Steps[None]) -> None:
        """Begin a conversation."""
        self._advance(steps)

    def turn(self, seconds: float) -> None:
        """Wait this long for something to happen and carry on with what did."""
        waiting = self._waiting
        for descriptor, _ in self._epoll.poll(seconds):
            steps = waiting.pop(descriptor, None)
            if steps is not None:
                self._advance(steps)

    def _advance(self, steps: Steps[None]) -> None:
        awaited = next(steps, None)
        if awaited is not None:
            self._waiting[awaited] = steps


def make(scheduler: Scheduler, source: str = "") -> socket.socket:
    """Make a watched IPv4 TCP socket that never blocks, bound to `source` if one is given."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if source:
        # The kernel chooses the port with the destination: as many as without the bind.
        sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
        sock.bind((source, 0))
    scheduler.watch(sock)
    return sock


_BIND_ADDRESS_NO_PORT = 24  # ip(7); Python 3.11 does not name it


def connect(sock: socket.socket, address: tuple[str, int]) -> Steps[None]:
    """Connect; raises OSError."""
    sock.connect_ex(address)
    yield sock.fileno()
    while True:
        # A second call tells how the first one went.
        number = sock.connect_ex(address)
        if number in _CONNECTED:
            return
        if number not in _CONNECTING:
            raise OSError(number, f"cannot connect to {address[0]}:{address[1]}")
        yield sock.fileno()


_CONNECTED = frozenset({0, 106})  # EISCONN
_CONNECTING = frozenset({115, 114})  # EINPROGRESS, EALREADY


def accept(listener: socket.socket) -> Steps[socket.socket]:
    """Take one connection."""
    while True:
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            yield listener.fileno()
        else:
            sock.setblocking(False)
            return sock


def read(sock: socket.socket, most: int = 4096) -> Steps[bytes]:
    """Read what is there; empty at the end."""
    while True:
        try:
            return sock.recv(most)
        except BlockingIOError:
            yield sock.fileno()


def write(sock: socket.socket, block: memoryview, total: int) -> Steps[None]:
    """Send `total` bytes out of `block`, again and again."""
    left = total
    while left:
        try:
            left -= sock.send(block[:left] if left < len(block) else block)
        except BlockingIOError:
            yield sock.fileno()
