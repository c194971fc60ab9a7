"""OwnRecords: those of the supervisor itself, for the operators who look at events."""

from collections.abc import Mapping

from msgspec import Raw

from sallyport.core.runtime.environment import Level
from sallyport.ops.control.feed import Feed
from sallyport.ops.logs import EventJournal


class OwnRecords:
    """Puts each record of the supervisor's journal into the feeds that follow `events`."""

    def __init__(self, journal: EventJournal) -> None:
        self._journal = journal
        self._feeds: set[Feed] = set()

    def join(self, feed: Feed) -> None:
        """Put records into a feed until that is closed."""
        self._feeds.add(feed)
        self._journal.listener = self
        feed.at_end(lambda: self._leave(feed))

    def interested(self, _level: Level, _fields: Mapping[str, object]) -> list[int]:
        """Implement `logs.Onlooking`: the supervisor serves no client, and makes no trace."""
        return [0]

    def take(self, _numbers: list[int], line: bytes) -> None:
        """Implement `logs.Onlooking`."""
        for feed in self._feeds:
            feed.put(Raw(line.rstrip()))

    def _leave(self, feed: Feed) -> None:
        self._feeds.discard(feed)
        if not self._feeds:
            self._journal.listener = None
