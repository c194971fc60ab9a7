"""Connections: what all kinds have in common, and the primary one, which a client opened."""

from typing import TYPE_CHECKING, Protocol, TypedDict

from sallyport import limits
from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.model.arguments import takes
from sallyport.core.model.chain import Chain, Priority
from sallyport.core.model.emulation import (
    require_emulated,
    require_own,
    require_running,
    with_sent,
)
from sallyport.core.model.engine import Engine
from sallyport.core.model.event_context import Askable
from sallyport.core.model.filter import DataFilter
from sallyport.core.pinholes.datapath import Link
from sallyport.core.pinholes.registry import Traffic
from sallyport.core.policy.protocols import Direction, ProtocolDefinition
from sallyport.core.policy.rules import Policy, PublishingRule, Relation, Rule
from sallyport.core.policy.terms import Frontend
from sallyport.core.runtime.environment import Level
from sallyport.core.runtime.serial import SerialRunner
from sallyport.errors import AlreadyEmulated, AlreadyExists, BadContext, InvalidArgument
from sallyport.flags import ConnectionFlags, Transport

if TYPE_CHECKING:
    from sallyport.core.model.negotiated import Negotiated
    from sallyport.core.model.session import Session


class Connection(Protocol):
    """What primary and secondary connections have in common (`IFWXConnection`)."""

    explanation: str | None
    """A sentence for the protocol's user, from the caller that ended it; None without one."""

    has_failed: bool
    """Whether a filter failed with it: what fails in the events of its end is not counted."""

    @property
    def session(self) -> "Session":
        """The session it belongs to."""

    @property
    def protocol(self) -> ProtocolDefinition:
        """The protocol it belongs to (`ProtocolGuid`)."""

    @property
    def transport(self) -> Transport:
        """The transport of its own flows; `protocol` may be spoken over another one."""

    @property
    def rule(self) -> Rule:
        """The rule that allows it."""

    @property
    def is_secondary(self) -> bool:
        """Whether a filter made it possible, by a bind or a permission."""

    @property
    def primary(self) -> "PrimaryConnection | None":
        """The primary connection it ends with, if any; a primary connection returns itself."""

    @property
    def context(self) -> object:
        """The `context` argument of its bind or permission: says what it was opened for."""

    @property
    def flags(self) -> ConnectionFlags:
        """What kind of connection it is (`GetConnectionFlags`)."""

    def attach_data_filter(
        self,
        data_filter: "DataFilter",
        priority: Priority = Priority.MIDDLE,
        context: object = None,
    ) -> None:
        """Put a data filter into the flow that is about to start (`AttachDataFilter`).

        Legal in the events ConnectTcp, UdpDestination, AcceptedConnection, BindTcp and BindUdp of
        this connection. `context` is passed to `DataFilter.set_sockets`. Raises BadContext at any
        other time; InvalidArgument for a data filter that was attached before, for what is no
        `Priority`, and at a bind with ALLOW_MULTIPLE.
        """

    def deny(self) -> None:
        """Refuse what the event is about (`Deny`).

        Legal in BindTcp, BindUdp, ConnectTcp, UdpDestination and AcceptedConnection; raises
        BadContext at any other time.
        """

    def kill(self, reason: str = "killed", explanation: str | None = None) -> None:
        """End it now and reset both ends (`Kill`); idempotent, never raises.

        `reason` is a short stable word for the journal, `explanation` a sentence for the
        protocol's user; `ConnectionTerminating` carries both.
        """


class Parties(TypedDict):
    """The fields of a record that say who asked whom by which rule."""

    client: Endpoint
    server: Endpoint
    protocol: str
    rule: str


# The levels of records that are read alone, long after those before them.
_TROUBLE = frozenset({"warning", "error"})


class PrimaryConnection(Askable):
    """A control connection from `client`, which opened it, through the gateway to `server`.

    One of the two is the session's client, the host we protect; the other one is `peer`.
    `gateway_address` is the gateway's own address on the peer's side (on a routed relation the
    protected host's address); it is known once the server was dialled. Whatever was bound with
    `primary=` this connection ends with it.
    """

    is_secondary = False

    def __init__(
        self,
        engine: Engine,
        *,
        connection_id: str,
        session: "Session",
        protocol: ProtocolDefinition,
        client: Endpoint,
        server: Endpoint,
        rule: Rule,
        relation: Relation,
        opened_at: float,
        frontend: Frontend = Frontend.TRANSPARENT,
    ) -> None:
        self._engine = engine
        self.id = connection_id
        self.session = session
        self.protocol = protocol
        self.client = client
        self.server = server
        self.rule = rule
        is_published = isinstance(rule, PublishingRule)
        self.direction = Direction.INBOUND if is_published else Direction.OUTBOUND
        """OUTBOUND when the protected host opened it, INBOUND when it is a published server."""
        self.peer = client if is_published else server
        """The far end: the server of an outbound connection, the client of an inbound one."""
        self.account = session.account
        """The name under which the ports opened for it are counted against a quota: the protected
        host's, or one for each outside client of a published server, so that one flooder outside
        does not use up the quota of the others."""
        if is_published:
            self.account = account_for(session.account, engine.policy.host_of(client.address))
        self.relation = relation
        self.frontend = frontend
        """How the client asked for it."""
        self._policy = engine.policy
        """The policy that admitted it."""
        self.opened_at = opened_at
        self.gateway_address: Endpoint | None = None
        self.inside_address: Endpoint | None = None
        """Of an inbound connection, our end of the leg to the published server: in full proxy it
        is the address the server sees as its client."""
        self.link: Link | None = None
        self.openings: dict[int, Negotiated] = {}
        self.is_open = True
        self.kept_until = opened_at
        """Until when a conversation over UDP lives whatever comes (`keep`)."""
        self.explanation: str | None = None
        self.is_emulated = False
        """Whether a filter plays the server: then no server is dialled."""
        self.traffic = Traffic()
        """The bytes an emulating filter says it sent; no other bytes are counted here."""
        self.transfers = 0
        """How many peers or clients have connected to what was opened for it."""
        self.event_context = None
        self.has_failed = False
        self.runner: SerialRunner = engine.new_runner(self)
        """Runs all filter code of this connection, one call at a time."""
        self.chain = Chain(engine, self, self.peer, self.runner)

    @property
    def transport(self) -> Transport:
        """The transport of its protocol."""
        return self.protocol.transport

    @property
    def primary(self) -> "PrimaryConnection":
        """This connection itself."""
        return self

    @property
    def context(self) -> None:
        """None: no filter asked for it."""
        return None

    @property
    def flags(self) -> ConnectionFlags:
        """INTERNAL_ADDRESS_TRANSLATION when its publishing rule asks for full proxy under NAT."""
        is_proxied = isinstance(self.rule, PublishingRule) and self.rule.full_proxy
        if is_proxied and self.relation is Relation.NAT:
            return ConnectionFlags.INTERNAL_ADDRESS_TRANSLATION
        return ConnectionFlags.NONE

    @property
    def source(self) -> IpAddress | None:
        """The address that the gateway dials the server from; None when routing chooses it."""
        return self._policy.source_towards(self.server.address)

    def is_granted(self, protocol: ProtocolDefinition, policy: Policy) -> bool:
        """Whether `policy` allows `protocol` because it did so when the connection was admitted.

        A `Policy` never changes, so the same policy gives the same answer for the same protocol;
        each transfer asks again, and this saves the search through the rules. A policy with
        schedules answers for a moment only, and is searched.
        """
        is_same = protocol is self.protocol and policy is self._policy
        return is_same and not policy.is_timed

    def external_peer_name(self) -> Endpoint:
        """Return the far end: the server, or the client outside (`GetExternalPeerName`).

        Raises BadContext before the connection has started, so call it from data filters, not from
        events; Terminating when it is over.
        """
        self._require_started()
        return self.peer

    def external_socket_name(self) -> Endpoint:
        """Return the gateway's own address on the far end's side (`GetExternalSocketName`).

        Raises as `external_peer_name`. An emulated connection has the name that `set_socket_name`
        gave it; without one this raises BadContext.
        """
        self._require_started()
        if self.gateway_address is None:
            raise BadContext("the-connection-has-no-name")
        return self.gateway_address

    @takes(data_filter=DataFilter)
    def emulate_for_connect(self, data_filter: "DataFilter", context: object = None) -> None:
        """Let `data_filter` play the server (`EmulateForConnect`): no server is dialled.

        The data filter sits at Priority.EMULATION, and what it sends to its `server` end is
        dropped. Legal in ConnectTcp of this connection. Raises BadContext at any other time,
        AlreadyEmulated the second time, Terminating when the connection is over.
        """
        if self.event_context is None or self.transport is not Transport.TCP:
            raise BadContext("not-in-connect-tcp-of-this-connection")
        require_running(is_over=not self.is_open)
        if self.is_emulated:
            raise AlreadyEmulated("a-filter-plays-the-server")
        self.event_context.attach(data_filter, Priority.EMULATION, context)
        self.is_emulated = True

    @takes(address=Endpoint)
    def set_socket_name(self, address: Endpoint) -> None:
        """Set the gateway address that an emulated connection leaves from (`SetSocketName`).

        Legal once, before the connection starts. Raises NotEmulated when no filter plays the
        server, Terminating when it is over, AlreadyExists when it has a name or has started,
        InvalidArgument for port 0 or another family, AddressNotAvailable for an address that is
        not the gateway's.
        """
        require_emulated(is_emulated=self.is_emulated)
        require_running(is_over=not self.is_open)
        if self.gateway_address is not None or self.chain.is_begun:
            raise AlreadyExists("the-connection-has-a-name")
        require_own(self._engine.policy, address, self.client.version)
        self.gateway_address = address

    @takes(count=int)
    def increment_bytes_sent(self, count: int) -> None:
        """Add `count` bytes that the emulating filter sent (`IncrementBytesSentCounter`).

        Raises NotEmulated when no filter plays the server, Terminating when it is over,
        InvalidArgument for a count below zero.
        """
        require_emulated(is_emulated=self.is_emulated)
        require_running(is_over=not self.is_open)
        self.traffic = with_sent(self.traffic, count)

    def keep(self, seconds: float) -> float:
        """Let a conversation over UDP live for `seconds` from now, even if no datagram comes.

        Such a conversation is over when its client was silent for `limits.DATAGRAM_IDLE_SECONDS`;
        a filter knows better when a call or a registration ends. Call it again to set another time,
        when the server has said something, for example. Returns for how many seconds it is kept:
        not longer than `limits.MAX_KEPT_SECONDS`, nor than max_lifetime of its rule. Raises
        BadContext for TCP, InvalidArgument for no time at all, Terminating when it is over.
        """
        require_running(is_over=not self.is_open)
        if self.transport is not Transport.UDP:
            raise BadContext("only-datagrams-are-kept")
        if not seconds > 0:
            raise InvalidArgument("lifetime-is-not-positive")
        most = self.rule.max_lifetime
        kept = min(seconds, limits.MAX_KEPT_SECONDS if most is None else most)
        self.kept_until = self._engine.clock() + kept
        return kept

    def close(self, reason: str) -> None:
        """End it in order: send queued bytes, then close both ends. Idempotent, never raises."""
        self._engine.end_primary(self, reason, abort=False)

    def kill(self, reason: str = "killed", explanation: str | None = None) -> None:
        """End it now and reset both ends; its openings close, transfers under way may finish.

        Idempotent, never raises. `reason` and `explanation` as in `Connection.kill`.
        """
        self._engine.end_primary(self, reason, explanation, abort=True)

    def abandon(self, reason: str) -> None:
        """End it now, and with it what was opened for it, transfers under way too.

        Idempotent, never raises.
        """
        # Filters are notified of the ends that follow at once: a call queued on this runner would
        # come behind calls that will never run.
        self.runner.close()
        for opening in tuple(self.openings.values()):
            self._engine.registry.kill(opening, reason)
        self.session.end_bundles(reason, of=self)
        self.kill(reason)

    def note(self, event: str, *, level: Level = "info", **fields: object) -> None:
        """Write one record to the journal, with session and connection filled in.

        A warning or an error also says who asked whom by which rule: it must stand alone.
        """
        if level in _TROUBLE:
            fields = {**self.parties(), **fields}
        self._engine.journal.record(
            event, level=level, session=self.session.id, connection=self.id, **fields
        )

    def parties(self) -> Parties:
        """Return who asked whom by which rule, as fields of a record."""
        return {
            "client": self.client,
            "server": self.server,
            "protocol": self.protocol.name,
            "rule": self.rule.name,
        }

    def _require_started(self) -> None:
        require_running(is_over=not self.is_open)
        if not self.chain.is_begun:
            raise BadContext("the-connection-is-not-there-yet")


def account_for(protected: str, outside: str) -> str:
    """Return the account of one outside client of a published server, of two hosts' own."""
    return f"{protected} for {outside}"


def parties_of(
    session: "Session", primary: PrimaryConnection | None, rule: Rule | None = None
) -> dict[str, object]:
    """Return who asked, whom, and by which rule: what every record needs to stand alone."""
    if primary is None:
        named = {} if rule is None else {"rule": rule.name}
        return {"session": session.id, "client": session.client_address, **named}
    return {
        "session": session.id,
        "connection": primary.id,
        "client": primary.client,
        "server": primary.server,
        "rule": (rule or primary.rule).name,
    }
