"""The kernel data path: pinholes are elements of nftables sets, flows are conntrack entries.

No byte of a transfer passes through here. Opening and closing are one short netlink transaction
each, so they are made straight from the event loop (docs: 15 microseconds).
"""

import asyncio
import contextlib
import errno
import secrets
import select
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Self

from msgspec.structs import replace

from sallyport import limits
from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.pinholes.datapath import (
    DataPathKind,
    FlowCounters,
    FlowSink,
    Missed,
    Pinhole,
)
from sallyport.errors import (
    AddressInUse,
    InvalidArgument,
    KernelError,
    OutOfResources,
    StartupError,
)
from sallyport.flags import Transport
from sallyport.io.fair_poller import FairPoller
from sallyport.ipfilter import IpFilter
from sallyport.kernel import marks, table
from sallyport.kernel.conntrack import ConntrackRequests, EventSocket
from sallyport.kernel.element_writer import RETRY_SECONDS, ElementWriter
from sallyport.kernel.event_queue import EventQueue
from sallyport.kernel.first_datagrams import FirstDatagrams
from sallyport.kernel.flows import FlowTable
from sallyport.kernel.forged_acks import ForgedAcks
from sallyport.kernel.installed_pinhole import Flow, InstalledPinhole
from sallyport.kernel.knocks import Knocks
from sallyport.kernel.orphans import Orphans
from sallyport.kernel.pins_table import pins_table, render_pins
from sallyport.kernel.placeholders import (
    DESCRIPTOR_SHARE,
    Placeholders,
    raise_descriptor_limit,
)
from sallyport.kernel.table import OwnedTable
from sallyport.wire import conntrack

# A killed flow stays in conntrack this long: its entry is what turns the ends' answers into resets,
# and a lost one is sent again within a second (RFC 6298 section 2.4).
KILL_LINGER_SECONDS = 1.0

# Events read per wake-up: about 2 ms, then the other sockets of the loop get their turn.
_EVENTS_PER_TURN = 256

# An interval map says ENOTEMPTY when ranges overlap without being the same.
_TAKEN = frozenset({errno.EEXIST, errno.ENOTEMPTY})
_FULL = frozenset({errno.ENFILE, errno.ENOSPC, errno.ENOMEM, errno.EMSGSIZE, errno.ENOBUFS})


class KernelDataPath:
    """A DataPath over nftables and conntrack; the base table must be installed first.

    Single-threaded, like everything of the gateway. Pinholes live as long as this object's socket.
    """

    def __init__(
        self,
        pins: OwnedTable,
        events: EventSocket,
        requests: ConntrackRequests,
        forged_acks: ForgedAcks,
        placeholders: Placeholders,
        *,
        knocks: Knocks,
        first_datagrams: FirstDatagrams | None,
        last: int,
        idle_seconds: float,
        series: int = 0,
    ) -> None:
        """Put the parts together; pinholes are numbered from the one after `last` on, in `series`
        (marks.SERIES)."""
        self._elements = ElementWriter(pins, self._later)
        self._events = EventQueue(events)
        self._requests = requests
        self._forged_acks = forged_acks
        self._placeholders = placeholders
        self._knocks = knocks
        self._first_datagrams = first_datagrams
        self._idle_seconds = idle_seconds
        self._flows = FlowTable(self, last, series)
        self.orphans = Orphans(self._flows, requests, series, idle_seconds)
        self._own_flows = marks.PIN | marks.series_bits(series), marks.PIN | marks.SERIES
        # Numbers of an earlier gateway's flows are not given out as long as they live.
        living = requests.dump(*self._own_flows)
        self._flows.avoid(report.mark & marks.GENERATION for report in living)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._poller: FairPoller | None = None
        self._is_drain_due = False

    @classmethod
    def start(
        cls,
        idle_seconds: int = int(limits.UDP_IDLE_SECONDS),
        *,
        series: int = 0,
        absent: frozenset[IpAddress] = frozenset(),
    ) -> Self:
        """Make and own the pins table, and listen to conntrack; raises StartupError.

        `idle_seconds` is the one idle time that UDP pinholes may ask for; `series` is the worker's
        part of the numbers in marks, 0 to marks.SERIES_COUNT - 1, and names its table. `absent`:
        own addresses that may not be on this host yet, and whose ports are held all the same. The
        process may have as many descriptors as the host allows from now on.
        """
        placeholders = Placeholders(raise_descriptor_limit() // DESCRIPTOR_SHARE, absent)
        name = pins_table(series)
        # Before the table, and so closed before it: who has the table has the group too.
        copies = FirstDatagrams.of_host(series)
        text = render_pins(idle_seconds, series, are_copied=copies is not None)
        pins = OwnedTable(name, table.claim(text, name))
        # Flows of a gateway that died before us go on and report under its numbers. Those that
        # live can be avoided; those that have expired and wait for collection cannot be listed,
        # so a random start keeps us away from them.
        last = secrets.randbelow(marks.GENERATION)
        try:
            requests = ConntrackRequests()
            return cls(
                pins,
                EventSocket(series),
                requests,
                ForgedAcks(),
                placeholders,
                knocks=Knocks(name, requests),
                first_datagrams=copies,
                last=last,
                idle_seconds=idle_seconds,
                series=series,
            )
        except (OSError, KernelError) as error:
            pins.close()
            raise StartupError(f"cannot listen to conntrack: {error}") from error

    def stop(self) -> None:
        """Close every pinhole and give every port back; admitted flows go on. Idempotent."""
        self._loop = None
        if self._poller is not None:
            self._poller.forget(self)
            self._poller = None
        if self._first_datagrams is not None:
            self._first_datagrams.close()
        for part in (
            self._elements,
            self._events,
            self._requests,
            self._knocks,
            self._forged_acks,
            self._placeholders,
        ):
            part.close()

    def run_in(self, loop: asyncio.AbstractEventLoop, poller: FairPoller) -> None:
        """Read events as this poller says and finish kills in this loop; called once."""
        self._loop, self._poller = loop, poller
        poller.watch(self, lambda _events: self.drain(), events=select.EPOLLIN)

    @property
    def kind(self) -> DataPathKind:
        """The kernel carries the bytes."""
        return DataPathKind.KERNEL

    def attach(self, sink: FlowSink) -> None:
        """Set who is told; called once, before anything is opened."""
        self._flows.attach(sink)

    def reserve(self, transport: Transport, address: Endpoint, *, is_shared: bool = False) -> None:
        """Hold a gateway port; see DataPath."""
        try:
            self._placeholders.reserve(transport, address, is_shared=is_shared)
        except AddressInUse:
            # Perhaps it waits to be given back.
            if not self._elements.sweep():
                raise
            self._placeholders.reserve(transport, address, is_shared=is_shared)

    def release(self, transport: Transport, address: Endpoint) -> None:
        """Release a reserved port; idempotent, never raises.

        No other pinhole gets the port before the elements of this one have left the kernel.
        """
        self._elements.when_swept(partial(self._placeholders.release, transport, address))

    async def open(self, pinholes: Sequence[Pinhole]) -> None:
        """Open all or none, in one transaction; when it returns the next SYN finds them.

        Raises AddressInUse when another pinhole listens there, OutOfResources, KernelError, and
        InvalidArgument for an idle time other than ours; then none is open.
        """
        for pinhole in pinholes:
            if pinhole.idle_seconds is not None and pinhole.idle_seconds != self._idle_seconds:
                raise InvalidArgument("idle-time-not-offered")
        entered = self._flows.enter(pinholes)
        try:
            self._elements.put(entered)
        except KernelError as error:
            self._flows.withdraw(entered)
            raise _refusal(error) from error

    async def retarget(self, pinhole_id: int, target: Endpoint) -> None:
        """Deliver to `target` from now on; see DataPath.

        Raises InvalidArgument when there is a target already. A pinhole that has been closed
        stays closed.
        """
        for installed in self._flows.of([pinhole_id]):
            if installed.pinhole.target is not None:
                raise InvalidArgument("target-is-known")
            self._alter([(installed, replace(installed.pinhole, target=target))])

    async def set_peers(
        self,
        pinhole_ids: Sequence[int],
        sources: IpFilter | None,
        source_ports: frozenset[int] | None,
    ) -> None:
        """Replace who may open flows; see DataPath.

        A handshake under way from a source that may no longer is cut off; what it costs grows with
        conntrack's table (27 ms at 75 000 entries).
        """
        changed = self._flows.of(pinhole_ids)
        self._alter([(one, one.pinhole.for_peers(sources, source_ports)) for one in changed])
        for installed in changed:
            if installed.is_open and installed.pinhole.transport is Transport.TCP:
                self._cut_off_strangers(installed)

    def send_from(self, listen: Endpoint, peer: Endpoint, data: bytes) -> None:
        """Send one UDP datagram to `peer`, as if `listen` had sent it; see DataPath.

        conntrack does not see it: the answer is a new flow, and finds the pinhole.
        """
        self._placeholders.send(listen, peer, data)

    def missed(self, pinhole_id: int, seconds: float) -> Missed | None:
        """Say why no flow has used an open pinhole; see DataPath.

        A flow of it, or a failed attempt, that has just come is told of before this returns.
        """
        asked = self._flows.of([pinhole_id])
        self._apply_reports_of(asked)
        for installed in asked:
            if installed.is_open and not installed.flows:
                return self._knocks.missed(installed, seconds)
        return None

    def close(self, pinhole_ids: Iterable[int]) -> None:
        """Close now; flows already admitted go on. Idempotent, never raises.

        A flow that was admitted just before is told of before this returns.
        """
        closing = self._flows.of(pinhole_ids)
        self._shut(closing)
        self._apply_reports_of(closing)

    def cut_off(self, pinhole_ids: Iterable[int]) -> None:
        """End the flows of those who might not open one now; see DataPath.

        One that was admitted just before and is not known yet is ended when it is heard of.
        """
        for installed in self._flows.of(pinhole_ids):
            installed.is_strict = True
            for flow in [one for one in installed.flows.values() if installed.is_unwanted(one)]:
                self.kill_flow(flow)

    def kill(self, pinhole_ids: Iterable[int]) -> None:
        """Close, and reset both ends of every admitted flow. Idempotent, never raises.

        `flow_ended` comes for each when its entry is gone: TCP about a second later, UDP at once.
        """
        condemned = [
            installed for installed in self._flows.of(pinhole_ids) if not installed.is_killed
        ]
        self._shut(condemned)
        for installed in condemned:
            # A flow that has just won and is not known yet is killed when it is heard of.
            installed.is_killed = True
            for flow in installed.flows.values():
                self.kill_flow(flow)
        self._apply_reports_of(condemned)

    def counters(self, pinhole_id: int) -> list[FlowCounters]:
        """Read the live flows of one pinhole; empty when there are none."""
        flows = [
            flow for installed in self._flows.of([pinhole_id]) for flow in installed.flows.values()
        ]
        read = (_read(flow, partial(self._requests.counters, flow.key)) for flow in flows)
        return [counters for counters in read if counters is not None]

    def first_datagram(self, pinhole_id: int) -> bytes:
        """Return what a peer said first through a timed pinhole of UDP; see DataPath."""
        asked = self._flows.of([pinhole_id])
        self._apply_reports_of(asked)
        return next((flow.first for one in asked for flow in one.flows.values()), b"")

    def seen_as(
        self, transport: Transport, client: Endpoint, server: Endpoint
    ) -> tuple[Endpoint, int] | None:
        """Return by which address and port a server sees a flow of a client that runs now.

        With the seconds that conntrack keeps it without a packet. None when there is no such flow;
        never raises.
        """
        flow = conntrack.FlowTuple(transport, client, server)
        try:
            found = self._requests.reply_of(conntrack.write_tuple(flow))
        except (KernelError, OSError):
            return None
        if found is None:
            return None
        reply, seconds = found
        return conntrack.read_tuple(reply).destination, seconds

    @property
    def live_pinholes(self) -> int:
        """How many pinholes are open or still have flows."""
        return len(self._flows)

    def fileno(self) -> int:
        """Return the descriptor that is readable when `drain` has work."""
        return self._events.fileno()

    def drain(self, budget: int = _EVENTS_PER_TURN) -> None:
        """Read at most `budget` events and tell the sink; the rest keeps the socket readable."""
        for _ in range(budget):
            try:
                report = self._events.next()
            except BlockingIOError:
                self._catch_up()
                return
            if report is not None:
                self._flows.apply(report)
        if self._events:
            self._drain_soon()

    # -- FlowEffects ------------------------------------------------------------------------------

    def retire(self, installed: InstalledPinhole) -> None:
        """Close a pinhole whose one place is taken; never raises."""
        self._flows.close([installed])
        self._elements.retire(installed)

    def renew(self, installed: InstalledPinhole) -> None:
        """Let the kernel hold for an open pinhole what it needs now; never raises."""
        if not installed.is_open:
            return
        try:
            self._elements.sync([installed])
        except KernelError:
            # The place is spent: until this succeeds no packet gets in, not even its owner's.
            self._later(RETRY_SECONDS, lambda: self.renew(installed))

    def watch(self, installed: InstalledPinhole, flow: Flow) -> None:
        """Make conntrack notice that a flow's idle time is over; never raises.

        It collects what has expired when it passes by, within a minute; asked for an entry, it
        looks at once.
        """
        self._later(self._idle_seconds, lambda: self._look_at(installed, flow))

    def said_first(self, peer: Endpoint, listen: Endpoint) -> bytes:
        """Return what the first datagram of a new flow said; see FlowEffects."""
        copies = self._first_datagrams
        return b"" if copies is None else copies.take(peer, listen)

    def kill_flow(self, flow: Flow) -> None:
        """End a flow at both ends and have conntrack forget it; never raises."""
        original = flow.original
        if original.transport == Transport.UDP:
            # UDP has no reset to send: the next datagram finds no pinhole.
            self._forget(flow)
            return
        with contextlib.suppress(KernelError, OSError):
            self._requests.set_bits(flow.key, marks.KILL)
        self._forged_acks.send(original, flow.reply)
        self._later(KILL_LINGER_SECONDS, lambda: self._forget(flow))

    def conclude(self, flow: Flow) -> FlowCounters | None:
        """Read the counters of a flow that is over, and note that; see FlowEffects."""
        return _read(flow, partial(self._requests.conclude, flow.key, marks.TOLD))

    # -- the rest ---------------------------------------------------------------------------------

    def _shut(self, pinholes: Sequence[InstalledPinhole]) -> None:
        """Delete the elements of pinholes that are still open; never raises."""
        still_open = [installed for installed in pinholes if installed.is_open]
        self._flows.close(still_open)
        self._elements.take_down(still_open)
        if still_open:
            # Lets the table forget them even if no event ever comes.
            self._drain_soon()

    def _alter(self, changes: Sequence[tuple[InstalledPinhole, Pinhole]]) -> None:
        """Let pinholes be as given from now on, all or none; raises as `open`."""
        before = [(installed, installed.pinhole) for installed, _ in changes]
        for installed, pinhole in changes:
            installed.pinhole = pinhole
        opened = [installed for installed, _ in changes if installed.is_open]
        try:
            if opened:
                self._elements.sync(opened)
        except KernelError as error:
            for installed, pinhole in before:
                installed.pinhole = pinhole
            raise _refusal(error) from error

    def _cut_off_strangers(self, installed: InstalledPinhole) -> None:
        unproven = marks.PIN | installed.generation, marks.PIN | marks.WON | marks.GENERATION
        with contextlib.suppress(KernelError, OSError):
            for report in list(self._requests.dump(*unproven)):
                if not installed.pinhole.admits(conntrack.read_source(report.original)):
                    self._requests.delete(report.original)

    def _apply_reports_of(self, closed: Sequence[InstalledPinhole]) -> None:
        """Report what has happened to these up to now; reports about others wait for their turn."""
        if not self._events.collect():
            return
        for report in self._events.take({installed.generation for installed in closed}):
            self._flows.apply(report)
        if self._events.has_overrun:
            self.drain(len(self._events) + 1)
        if self._events:
            self._drain_soon()

    def _look_at(self, installed: InstalledPinhole, flow: Flow) -> None:
        if installed.flows.get(flow.key) is not flow:
            return
        try:
            seconds = self._requests.seconds_left(flow.key)
        except (KernelError, OSError):
            self.watch(installed, flow)
            return
        if seconds is not None:
            # A second more: the kernel counts in whole ones, downwards.
            self._later(seconds + 1, lambda: self._look_at(installed, flow))

    def _forget(self, flow: Flow) -> None:
        with contextlib.suppress(KernelError, OSError):
            self._requests.delete(flow.key)

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        if self._loop is not None:
            self._loop.call_later(seconds, action)

    def _drain_soon(self) -> None:
        if self._loop is not None and not self._is_drain_due:
            self._is_drain_due = True
            self._loop.call_soon(self._drain_when_due)

    def _drain_when_due(self) -> None:
        self._is_drain_due = False
        if self._loop is not None:
            self.drain()

    def _catch_up(self) -> None:
        if self._events.has_overrun:
            self._events.has_overrun = False
            try:
                self._flows.resync(list(self._requests.dump(*self._own_flows)))
            except (KernelError, OSError):
                # Tried again at the next event.
                self._events.has_overrun = True
                return
        self._flows.settle()


def _read(flow: Flow, ask: Callable[[], tuple[int, int] | None]) -> FlowCounters | None:
    try:
        counted = ask()
    except (KernelError, OSError):
        return None
    return None if counted is None else flow.counters(*counted)


def _refusal(error: KernelError) -> AddressInUse | OutOfResources | KernelError:
    if error.errno in _TAKEN:
        return AddressInUse("pinhole-exists")
    if error.errno in _FULL:
        return OutOfResources("nftables-set-full")
    return error
