"""Tracing: what an operator looks at while it happens, and the records that are made for that.

A trace is made of records like any other, of the level `trace`, which no log is written at. They
are made only for the sessions that an operator looks at; else tracing costs a look at `is_traced`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.model.connection import parties_of
from sallyport.core.model.negotiated import Negotiated
from sallyport.core.model.transcript import Hop, Transcript
from sallyport.core.pinholes.registry import Opening, OpeningRegistry
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.trail import Outcome, Trail, TrailStep
from sallyport.core.runtime.environment import Journal, Level

if TYPE_CHECKING:
    from sallyport.core.model.connection import PrimaryConnection
    from sallyport.core.model.filter import DataFilter
    from sallyport.core.model.request import BindRequest, FutureRequest
    from sallyport.core.model.session import Session


@dataclass(frozen=True, slots=True)
class Interest:
    """What one operator looks at: all records, or the trace of what the other fields choose.

    `client`: of a session, or outside of a published server. None: any.
    """

    number: int
    is_trace: bool = False
    client: IpAddress | None = None
    session: str | None = None
    protocol: str | None = None

    def holds(self, session: "Session") -> bool:
        """Whether everything of a session is traced, by its client's address or its id."""
        is_one = self.session is None or self.session == session.id
        return is_one and self.client in {None, session.client_address}


class Tracing:
    """Knows which sessions of one gateway are looked at."""

    def __init__(
        self,
        journal: Journal,
        registry: OpeningRegistry,
        sessions: Callable[[], Iterable["Session"]],
    ) -> None:
        self._journal = journal
        self._registry = registry
        self._sessions = sessions
        self._interests: tuple[Interest, ...] = ()
        self._watched: dict[str, frozenset[int]] = {}
        """By whom each session is looked at, as far as it is."""

    def look(self, interests: Iterable[Interest]) -> None:
        """Look at exactly this from now on, in sessions that run already too."""
        self._interests = tuple(interests)
        self._watched.clear()
        is_tracing = any(one.is_trace for one in self._interests)
        self._registry.observer = self._carried_out if is_tracing else None
        for session in self._sessions():
            self.begun(session)
            for primary in session.primaries.values():
                self.started(primary, is_running=True)

    def begun(self, session: "Session") -> None:
        """Find out whether a session is traced."""
        numbers = {one.number for one in self._interests if one.is_trace and one.holds(session)}
        session.is_traced = bool(numbers)
        if numbers:
            self._watched[session.id] = frozenset(numbers)

    def ended(self, session: "Session") -> None:
        """Forget a session."""
        self._watched.pop(session.id, None)

    def started(self, primary: "PrimaryConnection", *, is_running: bool = False) -> None:
        """Write down the dialogue of a connection from now on, if it is traced.

        `is_running`: it began before, perhaps in the middle of a line.
        """
        if self._interests and self._is_traced(primary):
            primary.session.is_traced = True
            # A new witness would begin in the middle of a line that the one there is knows.
            if not primary.chain.is_watched:
                primary.chain.watch(_Witness(primary, is_running=is_running))
        elif is_running:
            primary.chain.watch(None)

    def trail(self, client: IpAddress) -> Trail | None:
        """Return what a decision about a new connection of a client is to be written to."""
        if any(one.is_trace and one.client in {None, client} for one in self._interests):
            return Trail()
        return None

    def bind_decided(self, request: "BindRequest", trail: Trail, reason: str) -> None:
        """Record what a filter or a front end asked for, and how it was decided."""
        protocol = request.protocol
        self.decided(
            trail,
            reason,
            **parties_of(request.session, request.primary),
            protocol=protocol.name if isinstance(protocol, ProtocolDefinition) else protocol,
            asked="bind",
            named=", ".join(map(str, request.client_addresses)),
            peers="anyone" if request.ip_filter is None else request.ip_filter,
        )

    def permission_decided(self, request: "FutureRequest", trail: Trail) -> None:
        """Record which future connections were asked for, and how they were decided."""
        self.decided(
            trail,
            "allowed-by-rule",
            **parties_of(request.session, request.primary),
            protocol=request.protocol.name,
            asked="future connection",
            named=", ".join(map(str, request.addresses)),
        )

    def decided(self, trail: Trail, reason: str, **parties: object) -> None:
        """Record how a decision was reached."""
        self._journal.record(
            "trace.decided",
            level="trace",
            **parties,
            steps=[text_of(step) for step in trail.steps],
            reason=reason,
        )

    def interested(self, level: Level, fields: Mapping[str, object]) -> list[int]:
        """Return who looks at a record with these fields."""
        return [one.number for one in self._interests if self._wants(one, level, fields)]

    def _carried_out(self, what: str, openings: Sequence[Opening], seconds: float) -> None:
        """Record what a data path was asked to do (`registry.Observer`)."""
        for opening in openings:
            if not (isinstance(opening, Negotiated) and opening.session.is_traced):
                continue
            pinhole = opening.pinhole
            self._journal.record(
                "trace.carried_out",
                level="trace",
                **parties_of(opening.session, opening.primary, opening.rule),
                action=what,
                proxy=pinhole.listen,
                target=pinhole.target,
                peers="anyone" if pinhole.sources is None else pinhole.sources,
                data_path=opening.path.kind,
                microseconds=round(seconds * 1e6, 1),
            )

    def _is_traced(self, primary: "PrimaryConnection") -> bool:
        return any(
            one.is_trace
            and one.protocol in {None, primary.protocol.name}
            and (one.holds(primary.session) or _is_of(one.client, primary.client))
            for one in self._interests
            if one.session in {None, primary.session.id}
        )

    def _wants(self, interest: Interest, level: Level, fields: Mapping[str, object]) -> bool:
        if not interest.is_trace:
            return level != "trace"
        protocol = fields.get("protocol", interest.protocol)
        if interest.protocol not in {None, protocol}:
            return False
        if interest.number in self._watched.get(str(fields.get("session")), ()):
            return True
        if interest.session is not None:
            return False
        return interest.client is None or _is_of(interest.client, fields.get("client"))


class _Witness:
    """Writes down what is said in one connection, as far as its filter lets it be seen."""

    def __init__(self, primary: "PrimaryConnection", *, is_running: bool) -> None:
        self._primary = primary
        data_filters = primary.chain.data_filters
        self._transcripts = {hop: _first(data_filters, hop, is_running=is_running) for hop in Hop}

    def passed(self, hop: Hop, data: bytes) -> None:
        """Take bytes that go one way."""
        sender, receiver = hop.value
        primary = self._primary
        for text in self._transcripts[hop].lines(data):
            primary.note(
                "trace.said",
                level="trace",
                **primary.parties(),
                sender=sender,
                receiver=receiver,
                text=text,
            )


def _first(data_filters: "Iterable[DataFilter]", hop: Hop, *, is_running: bool) -> Transcript:
    """Return the transcript of the first filter that knows what may be seen."""
    found = (one.transcript(hop, is_running=is_running) for one in data_filters)
    return next((one for one in found if one is not None), None) or Transcript()


def _is_of(client: IpAddress | None, found: object) -> bool:
    """Whether what a record names as its client is this one."""
    return client is not None and client == (
        found.address if isinstance(found, Endpoint) else found
    )


def text_of(step: TrailStep) -> str:
    """Return one step of a decision as a line for people."""
    about = f" (rule {step.rule})" if step.rule is not None else ""
    word = "" if step.outcome is Outcome.FOUND else f"{step.outcome} "
    return f"{word}{step.question}: {step.answer}{about}"
