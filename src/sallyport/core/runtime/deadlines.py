"""Deadlines: a heap of things to do at given times. It is told the time and never asks for it."""

import heapq
from collections.abc import Callable

# Cancelled entries are swept out when they are the majority, and enough to be worth a sweep: each
# cancel then costs constant time on average, and the heap never outgrows the living by much.
_MIN_SWEPT = 64


class Deadline:
    """One action due at `when` (seconds of the caller's clock)."""

    __slots__ = ("_owner", "action", "when")

    def __init__(self, when: float, action: Callable[[], None], owner: "Deadlines") -> None:
        self.when = when
        self.action: Callable[[], None] | None = action
        self._owner = owner

    def cancel(self) -> None:
        """Forget the action; idempotent."""
        if self.action is not None:
            self.action = None
            self._owner.count_cancelled()

    def put_off(self, when: float) -> None:
        """Have it done at `when` instead, which is no earlier; of what is over nothing comes."""
        self.when = when


# Tuples, because they are compared without a line of Python; the number decides among equal times.
_Entry = tuple[float, int, Deadline]


class Deadlines:
    """Actions in order of time; equal times fire in the order they were set.

    `wake(when)` is called whenever the earliest deadline becomes earlier, so that whoever owns the
    real timer can move it.
    """

    def __init__(self, wake: Callable[[float], None]) -> None:
        self._heap: list[_Entry] = []
        self._wake = wake
        self._number = 0
        self._cancelled = 0

    def set(self, when: float, action: Callable[[], None]) -> Deadline:
        """Have `action` called by the first `fire(now)` with `now >= when`."""
        deadline = Deadline(when, action, self)
        self._push(deadline)
        if self._heap[0][2] is deadline:
            self._wake(when)
        return deadline

    @property
    def next(self) -> float | None:
        """When `fire` is needed next; None when nothing is due, ever."""
        while self._heap:
            when, _, deadline = self._heap[0]
            if deadline.action is None:
                heapq.heappop(self._heap)
                self._cancelled -= 1
            elif deadline.when > when:
                # It was put off: now that it is its turn it goes where it belongs.
                heapq.heappop(self._heap)
                self._push(deadline)
            else:
                return when
        return None

    def fire(self, now: float) -> None:
        """Call every action that is due; an action may set and cancel deadlines."""
        while (when := self.next) is not None and when <= now:
            deadline = heapq.heappop(self._heap)[2]
            action, deadline.action = deadline.action, None
            assert action is not None  # noqa: S101 - `next` has dropped the cancelled ones
            action()

    def count_cancelled(self) -> None:
        """Note that one entry of the heap is dead; called by `Deadline.cancel`."""
        self._cancelled += 1
        if self._cancelled >= _MIN_SWEPT and self._cancelled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].action is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

    def _push(self, deadline: Deadline) -> None:
        self._number += 1
        heapq.heappush(self._heap, (deadline.when, self._number, deadline))
