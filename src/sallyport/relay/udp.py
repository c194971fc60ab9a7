"""UDP in user mode: one door for all peers, one connected socket towards the client for each peer.

So the client's answers come back by peer, and the client can tell its peers apart by port.
"""

import asyncio
import contextlib
import socket

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.datapath import FlowCounters
from sallyport.relay import sockets
from sallyport.relay.doors import Door, Means, Opening
from sallyport.sockets import SocketName, endpoint_of


class UdpDoor(Door):
    """Hears while an opening is reachable or a flow lives; otherwise its socket is deaf."""

    def __init__(self, means: Means, sock: socket.socket, *, is_reserved: bool) -> None:
        super().__init__(means, sock, is_reserved=is_reserved)
        self.flows: dict[SocketName, DatagramFlow] = {}
        self._is_hearing = False

    @property
    def is_needed(self) -> bool:
        """Whether an opening or a flow needs the socket."""
        return bool(self.flows) or any(opening.is_open for opening in self.openings)

    def settle(self) -> None:
        """See Door."""
        self.openings = [opening for opening in self.openings if not opening.is_over]
        is_wanted = bool(self.flows) or any(o.is_reachable for o in self.openings)
        if is_wanted and not self._is_hearing:
            self.show()
            sockets.hear(self.socket)
            self.means.loop.add_reader(self.socket, self._turn)
        elif self._is_hearing and not is_wanted:
            self.means.loop.remove_reader(self.socket)
            sockets.deafen(self.socket)
            self._empty()
        self._is_hearing = is_wanted

    def close(self) -> None:
        """See Door."""
        self.means.loop.remove_reader(self.socket)
        self.socket.close()

    def _turn(self) -> None:
        buffer = self.means.buffer
        for _ in range(limits.MAX_DATAGRAMS_PER_TURN):
            try:
                size, name = self.socket.recvfrom_into(buffer)
            except OSError:  # nothing more, or an action of this turn has closed the door
                return
            flow = self.flows.get(name) or self._begin(name)
            if flow is not None:
                flow.to_client(buffer[:size])

    def _begin(self, name: SocketName) -> "DatagramFlow | None":
        peer = endpoint_of(name)
        opening = self.find(peer)
        if opening is None or opening.is_full:
            return None
        try:
            client_leg = self.client_leg(opening.pinhole, peer)
        except OSError:
            self.means.sink.flow_refused(opening.pinhole.id, peer)
            return None
        flow = DatagramFlow(self, opening, peer, name, client_leg)
        if opening.pinhole.single:
            opening.owner = peer
        opening.flows[peer] = self.flows[name] = flow
        self.means.sink.flow_established(opening.pinhole.id, peer)
        return flow

    def _empty(self) -> None:
        """Forget what was queued: it came for an opening that is over."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.socket.recv_into(self.means.buffer)


class DatagramFlow:
    """What one peer and the client send each other, until both have been silent for a while."""

    __slots__ = ("_client_leg", "_door", "_from_peer", "_last", "_name", "_opening", "_peer",
                 "_timer", "_to_peer")  # fmt: skip

    def __init__(
        self,
        door: UdpDoor,
        opening: Opening,
        peer: Endpoint,
        name: SocketName,
        client_leg: socket.socket,
    ) -> None:
        self._door = door
        self._opening = opening
        self._peer = peer
        self._name = name
        self._client_leg = client_leg
        self._from_peer = 0
        self._to_peer = 0
        loop = door.means.loop
        self._last = loop.time()
        self._timer: asyncio.TimerHandle = loop.call_later(self._patience, self._check)
        if opening.pinhole.is_answered:
            loop.add_reader(client_leg, self._turn)
        else:
            sockets.deafen(client_leg)

    def to_client(self, data: memoryview) -> None:
        """Pass a datagram of the peer on; what cannot be sent is lost, as datagrams are."""
        self._last = self._door.means.loop.time()
        for _ in range(2):
            try:
                self._from_peer += self._client_leg.send(data)
            except ConnectionRefusedError:
                # The news (ICMP) is about an earlier datagram; this one was not even tried.
                continue
            except OSError:
                return
            return

    def counters(self) -> FlowCounters:
        """Read the payload bytes that were passed on."""
        return FlowCounters(self._peer, self._from_peer, self._to_peer)

    def abort(self) -> None:
        """See `doors.Flow`; datagrams know no reset."""
        if self._door.flows.pop(self._name, None) is None:
            return
        means = self._door.means
        self._timer.cancel()
        means.loop.remove_reader(self._client_leg)
        self._client_leg.close()
        del self._opening.flows[self._peer]
        means.changed(self._opening)
        means.sink.flow_ended(self._opening.pinhole.id, self.counters())

    @property
    def _patience(self) -> float:
        seconds = self._opening.pinhole.idle_seconds
        return limits.UDP_IDLE_SECONDS if seconds is None else seconds

    def _turn(self) -> None:
        buffer = self._door.means.buffer
        for _ in range(limits.MAX_DATAGRAMS_PER_TURN):
            try:
                size = self._client_leg.recv_into(buffer)
            except OSError:  # nothing more, or news about a datagram to the client
                return
            self._last = self._door.means.loop.time()
            with contextlib.suppress(OSError):
                self._to_peer += self._door.socket.sendto(buffer[:size], self._name)

    def _check(self) -> None:
        """End when idle; else look again at the earliest moment that could be."""
        loop = self._door.means.loop
        if (left := self._last + self._patience - loop.time()) <= 0:
            self.abort()
        else:
            self._timer = loop.call_later(left, self._check)
