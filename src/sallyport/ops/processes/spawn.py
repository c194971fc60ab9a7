"""Starting a worker: a fresh interpreter with one end of a socketpair, nothing inherited but that.

Rejected: fork. It would copy the supervisor's event loop and descriptors into every worker, and an
upgrade could not bring workers of another release.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from msgspec import Struct

from sallyport.core.runtime.environment import Level
from sallyport.ops.logs import Format
from sallyport.ops.processes.channel import Channel


class Process(Protocol):
    """A worker's process as the supervisor needs it."""

    @property
    def pid(self) -> int:
        """The process id."""

    def send(self, message: Struct, descriptors: Sequence[int] = ()) -> None:
        """Send a message; nothing happens when the process has ended."""

    def kill(self) -> None:
        """End it now; idempotent."""

    def duplicates(self) -> list[int]:
        """Return what another supervisor needs of it: the connection and its pidfd, duplicated.

        Nothing when it is ending. Raises OSError, with none left, when they cannot be made.
        """

    def release(self) -> None:
        """Let go of it while it runs: another supervisor has the duplicates."""

    def close(self) -> None:
        """Let go of it after it has ended."""


Spawn = Callable[[int, Callable[[bytes], None], Callable[[int], None]], Process]
"""Start the process of a worker by its number; then whom to tell of each message's body, and of the
end with the exit status, negative for a signal."""


def begin(
    command: Sequence[str],
    *,
    keeps: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
) -> tuple["subprocess.Popen[bytes]", int]:
    """Start a process; return it with its pidfd, which is the caller's.

    It `keeps` these descriptors of ours besides output and errors. `environment` None: ours. Raises
    OSError, with none begun.
    """
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=keeps, env=environment)
    try:
        return child, os.pidfd_open(child.pid)
    except OSError:
        # It has begun, and its end would go unseen.
        child.kill()
        child.wait()
        raise


class InheritedProcess:
    """A worker that another supervisor has started; how it ends is not known."""

    def __init__(
        self,
        pid: int,
        pidfd: int,
        sock: socket.socket,
        on_message: Callable[[bytes], None],
        ended: Callable[[int], None],
    ) -> None:
        """Take over `pidfd` and `sock`, the connection to it, in a running event loop.

        It may have ended: then `ended` is told soon.
        """
        self.pid = pid
        self._loop = asyncio.get_running_loop()
        self._ended = ended
        self._pidfd = pidfd
        self._channel = Channel(sock, self._loop, on_message, lambda: None)
        self._loop.add_reader(self._pidfd, self._exited)

    def send(self, message: Struct, descriptors: Sequence[int] = ()) -> None:
        """Send a message; nothing happens when the process has ended."""
        self._channel.send(message, descriptors)

    def kill(self) -> None:
        """End it now; idempotent."""
        with suppress(OSError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def duplicates(self) -> list[int]:
        """Return what another supervisor needs of it: the connection and its pidfd, duplicated.

        Nothing when it is ending. Raises OSError, with none left, when they cannot be made.
        """
        if not self._channel.is_open:
            return []
        connection = self._channel.duplicate()
        try:
            return [connection, os.dup(self._pidfd)]
        except OSError:
            os.close(connection)
            raise

    def release(self) -> None:
        """Let go of it while it runs: another supervisor has the duplicates."""
        self._forget()
        self._channel.release()

    def close(self) -> None:
        """Let go of it after it has ended."""
        self._channel.close()

    def _exited(self) -> None:
        self._forget()
        self._channel.read_rest()
        self._ended(self._status())

    def _forget(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)

    def _status(self) -> int:
        return 0


class ChildProcess(InheritedProcess):
    """A worker in a process that we start."""

    def __init__(
        self,
        number: int,
        on_message: Callable[[bytes], None],
        ended: Callable[[int], None],
        *,
        level: Level,
        form: Format,
    ) -> None:
        """Start it, in a running event loop; see `Spawn`. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            # -P: nothing is imported from the folder in which an operator happens to be.
            module = [sys.executable, "-P", "-m", "sallyport.ops.processes.worker"]
            facts = [theirs.fileno(), os.getpid(), number, level, form.value]
            try:
                self._child, pidfd = begin([*module, *map(str, facts)], keeps=[theirs.fileno()])
            except OSError:
                ours.close()
                raise
        super().__init__(self._child.pid, pidfd, ours, on_message, ended)

    def _status(self) -> int:
        return self._child.wait()
