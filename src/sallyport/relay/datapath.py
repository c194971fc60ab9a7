"""The user-mode data path: every byte passes through this process, netfilter is not needed.

A reserved port is a bound socket; opening a pinhole makes it listen, or hear datagrams. Everything
here runs in callbacks of one event loop and never waits.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from sallyport.addresses import Endpoint, IpAddress, text_of
from sallyport.core.pinholes.datapath import (
    DataPathKind,
    FlowCounters,
    FlowSink,
    Missed,
    Pinhole,
    Tap,
)
from sallyport.errors import AddressInUse, AddressNotAvailable, KernelError
from sallyport.flags import Transport
from sallyport.io.fair_poller import FairPoller
from sallyport.io.pipes import Pipes
from sallyport.io.sockets import name_of
from sallyport.ipfilter import IpFilter
from sallyport.relay import sockets
from sallyport.relay.attempts import StreamAttempt
from sallyport.relay.bound_ports import BoundPort, Ears, OpenPinhole, RelayContext
from sallyport.relay.speakers import Speakers
from sallyport.relay.tcp import TcpPort
from sallyport.relay.udp import DatagramFlow, UdpPort, start_flow

_PORTS: dict[Transport, type[TcpPort | UdpPort]] = {Transport.TCP: TcpPort, Transport.UDP: UdpPort}


class UserDataPath:
    """A DataPath of sockets; counters are payload bytes, all that user mode sees.

    `is_transparent` promises CAP_NET_ADMIN and a host that delivers to transparent sockets what is
    addressed to them. Then clients see the peer's own address, and pinholes may be at addresses
    that are not this host's (routed relations). Without it clients see the gateway.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        poller: FairPoller,
        *,
        is_transparent: bool = False,
        absent: frozenset[IpAddress] = frozenset(),
        ears: Ears | None = None,
        host_of: Callable[[IpAddress], str] = text_of,
    ) -> None:
        """`host_of` says with which flows those of a client share their turns."""
        self._absent = absent
        """Own addresses that may not be on this host yet; their ports are held all the same."""
        self._context = RelayContext(loop, Pipes(), poller, is_transparent, host_of, ears)
        self._speakers: Speakers | None = None
        if ears is not None:
            self._speakers = Speakers(ears)
            ears.attach(self._client_spoke)
        self._context.changed = self._changed
        self._ports: dict[tuple[Transport, Endpoint], BoundPort] = {}
        self._openings: dict[int, OpenPinhole] = {}

    def stop(self) -> None:
        """Reset every flow, give every port back; nothing else may be called then. Idempotent.

        Flows cannot outlive this process, and an end that is not the end must not look like one.
        """
        self.kill(tuple(self._openings))
        for port in self._ports.values():
            port.close()
        self._ports.clear()
        self._context.pipes.close()

    @property
    def kind(self) -> DataPathKind:
        """Return USER: this process carries the bytes."""
        return DataPathKind.USER

    def attach(self, sink: FlowSink) -> None:
        """Set who is told; called once, before anything is opened."""
        self._context.sink = sink

    def reserve(self, transport: Transport, address: Endpoint, *, is_shared: bool = False) -> None:
        """Hold a gateway port, for this process alone; see DataPath."""
        if (transport, address) in self._ports:
            raise AddressInUse("port-already-reserved")
        self._new_port(transport, address, is_reserved=True, is_shared=is_shared)

    def release(self, transport: Transport, address: Endpoint) -> None:
        """Release a reserved port after the last flow that needs it. Idempotent, never raises."""
        if port := self._ports.get((transport, address)):
            port.is_reserved = False
            self._forget_unneeded(transport, address)

    async def open(self, pinholes: Sequence[Pinhole]) -> None:
        """Open all or none; when it returns the next SYN finds them.

        Raises AddressInUse when another pinhole takes the same peers there, AddressNotAvailable
        when a pinhole is at a foreign address and this path is not transparent, OutOfResources,
        KernelError; then none is open.
        """
        entered: list[int] = []
        try:
            for pinhole in pinholes:
                self._enter(pinhole)
                entered.append(pinhole.id)
        except BaseException:
            self.close(entered)
            raise

    async def retarget(self, pinhole_id: int, target: Endpoint) -> None:
        """Deliver to `target` from now on; see DataPath."""
        for opening in self._find([pinhole_id]):
            before = opening.pinhole
            opening.pinhole = replace(before, target=target)
            try:
                self._changed(opening)
            except KernelError:
                opening.pinhole = before
                self._changed(opening)
                raise
            except OSError as error:
                opening.pinhole = before
                raise sockets.refusal(error) from error

    async def set_peers(
        self,
        pinhole_ids: Sequence[int],
        sources: IpFilter | None,
        source_ports: frozenset[int] | None,
    ) -> None:
        """Replace who may open flows; a waiting peer that is no longer among them is reset.

        Raises KernelError when what the client says first to new ones cannot be heard.
        """
        for opening in self._find(pinhole_ids):
            opening.pinhole = opening.pinhole.for_peers(sources, source_ports)
            for attempt in tuple(opening.attempts):
                if not opening.lets_in(attempt.peer):
                    attempt.abort()
            self._changed(opening)

    def send_from(self, listen: Endpoint, peer: Endpoint, data: bytes) -> None:
        """Send one datagram; see DataPath. From a foreign address it needs transparency."""
        with contextlib.suppress(OSError):
            if port := self._ports.get((Transport.UDP, listen)):
                port.socket.sendto(data, name_of(peer))
                return
            with sockets.bound(Transport.UDP, listen, is_foreign=True) as passing:
                passing.sendto(data, name_of(peer))

    def deliver(self, pinhole: Pinhole, peer: Endpoint, tap: Tap) -> None:
        """Dial the client as if `peer` had connected; see UserPath."""
        opening = self._openings.setdefault(pinhole.id, OpenPinhole(pinhole))
        if opening.is_full:
            tap.end()
            self._context.sink.flow_refused(pinhole.id, peer)
        elif pinhole.transport is Transport.TCP:
            StreamAttempt(self._context, opening, peer, None).proceed(tap)
        else:
            start_flow(self._context, opening, peer, tap)
        self._changed(opening)

    def lend(self, pinhole_id: int, take: Callable[[Endpoint], int]) -> None:
        """Let flows end in sockets of the caller's; see UserPath."""
        for opening in self._find([pinhole_id]):
            opening.take = take
            self._settle_speaker(opening)

    def missed(self, pinhole_id: int, _seconds: float) -> Missed | None:
        """Say why no flow has used an open pinhole; see DataPath.

        What another firewall drops never comes as far as a socket: nothing came.
        """
        for opening in self._find([pinhole_id]):
            if opening.is_open and not opening.flows:
                return opening.missed
        return None

    def close(self, pinhole_ids: Iterable[int]) -> None:
        """Close now; flows already admitted go on. Idempotent, never raises."""
        for opening in self._find(pinhole_ids):
            opening.close()
            self._changed(opening)

    def cut_off(self, pinhole_ids: Iterable[int]) -> None:
        """End the flows of those who might not open one now; see DataPath."""
        for opening in self._find(pinhole_ids):
            for flow in [one for one in opening.flows if not opening.pinhole.admits(one.peer)]:
                flow.abort()

    def kill(self, pinhole_ids: Iterable[int]) -> None:
        """Close, and reset both ends of every admitted flow. Idempotent, never raises."""
        for opening in self._find(pinhole_ids):
            opening.close()
            for flow in tuple(opening.flows):
                flow.abort()
            self._changed(opening)

    def counters(self, pinhole_id: int) -> list[FlowCounters]:
        """Read the live flows of one pinhole; empty when there are none."""
        return [flow.counters() for opening in self._find([pinhole_id]) for flow in opening.flows]

    def first_datagram(self, pinhole_id: int) -> bytes:
        """Return what a peer said first through a pinhole of UDP; see DataPath."""
        flows = (flow for opening in self._find([pinhole_id]) for flow in opening.flows)
        return next((flow.first for flow in flows if isinstance(flow, DatagramFlow)), b"")

    @property
    def live_pinholes(self) -> int:
        """How many pinholes are open or still have flows."""
        return len(self._openings)

    # -- inside -----------------------------------------------------------------------------------

    def _find(self, pinhole_ids: Iterable[int]) -> list[OpenPinhole]:
        return [self._openings[i] for i in pinhole_ids if i in self._openings]

    def _enter(self, pinhole: Pinhole) -> None:
        transport, listen = pinhole.transport, pinhole.listen
        port = self._ports.get((transport, listen))
        if port is None:
            if not self._context.is_transparent:
                raise AddressNotAvailable("foreign-address-needs-transparency")
            port = self._new_port(transport, listen, is_reserved=False)
        opening = self._openings.get(pinhole.id) or OpenPinhole(pinhole)
        opening.pinhole = pinhole
        try:
            port.enter(opening)
        except OSError as error:
            raise sockets.refusal(error) from error
        finally:
            self._forget_unneeded(transport, listen)
        self._openings[pinhole.id] = opening
        try:
            self._settle_speaker(opening)
        except KernelError:
            self.close([pinhole.id])
            raise

    def _new_port(
        self, transport: Transport, address: Endpoint, *, is_reserved: bool, is_shared: bool = False
    ) -> BoundPort:
        try:
            sock = sockets.bound(
                transport,
                address,
                is_foreign=not is_reserved,
                is_bound_again=is_shared,
                may_be_absent=address.address in self._absent,
            )
        except OSError as error:
            raise sockets.refusal(error) from error
        made = _PORTS[transport](self._context, sock, is_reserved=is_reserved)
        self._ports[transport, address] = made
        return made

    def _changed(self, opening: OpenPinhole) -> None:
        if opening.port is not None:
            opening.port.settle()
        self._settle_speaker(opening)
        if opening.is_over:
            self._openings.pop(opening.pinhole.id, None)
        self._forget_unneeded(opening.pinhole.transport, opening.pinhole.listen)

    def _settle_speaker(self, opening: OpenPinhole) -> None:
        if self._speakers is not None:
            self._speakers.settle(opening)

    def _client_spoke(self, client: Endpoint, peer: Endpoint, data: bytes) -> None:
        opening = None if self._speakers is None else self._speakers.find(client)
        if opening is not None and isinstance(opening.port, UdpPort):
            opening.port.client_spoke(opening, peer, data)

    def _forget_unneeded(self, transport: Transport, address: Endpoint) -> None:
        port = self._ports.get((transport, address))
        if port is not None and not (port.is_reserved or port.is_needed):
            del self._ports[transport, address]
            port.close()
