"""Gateway: the whole of one running firewall service (`IFWXFirewall`), without its effects.

It owns sessions, primary connections and bindings. What it needs from outside (data
paths, a clock, chance, a journal, somebody who carries waiting coroutines on) is handed to it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from uuid import UUID

from sallyport import limits
from sallyport.addresses import Endpoint, IpAddress, PortRange
from sallyport.core.binder import Binder
from sallyport.core.binding import Binding
from sallyport.core.connection import Link, PrimaryConnection
from sallyport.core.datapath import DataPath, DataPathKind
from sallyport.core.deadlines import Deadline, Deadlines
from sallyport.core.events import ConnectTcp, UdpDestination
from sallyport.core.feed import Waiter
from sallyport.core.filter import ApplicationFilter, DataFilter, SessionFilter, StreamEnd
from sallyport.core.ledger import Ledger
from sallyport.core.openings import Openings
from sallyport.core.policy import Policy, PublishingRule, Verdict
from sallyport.core.ports import Ports
from sallyport.core.protocols import ProtocolDefinition
from sallyport.core.session import Session
from sallyport.core.strand import Strand, impatient
from sallyport.core.world import World
from sallyport.errors import (
    BadContext,
    InvalidArgument,
    OutOfResources,
    PolicyDenied,
    QuotaExceeded,
)
from sallyport.flags import BindFlags, Transport


class Gateway:
    """See the module. Nothing here blocks; every method may be called from the event loop."""

    def __init__(
        self,
        *,
        policy: Policy,
        data_paths: Mapping[DataPathKind, DataPath],
        ports: Ports,
        world: World,
        filters: Sequence[ApplicationFilter],
    ) -> None:
        self.policy = policy
        self.journal = world.journal
        self.clock = world.now
        self.filters = tuple(filters)
        self.deadlines = Deadlines(world.wake_at)
        self.data_paths = data_paths
        self.openings = Openings(data_paths.values(), self.deadlines, world.now)
        self.binder = Binder(self)
        self.ledger = Ledger(self)
        self.sessions: dict[IpAddress, Session] = {}
        self._ports = ports
        self._world = world
        self._strands: dict[str, Strand] = {}
        self._session_numbers = count(1)
        self._connection_numbers = count(1)
        self._binding_numbers = count(1)

    @property
    def port_range(self) -> PortRange:
        """The external ports that bindings may use."""
        return self._ports.range

    # -- sessions and primary connections -----------------------------------------------------

    def admit_primary(
        self, protocol: ProtocolDefinition, client: Endpoint, server: Endpoint
    ) -> PrimaryConnection:
        """Take a client's new control connection, before the server is dialled.

        Raises PolicyDenied, or QuotaExceeded when the client has too many of them.
        """
        verdict = self.policy.decide(protocol.name, client.address, server.address)
        return self._admit(protocol, client, server, verdict)

    def admit_published(self, rule: PublishingRule, client: Endpoint) -> PrimaryConnection:
        """Take a new control connection to a published server, before that one is dialled.

        The session is the published server's. Raises PolicyDenied, QuotaExceeded when the server
        or this client of it has too many of them, InvalidArgument for an unknown protocol.
        """
        protocol = self._protocol_named(rule.protocol)
        verdict = self.policy.decide_published(rule, rule.protocol, client.address)
        return self._admit(protocol, client, rule.server, verdict)

    def _admit(
        self, protocol: ProtocolDefinition, client: Endpoint, server: Endpoint, verdict: Verdict
    ) -> PrimaryConnection:
        if not verdict.allowed:
            self._refused("connect.refused", client, server, protocol, verdict.reason)
            raise PolicyDenied(verdict.reason)
        is_published = isinstance(verdict.rule, PublishingRule)
        protected = server.address if is_published else client.address
        session = self.sessions.get(protected)
        if session and self._has_too_many(session, client if is_published else None):
            self._refused("connect.refused", client, server, protocol, "too-many-controls")
            raise QuotaExceeded("too-many-controls")
        session = session or self._new_session(protected)
        assert verdict.rule is not None  # noqa: S101 - an allowing verdict has both
        assert verdict.relation is not None  # noqa: S101
        primary = PrimaryConnection(
            self,
            connection_id=f"c{next(self._connection_numbers)}",
            session=session,
            protocol=protocol,
            client=client,
            server=server,
            rule=verdict.rule,
            relation=verdict.relation,
            opened_at=self.clock(),
        )
        session.primaries[primary.id] = primary
        self._strands[primary.id] = self.new_strand(
            lambda error: self._filter_failed(primary, error)
        )
        return primary

    @staticmethod
    def _has_too_many(session: Session, outside: Endpoint | None) -> bool:
        """Whether the session is at its limit, or this one outside client of a published server."""
        if len(session.primaries) >= limits.MAX_CONTROLS_PER_CLIENT:
            return True
        if outside is None:
            return False
        theirs = sum(one.client.address == outside.address for one in session.primaries.values())
        return theirs >= limits.MAX_CONTROLS_PER_PEER

    def start_primary(
        self,
        primary: PrimaryConnection,
        *,
        gateway_address: Endpoint,
        link: Link,
        client: StreamEnd,
        server: StreamEnd,
    ) -> Strand:
        """The server answered: tell the filters, start the data filter; give the strand to feed.

        Without a data filter of its own the connection gets one that passes everything.
        """
        primary.gateway_address = gateway_address
        primary.link = link
        primary.note(
            "connect.accepted",
            client=primary.client,
            server=primary.server,
            protocol=primary.protocol.name,
            rule=primary.rule.name,
            relation=primary.relation,
        )
        strand = self.strand_of(primary)
        for application_filter in self.filters:
            if primary.protocol in application_filter.protocols:
                strand.run(self._announce(primary, application_filter))
        strand.run(self._begin_data(primary, client, server))
        return strand

    @staticmethod
    async def _announce(primary: PrimaryConnection, wanted: ApplicationFilter) -> None:
        """Attaching is filter code too: on the strand it is behind the fence (attack X07)."""
        event = ConnectTcp if primary.protocol.transport is Transport.TCP else UdpDestination
        session_filter = Gateway.session_filter_of(primary.session, wanted)
        await session_filter.on_event(event(primary))

    @staticmethod
    def session_filter_of(session: Session, wanted: ApplicationFilter) -> SessionFilter:
        """Give the filter's part in a session, attaching it at its first event there.

        Runs filter code: call it behind a fence.
        """
        if wanted.name not in session.filters:
            session.filters[wanted.name] = wanted.attach_to_session(session)
        return session.filters[wanted.name]

    @staticmethod
    async def _begin_data(primary: PrimaryConnection, client: StreamEnd, server: StreamEnd) -> None:
        if primary.data_filter is None:
            primary.data_filter = DataFilter()
        primary.data_filter.set_sockets(client, server, primary)

    def attach_data_filter(self, primary: PrimaryConnection, data_filter: DataFilter) -> None:
        """See `PrimaryConnection.attach_data_filter`."""
        if primary.data_filter is not None:
            raise BadContext("a-data-filter-is-attached")
        primary.data_filter = data_filter

    def end_primary(self, primary: PrimaryConnection, reason: str, *, abort: bool) -> None:
        """End a control connection and withdraw what was opened for it. Idempotent."""
        if not primary.is_open:
            return
        primary.is_open = False
        primary.set_deadline(None)
        for opening in tuple(primary.openings.values()):
            self.openings.withdraw(opening, "primary-ended")
        self._strands.pop(primary.id).close()
        if primary.link is not None:
            (primary.link.abort if abort else primary.link.close)()
        if primary.data_filter is not None:
            self._detach(primary.data_filter, primary.session)
        seconds = round(self.clock() - primary.opened_at, 3)
        primary.note("connect.closed", reason=reason, seconds=seconds)
        del primary.session.primaries[primary.id]
        self.forget_idle(primary.session)

    def strand_of(self, primary: PrimaryConnection) -> Strand:
        """Give the strand on which this connection's filter code runs."""
        return self._strands[primary.id]

    def call_later(self, seconds: float, action: Callable[[], None]) -> Deadline:
        """Have `action` called after `seconds`."""
        return self.deadlines.set(self.clock() + seconds, action)

    def shut_down(self, reason: str) -> None:
        """End everything: pinholes close, control connections are reset, transfers go on."""
        for session in tuple(self.sessions.values()):
            for binding in tuple(session.bindings.values()):
                binding.withdraw(reason)
            for primary in tuple(session.primaries.values()):
                primary.kill(reason)

    # -- bindings -----------------------------------------------------------------------------

    def bindings(self) -> Iterable[Binding]:
        """Every binding that has not ended."""
        for session in self.sessions.values():
            yield from session.bindings.values()

    def protocol(self, wanted: ProtocolDefinition | UUID) -> ProtocolDefinition:
        """Find a protocol definition by its UUID; raises InvalidArgument for an unknown one."""
        if isinstance(wanted, ProtocolDefinition):
            return wanted
        for application_filter in self.filters:
            for definition in application_filter.protocols:
                if definition.uuid == wanted:
                    return definition
        raise InvalidArgument("unknown-protocol")

    def _protocol_named(self, name: str) -> ProtocolDefinition:
        for application_filter in self.filters:
            for definition in application_filter.protocols:
                if definition.name == name:
                    return definition
        raise InvalidArgument("unknown-protocol")

    def path_for(self, protocol: ProtocolDefinition, flags: BindFlags) -> DataPath:
        """Decide which data path carries a secondary connection (semantics 1.5 item 9); final.

        The kernel's, unless user mode is asked for, some filter wants to see the bytes, or there is
        no kernel path. Raises OutOfResources when the one that is needed is not there.
        """
        is_watched = any(
            one.watches_secondaries and protocol in one.protocols for one in self.filters
        )
        if DataPathKind.KERNEL in self.data_paths and not (
            is_watched or BindFlags.NO_KERNEL_MODE in flags
        ):
            return self.data_paths[DataPathKind.KERNEL]
        if DataPathKind.USER not in self.data_paths:
            raise OutOfResources("no-user-data-path")
        return self.data_paths[DataPathKind.USER]

    def new_waiter(self) -> Waiter:
        """Make something a program that follows events can wait for."""
        return self._world.waiter()

    def new_binding_id(self) -> str:
        """Give a name no binding of this process ever had."""
        return f"b{next(self._binding_numbers)}"

    def draw_ports(self, transport: Transport, address: IpAddress, count: int) -> int:
        """Draw ports of a gateway address (see `Ports.draw`)."""
        return self._ports.draw(transport, address, count, self.clock())

    def take_port(self, transport: Transport, address: IpAddress, port: int) -> None:
        """Take one named port of a gateway address (see `Ports.take`)."""
        self._ports.take(transport, address, port)

    def rest_ports(self, transport: Transport, address: IpAddress, base: int, count: int) -> None:
        """Give drawn ports back."""
        for port in range(base, base + count):
            self._ports.rest(transport, address, port, self.clock())

    # -- inside -------------------------------------------------------------------------------

    def _new_session(self, client: IpAddress) -> Session:
        session_id = f"s{next(self._session_numbers)}"
        session = Session(self, session_id=session_id, client=client, since=self.clock())
        self.sessions[client] = session
        return session

    def forget_idle(self, session: Session) -> None:
        """Let a session end with its last connection, binding and permission. Idempotent."""
        if session.primaries or session.openings or session.is_over:
            return
        session.is_over = True
        del self.sessions[session.client_address]
        for session_filter in session.filters.values():
            self._detach(session_filter, session)

    def _detach(self, attached: DataFilter | SessionFilter, session: Session) -> None:
        try:
            attached.detach()
        except Exception as error:  # noqa: BLE001 - a fence: whatever a filter raises stays here
            self.note_failure(session, error)

    def new_strand(self, fault: Callable[[Exception], None]) -> Strand:
        """Make a strand for filter code; `fault` is told what the code raises."""

        def give_up(error: Exception) -> None:
            strand.fail(error)

        park = impatient(self._world.park, self.call_later, give_up)
        strand = Strand(park, self._world.turn, fault)
        return strand

    def _filter_failed(self, primary: PrimaryConnection, error: Exception) -> None:
        """A filter raised: its connection ends, every other goes on (attack X07)."""
        primary.note("filter.failed", level="error", error=repr(error))
        primary.kill("filter-failed")

    def note_failure(self, session: Session, error: Exception) -> None:
        """Write down that filter code raised."""
        self.journal.record("filter.failed", level="error", session=session.id, error=repr(error))

    def _refused(
        self,
        event: str,
        client: Endpoint,
        server: Endpoint,
        protocol: ProtocolDefinition,
        reason: str,
    ) -> None:
        self.journal.record(
            event,
            level="warning",
            client=client,
            server=server,
            protocol=protocol.name,
            reason=reason,
        )
