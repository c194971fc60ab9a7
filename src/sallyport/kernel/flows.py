"""What conntrack's reports mean: which flow of which pinhole began, failed or ended.

Decisions only; the data path carries them out (FlowEffects). Reports of one flow arrive in order.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

from sallyport.core.pinholes.datapath import FlowCounters, FlowSink, Pinhole
from sallyport.errors import OutOfResources
from sallyport.flags import Transport
from sallyport.kernel import marks
from sallyport.kernel.openings import Flow, Opening
from sallyport.wire import conntrack
from sallyport.wire.conntrack import FlowReport


class FlowEffects(Protocol):
    """What a decision may ask for."""

    def retire(self, opening: Opening) -> None:
        """Close a pinhole whose one place is taken; never raises."""

    def renew(self, opening: Opening) -> None:
        """Let the kernel hold for an open pinhole what it needs now; never raises."""

    def watch(self, opening: Opening, flow: Flow) -> None:
        """See to it that a flow's idle time ends it in time; never raises."""

    def kill_flow(self, flow: Flow) -> None:
        """Reset both ends of a flow; never raises."""

    def read(self, flow: Flow) -> FlowCounters | None:
        """Read a flow's counters; None when conntrack has forgotten it; never raises."""


class FlowTable:
    """Openings by number, and the flows of each."""

    def __init__(self, effects: FlowEffects, last: int = 0) -> None:
        """Number openings from the one after `last` on."""
        self._effects = effects
        self._sink: FlowSink | None = None
        self._openings: dict[int, Opening] = {}
        self._by_pinhole: dict[int, Opening] = {}
        self._last = last
        self._avoided: frozenset[int] = frozenset()
        self._closed: list[Opening] = []

    def attach(self, sink: FlowSink) -> None:
        """Set who is told."""
        self._sink = sink

    def avoid(self, generations: Iterable[int]) -> None:
        """Never give out these numbers: flows that are none of ours carry them."""
        self._avoided = frozenset(generations)

    def __len__(self) -> int:
        return len(self._openings)

    # -- pinholes ---------------------------------------------------------------------------------

    def enter(self, pinholes: Sequence[Pinhole]) -> list[Opening]:
        """Number pinholes and take them in; raises OutOfResources when no number is free."""
        if len(self._openings) + len(self._avoided) + len(pinholes) >= marks.GENERATION:
            raise OutOfResources("no-mark-left")
        entered = []
        for pinhole in pinholes:
            opening = Opening(pinhole, self._next_generation())
            self._openings[opening.generation] = opening
            self._by_pinhole[pinhole.id] = opening
            entered.append(opening)
        return entered

    def _next_generation(self) -> int:
        # A number rests as long as possible: late reports about a closed pinhole may still come.
        while True:
            self._last = self._last % marks.GENERATION + 1
            if self._last not in self._openings and self._last not in self._avoided:
                return self._last

    def of(self, pinhole_ids: Iterable[int]) -> list[Opening]:
        """Give the openings of those pinholes that are known."""
        found = (self._by_pinhole.get(pinhole_id) for pinhole_id in pinhole_ids)
        return [opening for opening in found if opening is not None]

    def withdraw(self, entered: Iterable[Opening]) -> None:
        """Undo `enter`: the kernel never saw these."""
        for opening in entered:
            self._drop(opening)

    def close(self, openings: Iterable[Opening]) -> None:
        """Note that these pinholes are closed."""
        for opening in openings:
            opening.is_open = False
            self._closed.append(opening)

    def settle(self) -> None:
        """Forget what is closed and has no flows; call when every event so far has been heard.

        Not before: a flow that won just before its pinhole closed is still in the queue.
        """
        closed, self._closed = self._closed, []
        for opening in closed:
            if not opening.flows:
                self._drop(opening)

    def _drop(self, opening: Opening) -> None:
        self._openings.pop(opening.generation, None)
        if self._by_pinhole.get(opening.pinhole.id) is opening:
            del self._by_pinhole[opening.pinhole.id]

    # -- reports ----------------------------------------------------------------------------------

    def hear(self, report: FlowReport) -> None:
        """Take one event."""
        opening = self._openings.get(report.mark & marks.GENERATION)
        if opening is None:
            return
        flow = opening.flows.get(report.original)
        if flow is None and not report.mark & marks.WON:
            if report.is_destroyed:
                peer = conntrack.read_source(report.original)
                self._told.flow_refused(opening.pinhole.id, peer)
            return
        if flow is None:
            flow = self._begin(opening, report)
        if flow is not None and report.is_destroyed:
            self._end(opening, flow, FlowCounters(flow.peer, report.sent, report.received))
        elif flow is not None and report.mark & marks.ENDS == marks.ENDS:
            counters = self._effects.read(flow)
            # Forgotten already: the report of its destruction is on the way and has the numbers.
            if counters is not None:
                self._end(opening, flow, counters)

    def resync(self, reports: Iterable[FlowReport]) -> None:
        """Take a whole list of live flows, after events were lost."""
        alive = set()
        for report in reports:
            alive.add(report.original)
            self.hear(report)
        for opening in list(self._openings.values()):
            for flow in [flow for key, flow in opening.flows.items() if key not in alive]:
                self._end(opening, flow, FlowCounters(flow.peer, 0, 0))

    @property
    def _told(self) -> FlowSink:
        assert self._sink is not None, "attach() comes before open()"  # noqa: S101
        return self._sink

    def _begin(self, opening: Opening, report: FlowReport) -> Flow | None:
        if report.mark & marks.ENDS == marks.ENDS and not (
            opening.is_open and opening.pinhole.single
        ):
            # Its end was told when both sides had closed; this is the entry's own end.
            return None
        flow = Flow(report.original, report.reply, conntrack.read_source(report.original))
        opening.flows[flow.key] = flow
        if opening.is_open and opening.pinhole.single:
            self._use_up(opening, flow)
        if opening.pinhole.idle_seconds is not None:
            self._effects.watch(opening, flow)
        if opening.is_killed:
            self._effects.kill_flow(flow)
        self._told.flow_established(opening.pinhole.id, flow.peer)
        return flow

    def _use_up(self, opening: Opening, flow: Flow) -> None:
        if opening.pinhole.transport is Transport.TCP:
            self._effects.retire(opening)
        elif opening.owner is None:
            # Its flow may idle out and come back: the pinhole stays, for this source alone.
            opening.owner = flow.peer
            self._effects.renew(opening)

    def _end(self, opening: Opening, flow: Flow, counters: FlowCounters) -> None:
        # The sink may have ended it meanwhile, from within a call of ours.
        if opening.flows.pop(flow.key, None) is None:
            return
        if not opening.is_open:
            self._closed.append(opening)
        self._told.flow_ended(opening.pinhole.id, counters)
