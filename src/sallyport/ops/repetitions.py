"""Repetitions: a client that is refused all the time does not fill the log; pure.

A record that says the same of the same client is written a few times in a minute, then counted; the
minute ends with one record for each, which has the number.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from sallyport import limits
from sallyport.addresses import Endpoint

_OTHERS = "others"


class Repeated(NamedTuple):
    """What a record says, and of whom."""

    event: str
    client: str
    reason: str


class Repetitions:
    """Counts the records of the minute that say the same of the same client."""

    def __init__(self) -> None:
        self._counts: Counter[Repeated] = Counter()

    def is_one_more(self, event: str, fields: Mapping[str, object]) -> bool:
        """Count a record; return whether enough like it were written in this minute.

        A record that names no client is always written.
        """
        client = fields.get("client")
        if client is None:
            return False
        host = client.address if isinstance(client, Endpoint) else client
        key = Repeated(event, str(host), str(fields.get("reason")))
        if key not in self._counts and len(self._counts) >= limits.MAX_REPEATED:
            # Sources can be forged: then all of them together are one.
            key = key._replace(client=_OTHERS)
        self._counts[key] += 1
        return self._counts[key] > limits.REPEATED_RECORDS

    def minute_is_over(self) -> Iterator[tuple[Repeated, int]]:
        """Yield what was not written, and how often; the next minute begins."""
        counts, self._counts = self._counts, Counter()
        for key, count in counts.items():
            if count > limits.REPEATED_RECORDS:
                yield key, count - limits.REPEATED_RECORDS
