"""Deadlines: a heap of things to do at given times. It is told the time and never asks for it."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

# Cancelled entries are swept out when they are the majority, and enough to be worth a sweep: each
# cancel then costs constant time on average, and the heap never outgrows the living by much.
_MIN_SWEPT = 64


@dataclass(slots=True, order=True)
class Deadline:
    """One action due at `when` (seconds of the caller's clock)."""

    when: float
    number: int
    action: Callable[[], None] | None = field(compare=False)
    owner: "Deadlines" = field(compare=False, repr=False)

    def cancel(self) -> None:
        """Forget the action; idempotent."""
        if self.action is not None:
            self.action = None
            self.owner.count_cancelled()


class Deadlines:
    """Actions in order of time; equal times fire in the order they were set.

    `wake(when)` is called whenever the earliest deadline becomes earlier, so that whoever owns the
    real timer can move it.
    """

    def __init__(self, wake: Callable[[float], None]) -> None:
        self._heap: list[Deadline] = []
        self._wake = wake
        self._number = 0
        self._cancelled = 0

    def set(self, when: float, action: Callable[[], None]) -> Deadline:
        """Have `action` called by the first `fire(now)` with `now >= when`."""
        self._number += 1
        deadline = Deadline(when, self._number, action, self)
        heapq.heappush(self._heap, deadline)
        if self._heap[0] is deadline:
            self._wake(when)
        return deadline

    @property
    def next(self) -> float | None:
        """When `fire` is needed next; None when nothing is due, ever."""
        while self._heap and self._heap[0].action is None:
            heapq.heappop(self._heap)
            self._cancelled -= 1
        return self._heap[0].when if self._heap else None

    def fire(self, now: float) -> None:
        """Call every action that is due; an action may set and cancel deadlines."""
        while (when := self.next) is not None and when <= now:
            deadline = heapq.heappop(self._heap)
            action, deadline.action = deadline.action, None
            assert action is not None  # noqa: S101 - `next` has dropped the cancelled ones
            action()

    def count_cancelled(self) -> None:
        """Note that one entry of the heap is dead; called by `Deadline.cancel`."""
        self._cancelled += 1
        if self._cancelled >= _MIN_SWEPT and self._cancelled * 2 > len(self._heap):
            self._heap = [deadline for deadline in self._heap if deadline.action is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled
