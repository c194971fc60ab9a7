"""A filtered stream: two TCP sockets, and between them the filters that take their bytes.

A side is read only while nothing is queued towards the other one, little towards itself, and no
filter waits or holds it back: what is in our memory is one read of each side, and what filters made
of it.
"""

import asyncio
import fcntl
import select
import socket
import struct
import termios
from collections.abc import Callable, Hashable
from enum import Enum, auto
from typing import Final

from sallyport import limits
from sallyport.core.model.arguments import OCTETS, require
from sallyport.core.pinholes.datapath import Tap
from sallyport.io.fair_poller import FairPoller
from sallyport.io.sockets import has_failed, let_end

# Measured on loopback through a filter that passes everything: reads of 64 KiB halve the speed.
_READ_BYTES = 512 * 1024

# Of a dialogue: what a filter does with the lines of one read, answering each of them by itself,
# takes it some hundredths of a second and makes ten times as many bytes.
_DIALOGUE_READ_BYTES = 16 * 1024

# Not in the modules of Python: whether a socket is at its urgent mark (asm-generic/sockios.h).
_SIOCATMARK: Final = 0x8905

# How often a stream that closes looks whether all has arrived, which the kernel does not report by
# itself: half a round trip to far away.
_LOOK_SECONDS = 0.1

# Reads in a turn: about a millisecond, then the others get theirs.
_READS_PER_TURN = 2

# The next read or write shows what has happened to the socket.
_BROKEN: Final = select.EPOLLERR | select.EPOLLHUP
_READABLE: Final = select.EPOLLIN | select.EPOLLPRI | _BROKEN
_WRITABLE: Final = select.EPOLLOUT | _BROKEN

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
    """The sockets of one flow, feeding its tap (`datapath.Link`).

    Both sockets are legs (`sockets.prepare_leg`) and belong to the stream from now on; one may be
    absent. What they say is dealt with in the turn of `client`. `over` is called once, when they
    are closed, however that came. A dialogue is short lines: what a filter makes of one read leaves
    in one segment, and what was dialled, which answers, has each segment acknowledged at once.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        poller: FairPoller,
        accepted: socket.socket | None,
        dialled: socket.socket | None,
        *,
        client: Hashable,
        over: Callable[[Ending], None],
        is_dialogue: bool = False,
    ) -> None:
        self.loop = loop
        self.poller = poller
        self.client = client
        self.accepted = None if accepted is None else End(self, accepted, Ending.ACCEPTED_RESET)
        self.dialled = None if dialled is None else End(self, dialled, Ending.DIALLED_RESET)
        self.is_over = False
        """Whether nothing passes any more."""
        self._over = over
        self.read_bytes = _DIALOGUE_READ_BYTES if is_dialogue else _READ_BYTES
        """How much is read at once."""
        self.is_gathering = False
        """Whether what is sent waits for what else is sent in the same turn."""
        self.is_finishing = False
        """Whether one of the ends was told that we will say no more."""
        self._is_dialogue = is_dialogue
        self._ends = [end for end in (self.accepted, self.dialled) if end is not None]
        if self.accepted is not None and self.dialled is not None:
            self.accepted.opposite, self.dialled.opposite = self.dialled, self.accepted
        self._tap: Tap | None = None
        self._is_closing = False
        self._is_concluded = False
        self._patience: asyncio.TimerHandle | None = None
        self._looking: asyncio.TimerHandle | None = None

    def start(self, tap: Tap) -> None:
        """Begin to read, for a tap that has begun."""
        if self.is_over:
            return
        self._tap = tap
        tap.on_idle = self.settle
        for end in self._ends:
            end.watch()
        self.settle()

    def abort(self) -> None:
        """Reset both ends now; idempotent, never raises."""
        self._flush()  # with luck they read why
        self._conclude(Ending.ABORTED)

    def close(self) -> None:
        """Close both ends after everything queued has arrived; idempotent, never raises.

        An end that reads too slowly has `limits.CLOSE_FLUSH_SECONDS` for it, then both are reset.
        What they say meanwhile is dropped, but read: closing over it would be a reset.
        """
        if self.is_over or self._is_closing:
            return
        self._is_closing = True
        for end in self._ends:
            end.shutdown()
        self._patience = self.loop.call_later(limits.CLOSE_FLUSH_SECONDS, self.abort)
        self._look()

    # -- for the ends -------------------------------------------------------------------------

    def received(self, end: "End", data: bytes, *, is_urgent: bool = False) -> None:
        """Return what was read to the tap; no bytes are the end of that direction.

        `is_urgent`: whether the sender has marked the last byte (RFC 9293 section 3.8.5). What a
        filter makes of it, and sends first, carries the mark on.
        """
        if self._is_closing:
            self.settle()  # No filter takes it any more.
            return
        tap = self._tap
        assert tap is not None  # noqa: S101 - nothing else is read before there is one
        self.is_gathering = self._is_dialogue
        if is_urgent and end.opposite is not None:
            end.opposite.carries_mark = True
        try:
            if end is self.accepted:
                tap.from_accepted(data) if data else tap.accepted_closed()
            else:
                if self._is_dialogue:
                    # Servers send "150" and "226" as two small writes; with Nagle's algorithm the
                    # second waits for the acknowledgement of the first, which Linux would hold
                    # back for 40 ms. What a client says is acknowledged by its answer.
                    end.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                tap.from_dialled(data) if data else tap.dialled_closed()
        finally:
            self.is_gathering = False
        self._flush()
        if not data or tap.is_busy:
            self.settle()

    def settle(self) -> None:
        """Read what can be dealt with, and nothing else; end when both directions are complete.

        Called by each method that has changed what is looked at here.
        """
        if self.is_over:
            return
        is_closing = self._is_closing
        if self.is_finishing and all(
            end.is_finished and (end.has_ended or (is_closing and end.has_arrived))
            for end in self._ends
        ):
            self._conclude(Ending.COMPLETE)
            return
        tap = self._tap
        is_waiting = tap is None or tap.is_busy
        for end in self._ends:
            is_held = tap is not None and (
                tap.holds_accepted if end is self.accepted else tap.holds_dialled
            )
            is_stopped = is_waiting or is_held or end.is_choked
            is_on = not end.has_ended and (is_closing or not is_stopped)
            if is_on is not end.is_reading:
                end.is_reading = is_on
                end.watch()

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

    def _flush(self) -> None:
        for end in self._ends:
            if end.gathered and not self.is_over:
                end.flush()

    def _look(self) -> None:
        self._looking = self.loop.call_later(_LOOK_SECONDS, self._look)
        self.settle()

    def _conclude(self, ending: Ending) -> None:
        if self._is_concluded:
            return
        self.is_over = self._is_concluded = True
        for timer in (self._patience, self._looking):
            if timer is not None:
                timer.cancel()
        for end in self._ends:
            end.stop()
            if ending is Ending.COMPLETE:
                let_end(end.socket)
            else:
                end.socket.close()  # of a leg, that is a reset
        self._over(ending)


class End:
    """One socket of a stream, as a data filter may send to it (`datapath.StreamEnd`)."""

    def __init__(self, stream: FilteredStream, sock: socket.socket, on_reset: Ending) -> None:
        self.socket = sock
        self.sent = 0
        """Bytes given to the socket so far."""
        self.has_ended = False
        """Whether the other side will say no more."""
        self.is_finished = False
        """Whether the other side was told that we will say no more."""
        self.is_reading = False
        """Whether what the other side says is taken now."""
        self.gathered = b""
        """What was sent in this turn and waits for its end."""
        self.carries_mark = False
        """Whether the last byte of what is sent next is to be marked as urgent."""
        self._stream = stream
        self.opposite: End | None = None
        """The other end, if there is one."""
        self._on_reset = on_reset
        self._queue = bytearray()
        self._is_shut = False

    @property
    def has_queued(self) -> bool:
        """Whether the other side has not taken everything yet."""
        return bool(self._queue)

    @property
    def is_choked(self) -> bool:
        """Whether what it says has nowhere to go: the opposite end has not taken everything yet, or
        it does not hear its own answers, of which more is queued than it can have said."""
        opposite = self.opposite
        return bool(opposite and opposite._queue) or len(self._queue) > _READ_BYTES

    @property
    def has_arrived(self) -> bool:
        """Whether the other side's host has everything that was given to the socket."""
        return not any(fcntl.ioctl(self.socket, termios.TIOCOUTQ, bytes(4)))

    def send(self, data: bytes) -> None:
        """Implement `StreamEnd.send`."""
        if data.__class__ is not bytes:
            require("data", data, OCTETS)
        stream = self._stream
        if not data or self._is_shut or stream.is_over:
            return
        if self.carries_mark:
            self.flush(data)  # by itself: the mark is that of its last byte
        elif stream.is_gathering and len(self.gathered) + len(data) < _DIALOGUE_READ_BYTES:
            self.gathered += data
        else:
            self.flush(data)

    def flush(self, data: bytes = b"") -> None:
        """Send what was gathered, and `data` behind it."""
        if self.gathered:
            data, self.gathered = self.gathered + data, b""
        gone = 0 if self._queue else self._give(data)
        if gone < len(data):
            self._hold(memoryview(data)[gone:])
        elif self._is_shut:
            self._finish()

    def _hold(self, data: memoryview) -> None:
        if self._stream.is_over:
            return
        was_waiting = self.has_queued
        self.carries_mark = False  # the other side does not listen, to what is urgent either
        self._queue += data
        if not was_waiting:
            self.watch()
        self._stream.settle()
        if len(self._queue) > limits.MAX_QUEUED_BYTES:
            self._stream.flooded()

    def shutdown(self) -> None:
        """Implement `StreamEnd.shutdown`."""
        if not self._is_shut and not self._stream.is_over:
            self._is_shut = True
            if not (self._queue or self.gathered):
                self._finish()

    def watch(self) -> None:
        """Be told of what is waited for now, and of a reset in any case."""
        events = select.EPOLLOUT if self._queue else 0
        if self.is_reading:
            events |= select.EPOLLIN | select.EPOLLPRI
        stream = self._stream
        stream.poller.watch(self.socket, self._served, client=stream.client, events=events)

    def stop(self) -> None:
        """Neither read nor write any more; what is queued is lost."""
        self._stream.poller.forget(self.socket)
        self.is_reading = False
        self._queue.clear()

    def _served(self, events: int) -> None:
        if self.is_reading:  # and gets at what came before a reset
            if events & select.EPOLLPRI and self._is_at_mark():
                self._readable(1, is_urgent=True)
            elif events & _READABLE:
                self._readable(self._stream.read_bytes)
        elif events & _BROKEN and not self._stream.is_over and has_failed(self.socket):
            self._stream.fail(self._on_reset)
        if self._queue and events & _WRITABLE and not self._stream.is_over:
            self._writable()

    def _is_at_mark(self) -> bool:
        """Whether the next byte is the urgent one; no read goes beyond it before it is."""
        (is_at_mark,) = struct.unpack("i", fcntl.ioctl(self.socket, _SIOCATMARK, bytes(4)))
        return bool(is_at_mark)

    def _readable(self, size: int, *, is_urgent: bool = False) -> None:
        for _ in range(1 if is_urgent else _READS_PER_TURN):
            try:
                data = self.socket.recv(size)
            except BlockingIOError:
                return
            except OSError:
                self._stream.fail(self._on_reset)
                return
            self.has_ended = not data
            self._stream.received(self, data, is_urgent=is_urgent)
            if len(data) < size or self._stream.is_over or not self.is_reading:
                return

    def _writable(self) -> None:
        del self._queue[: self._give(self._queue)]
        if not self._queue and not self._stream.is_over:
            self.watch()
            if self._is_shut:
                self._finish()
            self._stream.settle()

    def _give(self, data: bytes | bytearray) -> int:
        flags = socket.MSG_OOB if self.carries_mark and data else 0
        try:
            gone = self.socket.send(data, flags)
        except BlockingIOError:
            return 0
        except OSError:
            self._stream.fail(self._on_reset)
            return 0
        self.sent += gone
        self.carries_mark = self.carries_mark and not data
        return gone

    def _finish(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._stream.fail(self._on_reset)
            return
        self.is_finished = self._stream.is_finishing = True
        self._stream.loop.call_soon(self._stream.settle)
