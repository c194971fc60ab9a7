import asyncio
import json
import os

from sallyport.ops.control.feed import Feed
from sallyport.ops.logs import EventJournal, Format
from sallyport.ops.processes.own_records import OwnRecords


async def read(feed: Feed) -> list[str]:
    """Return the events that are in a closed feed."""
    found = []
    while (item := await feed.take()) is not None:
        found.append(json.loads(bytes(item))["event"])
    return found


def test_records_of_the_supervisor_go_to_those_who_follow_while_they_do() -> None:
    async def scenario(journal: EventJournal) -> None:
        own, first, second = OwnRecords(journal), Feed(), Feed()
        own.join(first)
        own.join(second)
        journal.record("worker.ended", number=1)
        first.close()
        journal.record("worker.replaced", number=1)
        second.close()

        assert journal.listener is None
        assert await read(first) == ["worker.ended"]
        assert await read(second) == ["worker.ended", "worker.replaced"]

    with open(os.devnull, "wb") as nowhere:
        asyncio.run(scenario(EventJournal("error", Format.JSON, nowhere.fileno())))
