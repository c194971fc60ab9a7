"""Journal: the core says what happened; somebody else decides where it is written."""

from typing import Literal, Protocol

# The mildest first.
Level = Literal["debug", "info", "warning", "error"]


class Journal(Protocol):
    """A receiver of events with fields: past tense, no sentences, no payload, no credentials."""

    def record(self, event: str, /, *, level: Level = "info", **fields: object) -> None:
        """Take one event such as `binding.armed`; never raises."""
