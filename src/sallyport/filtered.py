"""A filtered stream: two TCP sockets, and between them whoever takes their bytes.

A side is read only while nothing is queued towards the other one and nobody waits: what is in our
memory is one read of each side, and what filters made of it.
"""

import asyncio
import socket
from collections.abc import Callable
from enum import Enum, auto

from sallyport import limits
from sallyport.core.datapath import Tap
from sallyport.hangups import Hangups
from sallyport.sockets import has_failed, let_end

# Measured on loopback through a filter that passes everything: reads of 64 KiB halve the speed.
_READ_BYTES = 512 * 1024

# Reads per wake-up: about a millisecond, then the others get their turn.
_READS_PER_TURN = 2

# glibc gives large blocks pages of their own, and faulting them in costs as much as the copying,
# until it has seen a block of that size being freed (mallopt(3), M_MMAP_THRESHOLD). Here it does.
bytes(2 * _READ_BYTES)


class Ending(Enum):
    """How a stream came to its end."""

    COMPLETE = auto()
    """Both directions were complete, or it was closed in order."""
    ACCEPTED_RESET = auto()
    DIALLED_RESET = auto()
    ABORTED = auto()


class FilteredStream:
    """The sockets of one flow, feeding its tap (`core.datapath.Link`).

    Both sockets are legs (`sockets.prepare_leg`) and belong to the stream from now on; one may be
    absent. `over` is called once, when they are closed, however that came. A dialogue is short
    lines whose answers are waited for: there every segment is acknowledged at once.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        hangups: Hangups,
        accepted: socket.socket | None,
        dialled: socket.socket | None,
        *,
        over: Callable[[Ending], None],
        is_dialogue: bool = False,
    ) -> None:
        self.loop = loop
        self.accepted = None if accepted is None else End(self, accepted, Ending.ACCEPTED_RESET)
        self.dialled = None if dialled is None else End(self, dialled, Ending.DIALLED_RESET)
        self.is_over = False
        """Whether nothing passes any more."""
        self._hangups = hangups
        self._over = over
        self._is_dialogue = is_dialogue
        self._ends = [end for end in (self.accepted, self.dialled) if end is not None]
        self._tap: Tap | None = None
        self._is_closing = False
        self._is_told = False
        self._patience: asyncio.TimerHandle | None = None

    def start(self, tap: Tap) -> None:
        """Begin to read, for a tap that has begun."""
        if self.is_over:
            return
        self._tap = tap
        tap.on_idle = self.settle
        for end in self._ends:
            self._hangups.watch(end.socket, end.hung_up)
        self.settle()

    def abort(self) -> None:
        """Reset both ends now; idempotent, never raises."""
        self._conclude(Ending.ABORTED)

    def close(self) -> None:
        """Close both ends after everything queued was sent; idempotent, never raises.

        An end that reads too slowly has `limits.CLOSE_FLUSH_SECONDS` for it, then both are reset.
        """
        if self.is_over or self._is_closing:
            return
        self._is_closing = True
        for end in self._ends:
            end.shutdown()
        self._patience = self.loop.call_later(limits.CLOSE_FLUSH_SECONDS, self.abort)
        self.settle()

    # -- for the ends -------------------------------------------------------------------------

    def received(self, end: "End", data: bytes) -> None:
        """Give what was read to the tap; no bytes are the end of that direction."""
        tap = self._tap
        assert tap is not None  # noqa: S101 - nothing is read before there is one
        if self._is_dialogue:
            # Servers send "150" and "226" as two small writes; with Nagle's algorithm the second
            # waits for the acknowledgement of the first, which Linux would hold back for 40 ms.
            end.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        if end is self.accepted:
            tap.from_accepted(data) if data else tap.accepted_closed()
        else:
            tap.from_dialled(data) if data else tap.dialled_closed()
        self.settle()

    def settle(self) -> None:
        """Read what can be dealt with, and nothing else; end when both directions are complete."""
        if self.is_over:
            return
        if all(end.is_finished and (end.has_ended or self._is_closing) for end in self._ends):
            self._conclude(Ending.COMPLETE)
            return
        is_waiting = self._tap is None or self._is_closing or self._tap.is_busy
        for end in self._ends:
            is_choked = any(other.has_queued for other in self._ends if other is not end)
            end.set_reading(is_on=not (is_waiting or is_choked or end.has_ended))

    def fail(self, ending: Ending) -> None:
        """End it in the next turn of the loop: a filter may be in the middle of a step."""
        if not self.is_over:
            self.is_over = True
            self.loop.call_soon(self._conclude, ending)

    def flooded(self) -> None:
        """A filter sent more than `limits.MAX_QUEUED_BYTES` to an end that does not read."""
        self.fail(Ending.ABORTED)
        if self._tap is not None:
            self._tap.flooded()

    def _conclude(self, ending: Ending) -> None:
        if self._is_told:
            return
        self.is_over = self._is_told = True
        if self._patience is not None:
            self._patience.cancel()
        for end in self._ends:
            end.stop()
            self._hangups.forget(end.socket)
            if ending is Ending.COMPLETE:
                let_end(end.socket)
            else:
                end.socket.close()  # of a leg, that is a reset
        self._over(ending)


class End:
    """One socket of a stream, as a data filter may send to it (`core.datapath.StreamEnd`)."""

    def __init__(self, stream: FilteredStream, sock: socket.socket, on_reset: Ending) -> None:
        self.socket = sock
        self.sent = 0
        """Bytes given to the socket so far."""
        self.has_ended = False
        """Whether the other side will say no more."""
        self.is_finished = False
        """Whether the other side was told that we will say no more."""
        self._stream = stream
        self._on_reset = on_reset
        self._queue = bytearray()
        self._is_reading = False
        self._is_shut = False

    @property
    def has_queued(self) -> bool:
        """Whether the other side has not taken everything yet."""
        return bool(self._queue)

    def send(self, data: bytes) -> None:
        """See `StreamEnd`."""
        if not data or self._is_shut or self._stream.is_over:
            return
        gone = 0 if self._queue else self._give(data)
        if gone == len(data) or self._stream.is_over:
            return
        if not self._queue:
            self._stream.loop.add_writer(self.socket, self._writable)
        self._queue += memoryview(data)[gone:]
        if len(self._queue) > limits.MAX_QUEUED_BYTES:
            self._stream.flooded()

    def shutdown(self) -> None:
        """See `StreamEnd`."""
        if not self._is_shut and not self._stream.is_over:
            self._is_shut = True
            if not self._queue:
                self._finish()

    def set_reading(self, *, is_on: bool) -> None:
        """Read from now on, or no more."""
        if is_on and not self._is_reading:
            self._stream.loop.add_reader(self.socket, self._readable)
        elif self._is_reading and not is_on:
            self._stream.loop.remove_reader(self.socket)
        self._is_reading = is_on

    def stop(self) -> None:
        """Neither read nor write any more; what is queued is lost."""
        self.set_reading(is_on=False)
        self._stream.loop.remove_writer(self.socket)
        self._queue.clear()

    def hung_up(self) -> None:
        """Notice a reset though nobody reads; whoever reads gets at what came before it."""
        if not self._is_reading and has_failed(self.socket):
            self._stream.fail(self._on_reset)

    def _readable(self) -> None:
        for _ in range(_READS_PER_TURN):
            try:
                data = self.socket.recv(_READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                self._stream.fail(self._on_reset)
                return
            self.has_ended = not data
            self._stream.received(self, data)
            if len(data) < _READ_BYTES or self._stream.is_over or not self._is_reading:
                return

    def _writable(self) -> None:
        del self._queue[: self._give(self._queue)]
        if not self._queue and not self._stream.is_over:
            self._stream.loop.remove_writer(self.socket)
            if self._is_shut:
                self._finish()
            self._stream.settle()

    def _give(self, data: bytes | bytearray) -> int:
        try:
            gone = self.socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self._stream.fail(self._on_reset)
            return 0
        self.sent += gone
        return gone

    def _finish(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._stream.fail(self._on_reset)
            return
        self.is_finished = True
        self._stream.loop.call_soon(self._stream.settle)
