import asyncio
import json

import pytest
from msgspec import Raw

from sallyport import limits
from sallyport.ops.control.feed import Feed


async def taken(feed: Feed) -> list[object]:
    """Return what is in a feed that is closed."""
    found = []
    while (item := await feed.take()) is not None:
        found.append(json.loads(bytes(item)))
    return found


def test_what_is_put_is_taken_in_order_and_then_the_end() -> None:
    async def scenario() -> list[object]:
        feed = Feed()
        feed.put(Raw(b"1"))
        feed.put(Raw(b"2"))
        feed.close()
        feed.put(Raw(b"3"))
        return await taken(feed)

    assert asyncio.run(scenario()) == [1, 2]


def test_a_reader_waits_for_what_comes() -> None:
    async def scenario() -> object:
        feed = Feed()
        asyncio.get_running_loop().call_soon(feed.put, Raw(b"1"))
        return await feed.take()

    assert asyncio.run(scenario()) == Raw(b"1")


def test_a_slow_reader_is_told_in_its_place_what_it_has_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_STREAM_ITEMS", 2)

    async def scenario() -> list[object]:
        feed = Feed()
        for number in range(5):
            feed.put(Raw(str(number).encode()))
        first = [await feed.take(), await feed.take()]
        assert first == [Raw(b"0"), Raw(b"1")]
        feed.put(Raw(b"5"))
        feed.put(Raw(b"7"), lost=1)
        feed.close()
        return await taken(feed)

    assert asyncio.run(scenario()) == [
        {"version": 1, "lost": 3},
        5,
        {"version": 1, "lost": 2},
    ]


def test_what_ends_the_telling_is_called_once() -> None:
    ended: list[int] = []
    feed = Feed()
    feed.at_end(lambda: ended.append(1))
    feed.close()
    feed.close()

    assert ended == [1]
