"""Lets a worker's gateway run dry: nothing new begins, what runs may finish, within a time."""

from collections.abc import Callable

from sallyport import limits
from sallyport.core.engine.gateway import Gateway
from sallyport.core.model.negotiated import Negotiated
from sallyport.core.pinholes.lifecycle import State
from sallyport.core.pinholes.registry import Opening


class Draining:
    """One gateway that is to end; new connections must be kept away from it already."""

    def __init__(
        self,
        gateway: Gateway,
        over: Callable[[], None],
        set_aside: Callable[[], None],
        *,
        keeps_sessions: bool,
    ) -> None:
        """Call `over` once, when nothing runs any more.

        `keeps_sessions`: a control connection counts as running too, and not only a transfer.
        `set_aside` takes what outlives this process out of the sessions, before they are killed.
        """
        self._set_aside = set_aside
        self._gateway = gateway
        self._over = over
        self._keeps_sessions = keeps_sessions
        self._is_given_up = False
        self._last_words_until = 0.0
        self._is_over = False

    def start(self, seconds: float) -> None:
        """Wait for what runs, at most this long."""
        if seconds > 0:
            self._gateway.call_later(seconds, self.give_up)
            self._look()
        else:
            self.give_up()

    def change(self, seconds: float, *, keeps_sessions: bool) -> None:
        """Wait at most this long from now on, and for this."""
        self._keeps_sessions = keeps_sessions
        if seconds > 0:
            self._gateway.call_later(seconds, self.give_up)
        else:
            self.give_up()

    def give_up(self) -> None:
        """Reset both ends of all that still runs, wait for its sums, and end. Idempotent.

        Where another generation has taken over, that adopts the transfers, and they go on.
        """
        if self._is_given_up or self._is_over:
            return
        self._is_given_up = True
        if self._keeps_sessions:
            self._end()
            return
        self._set_aside()
        for session in tuple(self._gateway.sessions):
            session.kill("gateway-stopping")
        # A killed flow is counted when its entry is gone; that takes about a second.
        self._gateway.call_later(limits.DRAIN_RESET_SECONDS, self._end)
        self._look()

    def _look(self) -> None:
        if self._is_over:
            return
        now = self._gateway.clock()
        if self._runs():
            self._last_words_until = now + limits.DRAIN_LAST_WORDS_SECONDS
        elif self._is_given_up or now >= self._last_words_until:
            self._end()
            return
        self._gateway.call_later(limits.DRAIN_LOOK_SECONDS, self._look)

    def _runs(self) -> bool:
        if self._keeps_sessions or self._is_given_up:
            return any(session.primaries or session.openings for session in self._gateway.sessions)
        return any(
            _is_transfer(opening)
            for session in self._gateway.sessions
            for opening in session.openings.values()
        )

    def _end(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._over()


def _is_transfer(opening: Opening) -> bool:
    """Whether something runs that ends with us, if only by and by.

    A pinhole for one flow is live; another one is armed as long as it stands, whatever runs. What
    uses a mapping goes on without us, as that does.
    """
    is_negotiated = isinstance(opening, Negotiated) and opening.primary is not None
    return opening.state is State.LIVE or (is_negotiated and bool(opening.running))
