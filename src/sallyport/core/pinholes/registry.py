"""OpeningRegistry: every pinhole there is, its life, its time limit and its outcome.

An opening is the common part of a secondary inbound connection (`bind_for_client`) and of a
permission for an outbound one (`allow_future_connect`): for a data path both are pinholes.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import count
from typing import NamedTuple

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import Arrival, DataPath, FlowCounters, Pinhole
from sallyport.core.pinholes.lifecycle import (
    ADMIT,
    ARM,
    ARMED,
    CLOSED,
    END,
    KILL,
    LIVE,
    RESERVED,
    TIMEOUT,
    WITHDRAW,
    State,
    Step,
    after,
)
from sallyport.core.runtime.deadlines import Deadline, Deadlines
from sallyport.errors import Terminating
from sallyport.flags import Transport
from sallyport.ipfilter import IpFilter


class Traffic(NamedTuple):
    """What passed through one opening: a sum, because a list of past flows would grow for ever."""

    flows: int = 0
    from_peer_bytes: int = 0
    to_peer_bytes: int = 0

    def plus(self, flows: Iterable[FlowCounters]) -> "Traffic":
        """Give the sum with the bytes of these flows; `flows` counts admissions, so it stays."""
        from_peer, to_peer = self.from_peer_bytes, self.to_peer_bytes
        for flow in flows:
            from_peer += flow.from_peer_bytes
            to_peer += flow.to_peer_bytes
        return Traffic(self.flows, from_peer, to_peer)

    def plus_flow(self) -> "Traffic":
        """Give the sum with one flow more, which has carried nothing yet."""
        return Traffic(self.flows + 1, self.from_peer_bytes, self.to_peer_bytes)


_NOTHING = Traffic()
_UDP = Transport.UDP


class Opening:
    """One pinhole and its life. Subclasses say what the outcome means by the `on_…` methods."""

    __slots__ = (
        "deadline",
        "ended",
        "explanation",
        "is_emulated",
        "is_open",
        "is_timed",
        "latest_peer",
        "path",
        "pinhole",
        "running",
        "state",
    )

    def __init__(self, pinhole: Pinhole, *, path: DataPath, is_timed: bool) -> None:
        self.pinhole = pinhole
        self.path = path
        self.is_timed = is_timed
        self.is_emulated = False
        """Whether a filter delivers its flows: the data path lets nobody in."""
        self.explanation: str | None = None
        """What whoever killed it has to say to the protocol's user."""
        self.state: State = RESERVED
        self.is_open = False
        """Whether the data path still lets something in."""
        self.deadline: Deadline | None = None
        self.running: dict[Endpoint, None] = {}
        """Who is connected: an ordered set that takes a quarter of the memory as long as it is
        empty, which is what it mostly is."""
        self.ended = _NOTHING
        self.latest_peer: Endpoint | None = None

    @property
    def transport(self) -> Transport:
        """The transport protocol."""
        return self.pinhole.transport

    @property
    def is_closed(self) -> bool:
        """Whether nothing is left of it."""
        return self.state is CLOSED

    def on_armed(self) -> None:
        """The pinhole is open."""

    def on_arrived(self, peer: Endpoint, arrival: Arrival) -> None:
        """A peer is here, in user mode; `arrival` must be answered."""
        arrival.proceed(None)

    def on_admitted(self, peer: Endpoint) -> None:
        """A flow was admitted."""

    def on_refused(self, peer: Endpoint) -> None:
        """An attempt failed; the pinhole is as it was."""

    def on_closed(self, reason: str, traffic: Traffic) -> None:
        """Nothing is left; called exactly once, after the data path has let go."""


class OpeningRegistry:
    """The registry of openings, and the sink that every data path reports to."""

    def __init__(
        self, data_paths: Iterable[DataPath], deadlines: Deadlines, clock: Callable[[], float]
    ) -> None:
        self._deadlines = deadlines
        self._clock = clock
        self._ids = count(1)
        self._by_id: dict[int, Opening] = {}
        for data_path in data_paths:
            data_path.attach(self)

    def new_id(self) -> int:
        """Give a number no opening ever had."""
        return next(self._ids)

    def add(self, opening: Opening) -> None:
        """Register an opening in state reserved; its time limit starts."""
        self._by_id[opening.pinhole.id] = opening
        self._restart_limit(opening)

    async def arm(self, openings: Sequence[Opening]) -> None:
        """Open all or none in one transaction; all that are not emulated are on one data path.

        Raises Terminating when one is not in state reserved or ends meanwhile, and what
        `DataPath.open` raises; in the last two cases the openings have ended.
        """
        for opening in openings:
            after(opening.state, ARM)
        real = [opening for opening in openings if not opening.is_emulated]
        asked = [opening.pinhole for opening in real]
        try:
            if real:
                await real[0].path.open(asked)
            for opening, pinhole in zip(real, asked, strict=True):
                if opening.pinhole is not pinhole:
                    await self._catch_up(opening, pinhole)
        except BaseException:
            self._undo(openings, "could-not-open")
            raise
        if CLOSED in [opening.state for opening in openings]:
            self._undo(openings, "ended-while-arming")
            raise Terminating("ended-while-arming")
        for opening in openings:
            if opening.state is RESERVED:  # else a flow was quicker than we
                self._open(opening)

    async def retarget(self, opening: Opening, target: Endpoint) -> None:
        """Complete the client address of an opening that has none yet.

        Raises Terminating when it ended meanwhile, and what `DataPath.retarget` raises; then the
        address is as unknown as before.
        """
        opening.pinhole = opening.pinhole._replace(target=target)
        if not opening.is_open:
            return
        try:
            await opening.path.retarget(opening.pinhole.id, target)
        except BaseException:
            opening.pinhole = opening.pinhole._replace(target=None)
            raise
        if opening.is_closed:
            raise Terminating("ended-meanwhile")

    async def set_sources(self, opening: Opening, sources: IpFilter | None) -> None:
        """Replace who may open flows; admitted flows go on.

        Raises Terminating when it ended meanwhile, and what `DataPath.set_sources` raises; then
        nothing has changed.
        """
        before = opening.pinhole.sources
        opening.pinhole = opening.pinhole._replace(sources=sources)
        if not opening.is_open:
            return
        try:
            await opening.path.set_sources(opening.pinhole.id, sources)
        except BaseException:
            opening.pinhole = opening.pinhole._replace(sources=before)
            raise
        if opening.is_closed:
            raise Terminating("ended-meanwhile")

    def wait(self, opening: Opening, seconds: float) -> None:
        """Have an opening that nothing has used wait for `seconds` from now. Never raises."""
        if opening.state is RESERVED or opening.state is ARMED:
            self._restart_limit(opening, seconds)

    def withdraw(self, opening: Opening, reason: str) -> None:
        """Let nothing new in; what is running may finish. Idempotent, never raises."""
        self._shut(opening, WITHDRAW, reason)

    def kill(self, opening: Opening, reason: str, explanation: str | None = None) -> None:
        """End it now and reset both ends of what is running. Idempotent, never raises."""
        if opening.is_closed:
            return
        opening.explanation = explanation or opening.explanation
        if opening.state is not RESERVED:
            opening.ended = self.traffic(opening)
            opening.running.clear()
            opening.is_open = False
            # A data filter that is detached meanwhile may kill it once more.
            opening.state = after(opening.state, KILL)
            # From here on the data path's reports are its answer to the kill, not news.
            self._by_id.pop(opening.pinhole.id, None)
            opening.path.kill([opening.pinhole.id])
        self._end(opening, KILL, reason)

    @staticmethod
    def traffic(opening: Opening) -> Traffic:
        """Sum up every admitted flow so far, running ones read from the data path."""
        return opening.ended.plus(opening.path.counters(opening.pinhole.id))

    def __len__(self) -> int:
        return len(self._by_id)

    # -- the sink (datapath.FlowSink) ----------------------------------------------------

    def flow_established(self, pinhole_id: int, peer: Endpoint) -> None:
        """See `FlowSink`; unknown ids are flows of openings that were killed meanwhile."""
        opening = self._by_id.get(pinhole_id)
        if opening is None:
            return
        if opening.state is RESERVED:
            # `open` has taken effect, and its caller has not been told yet.
            self._open(opening)
        opening.running[peer] = None
        opening.latest_peer = peer
        opening.ended = opening.ended.plus_flow()
        if opening.pinhole.single:
            opening.state = after(opening.state, ADMIT)
            # A UDP pinhole stays open: for this one source, which may fall silent and come back.
            opening.is_open = opening.is_open and opening.pinhole.transport is _UDP
            self._stop_limit(opening)
        opening.on_admitted(peer)

    def flow_arrived(self, pinhole_id: int, peer: Endpoint, arrival: Arrival) -> None:
        """See `FlowSink`."""
        if opening := self._by_id.get(pinhole_id):
            opening.on_arrived(peer, arrival)
        else:
            arrival.refuse()

    def flow_refused(self, pinhole_id: int, peer: Endpoint) -> None:
        """See `FlowSink`."""
        if opening := self._by_id.get(pinhole_id):
            opening.on_refused(peer)

    def flow_ended(self, pinhole_id: int, counters: FlowCounters) -> None:
        """See `FlowSink`."""
        opening = self._by_id.get(pinhole_id)
        if opening is None:
            return
        opening.running.pop(counters.peer, None)
        opening.ended = opening.ended.plus([counters])
        if opening.state is not LIVE or opening.running:
            return
        if opening.is_timed or not opening.is_open:
            is_udp = opening.pinhole.transport is _UDP
            self._shut(opening, END, "idle" if is_udp else "finished")

    # -- inside -------------------------------------------------------------------------------

    def _undo(self, openings: Sequence[Opening], reason: str) -> None:
        """End what was armed in part; what got in meanwhile belongs to nobody."""
        for opening in openings:
            self._by_id.pop(opening.pinhole.id, None)
            opening.path.kill([opening.pinhole.id])
        for opening in openings:
            self.kill(opening, reason)

    def _open(self, opening: Opening) -> None:
        opening.state = after(opening.state, ARM)
        opening.is_open = True
        self._restart_limit(opening)
        opening.on_armed()

    @staticmethod
    async def _catch_up(opening: Opening, opened: Pinhole) -> None:
        """Tell the data path what was changed while it was opening `opened`."""
        if opening.pinhole.target is not None and opened.target is None:
            await opening.path.retarget(opened.id, opening.pinhole.target)
        if opening.pinhole.sources != opened.sources:
            await opening.path.set_sources(opened.id, opening.pinhole.sources)

    def _shut(self, opening: Opening, step: Step, reason: str) -> None:
        """Let nothing new in, and end what has nothing running."""
        if opening.is_open:
            opening.is_open = False
            # A flow that was admitted just before is told from within this call; whoever hears of
            # it may have killed the opening.
            opening.path.close([opening.pinhole.id])
        if opening.running:
            if opening.state is ARMED:
                opening.state = after(opening.state, ADMIT)
        elif not opening.is_closed:
            self._end(opening, END if opening.state is LIVE else step, reason)

    def _end(self, opening: Opening, step: Step, reason: str) -> None:
        opening.state = after(opening.state, step)
        self._stop_limit(opening)
        self._by_id.pop(opening.pinhole.id, None)
        opening.on_closed(reason, opening.ended)

    def _restart_limit(
        self, opening: Opening, seconds: float = limits.ACCEPT_TIMEOUT_SECONDS
    ) -> None:
        if not opening.is_timed:
            return
        when = self._clock() + seconds
        if opening.deadline is not None and when < opening.deadline.when:
            self._stop_limit(opening)
        if opening.deadline is not None:
            opening.deadline.put_off(when)
        else:
            # By the class: there is no bound method to keep for each of 60 000.
            time_out = partial(OpeningRegistry._time_out, self, opening)
            opening.deadline = self._deadlines.set(when, time_out)

    def _time_out(self, opening: Opening) -> None:
        self._shut(opening, TIMEOUT, "timed-out")

    def _stop_limit(self, opening: Opening) -> None:
        if opening.deadline is not None:
            opening.deadline.cancel()
            opening.deadline = None
