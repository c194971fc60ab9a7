"""What the core asks of a data path: a few verbs on pinholes, and four things it is told.

Every data path (kernel, user, the in-memory double) passes the same contract tests.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from sallyport.addresses import Endpoint
from sallyport.flags import Transport
from sallyport.ipfilter import IpFilter


class DataPathKind(StrEnum):
    """Which data path carries a connection."""

    KERNEL = "kernel"
    USER = "user"


class Pinhole(NamedTuple):
    """One opening: flows from `sources` to `listen` are delivered to `target`.

    Nothing is translated when `target == listen` (routed relation); nothing is admitted while
    `target` is None (the client address is not known yet). `source_ports` narrows the flows to
    those sent from one of these ports; None means any. `id` is unique among live pinholes.
    A tuple, because one is made for every bind, in less than half the time.
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
    """Full proxy: to the client, peers appear as the gateway's address on the client's network."""
    idle_seconds: float | None = None
    """UDP: a flow that was idle this long is over; None leaves it to the data path."""
    backlog: int = 1
    """User mode: how many connections may wait to be accepted."""
    receive_buffer: int | None = None
    """User mode: bytes of socket buffer; None leaves it to the host."""

    @property
    def is_translated(self) -> bool:
        """Whether the gateway's own address is listened on: a port of ours is in use."""
        return self.target != self.listen


class FlowCounters(NamedTuple):
    """Bytes of one flow so far, as IP payload plus headers: what the kernel counts."""

    peer: Endpoint
    from_peer_bytes: int
    to_peer_bytes: int


class StreamEnd(Protocol):
    """One end of a flow, as a data filter holds it (`IFWXSocket`)."""

    def send(self, data: bytes) -> None:
        """Queue bytes, or one datagram, towards this end; never blocks, never raises.

        After the end nothing arrives any more.
        """

    def shutdown(self) -> None:
        """Say that no more bytes will come towards this end (FIN); idempotent."""


class Link(Protocol):
    """The two sockets of one flow, as the core may touch them."""

    def abort(self) -> None:
        """Reset both ends; idempotent, never raises."""

    def close(self) -> None:
        """Close both ends after everything queued was sent; idempotent, never raises."""


class Tap(Protocol):
    """The data filters of one flow, as whoever holds its two sockets feeds them."""

    on_idle: Callable[[], None]
    """To be set by the reservations: called when nothing waits any more."""

    @property
    def is_busy(self) -> bool:
        """Whether something waits: nothing more should be read."""

    def begin(self, link: Link, accepted: StreamEnd | None, dialled: StreamEnd | None) -> None:
        """Start, before any bytes; None for an end where nobody is (emulation)."""

    def from_accepted(self, data: bytes) -> None:
        """Take bytes, or one datagram, of the socket that was accepted."""

    def from_dialled(self, data: bytes) -> None:
        """Take bytes, or one datagram, of the socket that was dialled."""

    def accepted_closed(self) -> None:
        """The socket that was accepted will say no more (FIN)."""

    def dialled_closed(self) -> None:
        """The socket that was dialled will say no more (FIN)."""

    def flooded(self) -> None:
        """Some filter sent more than an end takes: its fault, which ends its session."""

    def end(self) -> None:
        """The flow is over, or never came to be. Idempotent, never raises."""


class Arrival(Protocol):
    """A peer that came to a user-mode pinhole and is not let in yet.

    One of the two is called, at once or later; if the peer has gone meanwhile, or the pinhole was
    closed, neither does harm, and a tap that was given is ended.
    """

    def proceed(self, tap: Tap | None) -> None:
        """Connect it through; None: nobody looks at the bytes."""

    def refuse(self) -> None:
        """Reset it and tell nobody; a single pinhole stays open for the next."""


class FlowSink(Protocol):
    """Who is told about flows; calls come in the order of events for one flow."""

    def flow_arrived(self, pinhole_id: int, peer: Endpoint, arrival: Arrival) -> None:
        """User mode only: a peer is here, and waits for `arrival` to be answered."""

    def flow_established(self, pinhole_id: int, peer: Endpoint) -> None:
        """A flow completed its handshake and was admitted."""

    def flow_refused(self, pinhole_id: int, peer: Endpoint) -> None:
        """An attempt ended without being admitted; a single pinhole stays open for the next."""

    def flow_ended(self, pinhole_id: int, counters: FlowCounters) -> None:
        """An admitted flow is over: both directions closed, reset, killed or idled out."""


class DataPath(Protocol):
    """Effects on connections, behind verbs."""

    @property
    def kind(self) -> DataPathKind:
        """Tell which path this is."""

    def attach(self, sink: FlowSink) -> None:
        """Set who is told; called once, before anything is opened."""

    def reserve(self, transport: Transport, address: Endpoint) -> None:
        """Hold a gateway port so that no local program gets it.

        Raises AddressInUse (a local socket or another reservation has it),
        AddressNotAvailable (the address is not this host's), OutOfResources (descriptors).
        """

    def release(self, transport: Transport, address: Endpoint) -> None:
        """Give a reserved port back; idempotent, never raises."""

    async def open(self, pinholes: Sequence[Pinhole]) -> None:
        """Open all or none, in one transaction; when it returns the next SYN finds them.

        Raises OutOfResources (tables full) or KernelError; then none is open.
        """

    async def retarget(self, pinhole_id: int, target: Endpoint) -> None:
        """Deliver to `target` from now on; only for a pinhole whose target was None.

        Raises OutOfResources or KernelError; then nothing has changed.
        """

    async def set_sources(self, pinhole_id: int, sources: IpFilter | None) -> None:
        """Replace who may open flows; admitted flows go on. A spent token stays spent.

        Raises OutOfResources or KernelError; then nothing has changed.
        """

    def send_from(self, listen: Endpoint, peer: Endpoint, data: bytes) -> None:
        """Send one UDP datagram to `peer`, as if `listen` had sent it.

        `listen` is a reserved gateway port, or the client's own endpoint on a routed relation (a
        transparent socket). Never blocks; what the kernel does not take is lost, as datagrams are.
        """

    def close(self, pinhole_ids: Iterable[int]) -> None:
        """Close now; flows already admitted go on. Idempotent, never raises."""

    def kill(self, pinhole_ids: Iterable[int]) -> None:
        """Close, and reset both ends of every admitted flow. Idempotent, never raises."""

    def counters(self, pinhole_id: int) -> list[FlowCounters]:
        """Read the live flows of one pinhole; empty when there are none."""


class UserPath(DataPath, Protocol):
    """What the user-mode data path can do besides: speak for somebody who is not there."""

    def deliver(self, pinhole: Pinhole, peer: Endpoint, tap: Tap) -> None:
        """Dial `pinhole.target` as if `peer` had connected; the tap's accepted end is nobody.

        Reported as a flow of `pinhole.id`, which need not be open: established or refused, ended.
        """
