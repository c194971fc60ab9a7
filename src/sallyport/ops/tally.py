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

# The fields of a summary with the bytes to the client and from it; a binding's first is the peer's.
_BYTES: Final = {
    "binding.closed": ("from_peer_bytes", "to_peer_bytes"),
    "connect.secondary_closed": ("to_client_bytes", "from_client_bytes"),
    "transfer.closed": ("to_client_bytes", "from_client_bytes"),
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
        if event in _BYTES:
            to_client, from_client = _BYTES[event]
            self.bytes["to_client"] += _number(fields.get(to_client))
            self.bytes["from_client"] += _number(fields.get(from_client))

    def _named(self, key: tuple[str, object, object]) -> tuple[str, str, str]:
        """Return by which words a key is counted: by its own while there is room."""
        event, protocol, reason = key
        if len(self._names) >= limits.MAX_TALLIED:
            return event, *_OTHER
        name = event, str(protocol or ""), str(reason or "")
        self._names[key] = name
        return name


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
