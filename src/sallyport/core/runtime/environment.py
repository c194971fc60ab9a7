"""Environment: what the core needs from outside: time, random numbers, a journal, an event loop."""

from typing import Literal, Protocol

from sallyport.core.runtime.serial import FilterRunning, Suspend

# From the least to the most severe. A trace is for an operator who looks at it, and in no log.
Level = Literal["trace", "debug", "info", "warning", "error"]


class Journal(Protocol):
    """Receives log events with fields.

    Names are in the past tense (`binding.armed`). Fields carry no sentence, no payload of a
    connection and no credentials.
    """

    def record(self, event: str, /, *, level: Level = "info", **fields: object) -> None:
        """Record one event such as `binding.armed`; never raises."""


class Environment(Protocol):
    """What the gateway needs besides data paths."""

    @property
    def journal(self) -> Journal:
        """The receiver of log events."""

    @property
    def filter_running(self) -> FilterRunning:
        """The mark that filter code runs; a watchdog reads it from outside."""

    @property
    def suspend(self) -> Suspend:
        """The function that resumes coroutines that wait, on an event loop or in a test's hand."""

    def now(self) -> float:
        """Return the time in seconds of a clock that never goes back."""

    def minute_of_week(self) -> int:
        """Return the minute of the week of the host's clock, from Monday 00:00 local time."""

    def random_below(self, bound: int) -> int:
        """Return an unpredictable integer in [0, bound)."""

    def delay(self, client: str, seconds: float) -> None:
        """Let what a client (`Policy.host_of`) says from now on wait so long, for others' sake."""

    def wake_at(self, when: float) -> None:
        """Set the timer: call `Gateway.deadlines.fire` at `when` (seconds of `now`)."""
