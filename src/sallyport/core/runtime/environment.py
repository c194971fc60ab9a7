"""Environment: time, chance, a journal and an event loop's services, as the core asks for them."""

from typing import Literal, Protocol

from sallyport.core.runtime.serial import FilterRunning, Suspend

# The mildest first.
Level = Literal["debug", "info", "warning", "error"]


class Journal(Protocol):
    """A receiver of events with fields: past tense, no sentences, no payload, no credentials."""

    def record(self, event: str, /, *, level: Level = "info", **fields: object) -> None:
        """Take one event such as `binding.armed`; never raises."""


class Environment(Protocol):
    """What the gateway needs besides data paths."""

    @property
    def journal(self) -> Journal:
        """Give the receiver of events."""

    @property
    def filter_running(self) -> FilterRunning:
        """Give the mark of who runs filter code."""

    @property
    def suspend(self) -> Suspend:
        """Give the function that carries waiting coroutines on."""

    def now(self) -> float:
        """Give the time in seconds of a clock that never goes back."""

    def random_below(self, bound: int) -> int:
        """Give an unpredictable integer in [0, bound)."""

    def wake_at(self, when: float) -> None:
        """Have `Gateway.deadlines.fire` called at `when`."""
