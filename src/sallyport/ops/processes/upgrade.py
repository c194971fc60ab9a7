"""A gateway starts its own successor, from the release that is installed now.

The successor takes over as any other gateway does (takeover.py). It is our child, with our rights,
our sandbox and our output, so a service manager goes on with it. One that is started at a prompt
has those of the prompt.
"""

import asyncio
import os
import subprocess
from collections.abc import Sequence

from sallyport.core.runtime.environment import Journal
from sallyport.errors import OperatorError, StartupError
from sallyport.ops.processes.spawn import begin
from sallyport.ops.reload import NotReady

_TAKEOVER = "--takeover"


class CannotUpgrade(OperatorError):
    """This gateway cannot be followed by another process."""

    code = "cannot-upgrade"


class Upgrade:
    """The successor of one gateway, while it starts; made within an event loop."""

    def __init__(self, command: Sequence[str], journal: Journal) -> None:
        """`command` is what this gateway was started with."""
        self._command = [*command, *([] if _TAKEOVER in command else [_TAKEOVER])]
        self._journal = journal
        self._loop = asyncio.get_running_loop()
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process that is to take over; None when there is none."""
        return None if self._child is None else self._child.pid

    def begin(self) -> int:
        """Start the successor and return its process id.

        When it ends without taking over that is recorded, and all is as before. Raises NotReady
        while another one starts, CannotUpgrade for process 1, StartupError when the host has no
        room for one.
        """
        if self._child is not None:
            raise NotReady(f"process {self._child.pid} is about to take over already")
        if os.getpid() == 1:
            raise CannotUpgrade(
                "this gateway is process 1, and its container ends with it; start a container of"
                " the new release instead"
            )
        # The watchdog may be meant for us alone, by number; the next main process inherits it.
        environment = {key: value for key, value in os.environ.items() if key != "WATCHDOG_PID"}
        try:
            self._child, pidfd = begin(self._command, environment=environment)
        except OSError as error:
            raise StartupError(f"no other gateway can be started: {error}") from None
        self._loop.add_reader(pidfd, self._ended, self._child, pidfd)
        return self._child.pid

    def _ended(self, child: "subprocess.Popen[bytes]", pidfd: int) -> None:
        self._loop.remove_reader(pidfd)
        os.close(pidfd)
        self._child = None
        problem = f"the new gateway has ended with exit code {child.wait()}; it has said why"
        self._journal.record("gateway.not_handed_over", level="error", problem=problem)
