"""Doors: the sockets peers come to, and the openings behind them."""

import asyncio
import contextlib
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from sallyport import limits
from sallyport.addresses import Endpoint, IpAddress, text_of
from sallyport.core.pinholes.datapath import FlowCounters, FlowSink, Missed, Pinhole
from sallyport.errors import AddressInUse
from sallyport.flags import Transport
from sallyport.io.fair_poller import FairPoller
from sallyport.io.pipes import Pipes
from sallyport.io.sockets import bound_beside, closed_on_error, make, make_transparent, name_of
from sallyport.ipfilter import IpFilter
from sallyport.relay import sockets


class Ears(Protocol):
    """Hears what clients say to their peers' own addresses, which does not pass by us by itself."""

    def attach(self, spoke: Callable[[Endpoint, Endpoint, bytes], None]) -> None:
        """Set who is told what a client said to a peer; called once, before anything is heard."""

    def hear(self, client: Endpoint, peers: IpFilter | None) -> None:
        """Take what this port of a client says to these peers, None: to anyone.

        Not while it is heard already. Raises KernelError, and then nothing is heard of it.
        """

    def ignore(self, client: Endpoint) -> None:
        """Let what this port says pass as ordinary traffic again; idempotent, never raises."""

    def forget(self, client: Endpoint, peer: Endpoint) -> None:
        """Let the kernel forget what the two have said to each other; never raises.

        What follows then begins as if it were the first: a new flow of ours, or ordinary traffic.
        """


@dataclass(slots=True)
class RelayContext:
    """What all ports and flows of one data path share."""

    loop: asyncio.AbstractEventLoop
    pipes: Pipes
    poller: FairPoller
    is_transparent: bool
    """Whether the host hands us what comes for transparent sockets, whatever its address."""
    host_of: Callable[[IpAddress], str] = text_of
    """Whose turns an address has (`Policy.host_of`); without rules each has its own."""
    ears: Ears | None = None
    """None: what clients say first is not heard."""
    sink: FlowSink = field(init=False)
    changed: Callable[["OpenPinhole"], None] = field(init=False)
    """To be called when an attempt or a flow of an opening has begun or ended."""
    buffer: memoryview = field(
        default_factory=lambda: memoryview(bytearray(limits.MAX_DATAGRAM_BYTES))
    )
    """Holds one datagram between reading and sending, never longer."""

    def client_leg(
        self, opening: "OpenPinhole", peer: Endpoint, *, is_alone: bool = False
    ) -> socket.socket:
        """Make a socket towards the client: connecting (TCP) or connected (UDP). Raises OSError.

        `is_alone`: there is no leg towards the peer (emulation).
        """
        opening.was_passed_on = True
        if opening.take is not None:
            return socket.socket(fileno=opening.take(peer))
        pinhole = opening.pinhole
        assert pinhole.target is not None  # noqa: S101 - only a reachable opening lets a peer in
        with closed_on_error(self._unconnected_leg(pinhole, peer, is_alone=is_alone)) as made:
            with contextlib.suppress(BlockingIOError):
                made.connect(name_of(pinhole.target))
            return made

    def _unconnected_leg(
        self, pinhole: Pinhole, peer: Endpoint, *, is_alone: bool
    ) -> socket.socket:
        assert pinhole.target is not None  # noqa: S101 - see above
        new = partial(make, pinhole.transport, pinhole.target.version)
        if not self.is_transparent or pinhole.is_proxied:
            return new()
        is_alike = not (pinhole.is_translated or is_alone)
        if pinhole.leads_inside or not is_alike:
            return sockets.speaking_as(new, peer, is_tracked_apart=is_alike)
        # What leaves for outside may be translated behind us, and has no zone: with the client's
        # own port both legs would be one conntrack entry.
        any_port = peer.with_port(0)
        return bound_beside(peer.port, lambda: sockets.speaking_as(new, any_port))

    def begin(self, opening: "OpenPinhole", flow: "Flow", *, is_spoken: bool = False) -> None:
        """Count a flow as admitted, and tell so.

        One that the client has opened (`is_spoken`) does not take the one place of a single
        pinhole: a peer may send from another port than the one it hears at.
        """
        opening.flows.add(flow)
        if not is_spoken:
            opening.admitted(flow.peer)
        self.changed(opening)
        self.sink.flow_established(opening.pinhole.id, flow.peer)

    def end(self, opening: "OpenPinhole", flow: "Flow") -> None:
        """Count a flow no more, and tell so."""
        opening.flows.remove(flow)
        self.changed(opening)
        self.sink.flow_ended(opening.pinhole.id, flow.counters())


class RelayAttempt(Protocol):
    """A peer that is here, and not connected through yet."""

    @property
    def peer(self) -> Endpoint:
        """Who it is."""

    def abort(self) -> None:
        """Reset the peer and report nothing; idempotent, never raises."""


class Flow(Protocol):
    """What an opening knows about a flow."""

    @property
    def peer(self) -> Endpoint:
        """Whose it is."""

    def counters(self) -> FlowCounters:
        """Read its payload bytes."""

    def abort(self) -> None:
        """End it now, reset both ends, and tell the sink; idempotent, never raises."""


class OpenPinhole:
    """One pinhole of this data path, what it lets in, and what came of it.

    It is open from when it enters its port; without one it can only be delivered to (emulation).
    """

    __slots__ = (
        "_strangers_before",
        "attempts",
        "flows",
        "is_open",
        "owner",
        "pinhole",
        "port",
        "take",
        "was_met",
        "was_passed_on",
    )

    def __init__(self, pinhole: Pinhole) -> None:
        self.pinhole = pinhole
        self.port: BoundPort | None = None
        self.is_open = False
        self.owner: Endpoint | None = None
        """UDP, single: the source that came first, for the life of the pinhole."""
        self.take: Callable[[Endpoint], int] | None = None
        """Gives the client's end of a flow, where no client is dialled (`UserPath.lend`)."""
        self.attempts: set[RelayAttempt] = set()
        self.flows: set[Flow] = set()
        self.was_met = False
        """Whether a peer that is let in has ever come."""
        self.was_passed_on = False
        """Whether its client was ever dialled for one."""
        self._strangers_before = 0

    @property
    def is_reachable(self) -> bool:
        """Whether new flows may begin at all."""
        return self.is_open and self.pinhole.target is not None

    @property
    def is_full(self) -> bool:
        """Whether no more flows fit."""
        return len(self.flows) + len(self.attempts) >= self.pinhole.max_flows

    @property
    def is_over(self) -> bool:
        """Whether nothing is left of it."""
        return not (self.is_open or self.flows or self.attempts)

    def enter(self, port: "BoundPort") -> None:
        """Be open at this port from now on."""
        self.port, self.is_open = port, True
        self._strangers_before = port.strangers

    def meet(self, attempt: RelayAttempt) -> None:
        """Count a peer that has come, from now until it is connected through or not."""
        self.attempts.add(attempt)
        self.was_met = True

    @property
    def missed(self) -> Missed | None:
        """Why no flow has used it while it was open; None: a filter has denied who came."""
        if self.was_passed_on:
            return Missed.NOT_TAKEN
        if self.was_met or self.port is None:
            return None
        is_more = self.port.strangers > self._strangers_before
        return Missed.STRANGER_CAME if is_more else Missed.NOTHING_CAME

    def close(self) -> None:
        """Let nothing new in; attempts have not got in yet. Admitted flows go on."""
        self.is_open = False
        for attempt in tuple(self.attempts):
            attempt.abort()

    def admitted(self, peer: Endpoint) -> None:
        """Update a single pinhole after a peer got in."""
        if self.pinhole.single and self.pinhole.transport is Transport.TCP:
            self.close()
        elif self.pinhole.single:
            self.owner = peer

    def lets_in(self, peer: Endpoint) -> bool:
        """Whether a flow from `peer` may begin now."""
        return (
            self.is_reachable
            and self.pinhole.admits(peer)
            and (self.owner is None or self.owner == peer)
        )


class BoundPort(ABC):
    """One bound socket and the openings at its address.

    It lasts while its port is reserved or a flow needs it, whichever is longer.
    """

    def __init__(self, context: RelayContext, sock: socket.socket, *, is_reserved: bool) -> None:
        self.context = context
        self.socket = sock
        self.is_reserved = is_reserved
        self.openings: list[OpenPinhole] = []
        self._strangers = 0

    def enter(self, opening: OpenPinhole) -> None:
        """Let in what `opening` lets in, from now on.

        Raises AddressInUse when another one takes the same peers here, and OSError; then nothing
        has changed.
        """
        others = [other.pinhole for other in self.openings if other.is_open]
        if any(_collide(opening.pinhole, other) for other in others):
            raise AddressInUse("pinhole-exists")
        self.openings.append(opening)
        try:
            opening.enter(self)
            if (size := opening.pinhole.receive_buffer) is not None:
                sockets.widen_receive_buffer(self.socket, size)
            self.settle()
        except OSError:
            self.openings.remove(opening)
            opening.port, opening.is_open = None, False
            raise

    @property
    def strangers(self) -> int:
        """How many packets have come of whom no opening lets in."""
        return self._strangers

    def find(self, peer: Endpoint) -> OpenPinhole | None:
        """Find the opening that lets `peer` in; one that names its sources comes first.

        Who is let in by none is counted.
        """
        fitting = [opening for opening in self.openings if opening.lets_in(peer)]
        if not fitting:
            self._strangers += 1
            return None
        return min(fitting, key=lambda opening: opening.pinhole.sources is None)

    def show(self) -> None:
        """Show the host's own rules that peers of this port are let in; raises OSError."""
        # The base table knows a pinhole of user mode by `socket transparent`. Not from the start: a
        # bind must find out that an address is not this host's, and what is only reserved is shut.
        if self.context.is_transparent:
            make_transparent(self.socket)

    @property
    @abstractmethod
    def is_needed(self) -> bool:
        """Whether an opening or a flow needs the socket."""

    @abstractmethod
    def settle(self) -> None:
        """Follow what has become of the openings; raises OSError only when there is a new one."""

    @abstractmethod
    def close(self) -> None:
        """Close the socket; what is under way elsewhere goes on."""


def _collide(one: Pinhole, other: Pinhole) -> bool:
    if one.sources is None or other.sources is None:
        return one.sources is other.sources
    return one.sources.exclude_filter(other.sources) != one.sources
