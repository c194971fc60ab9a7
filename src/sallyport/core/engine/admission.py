"""Admission: takes control connections, as policy and the limits for each client let it."""

from dataclasses import replace
from itertools import count

from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.engine.control_quota import ControlQuota
from sallyport.core.engine.roster import Roster
from sallyport.core.engine.session_table import SessionTable
from sallyport.core.model.connection import PrimaryConnection, account_for
from sallyport.core.model.engine import Engine
from sallyport.core.model.session import Session
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rates import Rates
from sallyport.core.policy.rules import ANYONE, Asker, PublishingRule, Rule, Verdict
from sallyport.core.policy.trail import Trail
from sallyport.errors import PolicyDenied, QuotaExceeded


class Admission:
    """The way in for control connections; one per gateway."""

    def __init__(
        self, engine: Engine, sessions: SessionTable, roster: Roster, controls: ControlQuota
    ) -> None:
        self._engine = engine
        self._sessions = sessions
        self._roster = roster
        self._controls = controls
        self._rates = Rates("max_connections_per_minute")
        self._numbers = count(1)

    def admit_primary(
        self,
        protocol: ProtocolDefinition,
        client: Endpoint,
        server: Endpoint,
        asker: Asker = ANYONE,
    ) -> PrimaryConnection:
        """Return a new control connection of a client, before its server is dialled.

        `asker`: the user whom the front end knows, and which front end that is. Raises
        PolicyDenied, or QuotaExceeded when the client has too many of them or begins too many.
        """
        trail = self._engine.tracing.trail(client.address)
        verdict = self.judge(protocol, client.address, server.address, asker, trail)
        self._trace(trail, verdict, protocol, client, server)
        return self._admit(protocol, client, server, verdict, asker)

    def judge(
        self,
        protocol: ProtocolDefinition,
        client: IpAddress,
        server: IpAddress | None,
        asker: Asker = ANYONE,
        trail: Trail | None = None,
    ) -> Verdict:
        """Return what the rules say about a client and a server now."""
        minute = self._engine.minute_of_week() if self._engine.policy.is_timed else None
        return self._engine.policy.decide(
            protocol.name, client, server, asker, minute=minute, trail=trail
        )

    def admit_published(self, rule: PublishingRule, client: Endpoint) -> PrimaryConnection:
        """Return a new control connection to a published server, before that server is dialled.

        The session is the published server's. Raises PolicyDenied, QuotaExceeded when the server
        or this client of it has too many of them, or begins too many; InvalidArgument for an
        unknown protocol.
        """
        protocol = self.published_protocol(rule)
        trail = self._engine.tracing.trail(client.address)
        verdict = self._engine.policy.decide_published(
            rule, rule.protocol, client.address, trail=trail
        )
        self._trace(trail, verdict, protocol, client, rule.server)
        return self._admit(protocol, client, rule.server, verdict, ANYONE)

    def published_protocol(self, rule: PublishingRule) -> ProtocolDefinition:
        """Return what is spoken with a published server; raises InvalidArgument for unknown."""
        protocol = self._roster.protocol(rule.protocol)
        if rule.is_in_tls:
            protocol = replace(protocol, spoken_at=rule.listen.port, is_in_tls=True)
        return protocol

    def _admit(
        self,
        protocol: ProtocolDefinition,
        client: Endpoint,
        server: Endpoint,
        verdict: Verdict,
        asker: Asker,
    ) -> PrimaryConnection:
        if not verdict.allowed:
            self._refused(client, server, protocol, verdict, asker.user)
            raise PolicyDenied(verdict.reason)
        rule = verdict.rule
        assert rule is not None  # noqa: S101 - an allowing verdict has one
        if reason := self.excess(client, server, rule):
            full = replace(verdict, allowed=False, reason=reason)
            self._refused(client, server, protocol, full, asker.user)
            raise QuotaExceeded(reason)
        is_published = isinstance(rule, PublishingRule)
        protected = server.address if is_published else client.address
        session = self._sessions.of(protected, asker)
        session = session or self._sessions.begin(protected, asker)
        name = f"c{next(self._numbers)}"
        primary = self.connection(
            name, session, protocol, client=client, server=server, verdict=verdict, asker=asker
        )
        session.primaries[primary.id] = primary
        self._controls.add(primary)
        if (rate := rule.max_connections_per_minute) is not None:
            self._rates.spend(primary.account, rule.name, rate, 1, self._engine.clock())
        return primary

    def excess(
        self, client: Endpoint, server: Endpoint, rule: Rule, trail: Trail | None = None
    ) -> str | None:
        """Return the reason why one control connection more is too many; None when it is not.

        `rule` lets it be; `trail` is told how much of the rule's rate is used.
        """
        host_of = self._engine.policy.host_of
        protected = account = host_of(client.address)
        if isinstance(rule, PublishingRule):
            protected = host_of(server.address)
            account = account_for(protected, account)
        if reason := self._controls.excess(protected, account):
            return reason
        rate, now = rule.max_connections_per_minute, self._engine.clock()
        if rate is None or self._rates.has_room(account, rule.name, rate, 1, now, trail=trail):
            return None
        return "too-many-connections-a-minute"

    def connection(
        self,
        connection_id: str,
        session: Session,
        protocol: ProtocolDefinition,
        *,
        client: Endpoint,
        server: Endpoint,
        verdict: Verdict,
        asker: Asker,
    ) -> PrimaryConnection:
        """Return a control connection that is in no table yet; `verdict` allows it."""
        assert verdict.rule is not None  # noqa: S101 - an allowing verdict has both
        assert verdict.relation is not None  # noqa: S101
        return PrimaryConnection(
            self._engine,
            connection_id=connection_id,
            session=session,
            protocol=protocol,
            client=client,
            server=server,
            rule=verdict.rule,
            relation=verdict.relation,
            opened_at=self._engine.clock(),
            frontend=asker.frontend,
        )

    def _trace(
        self,
        trail: Trail | None,
        verdict: Verdict,
        protocol: ProtocolDefinition,
        client: Endpoint,
        server: Endpoint,
    ) -> None:
        if trail is not None:
            self._engine.tracing.decided(
                trail, verdict.reason, client=client, server=server, protocol=protocol.name
            )

    def _refused(
        self,
        client: Endpoint,
        server: Endpoint,
        protocol: ProtocolDefinition,
        verdict: Verdict,
        user: str | None,
    ) -> None:
        named: dict[str, object] = {"user": user} if user is not None else {}
        if verdict.rule is not None:
            named["rule"] = verdict.rule.name
        elif verdict.nearest is not None:
            named["nearest_rule"] = verdict.nearest
        self._engine.journal.record(
            "connect.refused",
            level="warning",
            client=client,
            server=server,
            protocol=protocol.name,
            reason=verdict.reason,
            **named,
        )
