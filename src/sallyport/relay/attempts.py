"""TCP in user mode: an attempt to connect a peer through to its client."""

import asyncio
import select
import socket

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import Tap
from sallyport.io.sockets import has_failed, prepare_leg
from sallyport.relay.bound_ports import OpenPinhole, RelayContext
from sallyport.relay.streams import Stream
from sallyport.relay.tapped import TappedStream


class StreamAttempt:
    """A peer from its arrival (`datapath.Arrival`) until its client answers or does not.

    It counts for its opening from the start. Without a peer's leg there is no peer, and a
    filter speaks for it (emulation).
    """

    __slots__ = ("_client_leg", "_context", "_deadline", "_opening", "_peer_leg", "_tap", "peer")

    def __init__(
        self,
        context: RelayContext,
        opening: OpenPinhole,
        peer: Endpoint,
        peer_leg: socket.socket | None,
    ) -> None:
        self.peer = peer
        self._context = context
        self._opening = opening
        self._peer_leg = peer_leg
        self._client_leg: socket.socket | None = None
        self._tap: Tap | None = None
        self._deadline: asyncio.TimerHandle | None = None
        opening.meet(self)
        if peer_leg is not None:
            context.poller.watch(peer_leg, self._peer_hung_up)

    def proceed(self, tap: Tap | None) -> None:
        """Connect to the client; the peer is reset when that fails."""
        if self not in self._opening.attempts:
            if tap is not None:
                tap.end()
            return
        self._tap = tap
        context = self._context
        try:
            self._client_leg = context.client_leg(
                self._opening, self.peer, is_alone=self._peer_leg is None
            )
            prepare_leg(self._client_leg)
        except OSError:
            self._give_up()
            return
        context.poller.watch(self._client_leg, self._answered, events=select.EPOLLOUT)
        self._deadline = context.loop.call_later(limits.CONNECT_TIMEOUT_SECONDS, self._give_up)

    def refuse(self) -> None:
        """Implement `Arrival.refuse`."""
        self.abort()

    def abort(self) -> None:
        """Implement `bound_ports.RelayAttempt.abort`."""
        if self in self._opening.attempts:
            self._let_go()
            for leg in (self._peer_leg, self._client_leg):
                if leg is not None:
                    leg.close()
            if self._tap is not None:
                self._tap.end()
            self._context.changed(self._opening)

    def _answered(self, _events: int) -> None:
        client_leg = self._client_leg
        assert client_leg is not None  # noqa: S101 - it is watched as long as it is here
        if has_failed(client_leg):
            self._give_up()
            return
        self._let_go()
        context, opening, tap = self._context, self._opening, self._tap
        if tap is not None:
            TappedStream(
                context, opening, self.peer, peer_leg=self._peer_leg, client_leg=client_leg, tap=tap
            ).start()
        elif self._peer_leg is not None:
            Stream(context, opening, self.peer, self._peer_leg, client_leg).start()

    def _give_up(self) -> None:
        self.abort()
        self._context.sink.flow_refused(self._opening.pinhole.id, self.peer)

    def _peer_hung_up(self, _events: int) -> None:
        if self._peer_leg is not None and has_failed(self._peer_leg):
            self._give_up()

    def _let_go(self) -> None:
        self._opening.attempts.discard(self)
        if self._peer_leg is not None:
            self._context.poller.forget(self._peer_leg)
        if self._deadline is not None:
            self._deadline.cancel()
        if self._client_leg is not None:
            self._context.poller.forget(self._client_leg)
