"""Deadlines: a heap of actions, each due at a time. The caller passes the time in."""

import heapq
from collections.abc import Callable

# A cancelled entry stays in the heap until it reaches the top, because removing it from the middle
# would cost O(n). When cancelled entries are the majority and at least this many, the heap is
# rebuilt without them: each cancel then costs constant time on average, and the heap holds at most
# about twice as many entries as there are deadlines.
_MIN_SWEPT = 64


class Deadline:
    """One action that is due at `when` (seconds of the caller's clock)."""

    __slots__ = ("_owner", "action", "when")

    def __init__(self, when: float, action: Callable[[], None], owner: "Deadlines") -> None:
        self.when = when
        self.action: Callable[[], None] | None = action
        self._owner = owner

    def cancel(self) -> None:
        """Drop the action, so that it is never called. Idempotent."""
        if self.action is not None:
            self.action = None
            self._owner.count_cancelled()

    def put_off(self, when: float) -> None:
        """Move the deadline to `when`, which must not be earlier than it was.

        Costs constant time: the entry keeps its place in the heap and is moved when it reaches the
        top. A deadline that has fired or was cancelled stays so.
        """
        self.when = when


# Tuples, because the interpreter compares them in C. The number keeps equal times in the order in
# which they were set, and keeps the comparison from ever reaching the `Deadline`.
_Entry = tuple[float, int, Deadline]


class Deadlines:
    """Actions in order of time; equal times fire in the order in which they were set.

    `wake(when)` is called whenever the earliest deadline becomes earlier, so that the owner of the
    real timer can move it. It is not called when the earliest deadline becomes later: the timer
    then fires once for nothing, and `next` says when it is needed again.
    """

    def __init__(self, wake: Callable[[float], None]) -> None:
        self._heap: list[_Entry] = []
        self._wake = wake
        self._number = 0
        self._cancelled = 0

    def set(self, when: float, action: Callable[[], None]) -> Deadline:
        """Register `action`: the first `fire(now)` with `now >= when` calls it, once.

        Returns the deadline, by which it can be cancelled or put off.
        """
        deadline = Deadline(when, action, self)
        self._push(deadline)
        if self._heap[0][2] is deadline:
            self._wake(when)
        return deadline

    @property
    def next(self) -> float | None:
        """The time at which `fire` is needed next; None while no deadline is set."""
        while self._heap:
            when, _, deadline = self._heap[0]
            if deadline.action is None:
                heapq.heappop(self._heap)
                self._cancelled -= 1
            elif deadline.when > when:
                # `put_off` changed its time only: now that it is at the top, move it to its place.
                heapq.heappop(self._heap)
                self._push(deadline)
            else:
                return when
        return None

    def fire(self, now: float) -> None:
        """Call every action that is due at `now`; an action may set and cancel deadlines."""
        while (when := self.next) is not None and when <= now:
            deadline = heapq.heappop(self._heap)[2]
            action, deadline.action = deadline.action, None
            assert action is not None  # noqa: S101 - `next` has dropped the cancelled ones
            action()

    def count_cancelled(self) -> None:
        """Count one more cancelled entry in the heap; `Deadline.cancel` calls it."""
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
