"""UDP in user mode: one port for all peers, one connected socket towards the client for each peer.

So the client's answers come back by peer, and the client can tell its peers apart by port.
"""

import asyncio
import contextlib
import select
import socket
from collections.abc import Callable

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.model.arguments import OCTETS, require
from sallyport.core.pinholes.datapath import FlowCounters, Tap
from sallyport.io.sockets import SocketName, endpoint_of, name_of
from sallyport.relay import sockets
from sallyport.relay.bound_ports import BoundPort, OpenPinhole, RelayContext


class UdpPort(BoundPort):
    """Hears while an opening is reachable or a flow lives; otherwise its socket is deaf."""

    def __init__(self, context: RelayContext, sock: socket.socket, *, is_reserved: bool) -> None:
        super().__init__(context, sock, is_reserved=is_reserved)
        self.flows: dict[SocketName, DatagramFlow] = {}
        self.attempts: set[SocketName] = set()
        self._is_hearing = False

    @property
    def is_needed(self) -> bool:
        """Whether an opening or a flow needs the socket."""
        return bool(self.flows) or any(opening.is_open for opening in self.openings)

    def settle(self) -> None:
        """Implement `BoundPort.settle`."""
        self.openings = [opening for opening in self.openings if not opening.is_over]
        is_wanted = bool(self.flows) or any(o.is_reachable for o in self.openings)
        if is_wanted and not self._is_hearing:
            self.show()
            sockets.undeafen(self.socket)
            self.context.poller.watch(self.socket, self._turn, events=select.EPOLLIN)
        elif self._is_hearing and not is_wanted:
            self.context.poller.forget(self.socket)
            sockets.deafen(self.socket)
            self._empty()
        self._is_hearing = is_wanted

    def close(self) -> None:
        """Implement `BoundPort.close`."""
        self.context.poller.forget(self.socket)
        self.socket.close()

    def _turn(self, _events: int) -> None:
        buffer = self.context.buffer
        for _ in range(limits.MAX_DATAGRAMS_PER_TURN):
            try:
                size, name = self.socket.recvfrom_into(buffer)
            except OSError:  # nothing more, or an action of this turn has closed the port
                return
            flow = self.flows.get(name) or self._meet(name)
            if flow is not None:
                flow.received(buffer[:size])

    def _meet(self, name: SocketName) -> "DatagramFlow | None":
        """Ask about a new source; give its flow if it is let in at once."""
        if name in self.attempts:
            return None
        peer = endpoint_of(name)
        opening = self.find(peer)
        if opening is None or (opening.pinhole.single and opening.attempts):
            return None
        if opening.is_full:
            self.context.sink.flow_turned_away(opening.pinhole.id, peer)
            return None
        attempt = DatagramAttempt(self, opening, peer, name)
        self.context.sink.flow_arrived(opening.pinhole.id, peer, attempt)
        return self.flows.get(name)

    def client_spoke(self, opening: OpenPinhole, peer: Endpoint, data: bytes) -> None:
        """Pass on what a client said to a peer, by a flow that perhaps begins with it."""
        name = _name_as_heard(peer)
        flow = self.flows.get(name)
        if flow is None and name not in self.attempts:
            if opening.is_full:
                self.context.sink.flow_turned_away(opening.pinhole.id, peer)
                return
            attempt = DatagramAttempt(self, opening, peer, name, is_spoken=True)
            self.context.sink.flow_arrived(opening.pinhole.id, peer, attempt)
            flow = self.flows.get(name)
        if flow is not None:
            flow.said(memoryview(data))

    def _empty(self) -> None:
        """Forget what was queued: it came for an opening that is over."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.socket.recv_into(self.context.buffer)


def _name_as_heard(peer: Endpoint) -> SocketName:
    """Return the name under which a socket hears a peer."""
    host, port = name_of(peer)
    return (host, port) if peer.version == 4 else (host, port, 0, 0)


class DatagramAttempt:
    """A source that is not let in yet (`datapath.Arrival`); what it sends meanwhile is lost.

    It counts for its opening from the start. `is_spoken`: the client began, and the peer is whom it
    speaks to.
    """

    __slots__ = ("_is_spoken", "_name", "_opening", "_port", "peer")

    def __init__(
        self,
        port: UdpPort,
        opening: OpenPinhole,
        peer: Endpoint,
        name: SocketName,
        *,
        is_spoken: bool = False,
    ) -> None:
        self.peer = peer
        self._is_spoken = is_spoken
        self._port = port
        self._opening = opening
        self._name = name
        opening.meet(self)
        port.attempts.add(name)

    def proceed(self, tap: Tap | None) -> None:
        """Begin its flow; it is refused when that fails."""
        if self not in self._opening.attempts:
            if tap is not None:
                tap.end()
            return
        self._let_go()
        start_flow(
            self._port.context,
            self._opening,
            self.peer,
            tap,
            (self._port, self._name),
            is_spoken=self._is_spoken,
        )

    def refuse(self) -> None:
        """Implement `Arrival.refuse`."""
        self.abort()

    def abort(self) -> None:
        """Implement `bound_ports.RelayAttempt.abort`; datagrams know no reset."""
        if self in self._opening.attempts:
            self._let_go()
            self._port.context.changed(self._opening)

    def _let_go(self) -> None:
        self._opening.attempts.discard(self)
        self._port.attempts.discard(self._name)


def start_flow(
    context: RelayContext,
    opening: OpenPinhole,
    peer: Endpoint,
    tap: Tap | None,
    way_back: tuple[UdpPort, SocketName] | None = None,
    *,
    is_spoken: bool = False,
) -> None:
    """Connect a peer through to the client, or tell that it is refused.

    Without a way back there is no peer, and a tap speaks for it (emulation). `is_spoken`: the
    client began.
    """
    if is_spoken:
        _forget(context, opening, peer)
    try:
        client_leg = context.client_leg(opening, peer, is_alone=way_back is None)
    except OSError:
        if tap is not None:
            tap.end()
        context.sink.flow_refused(opening.pinhole.id, peer)
        return
    flow = DatagramFlow(context, opening, peer, client_leg=client_leg, tap=tap, way_back=way_back)
    flow.start(is_spoken=is_spoken)


def _forget(context: RelayContext, opening: OpenPinhole, peer: Endpoint) -> None:
    """Let no entry of conntrack stand in the way of what comes next.

    Before a flow: one of what the client had said before it was heard; our words in the peer's name
    would be given another port. After it: what still comes would be dropped as a part of it.
    """
    target = opening.pinhole.target
    if context.ears is not None and target is not None:
        context.ears.forget(target, peer)


class DatagramFlow:
    """What one peer and the client send each other, until both have been silent for a while.

    With a tap, data filters see every datagram, and this is their `datapath.Link`; what comes
    while they wait for something is lost.
    """

    __slots__ = (
        "_client_leg",
        "_context",
        "_first",
        "_from_peer",
        "_is_over",
        "_last",
        "_opening",
        "_tap",
        "_timer",
        "_to_peer",
        "_way_back",
        "peer",
    )  # fmt: skip

    def __init__(
        self,
        context: RelayContext,
        opening: OpenPinhole,
        peer: Endpoint,
        *,
        client_leg: socket.socket,
        tap: Tap | None,
        way_back: tuple[UdpPort, SocketName] | None,
    ) -> None:
        self.peer = peer
        self._first: bytes | None = None
        """What the peer said first, or its beginning; None until one of the two has spoken."""
        self._context = context
        self._opening = opening
        self._client_leg = client_leg
        self._tap = tap
        self._way_back = way_back
        self._is_over = False
        self._from_peer = 0
        self._to_peer = 0
        self._last = context.loop.time()
        self._timer: asyncio.TimerHandle = context.loop.call_later(self._patience, self._check)

    def start(self, *, is_spoken: bool) -> None:
        """Be admitted, tell so, and have the tap begin."""
        if self._way_back is not None:
            port, name = self._way_back
            port.flows[name] = self
        if self._opening.pinhole.is_answered:
            self._context.poller.watch(self._client_leg, self._turn, events=select.EPOLLIN)
        else:
            sockets.deafen(self._client_leg)
        self._context.begin(self._opening, self, is_spoken=is_spoken)
        if (
            self._tap is not None and not self._is_over
        ):  # A filter that was notified may have killed it.
            back = None if self._way_back is None else _DatagramEnd(self._to_the_peer)
            self._tap.begin(self, back, _DatagramEnd(self._to_the_client))

    def received(self, data: memoryview) -> None:
        """Pass a datagram of the peer on."""
        self._last = self._context.loop.time()
        if self._first is None:
            self._first = bytes(data[: limits.MAX_FIRST_DATAGRAM])
        if self._tap is None:
            self._to_the_client(data)
        elif not self._tap.is_busy:
            self._tap.from_accepted(bytes(data))

    def said(self, data: memoryview) -> None:
        """Pass a datagram of the client on."""
        self._last = self._context.loop.time()
        if self._first is None:
            self._first = b""
        if self._tap is None:
            self._to_the_peer(data)
        elif not self._tap.is_busy:
            self._tap.from_dialled(bytes(data))

    @property
    def first(self) -> bytes:
        """What the peer said first, or the beginning of it; empty where the client was first."""
        return self._first or b""

    def counters(self) -> FlowCounters:
        """Read the payload bytes that were passed on, from a host or from a filter."""
        return FlowCounters(self.peer, self._from_peer, self._to_peer)

    def abort(self) -> None:
        """Implement `bound_ports.Flow.abort`; datagrams know no reset."""
        if self._is_over:
            return
        self._is_over = True
        self._timer.cancel()
        self._context.poller.forget(self._client_leg)
        self._client_leg.close()
        if self._way_back is not None:
            port, name = self._way_back
            del port.flows[name]
            _forget(self._context, self._opening, self.peer)
        if self._tap is not None:
            self._tap.end()
        self._context.end(self._opening, self)

    def close(self) -> None:
        """Implement `datapath.Link.close`; what was sent is on its way."""
        self.abort()

    @property
    def _patience(self) -> float:
        seconds = self._opening.pinhole.idle_seconds
        return limits.UDP_IDLE_SECONDS if seconds is None else seconds

    def _turn(self, _events: int) -> None:
        buffer = self._context.buffer
        for _ in range(limits.MAX_DATAGRAMS_PER_TURN):
            try:
                size = self._client_leg.recv_into(buffer)
            except OSError:  # nothing more, news about a datagram to the client, or it is over
                return
            self.said(buffer[:size])

    def _to_the_client(self, data: memoryview | bytes) -> None:
        """Send a datagram; what cannot be sent is lost, as datagrams are."""
        for _ in range(2):
            try:
                self._from_peer += self._client_leg.send(data)
            except ConnectionRefusedError:
                # The news (ICMP) is about an earlier datagram; this one was not even tried.
                continue
            except OSError:  # also: the flow is over, and the socket closed
                return
            return

    def _to_the_peer(self, data: memoryview | bytes) -> None:
        if self._way_back is not None and not self._is_over:
            port, name = self._way_back
            with contextlib.suppress(OSError):
                self._to_peer += port.socket.sendto(data, name)

    def _check(self) -> None:
        """End when idle; else look again at the earliest moment that could be."""
        loop = self._context.loop
        if (left := self._last + self._patience - loop.time()) <= 0:
            self.abort()
        else:
            self._timer = loop.call_later(left, self._check)


class _DatagramEnd:
    """One side of a flow, as a data filter may send to it (`datapath.StreamEnd`)."""

    __slots__ = ("_give",)

    def __init__(self, give: Callable[[bytes], None]) -> None:
        self._give = give

    def send(self, data: bytes) -> None:
        require("data", data, OCTETS)
        self._give(data)

    def shutdown(self) -> None:
        """Datagrams have no end."""
