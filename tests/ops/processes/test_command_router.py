"""How what workers tell comes to whoever follows it; the workers are played."""

import asyncio

import pytest
from msgspec import Raw
from tests.ops.processes.fleet_bench import Bench, played, serve

from sallyport import limits
from sallyport.errors import NotFound
from sallyport.ops.control.feed import Feed


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WORKER_ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(limits, "WORKER_RESTART_DELAYS", (0.0,))


async def taken(feed: Feed) -> Raw | None:
    async with asyncio.timeout(5):
        return await feed.take()


def test_all_workers_tell_a_stream_until_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(bench: Bench) -> None:
        await serve(bench, workers=2)
        feed = Feed()
        await bench.fleet.stream("events", {}, feed)
        for pid in (101, 102):
            bench.processes[pid].tell(pid)
        assert [await taken(feed), await taken(feed)] == [Raw(b"101"), Raw(b"102")]
        feed.close()
        assert bench.processes[101].followed == bench.processes[102].followed == {}

    played(act, monkeypatch)


def test_a_stream_about_one_session_is_told_by_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(bench: Bench) -> None:
        await serve(bench, workers=2)
        await bench.fleet.stream("trace", {"id": "w2.s5"}, Feed())
        assert [len(bench.processes[pid].followed) for pid in (101, 102)] == [0, 1]
        with pytest.raises(NotFound, match="no worker 7"):
            await bench.fleet.stream("trace", {"id": "w7.s5"}, Feed())

    played(act, monkeypatch)


def test_a_worker_that_replaces_another_tells_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(bench: Bench) -> None:
        await serve(bench)
        feed = Feed()
        await bench.fleet.stream("events", {}, feed)
        bench.processes[101].end(-11)
        await bench.recorded("worker.replaced").wait()
        bench.processes[102].tell("again")
        assert await taken(feed) == Raw(b'"again"')

    played(act, monkeypatch)


def test_what_a_worker_could_not_send_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(bench: Bench) -> None:
        await serve(bench)
        feed = Feed()
        await bench.fleet.stream("events", {}, feed)
        bench.processes[101].tell("late", lost=4)
        assert await taken(feed) == Raw(b'{"version":1,"lost":4}')
        assert await taken(feed) == Raw(b'"late"')

    played(act, monkeypatch)


def test_an_error_of_a_worker_is_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(bench: Bench) -> None:
        await serve(bench, workers=2)
        bench.errors[102, "follow"] = NotFound("no session")
        with pytest.raises(Exception, match="no session"):
            await bench.fleet.stream("events", {}, Feed())

    played(act, monkeypatch)


def test_a_worker_that_gives_no_answer_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(bench: Bench) -> None:
        await serve(bench, workers=2)
        bench.processes[102].is_silent = True
        feed = Feed()
        await bench.fleet.stream("events", {}, feed)
        bench.processes[101].tell("here")
        assert await taken(feed) == Raw(b'"here"')

    played(act, monkeypatch)
