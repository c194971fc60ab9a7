"""MemoryDataPath: the data path contract without a kernel; peers are played by method calls.

A path of kind USER asks the filters about every peer, as a user data path does.
"""

import types
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Sequence

from msgspec.structs import replace

from sallyport import limits
from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.pinholes.datapath import (
    DataPathKind,
    FlowCounters,
    FlowSink,
    Missed,
    Pinhole,
    Tap,
)
from sallyport.errors import AddressInUse, AddressNotAvailable
from sallyport.flags import Transport
from sallyport.ipfilter import IpFilter
from sallyport.testing.flows import MemoryArrival, MemoryFlow

_Place = tuple[Transport, Endpoint]


@types.coroutine
def pause() -> Generator[None, None, None]:
    """Wait once, like a coroutine that needs an answer from outside."""
    yield


class MemoryDataPath:
    """Keeps pinholes in a dict and lets a test play the peers.

    `fail_next` is raised by the next `open`, `retarget` or `set_peers`. While `is_slow`, each of
    them waits once before it takes effect (`VirtualWorld.resume` ends the wait). `occupied` holds
    the ports of local programs; a path made `beside` another path is on the same host.
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
        self.refused: list[Endpoint] = []
        """Every peer that filters denied in user mode."""
        self.filtered: dict[tuple[int, Endpoint], MemoryFlow] = {}
        """The running flows that have data filters."""
        self.sent: list[tuple[Endpoint, Endpoint, bytes]] = []
        """Every datagram of `send_from`, as (listen, peer, data)."""
        self.lent: dict[int, Callable[[Endpoint], int]] = {}
        """Who gives the client's end of a flow, by pinhole; no flow here asks for it."""
        self.missing: Missed | None = None
        """Why no flow used a pinhole."""
        self.fail_next: Exception | None = None
        self.is_slow = False
        self._sink: FlowSink
        self._at: defaultdict[_Place, dict[int, Pinhole]] = defaultdict(dict)
        """The open pinholes again, by listen address."""
        self._arriving: set[tuple[int, Endpoint]] = set()
        """The peers that wait for admission."""
        self._admitting: dict[int, Pinhole] = {}
        """The pinhole of each running flow."""
        self._owners: dict[int, Endpoint] = {}
        """The only admitted source of each single UDP pinhole."""
        self._first: dict[tuple[int, Endpoint], bytes] = {}
        """What was said first by each peer of datagrams."""

    # -- the contract (datapath.DataPath) ------------------------------------------------

    def attach(self, sink: FlowSink) -> None:
        """Implement `DataPath.attach`."""
        self._sink = sink

    def reserve(self, transport: Transport, address: Endpoint, *, is_shared: bool = False) -> None:
        """Implement `DataPath.reserve`."""
        if address.address not in self.addresses:
            raise AddressNotAvailable("not-an-address-of-the-gateway")
        if (transport, address) in self.reserved or (transport, address) in self.occupied:
            raise AddressInUse("port-taken")
        self.reserved.add((transport, address))

    def release(self, transport: Transport, address: Endpoint) -> None:
        """Implement `DataPath.release`."""
        self.reserved.discard((transport, address))

    async def open(self, pinholes: Sequence[Pinhole]) -> None:
        """Implement `DataPath.open`; raise AddressInUse for a second pinhole with the same key."""
        await self._reach()
        try:
            for pinhole in pinholes:
                self._put(pinhole)
        except AddressInUse:
            self.close(pinhole.id for pinhole in pinholes)
            raise

    async def retarget(self, pinhole_id: int, target: Endpoint) -> None:
        """Implement `DataPath.retarget`."""
        await self._reach()
        if pinhole := self.pinholes.get(pinhole_id):
            self._put(replace(pinhole, target=target))

    async def set_peers(
        self,
        pinhole_ids: Sequence[int],
        sources: IpFilter | None,
        source_ports: frozenset[int] | None,
    ) -> None:
        """Implement `DataPath.set_peers`."""
        await self._reach()
        for pinhole in [self.pinholes[one] for one in pinhole_ids if one in self.pinholes]:
            self._put(pinhole.for_peers(sources, source_ports))

    def send_from(self, listen: Endpoint, peer: Endpoint, data: bytes) -> None:
        """Implement `DataPath.send_from`."""
        self.sent.append((listen, peer, data))

    def missed(self, pinhole_id: int, seconds: float) -> Missed | None:
        """Implement `DataPath.missed`: `missing` says why, of any pinhole."""
        return self.missing if pinhole_id in self.pinholes else None

    def close(self, pinhole_ids: Iterable[int]) -> None:
        """Implement `DataPath.close`."""
        for pinhole_id in pinhole_ids:
            self._remove(pinhole_id)

    def cut_off(self, pinhole_ids: Iterable[int]) -> None:
        """Implement `DataPath.cut_off`."""
        for pinhole in [self.pinholes[one] for one in pinhole_ids if one in self.pinholes]:
            for peer in [one for one in self.flows.get(pinhole.id, ()) if not pinhole.admits(one)]:
                self.resets.append((pinhole.id, peer))
                self._end(pinhole.id, peer, is_reset=True)

    def kill(self, pinhole_ids: Iterable[int]) -> None:
        """Implement `DataPath.kill`."""
        for pinhole_id in tuple(pinhole_ids):
            self.close([pinhole_id])
            for peer in tuple(self.flows.get(pinhole_id, ())):
                self.resets.append((pinhole_id, peer))
                self._end(pinhole_id, peer, is_reset=True)

    def counters(self, pinhole_id: int) -> list[FlowCounters]:
        """Implement `DataPath.counters`."""
        return list(self.flows.get(pinhole_id, {}).values())

    def first_datagram(self, pinhole_id: int) -> bytes:
        """Implement `DataPath.first_datagram`."""
        flows = self.flows.get(pinhole_id, {})
        return next((self._first.get((pinhole_id, peer), b"") for peer in flows), b"")

    def deliver(self, pinhole: Pinhole, peer: Endpoint, tap: Tap) -> None:
        """Implement `UserPath.deliver`."""
        if pinhole.target is None:
            tap.end()
            self._sink.flow_refused(pinhole.id, peer)
        else:
            self._begin(pinhole, peer, tap, is_emulated=True)

    def lend(self, pinhole_id: int, take: Callable[[Endpoint], int]) -> None:
        """Implement `UserPath.lend`; `lent` has what was given."""
        self.lent[pinhole_id] = take

    # -- the peers ----------------------------------------------------------------------------

    def connect(self, peer: Endpoint, listen: Endpoint) -> Endpoint | None:
        """Complete a handshake from `peer` to `listen`; return the target, None if refused.

        Also None in user mode, while the filters have not answered.
        """
        pinhole = self._open_to(Transport.TCP, peer, listen)
        if pinhole is None:
            return None
        self._arrive(pinhole, peer)
        return pinhole.target if peer in self.flows.get(pinhole.id, {}) else None

    def attempt(self, peer: Endpoint, listen: Endpoint) -> None:
        """Send a SYN whose handshake is never completed."""
        pinhole = self._open_to(Transport.TCP, peer, listen)
        if pinhole is not None:
            self._sink.flow_refused(pinhole.id, peer)

    def send(self, peer: Endpoint, listen: Endpoint, data: bytes = b"") -> Endpoint | None:
        """Send a datagram from `peer` to `listen`; return the target, None if it was dropped."""
        pinhole = self._flow_of(peer, listen) or self._open_to(Transport.UDP, peer, listen)
        if pinhole is None:
            return None
        if peer not in self.flows.get(pinhole.id, {}):
            self._first[pinhole.id, peer] = data[: limits.MAX_FIRST_DATAGRAM]
            self._arrive(pinhole, peer)
        self._count(pinhole, peer, from_peer=len(data))
        if flow := self.filtered.get((pinhole.id, peer)):
            flow.peer_says(data)
        return pinhole.target if peer in self.flows.get(pinhole.id, {}) else None

    def answer(self, listen: Endpoint, peer: Endpoint, data: bytes = b"") -> bool:
        """Send a datagram of the client back to `peer`; return whether it arrived."""
        pinhole = self._flow_of(peer, listen)
        if pinhole is None or not pinhole.is_answered:
            return False
        self._count(pinhole, peer, to_peer=len(data))
        if flow := self.filtered.get((pinhole.id, peer)):
            flow.target_says(data)
        return True

    def finish(self, peer: Endpoint, from_peer: int = 0, to_peer: int = 0) -> None:
        """End the flow of `peer` after these byte counts, as a close or a long silence does."""
        for pinhole_id in self.carry(peer, from_peer, to_peer):
            self._end(pinhole_id, peer)

    def carry(self, peer: Endpoint, from_peer: int = 0, to_peer: int = 0) -> list[int]:
        """Let the flow of `peer` pass so many bytes on; return the pinholes it runs through."""
        through = [pinhole_id for pinhole_id, flows in self.flows.items() if peer in flows]
        for pinhole_id in through:
            self._count(self._admitting[pinhole_id], peer, from_peer, to_peer)
        return through

    # -- inside -------------------------------------------------------------------------------

    async def _reach(self) -> None:
        """Wait or fail, as every transaction does first when it was told to."""
        if self.is_slow:
            await pause()
        if self.fail_next is not None:
            failure, self.fail_next = self.fail_next, None
            raise failure

    def _put(self, pinhole: Pinhole) -> None:
        """Store a pinhole, or its new shape, if the kernel could distinguish it from the others."""
        for other in self._at[_place(pinhole)].values():
            if other.id != pinhole.id and _is_same_key(pinhole, other):
                raise AddressInUse("pinhole-exists")
        self.pinholes[pinhole.id] = self._at[_place(pinhole)][pinhole.id] = pinhole

    def _remove(self, pinhole_id: int) -> None:
        self._owners.pop(pinhole_id, None)
        self._arriving = {waiting for waiting in self._arriving if waiting[0] != pinhole_id}
        if pinhole := self.pinholes.pop(pinhole_id, None):
            del self._at[_place(pinhole)][pinhole_id]

    def _open_to(self, transport: Transport, peer: Endpoint, listen: Endpoint) -> Pinhole | None:
        """Find the open pinhole for this peer; one that names the peer comes before an open one."""
        found = [
            pinhole
            for pinhole in self._at[transport, listen].values()
            if pinhole.target is not None
            and self._owners.get(pinhole.id, peer) == peer
            and pinhole.admits(peer)
        ]
        return min(found, key=lambda pinhole: pinhole.sources is None, default=None)

    def _flow_of(self, peer: Endpoint, listen: Endpoint) -> Pinhole | None:
        for pinhole_id, flows in self.flows.items():
            pinhole = self._admitting[pinhole_id]
            if peer in flows and _place(pinhole) == (Transport.UDP, listen):
                return pinhole
        return None

    def _arrive(self, pinhole: Pinhole, peer: Endpoint) -> None:
        """Admit a peer; user mode asks the filters first."""
        if self.kind is DataPathKind.KERNEL:
            self._begin(pinhole, peer, None)
            return
        if (pinhole.id, peer) in self._arriving:
            return  # one more datagram of a waiting peer
        arriving = sum(waiting[0] == pinhole.id for waiting in self._arriving)
        if len(self.flows.get(pinhole.id, ())) + arriving >= pinhole.max_flows:
            self.refused.append(peer)
            self._sink.flow_turned_away(pinhole.id, peer)
            return

        def let_in(tap: Tap | None) -> None:
            self._arriving.discard((pinhole.id, peer))
            if pinhole.id in self.pinholes:
                self._begin(pinhole, peer, tap)
            elif tap is not None:
                tap.end()

        def refuse() -> None:
            self._arriving.discard((pinhole.id, peer))
            self.refused.append(peer)

        self._arriving.add((pinhole.id, peer))
        self._sink.flow_arrived(pinhole.id, peer, MemoryArrival(let_in, refuse))

    def _begin(
        self, pinhole: Pinhole, peer: Endpoint, tap: Tap | None, *, is_emulated: bool = False
    ) -> None:
        if pinhole.single and pinhole.transport is Transport.TCP:
            self._remove(pinhole.id)
        elif pinhole.single:
            self._owners[pinhole.id] = peer
        self._admitting[pinhole.id] = pinhole
        self.flows.setdefault(pinhole.id, {})[peer] = FlowCounters(peer, 0, 0)
        if tap is not None:
            self.filtered[pinhole.id, peer] = MemoryFlow(pinhole, peer, tap, self._flow_over)
        self._sink.flow_established(pinhole.id, peer)
        # A filter that was notified may have killed it.
        if flow := self.filtered.get((pinhole.id, peer)):
            flow.begin(is_emulated=is_emulated)

    def _flow_over(self, flow: MemoryFlow) -> None:
        if flow.is_reset and self.filtered.get((flow.pinhole.id, flow.peer)) is flow:
            self.resets.append((flow.pinhole.id, flow.peer))
        if flow.peer in self.flows.get(flow.pinhole.id, {}):
            self._end(flow.pinhole.id, flow.peer)

    def _count(
        self, pinhole: Pinhole, peer: Endpoint, from_peer: int = 0, to_peer: int = 0
    ) -> None:
        flows = self.flows.get(pinhole.id, {})
        if before := flows.get(peer):  # Otherwise the gateway ended it as soon as it was notified.
            flows[peer] = FlowCounters(
                peer, before.from_peer_bytes + from_peer, before.to_peer_bytes + to_peer
            )

    def _end(self, pinhole_id: int, peer: Endpoint, *, is_reset: bool = False) -> None:
        counters = self.flows[pinhole_id].pop(peer)
        self._first.pop((pinhole_id, peer), None)
        if not self.flows[pinhole_id]:
            del self.flows[pinhole_id]
            del self._admitting[pinhole_id]
        if flow := self.filtered.pop((pinhole_id, peer), None):
            flow.end(is_reset=is_reset)
        self._sink.flow_ended(pinhole_id, counters)


def _place(pinhole: Pinhole) -> _Place:
    return pinhole.transport, pinhole.listen


def _is_same_key(one: Pinhole, other: Pinhole) -> bool:
    """Whether a flow could match both; one key cannot lead to two targets."""
    if None in (one.target, other.target):
        return False
    ports, other_ports = one.source_ports, other.source_ports
    if one.sources is None or other.sources is None:
        # One is for every peer, one for a certain peer: the kernel tries the certain one first.
        return one.sources is other.sources and ports == other_ports
    if ports is not None and other_ports is not None and not ports & other_ports:
        return False
    return bool(one.sources.exclude_filter(one.sources.exclude_filter(other.sources)))
