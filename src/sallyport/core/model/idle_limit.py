"""IdleLimit: ends a binding through which nothing has passed for a while."""

from typing import TYPE_CHECKING

from sallyport.core.pinholes.registry import Traffic
from sallyport.core.runtime.deadlines import Deadline

if TYPE_CHECKING:
    from sallyport.core.model.binding import Binding

# A data path tells how much has passed, not when. So many looks in a row without news make one idle
# time: it ends a quarter of that late at most, and never early, however late a look itself is.
_LOOKS = 4


class IdleLimit:
    """Looks at what has passed; one for each binding that may not be silent for ever."""

    __slots__ = ("_binding", "_deadline", "_quiet_looks", "_reason", "_seconds", "_seen")

    def __init__(self, binding: "Binding", seconds: float, reason: str) -> None:
        """End the binding after `seconds` without traffic from now on, for this reason."""
        self._binding = binding
        self._seconds = seconds
        self._reason = reason
        self._quiet_looks = 0
        self._seen = self._passed()
        self._deadline = self._look_later()

    @property
    def when(self) -> float:
        """The earliest moment at which it may end the binding."""
        left = _LOOKS - 1 - self._quiet_looks
        return self._deadline.when + left * self._seconds / _LOOKS

    def restart(self) -> None:
        """Count from now on; the binding has been armed."""
        self._deadline.cancel()
        self._quiet_looks = 0
        self._deadline = self._look_later()

    def cancel(self) -> None:
        """Look no more. Idempotent."""
        self._deadline.cancel()

    def _look(self) -> None:
        seen = self._passed()
        self._quiet_looks = self._quiet_looks + 1 if seen == self._seen else 0
        self._seen = seen
        if self._quiet_looks == _LOOKS:
            self._binding.kill(self._reason)
        else:
            self._deadline = self._look_later()

    def _passed(self) -> tuple[Traffic, ...]:
        return tuple(one.traffic() for one in self._binding.connections)

    def _look_later(self) -> Deadline:
        return self._binding.engine.call_later(self._seconds / _LOOKS, self._look)
