"""The kernel data path: pinholes are elements of nftables sets, flows are conntrack entries.

No byte of a transfer passes through here. Opening and closing are one short netlink transaction
each, so they are made straight from the event loop (docs: 15 microseconds).
"""

import asyncio
import contextlib
import errno
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Self

from sallyport.addresses import Endpoint
from sallyport.core.datapath import DataPathKind, FlowCounters, FlowSink, Pinhole
from sallyport.errors import AddressInUse, KernelError, OutOfResources, StartupError
from sallyport.flags import Transport
from sallyport.kernel import marks, openings, table
from sallyport.kernel.conntrack import ConntrackRequests, EventSocket
from sallyport.kernel.flows import FlowTable, counters_of
from sallyport.kernel.openings import Flow, Opening
from sallyport.kernel.pins import PINS_TABLE, render_pins
from sallyport.kernel.placeholders import Placeholders
from sallyport.kernel.pokes import Pokes
from sallyport.kernel.table import OwnedTable

# A killed flow stays in conntrack this long: its entry is what turns the ends' answers into resets,
# and a lost one is sent again within a second (RFC 6298 section 2.4).
KILL_LINGER_SECONDS = 1.0

# The kernel was out of memory for a moment; an open pinhole may not stay for want of a retry.
CLOSE_RETRY_SECONDS = 0.1

# Events read per wake-up: about 2 ms, then the other sockets of the loop get their turn.
_EVENTS_PER_TURN = 256

# Elements deleted in one transaction when many pinholes close: about 200 KiB of batch at most,
# which is what a socket's send buffer takes by default.
_CLOSED_PER_BATCH = 256

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
        pokes: Pokes,
        *,
        last: int,
    ) -> None:
        """Put the parts together; pinholes are numbered from the one after `last` on."""
        self._pins = pins
        self._events = events
        self._requests = requests
        self._pokes = pokes
        self._placeholders = Placeholders()
        self._flows = FlowTable(self, last)
        self._flows.avoid(report.mark & marks.GENERATION for report in requests.dump(marks.PIN))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._has_overrun = False
        self._is_drain_due = False

    @classmethod
    def start(cls) -> Self:
        """Make and own the pins table, and listen to conntrack; raises StartupError."""
        pins = OwnedTable(PINS_TABLE, table.claim(render_pins(), PINS_TABLE))
        # Flows of a gateway that died before us go on and report under its numbers. Those that
        # live can be avoided; those that have expired and wait for collection cannot be listed,
        # so a random start keeps us away from them.
        last = secrets.randbelow(marks.GENERATION)
        try:
            return cls(pins, EventSocket(), ConntrackRequests(), Pokes(), last=last)
        except (OSError, KernelError) as error:
            pins.close()
            raise StartupError(f"cannot listen to conntrack: {error}") from error

    def stop(self) -> None:
        """Close every pinhole and give every port back; admitted flows go on. Idempotent."""
        if self._loop is not None:
            self._loop.remove_reader(self)
            self._loop = None
        for part in (self._pins, self._events, self._requests, self._pokes, self._placeholders):
            part.close()

    def run_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read events and finish kills in this loop; called once, from its thread."""
        self._loop = loop
        loop.add_reader(self, self.drain)

    @property
    def kind(self) -> DataPathKind:
        """Tell that the kernel carries the bytes."""
        return DataPathKind.KERNEL

    def attach(self, sink: FlowSink) -> None:
        """Set who is told; called once, before anything is opened."""
        self._flows.attach(sink)

    def reserve(self, transport: Transport, address: Endpoint) -> None:
        """Hold a gateway port; see DataPath."""
        self._placeholders.reserve(transport, address)

    def release(self, transport: Transport, address: Endpoint) -> None:
        """Give a reserved port back; idempotent, never raises."""
        self._placeholders.release(transport, address)

    async def open(self, pinholes: Sequence[Pinhole]) -> None:
        """Open all or none, in one transaction; when it returns the next SYN finds them.

        Raises AddressInUse when another pinhole listens there, OutOfResources, KernelError, and
        InvalidArgument for what this path cannot do (UDP, ranges of sources); then none is open.
        """
        entered = self._flows.enter(pinholes)
        try:
            self._pins.add(list(openings.additions(entered).items()))
        except BaseException as error:
            self._flows.withdraw(entered)
            if isinstance(error, KernelError):
                raise _refusal(error) from error
            raise

    def close(self, pinhole_ids: Iterable[int]) -> None:
        """Close now; flows already admitted go on. Idempotent, never raises.

        A flow that was admitted just before is told to the sink before this returns.
        """
        self.shut(self._flows.of(pinhole_ids))
        self.drain()

    def kill(self, pinhole_ids: Iterable[int]) -> None:
        """Close, and reset both ends of every admitted flow. Idempotent, never raises.

        `flow_ended` comes for each when its entry is gone, about a second later.
        """
        condemned = self._flows.of(pinhole_ids)
        self.shut(condemned)
        for opening in condemned:
            if not opening.is_killed:
                # A flow that has just won and is not known yet is killed when it is heard of.
                opening.is_killed = True
                for flow in opening.flows.values():
                    self.kill_flow(flow)

    def counters(self, pinhole_id: int) -> list[FlowCounters]:
        """Read the live flows of one pinhole; empty when there are none."""
        flows = [
            flow for opening in self._flows.of([pinhole_id]) for flow in opening.flows.values()
        ]
        return [counters for counters in map(self.read, flows) if counters is not None]

    @property
    def live_openings(self) -> int:
        """How many pinholes are open or still have flows."""
        return len(self._flows)

    def fileno(self) -> int:
        """Give the descriptor that is readable when `drain` has work."""
        return self._events.fileno()

    def drain(self, budget: int = _EVENTS_PER_TURN) -> None:
        """Read at most `budget` events and tell the sink; the rest keeps the socket readable."""
        for _ in range(budget):
            try:
                report = self._events.receive()
            except BlockingIOError:
                self._catch_up()
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._has_overrun = True
                continue
            if report is not None:
                self._flows.hear(report)

    # -- FlowEffects ------------------------------------------------------------------------------

    def shut(self, openings_: Sequence[Opening]) -> None:
        """Delete the elements of openings that are still open; never raises."""
        still_open = [opening for opening in openings_ if opening.is_open]
        self._flows.close(still_open)
        for start in range(0, len(still_open), _CLOSED_PER_BATCH):
            self._delete(still_open[start : start + _CLOSED_PER_BATCH])
        if still_open and self._loop is not None and not self._is_drain_due:
            # Lets the table forget them even if no event ever comes.
            self._is_drain_due = True
            self._loop.call_soon(self._drain_when_due)

    def kill_flow(self, flow: Flow) -> None:
        """Reset both ends of a flow and have conntrack forget it soon; never raises."""
        with contextlib.suppress(KernelError, OSError):
            self._requests.set_bits(flow.key, marks.KILL)
        self._pokes.poke(flow.original, flow.reply)
        self._later(KILL_LINGER_SECONDS, lambda: self._forget(flow))

    def read(self, flow: Flow) -> FlowCounters | None:
        """Read a flow's counters; None when conntrack has forgotten it; never raises."""
        try:
            report = self._requests.get(flow.key)
        except (KernelError, OSError):
            return None
        return counters_of(flow, report) if report is not None else None

    # -- the rest ---------------------------------------------------------------------------------

    def _delete(self, closed: Sequence[Opening]) -> None:
        try:
            self._pins.delete(list(openings.removals(closed).items()))
        except KernelError as error:
            if len(closed) > 1:
                # One of them is gone already; the others must not stay open for its sake.
                for opening in closed:
                    self._delete([opening])
            elif error.errno != errno.ENOENT:
                self._later(CLOSE_RETRY_SECONDS, lambda: self._delete(closed))

    def _forget(self, flow: Flow) -> None:
        with contextlib.suppress(KernelError, OSError):
            self._requests.delete(flow.key)

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        if self._loop is not None:
            self._loop.call_later(seconds, action)

    def _drain_when_due(self) -> None:
        self._is_drain_due = False
        if self._loop is not None:
            self.drain()

    def _catch_up(self) -> None:
        if self._has_overrun:
            try:
                self._flows.resync(self._requests.dump(marks.PIN))
            except (KernelError, OSError):
                # Tried again at the next event.
                return
            self._has_overrun = False
        self._flows.settle()


def _refusal(error: KernelError) -> AddressInUse | OutOfResources | KernelError:
    if error.errno == errno.EEXIST:
        return AddressInUse("pinhole-exists")
    if error.errno in _FULL:
        return OutOfResources("nftables-set-full")
    return error
