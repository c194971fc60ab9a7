import pytest
from tests.core.office import CLIENT, Office, run

from sallyport import limits
from sallyport.core.model.events import ConnectionRefused, Event
from sallyport.core.model.feed import EventFeed
from sallyport.testing.world import VirtualWaiter


def feed_and_events(count: int) -> tuple[EventFeed, list[Event]]:
    office = Office()
    (secondary,) = office.bind(office.dial()).connections
    events = [
        ConnectionRefused(secondary, CLIENT.with_port(number), None)
        for number in range(1024, 1024 + count)
    ]
    return EventFeed(VirtualWaiter()), list(events)


async def read_all(feed: EventFeed) -> list[Event]:
    return [event async for event in feed]


def test_events_are_read_in_order_and_the_feed_ends_after_them() -> None:
    feed, events = feed_and_events(3)
    for event in events:
        feed.put(event)
    feed.end()

    assert run(read_all(feed)) == events
    assert feed.lost == 0


def test_a_reader_waits_for_the_next_event() -> None:
    feed, (event,) = feed_and_events(1)
    reading = read_all(feed)
    reading.send(None)
    reading.send(None)
    feed.put(event)
    reading.send(None)
    feed.end()
    with pytest.raises(StopIteration) as done:
        reading.send(None)

    assert done.value.value == [event]


def test_a_reader_that_does_not_keep_up_loses_the_oldest_and_is_told_how_many() -> None:
    feed, events = feed_and_events(limits.MAX_UNREAD_EVENTS + 5)
    for event in events:
        feed.put(event)
    feed.end()

    assert run(read_all(feed)) == events[5:]
    assert feed.lost == 5
