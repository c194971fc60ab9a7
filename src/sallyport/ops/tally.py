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
        "filter.failed",
    }
)

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
        self.bytes: Counter[str] = Counter()
        """Payload of transfers that have ended, by direction: `from_client`, `to_client`."""

    def count(self, event: str, fields: Mapping[str, object]) -> None:
        """Count one record, if it is of the kind."""
        if event not in COUNTED:
            return
        protocol = str(fields.get("protocol") or fields.get("filter") or "")
        key = event, protocol, str(fields.get("reason") or "")
        if key not in self.events and len(self.events) >= limits.MAX_TALLIED:
            key = event, *_OTHER
        self.events[key] += 1
        for field, direction in _BYTES.items():
            if field in fields:
                self.bytes[direction] += int(str(fields[field]))
