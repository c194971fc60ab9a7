"""What keeps one gateway from handing over is told to it, and changes nothing."""

import asyncio
import socket
from pathlib import Path

import pytest
from tests.ops.processes.fleet_bench import plan

from sallyport.errors import StartupError
from sallyport.ops.processes.takeover import Crew, EstateOffer, hand_over


class Estate:
    """Sockets that cannot be duplicated, as when a process has no descriptors left."""

    def offer(self) -> tuple[EstateOffer, list[int]]:
        return EstateOffer(plan(), [], None, 1), [-1]

    async def release(self) -> tuple[Crew, list[int]]:
        raise AssertionError("nobody has taken anything")


def test_sockets_that_cannot_be_sent_are_a_reason_and_no_accident(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"

    async def act() -> None:
        with socket.socket(socket.AF_UNIX) as doorstep:
            doorstep.bind(str(path.with_name("c.sock.next")))
            doorstep.listen()
            with pytest.raises(StartupError, match="nothing can be handed over: Bad file"):
                await hand_over(path, Estate())

    asyncio.run(act())
