"""One direction of a TCP flow: bytes go from socket to socket by splice, never through Python.

Who owns both directions watches the sockets (`spliced_stream`): one socket is the source of one
pump and the sink of the other, and one place asks for both.

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

# Who had no more than this at hand has no more: not asking again saves two calls of the kernel.
_FEW_BYTES = 4096

# What always fits into an empty pipe of any size (POSIX; pipe(7)).
_COPIED_BYTES = select.PIPE_BUF

_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


class Wait(Enum):
    """What a pump waits for."""

    NOTHING = auto()
    SOURCE = auto()
    """Bytes, or their end."""
    SINK = auto()
    """Room."""
    TIMER = auto()
    """A descriptor, for a moment."""


class Pump:
    """Moves bytes from `source` to `sink`, and the end of the stream after them.

    `waiting` is called when it waits for something else than before, `ended` once the end was
    passed on, `broken` when either socket fails; one of the last two, once, and none after `stop`.
    """

    __slots__ = ("_broken", "_ended", "_held", "_loop", "_pipe", "_pipes", "_sink", "_source",
                 "_timer", "_waiting", "moved", "wait")  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pipes: Pipes,
        source: socket.socket,
        sink: socket.socket,
        *,
        waiting: Callable[[], None],
        ended: Callable[[], None],
        broken: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._pipes = pipes
        self._source = source
        self._sink = sink
        self._waiting = waiting
        self._ended = ended
        self._broken = broken
        self._pipe: Pipe | None = None
        self._held = 0
        self.wait = Wait.SOURCE
        """What has to come before `turn` is called."""
        self._timer: asyncio.TimerHandle | None = None
        self.moved = 0
        """Bytes given to the sink so far."""

    def stop(self) -> None:
        """Move nothing more; what is in the pipe is lost. Idempotent."""
        self._let_timer_go()
        self.wait = Wait.NOTHING
        if self._pipe is not None:
            (self._pipes.discard if self._held else self._pipes.give_back)(self._pipe)
            self._pipe = None

    def turn(self) -> None:
        """Move what there is; to be called when what it waits for has come."""
        if self._pipe is None:
            self._pipe = self._pipes.borrow()
        if self._pipe is None:
            self._wait_for(Wait.TIMER)
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
            self._wait_for(Wait.SINK)
            return
        self._pipes.give_back(self._pipe)
        self._pipe = None
        if is_over:
            self.wait = Wait.NOTHING
            self._ended()
        else:
            self._wait_for(Wait.SOURCE)

    def _move(self, pipe: Pipe) -> bool:
        """Move what has arrived and the sink takes; True when the source has come to its end."""
        arrived = LARGE_PIPE_BYTES
        try:
            for _ in range(_FILLS_PER_TURN):
                if not self._held:
                    self._held = arrived = self._fill(pipe)
                    if not arrived:
                        return True
                while self._held:
                    gone = os.splice(pipe.reader, self._sink.fileno(), self._held, flags=_FLAGS)
                    self._held -= gone
                    self.moved += gone
                if arrived < _FEW_BYTES:
                    break
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
        if arrived or not (copied := self._source.recv(_COPIED_BYTES)):
            return arrived
        return os.write(pipe.writer, copied)

    def _wait_for(self, what: Wait) -> None:
        if what is self.wait:
            return
        self._let_timer_go()
        self.wait = what
        if what is Wait.TIMER:
            self._timer = self._loop.call_later(PAUSE_SECONDS, self._go_on)
        self._waiting()

    def _go_on(self) -> None:
        self._wait_for(Wait.SOURCE)

    def _let_timer_go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
