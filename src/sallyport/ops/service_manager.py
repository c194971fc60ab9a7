"""What a service manager is told: that we are ready, reload, stop, live (sd_notify(3)).

The protocol is one datagram of `KEY=value` lines to the socket that `NOTIFY_SOCKET` names, so it
needs no library. Without that variable nothing is sent.
"""

import asyncio
import socket
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

# systemd asks for a sign of life at least twice in its own limit (sd_watchdog_enabled(3)).
_SIGNS_PER_LIMIT = 2

# The process that goes on waits for our end (limits.WORKER_STOP_SECONDS).
_LAST_WORD_SECONDS = 2.0

# How much a manager that does not read is told later: the two ends of some reloads, and the stop.
_MOST_UNSAID = 16


class ServiceManager:
    """The end of a service at its manager; sending never fails and never waits.

    A manager may have more to read than it takes, and it starts a service again that it has not
    heard to be ready: all but signs of life is sent, in order, once it reads.
    """

    def __init__(self, address: str | None, watchdog_seconds: float | None = None) -> None:
        """`address` as in NOTIFY_SOCKET, `@` first for an abstract one; None: there is no manager.

        `watchdog_seconds`: the manager ends us when it has had no sign of life for so long.
        """
        self._socket: socket.socket | None = None
        self._unsaid: deque[bytes] = deque(maxlen=_MOST_UNSAID)
        self._waits_in: asyncio.AbstractEventLoop | None = None
        self._watchdog_seconds = watchdog_seconds
        if address is None:
            return
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        name = "\0" + address[1:] if address.startswith("@") else address
        try:
            self._socket.connect(name)
        except OSError:  # A manager that is gone is none.
            self.close()

    @classmethod
    def of_environment(cls, environment: Mapping[str, str], pid: int) -> "ServiceManager":
        """Return the manager that `environment` names, for the process `pid`.

        `WATCHDOG_PID` may say that the watchdog is another process's matter.
        """
        microseconds = environment.get("WATCHDOG_USEC", "")
        is_ours = environment.get("WATCHDOG_PID", str(pid)) == str(pid)
        has_watchdog = is_ours and microseconds.isascii() and microseconds.isdigit()
        seconds = int(microseconds) / 1e6 if has_watchdog else 0
        return cls(environment.get("NOTIFY_SOCKET"), seconds or None)

    def close(self) -> None:
        """Send nothing from now on; idempotent."""
        if self._socket is not None:
            self._wait_no_more(self._socket)
            self._socket.close()
            self._socket = None

    def ready(self, status: str) -> None:
        """Report that clients are served; `status` is one line for `systemctl status`."""
        self._send("READY=1", f"STATUS={status}")

    def stopping(self, status: str) -> None:
        """Report that the service ends by its own will, or by a signal."""
        self._send("STOPPING=1", f"STATUS={status}")

    def continues_with(self, pid: int) -> None:
        """Report that the service goes on in another process; the last word before our end.

        A manager that misses it starts a second one, so it is waited for a little.
        """
        self._unsaid.append(f"MAINPID={pid}".encode())
        if self._socket is not None:
            self._wait_no_more(self._socket)
            self._socket.settimeout(_LAST_WORD_SECONDS)
            with suppress(OSError):
                while self._unsaid:
                    self._socket.send(self._unsaid.popleft())

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Report a reload in the block, and its end, whatever it brought (systemd 253 and 252)."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            yield
        finally:
            self._send("READY=1")

    @contextmanager
    def watched(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Send signs of life in the block, from within `loop`: one that hangs sends none."""
        timer: asyncio.TimerHandle | None = None

        def sign() -> None:
            nonlocal timer
            assert self._watchdog_seconds is not None  # noqa: S101 - see below
            self._sign()
            timer = loop.call_later(self._watchdog_seconds / _SIGNS_PER_LIMIT, sign)

        if self._watchdog_seconds is not None:
            sign()
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()

    def _sign(self) -> None:
        if self._socket is not None and not self._unsaid:
            with suppress(OSError):  # A manager that does not read, or is gone.
                self._socket.send(b"WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if self._socket is not None:
            self._unsaid.append("\n".join(lines).encode())
            self._catch_up(self._socket)

    def _catch_up(self, sock: socket.socket) -> None:
        try:
            while self._unsaid:
                sock.send(self._unsaid[0])
                self._unsaid.popleft()
        except BlockingIOError:
            if self._waits_in is None:
                self._waits_in = asyncio.get_running_loop()
                self._waits_in.add_writer(sock, self._catch_up, sock)
            return
        except OSError:  # A manager that is gone has nothing to know.
            self._unsaid.clear()
        self._wait_no_more(sock)

    def _wait_no_more(self, sock: socket.socket) -> None:
        if self._waits_in is not None:
            self._waits_in.remove_writer(sock)
            self._waits_in = None
