"""MemoryDataPath: the data path contract without a kernel; peers are played by method calls."""

import types
from collections import defaultdict
from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace

from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.datapath import DataPathKind, FlowCounters, FlowSink, Pinhole
from sallyport.errors import AddressInUse, AddressNotAvailable
from sallyport.flags import Transport
from sallyport.ipfilter import IpFilter

_Place = tuple[Transport, Endpoint]

# What the kernel counts besides a datagram's payload: the UDP header and the IP header.
_HEADERS = {4: 8 + 20, 6: 8 + 40}


@types.coroutine
def pause() -> Generator[None, None, None]:
    """Wait, as a coroutine does that needs an answer from elsewhere."""
    yield


class MemoryDataPath:
    """Keeps pinholes in a dict and lets a test play the peers.

    `fail_next` is raised by the next `open`, `retarget` or `set_sources`. While `is_slow`, each of
    them waits once before it takes effect (`VirtualWorld.resume` ends the wait). `occupied` holds
    ports that local programs have; a path made `beside` another one is on the same host.
    """

    def __init__(
        self,
        addresses: Iterable[IpAddress],
        *,
        kind: DataPathKind = DataPathKind.KERNEL,
        beside: "MemoryDataPath | None" = None,
    ) -> None:
        self.kind = kind
        self.addresses = frozenset(addresses)
        self.pinholes: dict[int, Pinhole] = {}
        self.reserved: set[tuple[Transport, Endpoint]] = beside.reserved if beside else set()
        self.occupied: set[tuple[Transport, Endpoint]] = beside.occupied if beside else set()
        self.flows: dict[int, dict[Endpoint, FlowCounters]] = {}
        self.resets: list[tuple[int, Endpoint]] = []
        self.sent: list[tuple[Endpoint, Endpoint, bytes]] = []
        """Every datagram of `send_from`, as (listen, peer, data)."""
        self.fail_next: Exception | None = None
        self.is_slow = False
        self._sink: FlowSink
        self._at: defaultdict[_Place, dict[int, Pinhole]] = defaultdict(dict)
        """The open pinholes once more, by where they listen."""
        self._admitting: dict[int, Pinhole] = {}
        """The pinholes that flows went through, for as long as one is running."""
        self._owners: dict[int, Endpoint] = {}
        """The one source of each single UDP pinhole."""

    # -- the contract (core.datapath.DataPath) ------------------------------------------------

    def attach(self, sink: FlowSink) -> None:
        """See `DataPath`."""
        self._sink = sink

    def reserve(self, transport: Transport, address: Endpoint) -> None:
        """See `DataPath`."""
        if address.address not in self.addresses:
            raise AddressNotAvailable("not-an-address-of-the-gateway")
        if (transport, address) in self.reserved or (transport, address) in self.occupied:
            raise AddressInUse("port-taken")
        self.reserved.add((transport, address))

    def release(self, transport: Transport, address: Endpoint) -> None:
        """See `DataPath`."""
        self.reserved.discard((transport, address))

    async def open(self, pinholes: Sequence[Pinhole]) -> None:
        """See `DataPath`; AddressInUse for a second pinhole at one place for one source."""
        await self._reach()
        try:
            for pinhole in pinholes:
                self._put(pinhole)
        except AddressInUse:
            self.close(pinhole.id for pinhole in pinholes)
            raise

    async def retarget(self, pinhole_id: int, target: Endpoint) -> None:
        """See `DataPath`."""
        await self._reach()
        if pinhole := self.pinholes.get(pinhole_id):
            self._put(replace(pinhole, target=target))

    async def set_sources(self, pinhole_id: int, sources: IpFilter | None) -> None:
        """See `DataPath`."""
        await self._reach()
        if pinhole := self.pinholes.get(pinhole_id):
            self._put(replace(pinhole, sources=sources))

    def send_from(self, listen: Endpoint, peer: Endpoint, data: bytes) -> None:
        """See `DataPath`."""
        self.sent.append((listen, peer, data))

    def close(self, pinhole_ids: Iterable[int]) -> None:
        """See `DataPath`."""
        for pinhole_id in pinhole_ids:
            self._remove(pinhole_id)

    def kill(self, pinhole_ids: Iterable[int]) -> None:
        """See `DataPath`."""
        for pinhole_id in tuple(pinhole_ids):
            self.close([pinhole_id])
            for peer in tuple(self.flows.get(pinhole_id, ())):
                self.resets.append((pinhole_id, peer))
                self._end(pinhole_id, peer)

    def counters(self, pinhole_id: int) -> list[FlowCounters]:
        """See `DataPath`."""
        return list(self.flows.get(pinhole_id, {}).values())

    # -- the peers ----------------------------------------------------------------------------

    def connect(self, peer: Endpoint, listen: Endpoint) -> Endpoint | None:
        """Complete a handshake from `peer` to `listen`; give where it arrived, None if refused."""
        pinhole = self._open_to(Transport.TCP, peer, listen)
        if pinhole is None:
            return None
        if pinhole.single:
            self._remove(pinhole.id)
        self._begin(pinhole, peer)
        return pinhole.target

    def attempt(self, peer: Endpoint, listen: Endpoint) -> None:
        """Send a SYN whose handshake is never completed."""
        pinhole = self._open_to(Transport.TCP, peer, listen)
        if pinhole is not None:
            self._sink.flow_refused(pinhole.id, peer)

    def send(self, peer: Endpoint, listen: Endpoint, data: bytes = b"") -> Endpoint | None:
        """Send a datagram from `peer` to `listen`; give where it arrived, None if nowhere."""
        pinhole = self._flow_of(peer, listen) or self._open_to(Transport.UDP, peer, listen)
        if pinhole is None:
            return None
        if pinhole.single:
            self._owners[pinhole.id] = peer
        if peer not in self.flows.get(pinhole.id, {}):
            self._begin(pinhole, peer)
        self._count(pinhole, peer, from_peer=len(data) + _HEADERS[peer.version])
        return pinhole.target

    def answer(self, listen: Endpoint, peer: Endpoint, data: bytes = b"") -> bool:
        """Have the client send a datagram back to `peer`; tell whether it arrived."""
        pinhole = self._flow_of(peer, listen)
        if pinhole is None or not pinhole.is_answered:
            return False
        self._count(pinhole, peer, to_peer=len(data) + _HEADERS[peer.version])
        return True

    def finish(self, peer: Endpoint, from_peer: int = 0, to_peer: int = 0) -> None:
        """End the flow of `peer` after so many bytes: closed from both ends, or idled out."""
        for pinhole_id, flows in tuple(self.flows.items()):
            if peer in flows:
                self._count(self._admitting[pinhole_id], peer, from_peer, to_peer)
                self._end(pinhole_id, peer)

    # -- inside -------------------------------------------------------------------------------

    async def _reach(self) -> None:
        """Do what every transaction does first: wait, or fail."""
        if self.is_slow:
            await pause()
        if self.fail_next is not None:
            failure, self.fail_next = self.fail_next, None
            raise failure

    def _put(self, pinhole: Pinhole) -> None:
        """Take in a pinhole, or its new shape, if the kernel could tell it from the others."""
        for other in self._at[_place(pinhole)].values():
            if other.id != pinhole.id and _is_same_key(pinhole, other):
                raise AddressInUse("pinhole-exists")
        self.pinholes[pinhole.id] = self._at[_place(pinhole)][pinhole.id] = pinhole

    def _remove(self, pinhole_id: int) -> None:
        self._owners.pop(pinhole_id, None)
        if pinhole := self.pinholes.pop(pinhole_id, None):
            del self._at[_place(pinhole)][pinhole_id]

    def _open_to(self, transport: Transport, peer: Endpoint, listen: Endpoint) -> Pinhole | None:
        """Find the open pinhole for this peer; one that names it comes before one for anyone."""
        found = [
            pinhole
            for pinhole in self._at[transport, listen].values()
            if pinhole.target is not None
            and self._owners.get(pinhole.id, peer) == peer
            and _admits(pinhole, peer)
        ]
        return min(found, key=lambda pinhole: pinhole.sources is None, default=None)

    def _flow_of(self, peer: Endpoint, listen: Endpoint) -> Pinhole | None:
        for pinhole_id, flows in self.flows.items():
            pinhole = self._admitting[pinhole_id]
            if peer in flows and _place(pinhole) == (Transport.UDP, listen):
                return pinhole
        return None

    def _begin(self, pinhole: Pinhole, peer: Endpoint) -> None:
        self._admitting[pinhole.id] = pinhole
        self.flows.setdefault(pinhole.id, {})[peer] = FlowCounters(peer, 0, 0)
        self._sink.flow_established(pinhole.id, peer)

    def _count(
        self, pinhole: Pinhole, peer: Endpoint, from_peer: int = 0, to_peer: int = 0
    ) -> None:
        flows = self.flows.get(pinhole.id, {})
        if before := flows.get(peer):  # else the gateway ended it as soon as it heard of it
            flows[peer] = FlowCounters(
                peer, before.from_peer_bytes + from_peer, before.to_peer_bytes + to_peer
            )

    def _end(self, pinhole_id: int, peer: Endpoint) -> None:
        counters = self.flows[pinhole_id].pop(peer)
        if not self.flows[pinhole_id]:
            del self.flows[pinhole_id]
            del self._admitting[pinhole_id]
        self._sink.flow_ended(pinhole_id, counters)


def _place(pinhole: Pinhole) -> _Place:
    return pinhole.transport, pinhole.listen


def _admits(pinhole: Pinhole, peer: Endpoint) -> bool:
    is_source = pinhole.sources is None or peer.address in pinhole.sources
    return is_source and (pinhole.source_ports is None or peer.port in pinhole.source_ports)


def _is_same_key(one: Pinhole, other: Pinhole) -> bool:
    """Whether some flow would match both; one key cannot lead to two places."""
    if None in (one.target, other.target):
        return False
    ports, other_ports = one.source_ports, other.source_ports
    if one.sources is None or other.sources is None:
        # For anyone and for somebody: the kernel looks for the peer's own pinhole first.
        return one.sources is other.sources and ports == other_ports
    if ports is not None and other_ports is not None and not ports & other_ports:
        return False
    return bool(one.sources.exclude_filter(one.sources.exclude_filter(other.sources)))
