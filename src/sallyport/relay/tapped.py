"""TCP in user mode: an admitted flow whose bytes data filters see."""

import socket

from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import FlowCounters, Tap
from sallyport.io.filtered_stream import Ending, FilteredStream
from sallyport.relay.bound_ports import OpenPinhole, RelayContext


class TappedStream:
    """A filtered stream that counts for an opening."""

    __slots__ = ("_context", "_opening", "_stream", "_tap", "peer")

    def __init__(
        self,
        context: RelayContext,
        opening: OpenPinhole,
        peer: Endpoint,
        *,
        peer_leg: socket.socket | None,
        client_leg: socket.socket,
        tap: Tap,
    ) -> None:
        self.peer = peer
        self._context = context
        self._opening = opening
        self._tap = tap
        target = opening.pinhole.target
        self._stream = FilteredStream(
            context.loop,
            context.poller,
            peer_leg,
            client_leg,
            client=None if target is None else context.host_of(target.address),
            over=self._over,
        )

    def start(self) -> None:
        """Be admitted, tell so, and have the tap begin."""
        self._context.begin(self._opening, self)
        stream = self._stream
        if not stream.is_over:  # A filter that was notified may have killed it.
            self._tap.begin(stream, stream.accepted, stream.dialled)
            stream.start(self._tap)

    def counters(self) -> FlowCounters:
        """Read the payload bytes that were passed on, from a host or from a filter."""
        accepted, dialled = self._stream.accepted, self._stream.dialled
        return FlowCounters(
            self.peer, dialled.sent if dialled else 0, accepted.sent if accepted else 0
        )

    def abort(self) -> None:
        """Implement `bound_ports.Flow.abort`."""
        self._stream.abort()

    def _over(self, _ending: Ending) -> None:
        self._tap.end()
        self._context.end(self._opening, self)
