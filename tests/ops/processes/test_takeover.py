"""What keeps one gateway from handing over is told to it, and changes nothing."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.ops.processes.fleet_bench import plan

from sallyport import limits
from sallyport.errors import StartupError
from sallyport.ops.processes.messages import frame
from sallyport.ops.processes.takeover import Crew, EstateOffer, Ready, hand_over, see_the_end


class Estate:
    """Sockets that cannot be duplicated, as when a process has no descriptors left."""

    def offer(self) -> tuple[EstateOffer, list[int]]:
        return EstateOffer(plan(), [], None, 1), [-1]

    async def release(self, require_heir: Callable[[], None]) -> tuple[Crew, list[int]]:
        raise AssertionError("nobody has taken anything")


class LateEstate:
    """Workers that take their time: the successor ends before they have answered."""

    successor: socket.socket

    def offer(self) -> tuple[EstateOffer, list[int]]:
        return EstateOffer(plan(), [], None, 1), []

    async def release(self, require_heir: Callable[[], None]) -> tuple[Crew, list[int]]:
        self.successor.close()
        require_heir()
        return Crew([]), []


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait no time for the end of the successor: it is this process."""
    monkeypatch.setattr(limits, "WORKER_STOP_SECONDS", 0.01)


@pytest.mark.usefixtures("_impatient")
def test_sockets_that_cannot_be_sent_are_a_reason_and_no_accident(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"

    async def act() -> None:
        with socket.socket(socket.AF_UNIX) as doorstep:
            doorstep.bind(str(path.with_name("c.sock.next")))
            doorstep.listen()
            with pytest.raises(StartupError, match="nothing can be handed over: Bad file"):
                await hand_over(path, Estate())

    asyncio.run(act())


@pytest.mark.usefixtures("_impatient")
def test_nothing_is_let_go_for_a_successor_that_has_ended_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"

    async def act() -> None:
        with socket.socket(socket.AF_UNIX) as doorstep:
            doorstep.bind(str(path.with_name("c.sock.next")))
            doorstep.listen()
            doorstep.setblocking(False)
            estate = LateEstate()
            handing_over = asyncio.create_task(hand_over(path, estate))
            estate.successor, _name = await asyncio.get_running_loop().sock_accept(doorstep)
            estate.successor.sendall(frame(Ready()))
            with pytest.raises(StartupError, match="gave up"):
                await handing_over

    asyncio.run(act())


@pytest.mark.parametrize("hangs", [False, True])
def test_who_has_handed_over_ends_and_is_killed_when_it_hangs(
    monkeypatch: pytest.MonkeyPatch, *, hangs: bool
) -> None:
    monkeypatch.setattr(limits, "WORKER_STOP_SECONDS", 0.1 if hangs else 20.0)
    script = "import signal; signal.pause()" if hangs else ""
    with subprocess.Popen([sys.executable, "-c", script]) as process:
        pidfd = os.pidfd_open(process.pid)
        try:
            asyncio.run(see_the_end(pidfd))
        finally:
            process.kill()
            os.close(pidfd)
    assert process.returncode == (-signal.SIGKILL if hangs else 0)
