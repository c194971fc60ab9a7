"""DataPath and FlowSink: the verbs the core calls on a data path, and the four calls back.

Every data path (kernel, user mode, the in-memory double) passes the same contract tests.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from msgspec import Struct
from msgspec.structs import replace

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.flags import Transport
from sallyport.ipfilter import IpFilter


class DataPathKind(StrEnum):
    """Which data path carries a connection."""

    KERNEL = "kernel"
    USER = "user"


class Pinhole(Struct, frozen=True, gc=False):
    """What a data path opens: flows from `sources` to `listen` are delivered to `target`.

    Nothing is translated when `target == listen` (routed relation). Nothing is admitted while
    `target` is None (the client address is not known yet). `sources` None means any address.
    `source_ports` narrows the flows to those sent from one of these ports; None means any. `id` is
    unique among live pinholes.

    A Struct, because every bind makes one: a named tuple takes four times as long.
    """

    id: int
    transport: Transport
    listen: Endpoint
    target: Endpoint | None
    sources: IpFilter | None
    single: bool = True
    """TCP: exactly one flow, counted when its handshake is complete, atomically. UDP: one source
    (address and port), the first, for the life of the pinhole. False: any number."""
    source_ports: frozenset[int] | None = None
    is_answered: bool = False
    """UDP: the client may send back to sources that recently sent (BIDIRECTIONAL); without it the
    kernel drops what the client sends back. TCP answers by its nature."""
    is_proxied: bool = False
    """Full proxy: the client sees the gateway's address on its own network, not the peer's."""
    idle_seconds: float | None = None
    """UDP: seconds without a datagram after which a flow is over; None leaves it to the data path.
    """
    backlog: int = 1
    """User mode: how many connections may wait to be accepted."""
    receive_buffer: int | None = None
    """User mode: size of the socket's receive buffer in bytes; None leaves it to the host."""
    max_flows: int = limits.MAX_RELAYED_FLOWS
    """User mode: how many flows run at once, of peers that wait for the filters' answer too."""
    leads_inside: bool = True
    """User mode: whether the target is a protected host, which sees each peer's own address and
    port; not so of a permission, whose target is outside."""

    def admits(self, peer: Endpoint) -> bool:
        """Whether a flow of this peer is among those that it lets in."""
        return (self.sources is None or peer.address in self.sources) and (
            self.source_ports is None or peer.port in self.source_ports
        )

    def for_peers(self, sources: IpFilter | None, source_ports: frozenset[int] | None) -> "Pinhole":
        """Return the same pinhole for other peers."""
        return replace(self, sources=sources, source_ports=source_ports)

    @property
    def is_translated(self) -> bool:
        """Whether the pinhole listens on an address of the gateway and so uses one of its ports."""
        target, listen = self.target, self.listen
        # Mostly the ports say it: comparing addresses is slow.
        return target is None or target.port != listen.port or target != listen


class FlowCounters(NamedTuple):
    """Bytes of one flow so far: what the hosts sent each other, without headers."""

    peer: Endpoint
    from_peer_bytes: int
    to_peer_bytes: int


class Missed(StrEnum):
    """Why no flow has used an open pinhole, as far as a data path can tell; each is a reason."""

    NOTHING_CAME = "nothing-came"
    STRANGER_CAME = "only-a-stranger-came"
    DROPPED = "dropped-by-another-firewall"
    NOT_TAKEN = "client-did-not-answer"


class StreamEnd(Protocol):
    """One end of a flow, as a data filter holds it (`IFWXSocket`)."""

    def send(self, data: bytes) -> None:
        """Queue bytes, or one datagram, towards this end; never blocks.

        What is sent after the end of the flow is dropped. Raises InvalidArgument for what is no
        bytes, and nothing else.
        """

    def shutdown(self) -> None:
        """Close this direction: no more bytes follow towards this end (FIN). Idempotent."""


class Link(Protocol):
    """The two sockets of one flow: all the core may do to them is end them."""

    def abort(self) -> None:
        """Reset both ends; idempotent, never raises."""

    def close(self) -> None:
        """Close both ends after everything queued was sent; idempotent, never raises."""


class Tap(Protocol):
    """The data filters of one flow, as the holder of its two sockets feeds them.

    Implemented by `model.chain.Chain`. *Accepted* is the socket that a connection arrived on,
    *dialled* the one that the gateway connected. The holder reads nothing while `is_busy`.
    """

    on_idle: Callable[[], None]
    """Set by the holder of the sockets; called when nothing waits any more: it reads on."""
    holds_accepted: bool
    """Whether a filter holds back what arrives on the accepted socket; `on_idle` is called after
    each change. Of streams; datagrams are not held back."""
    holds_dialled: bool
    """The same for the dialled socket."""

    @property
    def is_busy(self) -> bool:
        """Whether a filter's call runs or waits: the holder should read nothing more."""

    def begin(self, link: Link, accepted: StreamEnd | None, dialled: StreamEnd | None) -> None:
        """Start the filters, before any bytes; None for an end without a socket (emulation)."""

    def from_accepted(self, data: bytes) -> None:
        """Take bytes, or one datagram, that arrived on the accepted socket."""

    def from_dialled(self, data: bytes) -> None:
        """Take bytes, or one datagram, that arrived on the dialled socket."""

    def accepted_closed(self) -> None:
        """Take the end of the accepted socket's data (FIN)."""

    def dialled_closed(self) -> None:
        """Take the end of the dialled socket's data (FIN)."""

    def flooded(self) -> None:
        """Blame the filter that runs: it sent more than a socket takes. Ends its session."""

    def end(self) -> None:
        """Detach every filter: the flow is over, or never began. Idempotent, never raises."""


class Arrival(Protocol):
    """A peer that connected to a user-mode pinhole and waits for the filters' decision.

    The core calls one of the two methods, at once or later. If the peer has gone meanwhile, or the
    pinhole was closed, either call is harmless; a tap passed to `proceed` is then ended.
    """

    def proceed(self, tap: Tap | None) -> None:
        """Connect the peer to the target; None: no filter sees the bytes."""

    def refuse(self) -> None:
        """Reset the peer without a report; a single pinhole stays open for the next peer."""


class FlowSink(Protocol):
    """Receives a data path's reports; for one flow they come in the order of its events."""

    def flow_arrived(self, pinhole_id: int, peer: Endpoint, arrival: Arrival) -> None:
        """Take a peer that waits for `arrival` to be answered; user mode only."""

    def flow_established(self, pinhole_id: int, peer: Endpoint) -> None:
        """Take a flow that completed its handshake and was admitted."""

    def flow_refused(self, pinhole_id: int, peer: Endpoint) -> None:
        """Take an attempt that ended before admission; a single pinhole stays open for the next."""

    def flow_turned_away(self, pinhole_id: int, peer: Endpoint) -> None:
        """Take a peer that came while there were as many flows as may be; user mode only."""

    def flow_ended(self, pinhole_id: int, counters: FlowCounters) -> None:
        """Take the end of an admitted flow: both directions closed, reset, killed or idle."""


class DataPath(Protocol):
    """Opens and closes pinholes, and reports the flows that use them."""

    @property
    def kind(self) -> DataPathKind:
        """Which path this is."""

    def attach(self, sink: FlowSink) -> None:
        """Set the receiver of the reports; called once, before anything is opened."""

    def reserve(self, transport: Transport, address: Endpoint, *, is_shared: bool = False) -> None:
        """Hold a gateway port, so that no local program gets it.

        `is_shared`: other processes of this gateway may hold it too, for other peers; the user-mode
        path does without, because one socket alone can accept.
        Raises AddressInUse when a local socket or another reservation has it,
        AddressNotAvailable when the address is not this host's, OutOfResources when descriptors
        are exhausted.
        """

    def release(self, transport: Transport, address: Endpoint) -> None:
        """Release a reserved port; idempotent, never raises."""

    async def open(self, pinholes: Sequence[Pinhole]) -> None:
        """Open all pinholes or none, in one transaction; when it returns the next SYN finds them.

        Raises OutOfResources when the kernel's tables are full, KernelError when the kernel
        refuses; then none is open.
        """

    async def retarget(self, pinhole_id: int, target: Endpoint) -> None:
        """Deliver flows to `target` from now on; only for a pinhole whose target was None.

        Raises OutOfResources or KernelError; then nothing has changed.
        """

    async def set_peers(
        self,
        pinhole_ids: Sequence[int],
        sources: IpFilter | None,
        source_ports: frozenset[int] | None,
    ) -> None:
        """Replace who may open flows, in one transaction; admitted flows go on.

        `sources` and `source_ports` as in `Pinhole`. There is no moment at which neither the old
        peers nor the new ones get in. A single pinhole that was used stays used (on the kernel path
        its token is spent).

        Raises OutOfResources or KernelError; then nothing has changed.
        """

    def send_from(self, listen: Endpoint, peer: Endpoint, data: bytes) -> None:
        """Send one UDP datagram to `peer`, as if `listen` had sent it.

        `listen` is a reserved gateway port, or the client's own endpoint on a routed relation (a
        transparent socket). Never blocks; a datagram that the kernel does not take is lost.
        """

    def missed(self, pinhole_id: int, seconds: float) -> Missed | None:
        """Say why no flow has used an open pinhole in all the `seconds` of its life; never raises.

        None when the data path cannot tell, or no such pinhole is open.
        """

    def close(self, pinhole_ids: Iterable[int]) -> None:
        """Close pinholes now; flows already admitted go on. Idempotent, never raises."""

    def cut_off(self, pinhole_ids: Iterable[int]) -> None:
        """Reset both ends of every admitted flow whose peer might not open one now.

        The pinholes stay as they are. Idempotent, never raises.
        """

    def kill(self, pinhole_ids: Iterable[int]) -> None:
        """Close pinholes and reset both ends of every admitted flow. Idempotent, never raises."""

    def counters(self, pinhole_id: int) -> list[FlowCounters]:
        """Return the running flows of one pinhole with their byte counts; empty without flows."""

    def first_datagram(self, pinhole_id: int) -> bytes:
        """Return what the peer of a running flow said first, of a UDP pinhole with an idle time.

        At most `limits.MAX_FIRST_DATAGRAM` bytes of it; of several flows the oldest is meant. Empty
        when it is not known; never raises. A flow that has just come is told of before it returns.
        """


class Orphan(NamedTuple):
    """An admitted flow that has outlived the process that watched it."""

    transport: Transport
    source: Endpoint
    """Who opened it."""
    listen: Endpoint
    """Where it was opened to, before any translation."""
    target: Endpoint
    """Who answers, behind any translation."""
    is_left_to_us: bool
    """Whether only this worker can still find it."""
    is_over: bool
    """Whether both sides have closed it, and that is not recorded."""
    original: bytes
    """How the data path names it, and its answers below."""
    reply: bytes


class FoundFlows(Protocol):
    """The part of a data path that finds what an earlier process has left."""

    def find(self) -> Sequence[Orphan]:
        """Return the flows that no process watches; raises KernelError."""

    def adopt(self, pinhole: Pinhole, orphan: Orphan) -> bool:
        """Report the flow from now on as one of `pinhole`, which is not open; the sink hears of it
        before this returns. False when the flow has ended meanwhile.
        """


class UserPath(DataPath, Protocol):
    """The user-mode data path, where either end of a flow may be another than a host."""

    def lend(self, pinhole_id: int, take: Callable[[Endpoint], int]) -> None:
        """Let the flows of an open pinhole end in sockets of the caller's: no client is dialled.

        `take` is called with each peer that is let in, and returns the descriptor of a socket that
        is connected to the client; it is the data path's from then on. It raises OSError to refuse
        the peer. Without an effect when the pinhole is closed.
        """

    def deliver(self, pinhole: Pinhole, peer: Endpoint, tap: Tap) -> None:
        """Dial `pinhole.target` as if `peer` had connected; the tap has no accepted socket.

        The sink gets the reports of a flow of `pinhole.id`, which need not be open: established or
        refused, then ended.
        """
