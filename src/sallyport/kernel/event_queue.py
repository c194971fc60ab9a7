"""The queue of conntrack's reports: in order, but what concerns one pinhole may be taken ahead.

Reports of one flow stay in order, since a flow belongs to one pinhole.
"""

import errno
from collections import deque
from collections.abc import Collection

from sallyport.kernel import marks
from sallyport.kernel.conntrack import EventSocket
from sallyport.wire.conntrack import FlowReport


class EventQueue:
    """What the event socket holds, and what was taken out of it and not yet asked for."""

    def __init__(self, events: EventSocket) -> None:
        self._events = events
        self._waiting: deque[FlowReport] = deque()
        self.has_overrun = False
        """Events were lost; set here, cleared by the reader after it has listed all flows anew."""

    def __len__(self) -> int:
        """Return how many reports wait here, besides those in the socket."""
        return len(self._waiting)

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._events.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._events.close()

    def next(self) -> FlowReport | None:
        """Return the next report; None is a message to skip.

        Raises BlockingIOError when there is none, and other OSErrors of the socket.
        """
        return self._waiting.popleft() if self._waiting else self._receive()

    def collect(self) -> bool:
        """Take in all that the socket holds; tell whether any wait here, or were lost."""
        try:
            while True:
                report = self._receive()
                if report is not None:
                    self._waiting.append(report)
        except OSError:
            # Mostly that there is no more; anything worse is said by `next`, where it is heard.
            return bool(self._waiting) or self.has_overrun

    def take(self, generations: Collection[int]) -> list[FlowReport]:
        """Return those that wait here for these pinholes; the others keep their places."""
        taken = [r for r in self._waiting if r.mark & marks.GENERATION in generations]
        if taken:
            left = (r for r in self._waiting if r.mark & marks.GENERATION not in generations)
            self._waiting = deque(left)
        return taken

    def _receive(self) -> FlowReport | None:
        try:
            return self._events.receive()
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            self.has_overrun = True
            return None
