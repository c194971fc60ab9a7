"""Connections: what all have in common, and the primary one, which a client opened."""

from typing import TYPE_CHECKING, Protocol

from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.model.chain import Chain, Priority
from sallyport.core.model.emulation import (
    require_emulated,
    require_own,
    require_running,
    with_sent,
)
from sallyport.core.model.engine import Engine
from sallyport.core.model.event_context import Askable
from sallyport.core.pinholes.datapath import Link
from sallyport.core.pinholes.registry import Opening, Traffic
from sallyport.core.policy.protocols import Direction, ProtocolDefinition
from sallyport.core.policy.rules import Policy, PublishingRule, Relation, Rule
from sallyport.core.runtime.environment import Level
from sallyport.core.runtime.serial import SerialRunner
from sallyport.errors import AlreadyEmulated, AlreadyExists, BadContext
from sallyport.flags import ConnectionFlags, Transport

if TYPE_CHECKING:
    from sallyport.core.model.filter import DataFilter
    from sallyport.core.model.session import Session


class Connection(Protocol):
    """What primary and secondary connections have in common (`IFWXConnection`)."""

    explanation: str | None
    """What whoever ended it has to say to the protocol's user."""

    @property
    def session(self) -> "Session":
        """Whose it is."""

    @property
    def protocol(self) -> ProtocolDefinition:
        """What it belongs to (`ProtocolGuid`)."""

    @property
    def transport(self) -> Transport:
        """Of its own flows, whatever `protocol` itself is spoken over."""

    @property
    def rule(self) -> Rule:
        """The rule that lets it be."""

    @property
    def is_secondary(self) -> bool:
        """Whether a filter made it possible: by a bind, or by a permission."""

    @property
    def primary(self) -> "PrimaryConnection | None":
        """The connection it ends with; a primary one's is itself."""

    @property
    def context(self) -> object:
        """What its bind or permission was given: so a child knows what caused it."""

    @property
    def flags(self) -> ConnectionFlags:
        """See `ConnectionFlags` (`GetConnectionFlags`)."""

    def attach_data_filter(
        self,
        data_filter: "DataFilter",
        priority: Priority = Priority.MIDDLE,
        context: object = None,
    ) -> None:
        """See `core.model.event_context.Askable`."""

    def deny(self) -> None:
        """See `core.model.event_context.Askable`."""

    def kill(self, reason: str = "killed", explanation: str | None = None) -> None:
        """End it now and reset both ends; idempotent, never raises.

        `explanation`, if any, is for the protocol's user: `ConnectionTerminating` carries it.
        """


class PrimaryConnection(Askable):
    """A control connection: from `client`, who opened it, through us to `server`.

    One of the two is the session's client, the host we protect; the other one is `peer`.
    `gateway_address` is our own address on the peer's side (the protected host's, when routed);
    it is known once the server was dialled. Everything bound with `primary=` this ends with it.
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
        runner: SerialRunner,
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
        """Whether the protected host opened it, or is a published server."""
        self.peer = client if is_published else server
        """The far end: the server of an outbound connection, the client of an inbound one."""
        self.account = session.account
        """To whose quota goes what is opened for it: each client of a published server has its own,
        so that a flooder outside uses up nobody else's; everything else is the protected host's."""
        if is_published:
            self.account += f" for {client.address}"
        self.relation = relation
        self._policy = engine.policy
        """By which it was admitted."""
        self.opened_at = opened_at
        self.gateway_address: Endpoint | None = None
        self.inside_address: Endpoint | None = None
        """Of an inbound connection, our end of the leg to the published server: in full proxy the
        server takes it for its client."""
        self.link: Link | None = None
        self.openings: dict[int, Opening] = {}
        self.is_open = True
        self.explanation: str | None = None
        self.is_emulated = False
        """Whether a filter plays the server: nobody is dialled."""
        self.traffic = Traffic()
        """What an emulating filter says it sent; nothing else is counted here."""
        self.event_context = None
        self.runner = runner
        """On which this connection's filter code runs."""
        self.chain = Chain(engine, self, self.peer, runner)

    @property
    def transport(self) -> Transport:
        """The transport protocol."""
        return self.protocol.transport

    @property
    def primary(self) -> "PrimaryConnection":
        """Itself."""
        return self

    @property
    def context(self) -> None:
        """Nobody asked for it: it came."""
        return None

    @property
    def flags(self) -> ConnectionFlags:
        """Full proxy is the publishing rule's to stipulate; without NAT there is nothing to do."""
        is_proxied = isinstance(self.rule, PublishingRule) and self.rule.full_proxy
        if is_proxied and self.relation is Relation.NAT:
            return ConnectionFlags.INTERNAL_ADDRESS_TRANSLATION
        return ConnectionFlags.NONE

    @property
    def source(self) -> IpAddress | None:
        """The address that the gateway dials the server from; None when routing chooses it."""
        return self._policy.source_towards(self.server.address)

    def is_granted(self, protocol: ProtocolDefinition, policy: Policy) -> bool:
        """Whether the question is the one that was answered when it was admitted: a policy never
        changes, and each transfer asks again.
        """
        return protocol is self.protocol and policy is self._policy

    def external_peer_name(self) -> Endpoint:
        """Give the far end: the server, or the client outside (`GetExternalPeerName`).

        Raises BadContext before the connection is there: ask from data filters, not from events;
        Terminating when it is over.
        """
        self._require_started()
        return self.peer

    def external_socket_name(self) -> Endpoint:
        """Give our own address on the far end's side (`GetExternalSocketName`).

        Raises as `external_peer_name`; an emulated connection has the name it was given, if any.
        """
        self._require_started()
        if self.gateway_address is None:
            raise BadContext("the-connection-has-no-name")
        return self.gateway_address

    def emulate_for_connect(self, data_filter: "DataFilter", context: object = None) -> None:
        """Have `data_filter` play the server (`EmulateForConnect`): nobody is dialled.

        It sits nearest to the server, and its `server` end is nobody. Legal in ConnectTcp of this
        connection. Raises BadContext at any other time, AlreadyEmulated the second time,
        Terminating when the connection is over.
        """
        if self.event_context is None or self.transport is not Transport.TCP:
            raise BadContext("not-in-connect-tcp-of-this-connection")
        require_running(is_over=not self.is_open)
        if self.is_emulated:
            raise AlreadyEmulated("a-filter-plays-the-server")
        self.event_context.attach(data_filter, Priority.EMULATION, context)
        self.is_emulated = True

    def set_socket_name(self, address: Endpoint) -> None:
        """Say by which gateway address an emulated connection goes out (`SetSocketName`).

        Legal once and before it starts. Raises NotEmulated, Terminating, AlreadyExists,
        InvalidArgument for port 0 or another family, AddressNotAvailable for a foreign address.
        """
        require_emulated(is_emulated=self.is_emulated)
        require_running(is_over=not self.is_open)
        if self.gateway_address is not None or self.chain.is_begun:
            raise AlreadyExists("the-connection-has-a-name")
        require_own(self._engine.policy, address, self.client.version)
        self.gateway_address = address

    def increment_bytes_sent(self, count: int) -> None:
        """Count bytes that the emulating filter's own socket sent (`IncrementBytesSentCounter`).

        Raises NotEmulated, Terminating, InvalidArgument for a count below zero.
        """
        require_emulated(is_emulated=self.is_emulated)
        require_running(is_over=not self.is_open)
        self.traffic = with_sent(self.traffic, count)

    def close(self, reason: str) -> None:
        """End it in order: queued bytes are sent, then both ends are closed. Idempotent."""
        self._engine.end_primary(self, reason, abort=False)

    def kill(self, reason: str = "killed", explanation: str | None = None) -> None:
        """End it now and reset both ends; openings close, transfers under way may finish."""
        self._engine.end_primary(self, reason, explanation, abort=True)

    def note(self, event: str, *, level: Level = "info", **fields: object) -> None:
        """Write one line to the journal, with session and connection filled in."""
        self._engine.journal.record(
            event, level=level, session=self.session.id, connection=self.id, **fields
        )

    def _require_started(self) -> None:
        require_running(is_over=not self.is_open)
        if not self.chain.is_begun:
            raise BadContext("the-connection-is-not-there-yet")
