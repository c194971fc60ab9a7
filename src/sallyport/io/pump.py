"""One direction of a TCP flow: bytes go from socket to socket by splice, never through Python.

A pipe is filled only when it is empty. That bounds what a slow reader can pin, tells "nothing has
arrived" from "the pipe is full", and lets a pipe be lent for one turn of the loop.
"""

import asyncio
import contextlib
import os
import select
import socket
from collections.abc import Callable
from enum import Enum, auto

from sallyport.io.pipes import LARGE_PIPE_BYTES, Pipe, Pipes
from sallyport.io.sockets import PAUSE_SECONDS

# Fills per wake-up, of at most a pipe each: about 2 MiB, a millisecond, then others get their turn.
_FILLS_PER_TURN = 2

# What always fits into an empty pipe of any size (POSIX; pipe(7)).
_COPIED_BYTES = select.PIPE_BUF

_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


class _Wait(Enum):
    NOTHING = auto()
    SOURCE = auto()
    SINK = auto()
    TIMER = auto()


class Pump:
    """Moves bytes from `source` to `sink`, and the end of the stream after them.

    `ended` is called once the end was passed on, `broken` when either socket fails; one of them,
    once, and neither after `stop`.
    """

    __slots__ = ("_broken", "_ended", "_held", "_loop", "_pipe", "_pipes", "_sink", "_source",
                 "_timer", "_wait", "moved")  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pipes: Pipes,
        source: socket.socket,
        sink: socket.socket,
        *,
        ended: Callable[[], None],
        broken: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._pipes = pipes
        self._source = source
        self._sink = sink
        self._ended = ended
        self._broken = broken
        self._pipe: Pipe | None = None
        self._held = 0
        self._wait = _Wait.NOTHING
        self._timer: asyncio.TimerHandle | None = None
        self.moved = 0
        """Bytes given to the sink so far."""

    @property
    def is_reading(self) -> bool:
        """Whether whatever happens to the source is noticed here."""
        return self._wait is _Wait.SOURCE

    def start(self) -> None:
        """Begin to wait for the source."""
        self._wait_for(_Wait.SOURCE)

    def stop(self) -> None:
        """Move nothing more; what is in the pipe is lost. Idempotent."""
        self._wait_for(_Wait.NOTHING)
        if self._pipe is not None:
            (self._pipes.discard if self._held else self._pipes.give_back)(self._pipe)
            self._pipe = None

    def _turn(self) -> None:
        if self._pipe is None:
            self._pipe = self._pipes.borrow()
        if self._pipe is None:
            self._wait_for(_Wait.TIMER)
            return
        try:
            is_over = self._move(self._pipe)
            if is_over:
                self._sink.shutdown(socket.SHUT_WR)
        except OSError:
            self.stop()
            self._broken()
            return
        if self._held:
            self._wait_for(_Wait.SINK)
            return
        self._pipes.give_back(self._pipe)
        self._pipe = None
        self._wait_for(_Wait.NOTHING if is_over else _Wait.SOURCE)
        if is_over:
            self._ended()

    def _move(self, pipe: Pipe) -> bool:
        """Move what has arrived and the sink takes; True when the source has come to its end."""
        try:
            for _ in range(_FILLS_PER_TURN):
                if not self._held:
                    self._held = self._fill(pipe)
                    if not self._held:
                        return True
                while self._held:
                    gone = os.splice(pipe.reader, self._sink.fileno(), self._held, flags=_FLAGS)
                    self._held -= gone
                    self.moved += gone
        except BlockingIOError:
            pass
        return False

    def _fill(self, pipe: Pipe) -> int:
        arrived = 0
        with contextlib.suppress(BlockingIOError):
            arrived = os.splice(self._source.fileno(), pipe.writer, LARGE_PIPE_BYTES, flags=_FLAGS)
        # Splice halts at urgent data for good. It then says "nothing yet" of a socket that stays
        # readable, and one byte of a stranger would keep us awake; or, when the end has come too,
        # "the end" with bytes left to read. A copy knows better and gets past it.
        return arrived or os.write(pipe.writer, self._source.recv(_COPIED_BYTES))

    def _wait_for(self, what: _Wait) -> None:
        if what is self._wait:
            return
        # By number: of an object that is not registered yet asyncio writes a text at each call.
        if self._wait is _Wait.SOURCE:
            self._loop.remove_reader(self._source.fileno())
        elif self._wait is _Wait.SINK:
            self._loop.remove_writer(self._sink.fileno())
        elif self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wait = what
        if what is _Wait.SOURCE:
            self._loop.add_reader(self._source.fileno(), self._turn)
        elif what is _Wait.SINK:
            self._loop.add_writer(self._sink.fileno(), self._turn)
        elif what is _Wait.TIMER:
            self._timer = self._loop.call_later(PAUSE_SECONDS, self.start)
