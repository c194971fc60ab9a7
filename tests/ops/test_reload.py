"""Reload as the operator hears of it; what it does to workers: test_fleet.py, tests/netns."""

import asyncio
from pathlib import Path

import pytest
from tests.shipped import KNOWN

from sallyport.errors import ConfigError, ConfigErrors
from sallyport.ops.assembly import RestartNeeded
from sallyport.ops.control.schema import Mistake, Reloaded
from sallyport.ops.reload import NoSource, NotReady, Reloader
from sallyport.testing.world import MemoryJournal

FILE = Path("/etc/sallyport.toml")


class Replacing:
    """Stands for the workers: takes what the file says, or refuses it with `error`."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.times = 0

    async def replace(self) -> list[str]:
        if self.error is not None:
            raise self.error
        self.times += 1
        return ["ftp"]


def reloader(replacing: Replacing, file: Path | None = FILE) -> tuple[Reloader, MemoryJournal]:
    journal = MemoryJournal()
    one = Reloader(file, replacing.replace, journal)
    one.open()
    return one, journal


async def signalled(one: Reloader) -> None:
    """Reload as a signal does, and wait until that is done."""
    before = asyncio.all_tasks()
    one.on_signal()
    await asyncio.gather(*(asyncio.all_tasks() - before))


def test_what_the_file_says_now_is_in_force_afterwards() -> None:
    replacing = Replacing()
    one, journal = reloader(replacing)

    answer = asyncio.run(one.answer({}))

    assert answer == Reloaded(file=str(FILE), valid=True, errors=[], filters=["ftp"])
    assert replacing.times == 1
    assert journal.records == [
        ("gateway.reloaded", {"level": "info", "file": str(FILE), "filters": "ftp"})
    ]


def test_mistakes_are_an_answer() -> None:
    problem = f"no filter speaks 'fpt'; write one of: {KNOWN}"
    one, journal = reloader(Replacing(ConfigErrors([ConfigError(str(FILE), 9, problem)])))

    answer = asyncio.run(one.answer({}))

    assert answer == Reloaded(
        file=str(FILE),
        valid=False,
        errors=[Mistake(file=str(FILE), line=9, problem=problem)],
        filters=[],
    )
    assert journal.records == [
        ("gateway.reload_refused", {"level": "error", "problem": f"{FILE}:9: {problem}"})
    ]


def test_each_mistake_is_a_record_for_whoever_reloads_by_signal() -> None:
    mistakes = ConfigErrors([ConfigError("f", 1, "one"), ConfigError("f", 2, "two")])
    one, journal = reloader(Replacing(mistakes))

    asyncio.run(signalled(one))

    assert [fields["problem"] for _, fields in journal.records] == ["f:1: one", "f:2: two"]


def test_what_only_a_start_can_do_is_refused() -> None:
    one, journal = reloader(Replacing(RestartNeeded("port_range … restart")))

    with pytest.raises(RestartNeeded, match="restart"):
        asyncio.run(one.answer({}))

    assert journal.events() == ["gateway.reload_refused"]


def test_a_gateway_without_a_file_has_none_to_read_again() -> None:
    one, journal = reloader(Replacing(), file=None)

    with pytest.raises(NoSource, match="started without a file"):
        asyncio.run(one.answer({}))
    asyncio.run(signalled(one))

    assert journal.events() == ["gateway.reload_refused", "gateway.reload_refused"]


def test_a_fault_of_ours_is_written_down_and_ends_nothing() -> None:
    one, journal = reloader(Replacing(ZeroDivisionError()))

    asyncio.run(signalled(one))

    assert journal.records == [
        ("gateway.reload_refused", {"level": "error", "problem": "ZeroDivisionError()"})
    ]


def test_before_there_is_a_gateway_and_after_nothing_is_taken() -> None:
    replacing, journal = Replacing(), MemoryJournal()
    one = Reloader(FILE, replacing.replace, journal)

    one.close()
    with pytest.raises(NotReady, match="starting or stopping"):
        asyncio.run(one.answer({}))

    assert replacing.times == 0
    assert journal.events() == ["gateway.reload_refused"]


def test_a_signal_that_comes_before_there_is_a_gateway_is_obeyed_then() -> None:
    replacing = Replacing()
    one = Reloader(FILE, replacing.replace, MemoryJournal())

    async def scenario() -> None:
        one.on_signal()
        one.on_signal()
        before = asyncio.all_tasks()
        one.open()
        await asyncio.gather(*(asyncio.all_tasks() - before))

    asyncio.run(scenario())

    assert replacing.times == 1
