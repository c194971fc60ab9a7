"""TCP in user mode: an admitted flow whose bytes no filter reads."""

import socket

from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import FlowCounters
from sallyport.io.sockets import has_failed, let_end
from sallyport.relay.bound_ports import OpenPinhole, RelayContext
from sallyport.relay.pump import Pump


class Stream:
    """An admitted flow: two pumps, until both directions are complete or something breaks."""

    __slots__ = ("_context", "_inward", "_legs", "_open_directions", "_opening", "_outward", "peer")

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
        self._legs = (peer_leg, client_leg)
        self._inward = self._pump(peer_leg, client_leg)
        self._outward = self._pump(client_leg, peer_leg)
        self._open_directions = 2

    def start(self) -> None:
        """Be admitted, tell so, and move bytes."""
        self._context.begin(self._opening, self)
        if self._open_directions:  # A filter that was notified may have killed it.
            for leg, pump in zip(self._legs, (self._inward, self._outward), strict=True):
                self._watch(leg, pump)
                pump.start()

    def counters(self) -> FlowCounters:
        """Read the payload bytes that were passed on."""
        return FlowCounters(self.peer, self._inward.moved, self._outward.moved)

    def abort(self) -> None:
        """Implement `bound_ports.Flow.abort`."""
        if self._open_directions:
            self._open_directions = 0
            self._let_go()
            for leg in self._legs:
                leg.close()
            self._context.end(self._opening, self)

    def _pump(self, source: socket.socket, sink: socket.socket) -> Pump:
        context = self._context
        return Pump(
            context.loop,
            context.pipes,
            source,
            sink,
            ended=self._direction_ended,
            broken=self.abort,
        )

    def _watch(self, leg: socket.socket, pump: Pump) -> None:
        def hung_up(_events: int) -> None:
            # A pump that reads the leg gets at what came before the reset.
            if not pump.is_reading and has_failed(leg):
                self.abort()

        self._context.poller.watch(leg, hung_up)

    def _direction_ended(self) -> None:
        self._open_directions -= 1
        if not self._open_directions:
            self._let_go()
            for leg in self._legs:
                let_end(leg)
            self._context.end(self._opening, self)

    def _let_go(self) -> None:
        self._inward.stop()
        self._outward.stop()
        for leg in self._legs:
            self._context.poller.forget(leg)
