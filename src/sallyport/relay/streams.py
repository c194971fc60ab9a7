"""TCP in user mode: an attempt dials the client for a peer, a stream carries their bytes."""

import asyncio
import socket

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.datapath import FlowCounters
from sallyport.relay import sockets
from sallyport.relay.doors import Means, Opening
from sallyport.relay.pump import Pump


class Attempt:
    """A peer that was accepted, until its client answers, refuses or takes too long."""

    __slots__ = ("_client_leg", "_deadline", "_means", "_opening", "_peer_leg", "peer")

    def __init__(
        self, means: Means, opening: Opening, peer_leg: socket.socket, peer: Endpoint
    ) -> None:
        self.peer = peer
        self._means = means
        self._opening = opening
        self._peer_leg = peer_leg
        self._client_leg: socket.socket | None = None
        self._deadline: asyncio.TimerHandle | None = None
        means.hangups.watch(peer_leg, self._peer_hung_up)

    def dial(self) -> None:
        """Connect to the client; the peer is reset when that fails."""
        loop = self._means.loop
        try:
            self._client_leg = self._opening.door.client_leg(self._opening.pinhole, self.peer)
            sockets.prepare_leg(self._client_leg)
        except OSError:
            self._refuse()
            return
        loop.add_writer(self._client_leg, self._answered, self._client_leg)
        self._deadline = loop.call_later(limits.CONNECT_TIMEOUT_SECONDS, self._refuse)

    def abort(self) -> None:
        """See `doors.Attempt`."""
        if self in self._opening.attempts:
            self._let_go()
            self._peer_leg.close()
            if self._client_leg is not None:
                self._client_leg.close()
            self._means.changed(self._opening)

    def _answered(self, client_leg: socket.socket) -> None:
        if sockets.has_failed(client_leg):
            self._refuse()
            return
        self._let_go()
        Stream(self._means, self._opening, self.peer, self._peer_leg, client_leg).start()

    def _refuse(self) -> None:
        self.abort()
        self._means.sink.flow_refused(self._opening.pinhole.id, self.peer)

    def _peer_hung_up(self) -> None:
        if sockets.has_failed(self._peer_leg):
            self._refuse()

    def _let_go(self) -> None:
        self._opening.attempts.discard(self)
        self._means.hangups.forget(self._peer_leg)
        if self._deadline is not None:
            self._deadline.cancel()
        if self._client_leg is not None:
            self._means.loop.remove_writer(self._client_leg)


class Stream:
    """An admitted flow: two pumps, until both directions are complete or something breaks."""

    __slots__ = ("_inward", "_legs", "_means", "_open_directions", "_opening", "_outward", "_peer")

    def __init__(
        self,
        means: Means,
        opening: Opening,
        peer: Endpoint,
        peer_leg: socket.socket,
        client_leg: socket.socket,
    ) -> None:
        self._peer = peer
        self._means = means
        self._opening = opening
        self._legs = (peer_leg, client_leg)
        self._inward = self._pump(peer_leg, client_leg)
        self._outward = self._pump(client_leg, peer_leg)
        self._open_directions = 2

    def start(self) -> None:
        """Be admitted, tell so, and move bytes."""
        self._opening.flows[self._peer] = self
        if self._opening.pinhole.single:
            self._opening.close()
        self._means.changed(self._opening)
        self._means.sink.flow_established(self._opening.pinhole.id, self._peer)
        if self._open_directions:  # whoever was told may have killed it
            for leg, pump in zip(self._legs, (self._inward, self._outward), strict=True):
                self._watch(leg, pump)
                pump.start()

    def counters(self) -> FlowCounters:
        """Read the payload bytes that were passed on."""
        return FlowCounters(self._peer, self._inward.moved, self._outward.moved)

    def abort(self) -> None:
        """See `doors.Flow`."""
        if self._open_directions:
            self._open_directions = 0
            self._let_go()
            for leg in self._legs:
                leg.close()
            self._tell()

    def _pump(self, source: socket.socket, sink: socket.socket) -> Pump:
        means = self._means
        return Pump(
            means.loop, means.pipes, source, sink, ended=self._direction_ended, broken=self.abort
        )

    def _watch(self, leg: socket.socket, pump: Pump) -> None:
        def hung_up() -> None:
            # A pump that reads the leg gets at what came before the reset.
            if not pump.is_reading and sockets.has_failed(leg):
                self.abort()

        self._means.hangups.watch(leg, hung_up)

    def _direction_ended(self) -> None:
        self._open_directions -= 1
        if not self._open_directions:
            self._let_go()
            for leg in self._legs:
                sockets.let_end(leg)
            self._tell()

    def _let_go(self) -> None:
        self._inward.stop()
        self._outward.stop()
        for leg in self._legs:
            self._means.hangups.forget(leg)

    def _tell(self) -> None:
        del self._opening.flows[self._peer]
        self._means.changed(self._opening)
        self._means.sink.flow_ended(self._opening.pinhole.id, self.counters())
