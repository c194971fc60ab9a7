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
from collections.abc import Callable, Sequence
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

    def close(self) -> None:
        """Let go of it after it has ended."""


Spawn = Callable[[int, Callable[[bytes], None], Callable[[int], None]], Process]
"""Start the process of a worker by its number; then whom to tell of each message's body, and of the
end with the exit status, negative for a signal."""


class ChildProcess:
    """A worker in a process of its own."""

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
        self._loop = asyncio.get_running_loop()
        self._ended = ended
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            # -P: nothing is imported from the folder in which an operator happens to be.
            module = [sys.executable, "-P", "-m", "sallyport.ops.processes.worker"]
            facts = [theirs.fileno(), os.getpid(), number, level, form.value]
            try:
                self._child = subprocess.Popen(
                    [*module, *map(str, facts)],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                )
            except OSError:
                ours.close()
                raise
        self._channel = Channel(ours, self._loop, on_message, lambda: None)
        self._pidfd = os.pidfd_open(self._child.pid)
        self._loop.add_reader(self._pidfd, self._exited)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._child.pid

    def send(self, message: Struct, descriptors: Sequence[int] = ()) -> None:
        """Send a message; nothing happens when the process has ended."""
        self._channel.send(message, descriptors)

    def kill(self) -> None:
        """End it now; idempotent."""
        self._child.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Let go of it after it has ended."""
        self._channel.close()

    def _exited(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._channel.read_rest()
        self._ended(self._child.wait())
