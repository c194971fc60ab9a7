"""Bundle: what one client has opened by several connections, and that ends together: a call."""

from collections.abc import Callable
from math import isnan
from typing import TYPE_CHECKING

from sallyport.core.model.engine import Engine
from sallyport.core.runtime.deadlines import Deadline
from sallyport.core.runtime.serial import SerialRunner, Work
from sallyport.errors import InvalidArgument, Terminating

if TYPE_CHECKING:
    from sallyport.core.model.connection import PrimaryConnection
    from sallyport.core.model.secondary import SecondaryConnection
    from sallyport.core.model.session import Session


class Bundle:
    """Bindings and timers of one session that end together, whichever connection they came by.

    A call of SIP is spoken of by several connections and outlives each of them. `Session.bundle`
    makes one, `Session.bind_for_client(…, bundle=…)` and `call_later` add to it, and `end` ends all
    of it. It also ends with its session, when one of its timers fails, and when the connection that
    it was begun for is killed by an operator or by the fault of a filter.
    """

    __slots__ = (
        "_engine",
        "_runner",
        "_timers",
        "is_over",
        "openings",
        "owner",
        "primary",
        "session",
    )

    def __init__(
        self, engine: Engine, session: "Session", primary: "PrimaryConnection", owner: str
    ) -> None:
        self._engine = engine
        self.session = session
        self.primary = primary
        """The connection it was begun for, which may be over before."""
        self.owner = owner
        """The name of the filter that it belongs to."""
        self.is_over = False
        self.openings: dict[int, SecondaryConnection] = {}
        """The bound ports that end with it, by the id of their pinhole."""
        self._timers: set[Deadline] = set()
        self._runner: SerialRunner = engine.new_strand(self)

    def call_later(self, seconds: float, action: Callable[[], Work]) -> Deadline:
        """Call an `async def` after so many seconds; `cancel()` of the result prevents it.

        It runs when no other timer of the bundle does. Whatever it raises ends the bundle. Raises
        InvalidArgument for NaN, Terminating when the bundle has ended.
        """
        if self.is_over:
            raise Terminating("bundle-has-ended")
        if isnan(seconds):
            raise InvalidArgument("not-a-time")

        def passed() -> None:
            self._timers.discard(deadline)
            self._runner.run(action, (), self.owner)

        deadline = self._engine.call_later(seconds, passed)
        self._timers.add(deadline)
        return deadline

    def end(self, reason: str) -> None:
        """Close its ports with what runs, and forget its timers. Idempotent, never raises.

        `reason` is a short stable word; the journal and `ConnectionTerminating` carry it.
        """
        if self.is_over:
            return
        self.is_over = True
        self._runner.close()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self.session.bundles.discard(self)
        for opening in tuple(self.openings.values()):
            self._engine.registry.kill(opening, reason)
