"""Counts what happens, by the records of the log that say so; pure."""

from collections import Counter
from collections.abc import Mapping
from typing import Final

from sallyport import limits

# Records that are counted by protocol and reason, written to the log or not.
COUNTED: Final = frozenset(
    {
        "connect.accepted",
        "connect.refused",
        "connect.denied",
        "connect.failed",
        "binding.reserved",
        "binding.refused",
        "binding.closed",
        "connect.secondary_closed",
        "transfer.closed",
        "filter.failed",
    }
)

_SUMMARIES: Final = frozenset({"binding.closed", "connect.secondary_closed", "transfer.closed"})

# Each way of a transfer by the field of its summary; the first of a binding is the peer's.
_BYTES: Final = {
    "from_peer_bytes": "to_client",
    "to_peer_bytes": "from_client",
    "to_client_bytes": "to_client",
    "from_client_bytes": "from_client",
}

# Names come from configurations and reasons, but a filter may ask about protocols of its own.
_OTHER: Final = ("other", "other")


class Tally:
    """What was counted since the start of the process."""

    def __init__(self) -> None:
        self.events: Counter[tuple[str, str, str]] = Counter()
        """By event, protocol (of `filter.failed`: filter) and reason, empty where there is none."""
        self._names: dict[tuple[str, object, object], tuple[str, str, str]] = {}
        self.bytes: Counter[str] = Counter()
        """Payload of transfers that have ended, by direction: `from_client`, `to_client`."""

    def count(self, event: str, fields: Mapping[str, object]) -> None:
        """Count one record, if it is of the kind."""
        if event not in COUNTED:
            return
        # Every bind passes here: what costs more than a look-up is done once for each key.
        key = event, fields.get("protocol") or fields.get("filter"), fields.get("reason")
        name = self._names.get(key) or self._named(key)
        self.events[name] += 1
        if event in _SUMMARIES:
            for field, direction in _BYTES.items():
                if field in fields:
                    self.bytes[direction] += int(str(fields[field]))

    def _named(self, key: tuple[str, object, object]) -> tuple[str, str, str]:
        """Return by which words a key is counted: by its own while there is room."""
        event, protocol, reason = key
        if len(self._names) >= limits.MAX_TALLIED:
            return event, *_OTHER
        name = event, str(protocol or ""), str(reason or "")
        self._names[key] = name
        return name
