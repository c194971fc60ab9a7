"""Processes that cannot be watched are not begun."""

import asyncio
import errno
import os

import pytest

from sallyport.ops.logs import Format
from sallyport.ops.processes.spawn import ChildProcess


def test_a_process_that_nobody_could_watch_is_ended_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[int] = []

    def no_room(pid: int) -> int:
        begun.append(pid)
        raise OSError(errno.EMFILE, "Too many open files")

    async def act() -> None:
        monkeypatch.setattr(os, "pidfd_open", no_room)
        before = set(os.listdir("/proc/self/fd"))
        with pytest.raises(OSError, match="Too many"):
            ChildProcess(1, lambda _: None, lambda _: None, level="info", form=Format.JSON)
        assert set(os.listdir("/proc/self/fd")) == before

    asyncio.run(act())

    with pytest.raises(ProcessLookupError):
        os.kill(begun[0], 0)
