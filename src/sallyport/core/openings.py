"""Openings: every pinhole there is, its life, its time limit, and who is told what became of it.

An opening is the common part of a secondary inbound connection (`bind_for_client`) and of a
permission for an outbound one (`allow_future_connect`): for the data path both are pinholes.
"""

from collections.abc import Callable, Sequence
from itertools import count

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.datapath import DataPath, FlowCounters, Pinhole
from sallyport.core.deadlines import Deadline, Deadlines
from sallyport.core.lifecycle import State, Step, after
from sallyport.errors import Terminating


class Opening:
    """One pinhole and its life. Subclasses say what the outcome means by the `on_…` methods."""

    __slots__ = ("deadline", "flows", "is_timed", "pinhole", "state")

    def __init__(self, pinhole: Pinhole, *, is_timed: bool) -> None:
        self.pinhole = pinhole
        self.is_timed = is_timed
        self.state = State.RESERVED
        self.deadline: Deadline | None = None
        self.flows: dict[Endpoint, FlowCounters | None] = {}

    @property
    def is_closed(self) -> bool:
        """Whether nothing is left of it."""
        return self.state is State.CLOSED

    def on_armed(self) -> None:
        """The pinhole is open."""

    def on_admitted(self, peer: Endpoint) -> None:
        """A flow was admitted."""

    def on_refused(self, peer: Endpoint) -> None:
        """An attempt failed; the pinhole is as it was."""

    def on_closed(self, reason: str, flows: tuple[FlowCounters, ...]) -> None:
        """Nothing is left; called exactly once, after the data path has let go."""


class Openings:
    """The registry of openings, and the sink the data path reports to."""

    def __init__(
        self, data_path: DataPath, deadlines: Deadlines, clock: Callable[[], float]
    ) -> None:
        self.data_path = data_path
        self._deadlines = deadlines
        self._clock = clock
        self._ids = count(1)
        self._by_id: dict[int, Opening] = {}
        data_path.attach(self)

    def new_id(self) -> int:
        """Give a number no opening ever had."""
        return next(self._ids)

    def add(self, opening: Opening) -> None:
        """Register an opening in state reserved; its time limit starts."""
        self._by_id[opening.pinhole.id] = opening
        self._restart_limit(opening)

    async def arm(self, openings: Sequence[Opening]) -> None:
        """Open all or none in one transaction.

        Raises Terminating when one is not in state reserved or ends meanwhile, and what
        `DataPath.open` raises; in the last two cases the openings are withdrawn.
        """
        for opening in openings:
            after(opening.state, Step.ARM)
        try:
            await self.data_path.open([opening.pinhole for opening in openings])
        except BaseException:
            for opening in openings:
                self.withdraw(opening, "could-not-open")
            raise
        if any(opening.is_closed for opening in openings):
            # One ended while the data path was busy: what got in meanwhile belongs to nobody.
            self.data_path.kill([opening.pinhole.id for opening in openings])
            for opening in openings:
                self.withdraw(opening, "ended-while-arming")
            raise Terminating("ended-while-arming")
        for opening in openings:
            opening.state = after(opening.state, Step.ARM)
            self._restart_limit(opening)
            opening.on_armed()

    def withdraw(self, opening: Opening, reason: str) -> None:
        """Let nothing new in; what is running may finish. Idempotent, never raises."""
        if opening.state is State.ARMED:
            self.data_path.close([opening.pinhole.id])
            if not all(opening.flows.values()):  # None stands for a flow that is running
                opening.state = after(opening.state, Step.ADMIT)
                return
        self._end(opening, Step.WITHDRAW, reason)

    def kill(self, opening: Opening, reason: str) -> None:
        """End it now and reset both ends of what is running. Idempotent, never raises."""
        if opening.state in (State.ARMED, State.LIVE):
            opening.flows.update(self._live(opening))
            # From here on the data path's reports are its answer to the kill, not news.
            del self._by_id[opening.pinhole.id]
            self.data_path.kill([opening.pinhole.id])
        self._end(opening, Step.KILL, reason)

    def flows(self, opening: Opening) -> tuple[FlowCounters, ...]:
        """Give the byte counts of every admitted flow, running ones read from the data path."""
        return _counted(opening.flows | self._live(opening))

    def __len__(self) -> int:
        return len(self._by_id)

    # -- the sink (core.datapath.FlowSink) ----------------------------------------------------

    def flow_established(self, pinhole_id: int, peer: Endpoint) -> None:
        """See `FlowSink`; unknown ids are flows of openings that were killed meanwhile."""
        opening = self._by_id.get(pinhole_id)
        if opening is None:
            return
        opening.flows[peer] = None
        if opening.pinhole.single:
            opening.state = after(opening.state, Step.ADMIT)
            self._stop_limit(opening)
        opening.on_admitted(peer)

    def flow_refused(self, pinhole_id: int, peer: Endpoint) -> None:
        """See `FlowSink`."""
        if opening := self._by_id.get(pinhole_id):
            opening.on_refused(peer)

    def flow_ended(self, pinhole_id: int, counters: FlowCounters) -> None:
        """See `FlowSink`."""
        opening = self._by_id.get(pinhole_id)
        if opening is None:
            return
        opening.flows[counters.peer] = counters
        if opening.state is State.LIVE and all(opening.flows.values()):
            self._end(opening, Step.END, "finished")

    # -- inside -------------------------------------------------------------------------------

    def _live(self, opening: Opening) -> dict[Endpoint, FlowCounters | None]:
        return {now.peer: now for now in self.data_path.counters(opening.pinhole.id)}

    def _end(self, opening: Opening, step: Step, reason: str) -> None:
        before, opening.state = opening.state, after(opening.state, step)
        if opening.state is not State.CLOSED or before is State.CLOSED:
            return
        self._stop_limit(opening)
        self._by_id.pop(opening.pinhole.id, None)
        opening.on_closed(reason, _counted(opening.flows))

    def _restart_limit(self, opening: Opening) -> None:
        if not opening.is_timed:
            return
        self._stop_limit(opening)
        opening.deadline = self._deadlines.set(
            self._clock() + limits.ACCEPT_TIMEOUT_SECONDS, lambda: self._timed_out(opening)
        )

    def _stop_limit(self, opening: Opening) -> None:
        if opening.deadline is not None:
            opening.deadline.cancel()
            opening.deadline = None

    def _timed_out(self, opening: Opening) -> None:
        if opening.state is State.ARMED:
            self.data_path.close([opening.pinhole.id])
        self._end(opening, Step.TIMEOUT, "timed-out")


def _counted(flows: dict[Endpoint, FlowCounters | None]) -> tuple[FlowCounters, ...]:
    return tuple(counters or FlowCounters(peer, 0, 0) for peer, counters in flows.items())
