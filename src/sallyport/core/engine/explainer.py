"""Explainer: what would be decided about a connection and a bind, and why, without any effect.

It asks the code that decides when it happens (`Policy`, `Admission`, `Grants`) with a trail; what
it makes to ask with is in no table, and is gone when it has asked.
"""

from dataclasses import dataclass, field, replace

from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.engine.admission import Admission
from sallyport.core.engine.grants import Grants
from sallyport.core.engine.session_table import SessionTable
from sallyport.core.model.connection import PrimaryConnection
from sallyport.core.model.engine import Engine
from sallyport.core.model.request import BindRequest
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rules import ANYONE, Asker, PublishingRule, Relation, Verdict
from sallyport.core.policy.trail import Trail, TrailStep
from sallyport.errors import AddressInUse, BindError
from sallyport.flags import BindFlags
from sallyport.ipfilter import IpFilter


@dataclass(frozen=True, slots=True)
class Question:
    """What an operator asks about: a connection, and a bind that follows from it."""

    client: IpAddress
    server: Endpoint
    protocol: ProtocolDefinition
    asker: Asker = ANYONE
    bind_port: int | None = None
    """The port of the protected host at which peers would be let in; None: no bind."""
    peer: IpAddress | None = None
    """Who would connect; None: the far end of the connection."""
    minute: int | None = None
    """The minute of the week; None: now."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What would be decided."""

    verdict: Verdict
    """With the reason of the first step that says no."""
    published: PublishingRule | None
    steps: tuple[TrailStep, ...] = field(default=())


class Explainer:
    """Answers questions about one gateway."""

    def __init__(
        self, engine: Engine, admission: Admission, grants: Grants, sessions: SessionTable
    ) -> None:
        self._engine = engine
        self._admission = admission
        self._grants = grants
        self._sessions = sessions

    def explain(self, question: Question) -> Explanation:
        """Return what would be decided now, or at the minute of the question; never raises."""
        trail, policy = Trail(), self._engine.policy
        minute = self._engine.minute_of_week() if question.minute is None else question.minute
        published = policy.published_at(
            question.client, question.server, question.protocol.transport
        )
        if published is None:
            verdict = policy.decide(
                question.protocol.name,
                question.client,
                question.server.address,
                question.asker,
                minute=minute,
                trail=trail,
            )
        else:
            # Whatever was asked about: who comes there speaks this, and is no user of a front end.
            protocol = self._admission.published_protocol(published)
            question = replace(question, protocol=protocol, asker=ANYONE)
            verdict = policy.decide_published(
                published, question.protocol.name, question.client, trail=trail
            )
        if verdict.allowed:
            verdict = self._within_limits(question, verdict, minute, trail)
        return Explanation(verdict, published, tuple(trail.steps))

    def _within_limits(
        self, question: Question, verdict: Verdict, minute: int, trail: Trail
    ) -> Verdict:
        """Return the verdict after the limits of control connections and of the bind."""
        client = Endpoint(question.client, 0)
        rule = verdict.rule
        is_published = isinstance(rule, PublishingRule)
        server = rule.server if isinstance(rule, PublishingRule) else question.server
        assert rule is not None  # noqa: S101 - an allowing verdict has one
        if reason := self._admission.excess(client, server, rule, trail):
            if not trail.has_refused:
                trail.refused("controls", reason)
            return _denied(verdict, reason)
        if question.bind_port is None:
            return verdict
        protected = server.address if is_published else question.client
        session = self._sessions.of(protected, question.asker)
        session = session or self._sessions.imagined(protected, question.asker)
        primary = self._admission.connection(
            "-",
            session,
            question.protocol,
            client=client,
            server=server,
            verdict=verdict,
            asker=question.asker,
        )
        try:
            request = self._request(question, primary)
            _, _, relation = self._grants.check(request, trail, minute=minute)
            if relation is Relation.NAT:
                self._require_port(primary)
        except BindError as refusal:
            reason = str(refusal)
            if not trail.has_refused:
                trail.refused("bind", reason)
            return _denied(verdict, reason)
        return verdict

    def _require_port(self, primary: PrimaryConnection) -> None:
        """Check that a bind could draw a port at the address by which the server knows the client.

        Where nothing tells which one that is, nothing is said. Raises AddressInUse.
        """
        rule, server = primary.rule, primary.server.address
        if isinstance(rule, PublishingRule):
            ours: IpAddress | None = rule.listen.address
        else:
            ours = self._engine.policy.address_towards(server, server.version)
        if ours is not None and not self._engine.free_ports(primary.transport, ours):
            raise AddressInUse("no-free-port")

    @staticmethod
    def _request(question: Question, primary: PrimaryConnection) -> BindRequest:
        peer = primary.peer.address if question.peer is None else question.peer
        return BindRequest(
            session=primary.session,
            client_addresses=(Endpoint(primary.session.client_address, question.bind_port or 0),),
            transport=primary.transport,
            protocol=question.protocol,
            proxy_address=None,
            flags=BindFlags.TIMEOUT,
            backlog=1,
            session_filter=None,
            context=None,
            ip_filter=IpFilter.of(peer),
            peer_ports=None,
            primary=primary,
        )


def _denied(verdict: Verdict, reason: str) -> Verdict:
    return Verdict(allowed=False, reason=reason, rule=verdict.rule, relation=verdict.relation)
