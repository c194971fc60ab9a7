"""Onlookers: operators who look at a gateway's records while they happen (`events`, `trace`)."""

from collections.abc import Callable, Mapping
from itertools import count

from msgspec import Raw

from sallyport.addresses import parse_address
from sallyport.core.model.tracing import Interest, Tracing
from sallyport.core.runtime.environment import Level
from sallyport.ops.control.explain import BadQuestion
from sallyport.ops.control.operations import Tell
from sallyport.ops.logs import EventJournal


class Onlookers:
    """The onlookers of one gateway. The journal makes records for them only while there are any."""

    def __init__(self, journal: EventJournal, tracing: Tracing) -> None:
        self._journal = journal
        self._tracing = tracing
        self._numbers = count(1)
        self._looking: dict[int, tuple[Interest, Tell]] = {}

    def events(self, _arguments: Mapping[str, object], tell: Tell) -> Callable[[], None]:
        """Send every record of any level; returns what ends it."""
        return self._begin(Interest(next(self._numbers)), tell)

    def trace(self, arguments: Mapping[str, object], tell: Tell) -> Callable[[], None]:
        """Send the trace of what `client`, `session` and `protocol` choose; returns what ends it.

        Raises BadQuestion for a client that is no address.
        """
        chosen = {key: str(value) for key, value in arguments.items() if value is not None}
        try:
            client = parse_address(chosen["client"]) if "client" in chosen else None
        except ValueError as error:
            raise BadQuestion(str(error)) from None
        number, session, protocol = next(self._numbers), *map(chosen.get, ("session", "protocol"))
        return self._begin(Interest(number, True, client, session, protocol), tell)

    # -- for the journal (`logs.Onlooking`) --------------------------------------------------------

    def interested(self, level: Level, fields: Mapping[str, object]) -> list[int]:
        """Return who wants a record with these fields."""
        return self._tracing.interested(level, fields)

    def take(self, numbers: list[int], line: bytes) -> None:
        """Send a record, one line of JSON, to those who want it."""
        record = Raw(line.rstrip())
        for number in numbers:
            _interest, tell = self._looking[number]
            tell(record)

    # -- inside -----------------------------------------------------------------------------------

    def _begin(self, interest: Interest, tell: Tell) -> Callable[[], None]:
        self._looking[interest.number] = interest, tell
        self._look()
        return lambda: self._end(interest.number)

    def _end(self, number: int) -> None:
        self._looking.pop(number, None)
        self._look()

    def _look(self) -> None:
        self._tracing.look(interest for interest, _tell in self._looking.values())
        self._journal.listener = self if self._looking else None
