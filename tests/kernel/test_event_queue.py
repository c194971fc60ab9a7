"""The queue of reports: in order, except for those taken ahead."""

import errno
from typing import cast

import pytest

from sallyport.kernel import marks
from sallyport.kernel.conntrack import EventSocket
from sallyport.kernel.event_queue import EventQueue
from sallyport.wire.conntrack import FlowReport


class Socket:
    """An event socket with its events laid out beforehand."""

    def __init__(self, *events: FlowReport | OSError | None) -> None:
        self.events = list(events)

    def receive(self) -> FlowReport | None:
        if not self.events:
            raise BlockingIOError(errno.EAGAIN, "no more")
        event = self.events.pop(0)
        if isinstance(event, OSError):
            raise event
        return event


def report(generation: int, reply: bytes = b"") -> FlowReport:
    return FlowReport(False, marks.PIN | generation, b"", reply)


def queue_of(*events: FlowReport | OSError | None) -> EventQueue:
    return EventQueue(cast("EventSocket", Socket(*events)))


def test_reports_come_in_order_and_then_there_are_none() -> None:
    queue = queue_of(report(1), None, report(2))

    assert [queue.next() for _ in range(3)] == [report(1), None, report(2)]
    with pytest.raises(BlockingIOError):
        queue.next()


def test_what_concerns_one_pinhole_is_taken_ahead_and_the_rest_keeps_its_order() -> None:
    queue = queue_of(report(1), report(2, b"a"), report(3), None, report(2, b"b"))
    assert queue.collect()

    assert queue.take({2}) == [report(2, b"a"), report(2, b"b")]
    assert queue.take({2, 9}) == []
    assert (len(queue), queue.next(), queue.next()) == (2, report(1), report(3))


def test_nothing_to_collect_is_said() -> None:
    assert not queue_of().collect()
    assert not queue_of(None).collect()


def test_an_overrun_is_remembered_and_what_follows_is_read() -> None:
    queue = queue_of(OSError(errno.ENOBUFS, "overrun"), report(1))

    assert (queue.next(), queue.has_overrun) == (None, True)
    queue.has_overrun = False
    assert queue.collect()
    assert not queue_of().has_overrun
    lost = queue_of(OSError(errno.ENOBUFS, "overrun"))
    assert lost.collect()
    assert len(lost) == 0


def test_any_other_error_of_the_socket_is_said_by_next_alone() -> None:
    queue = queue_of(OSError(errno.EBADF, "closed"), OSError(errno.EBADF, "closed"))

    assert not queue.collect()
    with pytest.raises(OSError, match="closed"):
        queue.next()
