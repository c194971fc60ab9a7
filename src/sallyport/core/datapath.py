"""What the core asks of a data path: a few verbs on pinholes, and three things it is told.

Every data path (kernel, user, the in-memory double) passes the same contract tests.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from sallyport.addresses import Endpoint
from sallyport.flags import Transport
from sallyport.ipfilter import IpFilter


class DataPathKind(StrEnum):
    """Which data path carries a connection."""

    KERNEL = "kernel"
    USER = "user"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class Pinhole:
    """One opening: flows from `sources` to `listen` are delivered to `target`.

    `source_ports` narrows the flows to those sent from one of these ports; None means any.

    Nothing is translated when `target == listen` (routed relation). `single` admits exactly one
    flow, counted when its handshake is complete, atomically. `id` is unique among live pinholes.
    """

    id: int
    transport: Transport
    listen: Endpoint
    target: Endpoint
    sources: IpFilter | None
    single: bool = True
    source_ports: frozenset[int] | None = None

    @property
    def is_translated(self) -> bool:
        """Whether the destination is rewritten on the way in."""
        return self.target != self.listen


@dataclass(frozen=True, slots=True)
class FlowCounters:
    """Bytes of one flow so far, as IP payload plus headers: what the kernel counts."""

    peer: Endpoint
    from_peer_bytes: int
    to_peer_bytes: int


class FlowSink(Protocol):
    """Who is told about flows; calls come in the order of events for one flow."""

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

    def close(self, pinhole_ids: Iterable[int]) -> None:
        """Close now; flows already admitted go on. Idempotent, never raises."""

    def kill(self, pinhole_ids: Iterable[int]) -> None:
        """Close, and reset both ends of every admitted flow. Idempotent, never raises."""

    def counters(self, pinhole_id: int) -> list[FlowCounters]:
        """Read the live flows of one pinhole; empty when there are none."""
