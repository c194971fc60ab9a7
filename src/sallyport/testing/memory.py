"""MemoryDataPath: the data path contract without a kernel; connections are made by method calls."""

import types
from collections.abc import Generator, Iterable, Sequence

from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.datapath import DataPathKind, FlowCounters, FlowSink, Pinhole
from sallyport.errors import AddressInUse, AddressNotAvailable
from sallyport.flags import Transport


@types.coroutine
def pause() -> Generator[None, None, None]:
    """Wait, as a coroutine does that needs an answer from elsewhere."""
    yield


class MemoryDataPath:
    """Keeps pinholes in a dict and lets a test play the peers.

    `fail_next` is raised by the next `open`. While `is_slow`, every `open` waits once before it
    takes effect (`VirtualWorld.resume` ends the wait). `occupied` holds ports local programs have.
    """

    kind = DataPathKind.MEMORY

    def __init__(self, addresses: Iterable[IpAddress]) -> None:
        self.addresses = frozenset(addresses)
        self.pinholes: dict[int, Pinhole] = {}
        self.reserved: set[tuple[Transport, Endpoint]] = set()
        self.occupied: set[tuple[Transport, Endpoint]] = set()
        self.flows: dict[int, dict[Endpoint, FlowCounters]] = {}
        self.resets: list[tuple[int, Endpoint]] = []
        self.fail_next: Exception | None = None
        self.is_slow = False
        self._sink: FlowSink

    # -- the contract (core.datapath.DataPath) ------------------------------------------------

    def attach(self, sink: FlowSink) -> None:
        """See `DataPath`."""
        self._sink = sink

    def reserve(self, transport: Transport, address: Endpoint) -> None:
        """See `DataPath`."""
        if address.address not in self.addresses:
            raise AddressNotAvailable("not-an-address-of-the-gateway")
        if (transport, address) in self.reserved | self.occupied:
            raise AddressInUse("port-taken")
        self.reserved.add((transport, address))

    def release(self, transport: Transport, address: Endpoint) -> None:
        """See `DataPath`."""
        self.reserved.discard((transport, address))

    async def open(self, pinholes: Sequence[Pinhole]) -> None:
        """See `DataPath`."""
        if self.is_slow:
            await pause()
        if self.fail_next is not None:
            failure, self.fail_next = self.fail_next, None
            raise failure
        self.pinholes.update({pinhole.id: pinhole for pinhole in pinholes})

    def close(self, pinhole_ids: Iterable[int]) -> None:
        """See `DataPath`."""
        for pinhole_id in pinhole_ids:
            self.pinholes.pop(pinhole_id, None)

    def kill(self, pinhole_ids: Iterable[int]) -> None:
        """See `DataPath`."""
        for pinhole_id in tuple(pinhole_ids):
            self.close([pinhole_id])
            for peer, counters in self.flows.pop(pinhole_id, {}).items():
                self.resets.append((pinhole_id, peer))
                self._sink.flow_ended(pinhole_id, counters)

    def counters(self, pinhole_id: int) -> list[FlowCounters]:
        """See `DataPath`."""
        return list(self.flows.get(pinhole_id, {}).values())

    # -- the peers ----------------------------------------------------------------------------

    def connect(self, peer: Endpoint, listen: Endpoint) -> Endpoint | None:
        """Complete a handshake from `peer` to `listen`; give where it arrived, None if refused."""
        for pinhole in self.pinholes.values():
            if pinhole.listen != listen:
                continue
            if not _admits(pinhole, peer):
                continue
            if pinhole.single:
                del self.pinholes[pinhole.id]
            self.flows.setdefault(pinhole.id, {})[peer] = FlowCounters(peer, 0, 0)
            self._sink.flow_established(pinhole.id, peer)
            return pinhole.target
        return None

    def attempt(self, peer: Endpoint, listen: Endpoint) -> None:
        """Send a SYN whose handshake is never completed."""
        for pinhole in tuple(self.pinholes.values()):
            if pinhole.listen == listen and _admits(pinhole, peer):
                self._sink.flow_refused(pinhole.id, peer)

    def finish(self, peer: Endpoint, from_peer: int = 0, to_peer: int = 0) -> None:
        """Close a flow from both ends after so many bytes."""
        for pinhole_id, flows in tuple(self.flows.items()):
            if peer in flows:
                del flows[peer]
                if not flows:
                    del self.flows[pinhole_id]
                self._sink.flow_ended(pinhole_id, FlowCounters(peer, from_peer, to_peer))


def _admits(pinhole: Pinhole, peer: Endpoint) -> bool:
    is_source = pinhole.sources is None or peer.address in pinhole.sources
    return is_source and (pinhole.source_ports is None or peer.port in pinhole.source_ports)
