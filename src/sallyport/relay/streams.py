"""TCP in user mode: an admitted flow whose bytes no filter reads."""

import socket

from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import FlowCounters
from sallyport.io.spliced_stream import SplicedStream
from sallyport.relay.bound_ports import OpenPinhole, RelayContext


class Stream:
    """An admitted flow: a spliced stream that counts for its opening."""

    __slots__ = ("_context", "_opening", "_spliced", "peer")

    def __init__(
        self,
        context: RelayContext,
        opening: OpenPinhole,
        peer: Endpoint,
        peer_leg: socket.socket,
        client_leg: socket.socket,
    ) -> None:
        self.peer = peer
        self._context = context
        self._opening = opening
        self._spliced = SplicedStream(
            context.loop, context.pipes, context.poller, (peer_leg, client_leg), self._over
        )

    def start(self) -> None:
        """Be admitted, tell so, and move bytes."""
        self._context.begin(self._opening, self)
        self._spliced.start()  # A filter that was notified may have killed it.

    def counters(self) -> FlowCounters:
        """Read the payload bytes that were passed on."""
        return FlowCounters(self.peer, *self._spliced.moved)

    def abort(self) -> None:
        """Implement `bound_ports.Flow.abort`."""
        self._spliced.abort()

    def _over(self, _broken: socket.socket | None) -> None:
        self._context.end(self._opening, self)
