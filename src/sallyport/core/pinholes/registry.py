"""OpeningRegistry: every opening, its state, its time limit and its traffic.

An opening is the common part of a secondary inbound connection (`bind_for_client`) and of a
permission for an outbound one (`allow_future_connect`): for a data path both are pinholes.

The registry is the only place where an opening changes its state, always by the table of
`lifecycle`. Three kinds of call meet here: verbs of the core (arm, withdraw, kill), the time
limit, and the reports of a data path. They can cross: a flow may be reported before `open` has
returned, and an opening may end while the kernel is still opening it. Each such case has its line
below.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import count
from typing import NamedTuple

from msgspec.structs import replace

from sallyport import limits
from sallyport.addresses import Endpoint, IpAddress
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
    """What passed through one opening: sums, because a list of past flows would grow for ever."""

    flows: int = 0
    from_peer_bytes: int = 0
    to_peer_bytes: int = 0

    def plus(self, flows: Iterable[FlowCounters]) -> "Traffic":
        """Return the sum with the bytes of these flows; the count of flows stays as it is.

        A flow is counted when it is admitted (`plus_flow`), its bytes when it is read.
        """
        from_peer, to_peer = self.from_peer_bytes, self.to_peer_bytes
        for flow in flows:
            from_peer += flow.from_peer_bytes
            to_peer += flow.to_peer_bytes
        return Traffic(self.flows, from_peer, to_peer)

    def plus_flow(self) -> "Traffic":
        """Return the sum with one flow more, which has carried no bytes yet."""
        return Traffic(self.flows + 1, self.from_peer_bytes, self.to_peer_bytes)


_NOTHING = Traffic()
_UDP = Transport.UDP


class Opening:
    """One pinhole and its life. Subclasses implement the `on_…` callbacks.

    Only `OpeningRegistry` changes `state`, `is_open`, `running` and `deadline`.
    """

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
        """Whether a filter delivers its flows: the data path then opens nothing."""
        self.explanation: str | None = None
        """A sentence for the protocol's user, from the caller of `kill`; None without one."""
        self.state: State = RESERVED
        self.is_open = False
        """Whether the data path still admits a flow."""
        self.deadline: Deadline | None = None
        self.running: dict[Endpoint, None] = {}
        """The peers of running flows, oldest first. A dict used as an ordered set: it is mostly
        empty, and an empty dict takes a quarter of the memory of an empty set."""
        self.ended = _NOTHING
        self.latest_peer: Endpoint | None = None

    @property
    def transport(self) -> Transport:
        """The transport protocol of its flows."""
        return self.pinhole.transport

    @property
    def is_closed(self) -> bool:
        """Whether its life is over: the pinhole is gone and no flow runs."""
        return self.state is CLOSED

    def on_armed(self) -> None:
        """Take note that the pinhole is open."""

    def on_arrived(self, peer: Endpoint, arrival: Arrival) -> None:
        """Answer the arrival of a peer, in user mode; the default lets it pass."""
        arrival.proceed(None)

    def on_admitted(self, peer: Endpoint) -> None:
        """Take note that a flow was admitted."""

    def on_refused(self, peer: Endpoint) -> None:
        """Take note that an attempt failed; the pinhole is as it was."""

    def on_unused(self) -> None:
        """Take note that the pinhole is about to close, and that no flow has used it."""

    def on_turned_away(self, peer: Endpoint) -> None:
        """Take note that a peer came while as many flows ran as may."""

    def on_closed(self, reason: str, traffic: Traffic) -> None:
        """Take note of the end; called exactly once, after the data path has let go."""


Observer = Callable[[str, Sequence[Opening], float], None]
"""Is told `open` or `close`, of which openings, and how many seconds the data path took."""


# Numbers, because the hash of an address takes longer than the rest of a bind's books.
_Place = tuple[bool, type[IpAddress], int, int]


def _place_of(transport: Transport, listen: Endpoint) -> _Place:
    address = listen.address
    return transport is _UDP, type(address), int(address), listen.port


class OpeningRegistry:
    """Holds every opening that has not ended; every data path reports to it (`FlowSink`).

    An opening leaves the registry before its data path is told to kill it: what the data path then
    reports is its answer to the kill, finds no opening, and changes nothing.
    """

    def __init__(
        self, data_paths: Iterable[DataPath], deadlines: Deadlines, clock: Callable[[], float]
    ) -> None:
        self._deadlines = deadlines
        self._clock = clock
        self._ids = count(1)
        self._by_id: dict[int, Opening] = {}
        self._by_place: dict[_Place, Opening] = {}
        """Where each listens; of several that share a place, the latest."""
        self.observer: Observer | None = None
        """Is told what the data path was asked to do, while an operator looks."""
        for data_path in data_paths:
            data_path.attach(self)

    def new_id(self) -> int:
        """Return a number that no opening of this process ever had."""
        return next(self._ids)

    def add(self, opening: Opening) -> None:
        """Register an opening in state reserved, and start its time limit."""
        pinhole = opening.pinhole
        self._by_id[pinhole.id] = opening
        self._by_place[_place_of(pinhole.transport, pinhole.listen)] = opening
        self._restart_limit(opening)

    def at(self, transport: Transport, listen: Endpoint) -> Opening | None:
        """Return the opening that listens there; None when none does."""
        return self._by_place.get(_place_of(transport, listen))

    async def arm(self, openings: Sequence[Opening]) -> None:
        """Open all or none in one transaction; all that are not emulated are on one data path.

        While the data path opens them, other code may run: an opening may be killed or get another
        target or other sources. Changes are passed on afterwards (`_catch_up`); if one has ended,
        all of them end.

        Raises Terminating when one is not in state reserved (then nothing has changed) or ends
        meanwhile, and what `DataPath.open` raises; in the last two cases the openings have ended.
        """
        real: list[Opening] = []
        asked: list[Pinhole] = []
        for opening in openings:
            after(opening.state, ARM)
            if not opening.is_emulated:
                real.append(opening)
                asked.append(opening.pinhole)
        try:
            if real:
                began = self._clock() if self.observer is not None else 0.0
                await real[0].path.open(asked)
                if self.observer is not None:
                    self.observer("open", real, self._clock() - began)
            for opening, pinhole in zip(real, asked, strict=True):
                if opening.pinhole is not pinhole:
                    await self._catch_up(opening, pinhole)
        except BaseException:
            self._undo(openings, "could-not-open")
            raise
        for opening in openings:
            if opening.state is CLOSED:
                self._undo(openings, "ended-while-arming")
                raise Terminating("ended-while-arming")
        for opening in openings:
            if opening.state is RESERVED:  # else a flow was reported first and has opened it
                self._open(opening)

    async def retarget(self, opening: Opening, target: Endpoint) -> None:
        """Set the client address of an opening that has none yet.

        Raises Terminating when it ended meanwhile, and what `DataPath.retarget` raises; then it
        still has no client address.
        """
        opening.pinhole = replace(opening.pinhole, target=target)
        if not opening.is_open:
            return
        try:
            await opening.path.retarget(opening.pinhole.id, target)
        except BaseException:
            opening.pinhole = replace(opening.pinhole, target=None)
            raise
        if opening.is_closed:
            raise Terminating("ended-meanwhile")

    async def set_peers(
        self,
        openings: Sequence[Opening],
        sources: IpFilter | None,
        source_ports: frozenset[int] | None,
    ) -> None:
        """Replace who may open flows (None: any), of all or of none; admitted flows go on.

        All are on one data path. Raises Terminating when one ended meanwhile, and what
        `DataPath.set_peers` raises; then nothing has changed.
        """
        before = [(one.pinhole.sources, one.pinhole.source_ports) for one in openings]
        for one in openings:
            one.pinhole = one.pinhole.for_peers(sources, source_ports)
        opened = [one for one in openings if one.is_open]
        if not opened:
            return
        try:
            ids = [one.pinhole.id for one in opened]
            await opened[0].path.set_peers(ids, sources, source_ports)
        except BaseException:
            for one, (addresses, ports) in zip(openings, before, strict=True):
                one.pinhole = one.pinhole.for_peers(addresses, ports)
            raise
        if any(one.is_closed for one in opened):
            raise Terminating("ended-meanwhile")

    def cut_off(self, openings: Sequence[Opening]) -> None:
        """Reset the running flows of peers who may not open one any more. Never raises."""
        for opening in openings:
            opening.path.cut_off([opening.pinhole.id])

    def wait(self, opening: Opening, seconds: float) -> None:
        """Set the time limit of an opening without a flow to `seconds` from now. Never raises.

        Changes nothing for an opening without a time limit (`is_timed`), or live, or closed.
        """
        if opening.state is RESERVED or opening.state is ARMED:
            self._restart_limit(opening, seconds)

    def withdraw(self, opening: Opening, reason: str) -> None:
        """Admit no new flow; running flows may finish. Idempotent, never raises."""
        self._shut(opening, WITHDRAW, reason)

    def kill(self, opening: Opening, reason: str, explanation: str | None = None) -> None:
        """End it now and reset both ends of running flows. Idempotent, never raises.

        `reason` is a stable word for the journal, `explanation` a sentence for the protocol's user.
        """
        if opening.is_closed:
            return
        opening.explanation = explanation or opening.explanation
        if opening.state is not RESERVED:
            opening.ended = self.traffic(opening)
            opening.running.clear()
            opening.is_open = False
            # Before the data path is called, because the call may detach a data filter, which may
            # kill the opening once more.
            opening.state = after(opening.state, KILL)
            # From here on the data path's reports are its answer to the kill and find no opening.
            self._forget(opening)
            opening.path.kill([opening.pinhole.id])
        self._end(opening, KILL, reason)

    @staticmethod
    def traffic(opening: Opening) -> Traffic:
        """Return the sum of every admitted flow so far; reads running flows from the data path."""
        return opening.ended.plus(opening.path.counters(opening.pinhole.id))

    def __len__(self) -> int:
        return len(self._by_id)

    # -- the sink (datapath.FlowSink) ----------------------------------------------------

    def flow_established(self, pinhole_id: int, peer: Endpoint) -> None:
        """Implement `FlowSink`: a flow uses the opening.

        An unknown id is a flow of an opening that was killed meanwhile, here and below.
        """
        opening = self._by_id.get(pinhole_id)
        if opening is None:
            return
        if opening.state is RESERVED:
            # `open` has taken effect in the kernel, but has not returned to `arm` yet.
            self._open(opening)
        opening.running[peer] = None
        opening.latest_peer = peer
        opening.ended = opening.ended.plus_flow()
        if opening.pinhole.single:
            opening.state = after(opening.state, ADMIT)
            # A single UDP pinhole stays open for this one source, which may fall silent and return.
            opening.is_open = opening.is_open and opening.pinhole.transport is _UDP
            self._stop_limit(opening)
        opening.on_admitted(peer)

    def flow_arrived(self, pinhole_id: int, peer: Endpoint, arrival: Arrival) -> None:
        """Implement `FlowSink`: the opening's filters decide about the peer."""
        if opening := self._by_id.get(pinhole_id):
            opening.on_arrived(peer, arrival)
        else:
            arrival.refuse()

    def flow_refused(self, pinhole_id: int, peer: Endpoint) -> None:
        """Implement `FlowSink`: an attempt failed and used nothing up."""
        if opening := self._by_id.get(pinhole_id):
            opening.on_refused(peer)

    def flow_turned_away(self, pinhole_id: int, peer: Endpoint) -> None:
        """Implement `FlowSink`: a peer was one too many."""
        if opening := self._by_id.get(pinhole_id):
            opening.on_turned_away(peer)

    def flow_ended(self, pinhole_id: int, counters: FlowCounters) -> None:
        """Implement `FlowSink`: add the flow's bytes; the opening ends with its last flow."""
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
        """End openings that were armed in part, and reset the flows that got in meanwhile."""
        for opening in openings:
            self._forget(opening)
            opening.path.kill([opening.pinhole.id])
        for opening in openings:
            self.kill(opening, reason)

    def _forget(self, opening: Opening) -> None:
        pinhole = opening.pinhole
        self._by_id.pop(pinhole.id, None)
        place = _place_of(pinhole.transport, pinhole.listen)
        if self._by_place.get(place) is opening:
            del self._by_place[place]

    def _open(self, opening: Opening) -> None:
        opening.state = after(opening.state, ARM)
        opening.is_open = True
        self._restart_limit(opening)
        opening.on_armed()

    @staticmethod
    async def _catch_up(opening: Opening, opened: Pinhole) -> None:
        """Pass on to the data path what changed while it was opening `opened`."""
        if opening.pinhole.target is not None and opened.target is None:
            await opening.path.retarget(opened.id, opening.pinhole.target)
        sources, ports = opening.pinhole.sources, opening.pinhole.source_ports
        if (sources, ports) != (opened.sources, opened.source_ports):
            await opening.path.set_peers([opened.id], sources, ports)

    def _shut(self, opening: Opening, step: Step, reason: str) -> None:
        """Admit no new flow, and end the opening unless a flow runs."""
        if opening.is_open:
            opening.is_open = False
            if not opening.ended.flows:
                opening.on_unused()
            # The data path may report, from within this call, a flow it admitted just before; a
            # filter notified of that flow may kill the opening. Hence the checks that follow.
            began = self._clock() if self.observer is not None else 0.0
            opening.path.close([opening.pinhole.id])
            if self.observer is not None:
                self.observer("close", [opening], self._clock() - began)
        if opening.running:
            if opening.state is ARMED:
                opening.state = after(opening.state, ADMIT)
        elif not opening.is_closed:
            self._end(opening, END if opening.state is LIVE else step, reason)

    def _end(self, opening: Opening, step: Step, reason: str) -> None:
        opening.state = after(opening.state, step)
        self._stop_limit(opening)
        self._forget(opening)
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
            # A function of the class, not a bound method: one object less for each of 60 000.
            time_out = partial(OpeningRegistry._time_out, self, opening)
            opening.deadline = self._deadlines.set(when, time_out)

    def _time_out(self, opening: Opening) -> None:
        self._shut(opening, TIMEOUT, "timed-out")

    def _stop_limit(self, opening: Opening) -> None:
        if opening.deadline is not None:
            opening.deadline.cancel()
            opening.deadline = None
