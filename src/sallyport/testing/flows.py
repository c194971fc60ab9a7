"""Flows with data filters, as a user data path has them; a test plays both ends."""

from collections import deque
from collections.abc import Callable

from sallyport.addresses import Endpoint
from sallyport.core.model.arguments import OCTETS, require
from sallyport.core.pinholes.datapath import Pinhole, Tap


class MemoryEnd:
    """One end of a stream; keeps what was sent to it until a test takes it."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.datagrams: list[bytes] = []
        """The same bytes, one entry for each `send`."""
        self.late: list[bytes] = []
        """What was sent after the flow had ended, by a filter that still holds this end."""
        self.is_shut = False
        self.is_gone = False

    def send(self, data: bytes) -> None:
        """Implement `StreamEnd.send`."""
        require("data", data, OCTETS)
        if self.is_gone:
            self.late += [data] if data else []
            return
        # A real socket drops them: a test that never sees these bytes shows that they are lost.
        assert not (self.is_shut and data), f"{data!r} was sent after the end of the stream"
        self.heard += data
        self.datagrams.append(data)

    def shutdown(self) -> None:
        """Implement `StreamEnd.shutdown`."""
        self.is_shut = True

    def take(self) -> bytes:
        """Return the bytes that were sent since the last call."""
        heard = bytes(self.heard)
        self.heard.clear()
        self.datagrams.clear()
        return heard


class MemoryLink:
    """The two ends of a flow, as the core may end them; `ended` says how it did."""

    def __init__(self) -> None:
        self.client, self.server = MemoryEnd(), MemoryEnd()
        self.ended: str | None = None

    def abort(self) -> None:
        """Implement `datapath.Link.abort`."""
        self._end("reset")

    def close(self) -> None:
        """Implement `datapath.Link.close`."""
        self._end("closed")

    def _end(self, how: str) -> None:
        self.ended = self.ended or how
        self.client.is_gone = self.server.is_gone = True


class MemorySource:
    """What one host of a stream sends; what a filter holds back is read later, as TCP has it."""

    def __init__(self, tap: Tap, *, is_dialled: bool) -> None:
        self._tap = tap
        self._is_dialled = is_dialled
        self._unread: deque[bytes | None] = deque()
        """Segments; None is the end of them."""

    def says(self, data: bytes | None) -> None:
        """Send bytes, or one datagram; None: close."""
        self._unread.append(data)
        self.settle()

    def settle(self) -> None:
        """Let the filters read what they do not hold back."""
        tap = self._tap
        while self._unread and not (tap.holds_dialled if self._is_dialled else tap.holds_accepted):
            data = self._unread.popleft()
            if data is None:
                tap.dialled_closed() if self._is_dialled else tap.accepted_closed()
            else:
                tap.from_dialled(data) if self._is_dialled else tap.from_accepted(data)


class MemoryFlow:
    """A flow of a pinhole with data filters; `peer` connected, the gateway dialled the target.

    `over` is called when both ends have closed, or when the flow was reset.
    """

    def __init__(
        self, pinhole: Pinhole, peer: Endpoint, tap: Tap, over: Callable[["MemoryFlow"], None]
    ) -> None:
        self.pinhole = pinhole
        self.peer = peer
        self.accepted, self.dialled = MemoryEnd(), MemoryEnd()
        self.is_reset = False
        self.tap = tap
        self._peer = MemorySource(tap, is_dialled=False)
        self._target = MemorySource(tap, is_dialled=True)
        self._over = over
        self._closed: set[MemoryEnd] = set()

    def begin(self, *, is_emulated: bool = False) -> None:
        """Start the filters."""
        if is_emulated:  # There is no host at this end: that direction is complete already.
            self.accepted.shutdown()
            self._closed.add(self.accepted)
        self.tap.on_idle = self._settle
        self.tap.begin(self, None if is_emulated else self.accepted, self.dialled)

    def peer_says(self, data: bytes) -> None:
        """Deliver bytes, or one datagram, of the peer."""
        self._peer.says(data)

    def target_says(self, data: bytes) -> None:
        """Deliver bytes, or one datagram, of the dialled target."""
        self._target.says(data)

    def peer_closes(self) -> None:
        """Deliver the peer's FIN."""
        self._closed.add(self.accepted)
        self._peer.says(None)
        self._end_if_complete()

    def target_closes(self) -> None:
        """Deliver the FIN of the dialled target."""
        self._closed.add(self.dialled)
        self._target.says(None)
        self._end_if_complete()

    def abort(self) -> None:
        """Implement `datapath.Link.abort`."""
        self.is_reset = True
        self._over(self)

    def close(self) -> None:
        """Implement `datapath.Link.close`."""
        self._over(self)

    @property
    def is_over(self) -> bool:
        """Whether both directions have ended."""
        return self.accepted.is_gone

    def end(self, *, is_reset: bool) -> None:
        """End the flow as the data path does: both ends are gone, filters detach."""
        self.is_reset |= is_reset
        self.accepted.is_gone = self.dialled.is_gone = True
        self.tap.end()

    def _settle(self) -> None:
        self._peer.settle()
        self._target.settle()
        self._end_if_complete()

    def _end_if_complete(self) -> None:
        if len(self._closed) == 2 and self.accepted.is_shut and self.dialled.is_shut:
            self._over(self)


class MemoryArrival:
    """A peer that waits for admission (`datapath.Arrival`); it is answered once."""

    def __init__(self, let_in: Callable[[Tap | None], None], refuse: Callable[[], None]) -> None:
        self._let_in = let_in
        self._refuse = refuse
        self._is_answered = False

    def proceed(self, tap: Tap | None) -> None:
        """Implement `Arrival.proceed`."""
        if not self._is_answered:
            self._is_answered = True
            self._let_in(tap)
        elif tap is not None:
            tap.end()

    def refuse(self) -> None:
        """Implement `Arrival.refuse`."""
        if not self._is_answered:
            self._is_answered = True
            self._refuse()
