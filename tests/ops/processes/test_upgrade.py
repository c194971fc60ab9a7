"""A gateway starts its successor, and hears of it when that ends without taking over."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable

import pytest
from tests.ops.processes.fleet_bench import NotingJournal

from sallyport.errors import StartupError
from sallyport.ops.processes.upgrade import CannotUpgrade, Upgrade
from sallyport.ops.reload import NotReady

PYTHON = [sys.executable, "-c"]
WAITS = [*PYTHON, "import signal; signal.pause()"]


def played(act: Callable[[NotingJournal], Awaitable[None]]) -> list[dict[str, object]]:
    """Do something within an event loop; return what was recorded, with nothing left open."""
    journal = NotingJournal()
    before = set(os.listdir("/proc/self/fd"))
    asyncio.run(asyncio.wait_for(act(journal), 20))
    assert set(os.listdir("/proc/self/fd")) == before
    return [fields for event, fields in journal.records if event == "gateway.not_handed_over"]


async def ended(journal: NotingJournal) -> None:
    await journal.awaited.setdefault("gateway.not_handed_over", asyncio.Event()).wait()


@pytest.mark.parametrize("options", [[], ["--takeover"]], ids=["alone", "after another"])
def test_it_has_the_command_of_this_gateway_and_takes_over_once(options: list[str]) -> None:
    script = "import sys; sys.exit(sys.argv[1:].count('--takeover'))"

    async def act(journal: NotingJournal) -> None:
        upgrade = Upgrade([*PYTHON, script, "run", *options], journal)
        pid = upgrade.begin()
        assert upgrade.pid == pid
        await ended(journal)
        assert upgrade.pid is None

    (record,) = played(act)
    assert "exit code 1" in str(record["problem"])


def test_the_watchdog_is_meant_for_the_successor_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    monkeypatch.setenv("WATCHDOG_USEC", "1000")
    told = "[os.environ.get(f'WATCHDOG_{name}') for name in ('PID', 'USEC')]"
    script = f"import os, sys; sys.exit({told} == [None, '1000'])"

    async def act(journal: NotingJournal) -> None:
        Upgrade([*PYTHON, script], journal).begin()
        await ended(journal)

    (record,) = played(act)
    assert "exit code 1" in str(record["problem"])


def test_there_is_one_at_a_time() -> None:
    async def act(journal: NotingJournal) -> None:
        upgrade = Upgrade(WAITS, journal)
        pid = upgrade.begin()
        with pytest.raises(NotReady, match=f"process {pid} is about to take over"):
            upgrade.begin()
        os.kill(pid, signal.SIGKILL)
        await ended(journal)
        os.kill(upgrade.begin(), signal.SIGKILL)
        journal.awaited.clear()
        await ended(journal)

    assert len(played(act)) == 2


def test_process_1_says_why_it_cannot_be_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(journal: NotingJournal) -> None:
        monkeypatch.setattr(os, "getpid", lambda: 1)
        with pytest.raises(CannotUpgrade, match="its container ends with it"):
            Upgrade(WAITS, journal).begin()

    assert played(act) == []


def test_one_that_cannot_be_started_changes_nothing() -> None:
    async def act(journal: NotingJournal) -> None:
        upgrade = Upgrade(["/nowhere/sallyport"], journal)
        with pytest.raises(StartupError, match="No such file"):
            upgrade.begin()
        assert upgrade.pid is None

    assert played(act) == []
