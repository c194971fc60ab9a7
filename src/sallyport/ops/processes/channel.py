"""One end of the connection between supervisor and worker: frames and descriptors, without waiting.

asyncio's transports carry no descriptors, so the socket is read and written here.
"""

import array
import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from msgspec import Struct

from sallyport import limits
from sallyport.ops.processes.messages import Frames, frame

# Linux: SCM_MAX_FD.
_DESCRIPTORS_AT_ONCE = 253
_ANCILLARY_BYTES = socket.CMSG_SPACE(_DESCRIPTORS_AT_ONCE * array.array("i").itemsize)
_READ_BYTES = 256 * 1024


class Channel:
    """Calls `on_message` with each message's body, and `lost` once, when the other end is gone."""

    def __init__(
        self,
        sock: socket.socket,
        loop: asyncio.AbstractEventLoop,
        on_message: Callable[[bytes], None],
        lost: Callable[[], None],
    ) -> None:
        """Take over `sock`, one end of a socketpair; `on_message` is called from within `loop`."""
        sock.setblocking(False)
        self._socket = sock
        self._loop = loop
        self._on_message = on_message
        self._lost = lost
        self._frames = Frames()
        self._descriptors: deque[int] = deque()
        self._outgoing: deque[tuple[memoryview, tuple[int, ...]]] = deque()
        self._is_open = True
        loop.add_reader(sock, self._readable)

    def send(self, message: Struct, descriptors: Sequence[int] = ()) -> None:
        """Send a message, now or as soon as there is room; `descriptors` stay the caller's.

        Nothing is sent once the channel is closed. Raises OSError, with nothing sent, when there is
        no room for duplicates of the descriptors.
        """
        if not self._is_open:
            return
        # Duplicates, since the caller may close its own before there is room.
        copies = _duplicates(descriptors)
        rest = memoryview(frame(message))
        while len(copies) > _DESCRIPTORS_AT_ONCE:
            chunk, copies = copies[:_DESCRIPTORS_AT_ONCE], copies[_DESCRIPTORS_AT_ONCE:]
            self._outgoing.append((rest[:1], tuple(chunk)))
            rest = rest[1:]
        self._outgoing.append((rest, tuple(copies)))
        self._write()

    @property
    def waiting_bytes(self) -> int:
        """How much waits until the other end reads on."""
        return sum(len(data) for data, _numbers in self._outgoing)

    def take_descriptors(self, count: int) -> list[int]:
        """Return the next descriptors that came; they are the caller's now.

        Raises ValueError when there are fewer.
        """
        if len(self._descriptors) < count:
            raise ValueError(f"{len(self._descriptors)} descriptors came instead of {count}")
        return [self._descriptors.popleft() for _ in range(count)]

    @property
    def is_open(self) -> bool:
        """Whether neither end has closed it."""
        return self._is_open

    def duplicate(self) -> int:
        """Return another descriptor of the socket; raises OSError, when it is closed too."""
        return os.dup(self._socket.fileno())

    def release(self) -> None:
        """Close this end with no message cut in two: another one goes on with a duplicate."""
        if self._is_open:
            self._socket.settimeout(limits.WORKER_ANSWER_SECONDS)
            self._flush()
        while self._is_open and self._frames.is_inside and self._readable():
            pass
        self.close()

    def finish(self, message: Struct) -> None:
        """Send a last message, wait until the other end has room for it, and close this end."""
        if not self._is_open:
            return
        self._socket.settimeout(limits.WORKER_ANSWER_SECONDS)
        self._flush()
        with suppress(OSError):
            self._socket.sendall(frame(message))
        self.close()

    def _flush(self) -> None:
        """Send what waits, on a socket that blocks; whatever is too slow is not sent."""
        with suppress(OSError):
            while self._outgoing:
                data, _numbers = self._outgoing[0]
                self._socket.sendall(data)
                self._outgoing.popleft()

    def read_rest(self) -> None:
        """Hear what the other end said before it ended; idempotent."""
        while self._is_open and self._readable():
            pass

    def close(self) -> None:
        """Close this end and what was not taken; idempotent, `lost` is not told."""
        if not self._is_open:
            return
        self._is_open = False
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        waiting = [number for _data, numbers in self._outgoing for number in numbers]
        for number in (*waiting, *self._descriptors):
            os.close(number)
        self._outgoing.clear()
        self._descriptors.clear()

    def _readable(self) -> bool:
        """Read what is there now; tell whether there was anything."""
        try:
            data, ancillary, _flags, _address = self._socket.recvmsg(
                _READ_BYTES, _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return False
        except OSError:
            data, ancillary = b"", []
        for level, kind, value in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                numbers = array.array("i")
                numbers.frombytes(value[: len(value) - len(value) % numbers.itemsize])
                self._descriptors.extend(numbers)
        if not data:
            self._end()
            return False
        try:
            for body in self._frames.feed(data):
                self._on_message(body)
        except ValueError:  # not our language: msgspec's errors are of this kind too
            self._end()
        return True

    def _write(self) -> None:
        while self._outgoing:
            data, numbers = self._outgoing[0]
            try:
                rights = (
                    [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", numbers))]
                    if numbers
                    else []
                )
                sent = self._socket.sendmsg([data], rights)
            except BlockingIOError:
                self._loop.add_writer(self._socket, self._write)
                return
            except OSError:
                self._end()
                return
            for number in numbers:
                os.close(number)
            if sent < len(data):
                self._outgoing[0] = data[sent:], ()
            else:
                self._outgoing.popleft()
        self._loop.remove_writer(self._socket)

    def _end(self) -> None:
        if self._is_open:
            self.close()
            self._loop.call_soon(self._lost)


def _duplicates(descriptors: Sequence[int]) -> list[int]:
    """Return a duplicate of each; raises OSError, with none left, when not all can be made."""
    copies: list[int] = []
    try:
        for number in descriptors:
            copies.append(os.dup(number))  # noqa: PERF401 - those before the one that fails count
    except OSError:
        for copy in copies:
            os.close(copy)
        raise
    return copies
