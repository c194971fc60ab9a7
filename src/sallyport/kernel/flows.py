"""What conntrack's reports mean: which flow of which pinhole began, failed or ended.

Decisions only; the data path carries them out (FlowEffects). Reports of one flow arrive in order.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import FlowCounters, FlowSink, Pinhole
from sallyport.errors import OutOfResources
from sallyport.flags import Transport
from sallyport.kernel import marks
from sallyport.kernel.installed_pinhole import Flow, InstalledPinhole, may_speak
from sallyport.wire import conntrack
from sallyport.wire.conntrack import FlowReport

# How many numbers a series has. 0 is a control connection in the first one, and unused in all.
_NUMBERS = marks.GENERATION & ~marks.SERIES


class FlowEffects(Protocol):
    """What a decision may ask for."""

    def retire(self, installed: InstalledPinhole) -> None:
        """Close a pinhole whose one place is taken; never raises."""

    def renew(self, installed: InstalledPinhole) -> None:
        """Let the kernel hold for an open pinhole what it needs now; never raises."""

    def watch(self, installed: InstalledPinhole, flow: Flow) -> None:
        """Make conntrack report the end of a flow soon after its idle time; never raises."""

    def said_first(self, peer: Endpoint, listen: Endpoint) -> bytes:
        """Return what the first datagram of a new flow said; empty when it is not known.

        Never raises.
        """

    def kill_flow(self, flow: Flow) -> None:
        """Reset both ends of a flow; never raises."""

    def conclude(self, flow: Flow) -> FlowCounters | None:
        """Read the counters of a flow that is over, and note on its entry that they were read.

        None when conntrack has forgotten it; never raises.
        """


class FlowTable:
    """Openings by number, and the flows of each."""

    def __init__(self, effects: FlowEffects, last: int = 0, series: int = 0) -> None:
        """Number pinholes from the one after `last` on, within a series (marks.SERIES)."""
        self._effects = effects
        self._sink: FlowSink  # set by `attach`, before anything is opened
        self._by_generation: dict[int, InstalledPinhole] = {}
        self._by_pinhole: dict[int, InstalledPinhole] = {}
        self._series = marks.series_bits(series)
        self._last = last % (_NUMBERS + 1)
        self._avoided: frozenset[int] = frozenset()
        self._closed: list[InstalledPinhole] = []
        self._speakers: dict[Endpoint, InstalledPinhole] = {}
        """By the port of a client: the pinhole that has what it sends first."""

    def attach(self, sink: FlowSink) -> None:
        """Set who is told."""
        self._sink = sink

    def avoid(self, generations: Iterable[int]) -> None:
        """Never give out these numbers: flows that are none of ours carry them."""
        self._avoided = frozenset(generations)

    def __len__(self) -> int:
        return len(self._by_generation)

    # -- pinholes ---------------------------------------------------------------------------------

    def enter(self, pinholes: Sequence[Pinhole]) -> list[InstalledPinhole]:
        """Number pinholes and take them in; raises OutOfResources when no number is free."""
        if len(self._by_generation) + len(self._avoided) + len(pinholes) >= _NUMBERS:
            raise OutOfResources("no-mark-left")
        entered = []
        for pinhole in pinholes:
            installed = InstalledPinhole(pinhole, self._next_generation())
            self._by_generation[installed.generation] = installed
            self._by_pinhole[pinhole.id] = installed
            if may_speak(pinhole) and pinhole.target is not None:
                speaker = self._speakers.setdefault(pinhole.target, installed)
                installed.may_speak = speaker is installed
            entered.append(installed)
        return entered

    def _next_generation(self) -> int:
        # A number rests as long as possible: late reports about a closed pinhole may still come.
        while True:
            self._last = self._last % _NUMBERS + 1
            generation = self._series | self._last
            if generation not in self._by_generation and generation not in self._avoided:
                return generation

    def of(self, pinhole_ids: Iterable[int]) -> list[InstalledPinhole]:
        """Return the installed pinholes of those that are known."""
        found = (self._by_pinhole.get(pinhole_id) for pinhole_id in pinhole_ids)
        return [installed for installed in found if installed is not None]

    def withdraw(self, entered: Iterable[InstalledPinhole]) -> None:
        """Undo `enter`: the kernel never saw these."""
        for installed in entered:
            self._drop(installed)

    def close(self, pinholes: Iterable[InstalledPinhole]) -> None:
        """Note that these pinholes are closed."""
        for installed in pinholes:
            installed.is_open = False
            if installed.may_speak:
                self._silence(installed)
            self._closed.append(installed)

    def settle(self) -> None:
        """Forget what is closed and has no flows; call when every event so far has been heard.

        Not before: a flow that won just before its pinhole closed is still in the queue.
        """
        closed, self._closed = self._closed, []
        for installed in closed:
            if not installed.flows:
                self._drop(installed)

    def _silence(self, installed: InstalledPinhole) -> None:
        """Let another pinhole have what its client sends."""
        target = installed.pinhole.target
        if target is not None and self._speakers.get(target) is installed:
            del self._speakers[target]

    def _drop(self, installed: InstalledPinhole) -> None:
        if installed.may_speak:
            self._silence(installed)
        self._by_generation.pop(installed.generation, None)
        if self._by_pinhole.get(installed.pinhole.id) is installed:
            del self._by_pinhole[installed.pinhole.id]

    # -- reports ----------------------------------------------------------------------------------

    def apply(self, report: FlowReport) -> None:
        """Take one event."""
        installed = self._by_generation.get(report.mark & marks.GENERATION)
        if installed is None:
            return
        flow = installed.flows.get(report.original)
        if flow is None and not report.mark & marks.WON:
            if report.is_destroyed:
                peer = conntrack.read_source(report.original)
                installed.was_refused = True
                self._sink.flow_refused(installed.pinhole.id, peer)
            return
        if flow is None:
            flow = self._begin(installed, report)
        if flow is not None and report.is_destroyed:
            self._end(installed, flow, flow.counters(report.sent, report.received))
        elif flow is not None and report.mark & marks.ENDS == marks.ENDS:
            self._conclude(installed, flow)

    def adopt(self, pinhole: Pinhole, original: bytes, reply: bytes) -> InstalledPinhole:
        """Take in a flow that an earlier process admitted, by a pinhole that is not open any more.

        Call `begin_adopted` once its entry carries the number. Raises OutOfResources.
        """
        (installed,) = self.enter([pinhole])
        installed.is_open = False
        installed.flows[original] = Flow(original, reply, conntrack.read_source(original))
        return installed

    def begin_adopted(self, installed: InstalledPinhole, *, is_over: bool) -> None:
        """Report an adopted flow, and its end when both sides have closed it already."""
        (flow,) = installed.flows.values()
        if installed.pinhole.idle_seconds is not None:
            self._effects.watch(installed, flow)
        self._sink.flow_established(installed.pinhole.id, flow.peer)
        if is_over:
            self._conclude(installed, flow)

    def knows(self, generation: int) -> bool:
        """Whether a pinhole has this number, open or not."""
        return generation in self._by_generation

    def resync(self, reports: Iterable[FlowReport]) -> None:
        """Take a whole list of live flows, after events were lost."""
        alive = set()
        for report in reports:
            alive.add(report.original)
            self.apply(report)
        for installed in list(self._by_generation.values()):
            for flow in [flow for key, flow in installed.flows.items() if key not in alive]:
                self._end(installed, flow, FlowCounters(flow.peer, 0, 0))

    def _begin(self, installed: InstalledPinhole, report: FlowReport) -> Flow | None:
        if report.mark & marks.ENDS == marks.ENDS and not (
            installed.is_open and installed.pinhole.single
        ):
            # Its end was told when both sides had closed; this is the entry's own end.
            return None
        peer = conntrack.read_source(report.original)
        is_spoken = installed.may_speak and peer == installed.pinhole.target
        if is_spoken:
            peer = conntrack.read_tuple(report.original).destination
        flow = Flow(report.original, report.reply, peer, is_spoken)
        installed.flows[flow.key] = flow
        if installed.is_open and installed.pinhole.single and not is_spoken:
            self._use_up(installed, flow)
        if installed.pinhole.idle_seconds is not None:
            flow.first = self._effects.said_first(flow.peer, installed.pinhole.listen)
            self._effects.watch(installed, flow)
        if installed.is_unwanted(flow):
            self._effects.kill_flow(flow)
        self._sink.flow_established(installed.pinhole.id, flow.peer)
        return flow

    def _conclude(self, installed: InstalledPinhole, flow: Flow) -> None:
        counters = self._effects.conclude(flow)
        # Forgotten already: the report of its destruction is on the way and has the numbers.
        if counters is not None:
            self._end(installed, flow, counters)

    def _use_up(self, installed: InstalledPinhole, flow: Flow) -> None:
        if installed.pinhole.transport is Transport.TCP:
            self._effects.retire(installed)
        elif installed.owner is None:
            # Its flow may idle out and come back: the pinhole stays, for this source alone.
            installed.owner = flow.peer
            self._effects.renew(installed)

    def _end(self, installed: InstalledPinhole, flow: Flow, counters: FlowCounters) -> None:
        # The sink may have ended it meanwhile, from within a call of ours.
        if installed.flows.pop(flow.key, None) is None:
            return
        if not installed.is_open:
            self._closed.append(installed)
        self._sink.flow_ended(installed.pinhole.id, counters)
