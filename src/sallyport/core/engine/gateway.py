"""Gateway: the whole of one running firewall service (`IFWXFirewall`), without its effects.

It owns sessions, primary connections and bindings. What it needs from outside is passed in: data
paths, and the environment's clock, random numbers, journal and event loop.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import cast
from uuid import UUID

from sallyport import limits
from sallyport.addresses import Endpoint, IpAddress, PortRange
from sallyport.core.engine.admission import Admission
from sallyport.core.engine.binder import Binder
from sallyport.core.engine.control_quota import ControlQuota
from sallyport.core.engine.dispatch import EventDispatcher
from sallyport.core.engine.explainer import Explainer
from sallyport.core.engine.grants import Grants
from sallyport.core.engine.ledger import Ledger
from sallyport.core.engine.roster import Roster
from sallyport.core.engine.session_table import SessionTable
from sallyport.core.model.arguments import takes
from sallyport.core.model.binding import Binding
from sallyport.core.model.bundle import Bundle
from sallyport.core.model.chain import Priority
from sallyport.core.model.connection import Connection, PrimaryConnection
from sallyport.core.model.events import ConnectionTerminating, Event
from sallyport.core.model.filter import ApplicationFilter, DataFilter
from sallyport.core.model.session import Session
from sallyport.core.model.tracing import Tracing
from sallyport.core.pinholes.datapath import DataPath, DataPathKind, Link, StreamEnd, UserPath
from sallyport.core.pinholes.ports import Ports
from sallyport.core.pinholes.registry import OpeningRegistry
from sallyport.core.pinholes.reservations import PortReservations
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rates import Rates
from sallyport.core.policy.rules import ANYONE, Asker, Policy
from sallyport.core.runtime.deadlines import Deadline, Deadlines
from sallyport.core.runtime.durations import Durations
from sallyport.core.runtime.environment import Environment, Level
from sallyport.core.runtime.serial import SerialRunner
from sallyport.errors import InvalidArgument, OutOfResources
from sallyport.flags import BindFlags, Transport


class Gateway:
    """One gateway. Implements `model.engine.Engine`; no method blocks the event loop.

    It admits and ends primary connections itself. For everything else it offers the methods of its
    parts under the names of `Engine`: binder, dispatcher, ledger, roster.
    """

    def __init__(
        self,
        *,
        policy: Policy,
        data_paths: Mapping[DataPathKind, DataPath],
        ports: Ports,
        environment: Environment,
        filters: Sequence[ApplicationFilter],
        name: str = "",
        max_controls: int = limits.MAX_CONTROLS,
    ) -> None:
        """Serve `policy`.

        `name` begins the ids of sessions and bindings: several gateways work side by side.
        `max_controls`: how many control connections there may be, of all clients together.
        """
        self.policy = policy
        self.name = name
        self.journal = environment.journal
        self.clock = environment.now
        self.bind_times = Durations()
        """From the call of a bind to its answer, of those that were granted."""
        self.roster = Roster(
            environment.journal, environment.filter_running, filters, policy.filter_settings
        )
        self.deadlines = Deadlines(environment.wake_at)
        self.data_paths = data_paths
        self._kernel_path = data_paths.get(DataPathKind.KERNEL)
        self.registry = OpeningRegistry(data_paths.values(), self.deadlines, environment.now)
        self.grants = Grants(self)
        ledger = Ledger(self)
        self.unused = ledger.unused
        self._offer_engine(Binder(self, self.grants), EventDispatcher(self), ledger)
        self.sessions = SessionTable(self, self.roster, name)
        self.forget_idle = self.sessions.forget_idle
        self.tracing = Tracing(self.journal, self.registry, lambda: self.sessions)
        self._controls = ControlQuota(max_controls)
        self.controls_of_one = self._controls.of_one
        admission = Admission(self, self.sessions, self.roster, self._controls)
        self.judge = admission.judge
        self.admit_primary = admission.admit_primary
        self.admit_published = admission.admit_published
        self.explain = Explainer(self, admission, self.grants, self.sessions).explain
        self.rates = Rates("max_binds_per_minute")
        self.minute_of_week = environment.minute_of_week
        self.delay = environment.delay
        self.held: dict[str, int] = {}
        """How many ports and permissions each account holds (`Session.account`)."""
        self._ports = ports
        self._reservations: dict[tuple[DataPath, Transport, IpAddress], PortReservations] = {}
        self._environment = environment
        self._binding_numbers = count(1)
        self.roster.start(self)

    def _offer_engine(self, binder: Binder, dispatcher: EventDispatcher, ledger: Ledger) -> None:
        """Implement `model.engine.Engine` by the bound methods of the parts: no call in between."""
        self.bind = binder.bind
        self.allow = binder.allow
        self.approve = binder.approve
        self.complete_client_address = binder.complete_client_address
        self.restrict_peers = binder.restrict_peers
        self.extend = binder.extend
        self.require_sendable = binder.require_sendable
        self.require_peer = binder.require_peer
        self.ask_about_bind = dispatcher.ask_about_bind
        self.ask_about_flow = dispatcher.ask_about_flow
        self.ask_no_more = dispatcher.ask_no_more
        self.announce_end = dispatcher.announce_end
        self._primary_starts = dispatcher.primary_starts
        self.bind_refused = ledger.bind_refused
        self.bind_denied = ledger.bind_denied
        self.binding_made = ledger.binding_made
        self.arming_refused = ledger.arming_refused
        self.port_armed = ledger.port_armed
        self.peer_admitted = ledger.peer_admitted
        self.peer_failed = ledger.peer_failed
        self.port_closed = ledger.port_closed
        self.flow_denied = ledger.flow_denied
        self.flow_turned_away = ledger.flow_turned_away
        self.permission_made = ledger.permission_made
        self.permission_used = ledger.permission_used
        self.permission_failed = ledger.permission_failed
        self.permission_closed = ledger.permission_closed
        self.transfer_adopted = ledger.transfer_adopted
        self.transfer_closed = ledger.transfer_closed
        self.is_off = self.roster.is_off
        self.filter_failed = self.roster.filter_failed
        self.detach = self.roster.detach

    @property
    def port_range(self) -> PortRange:
        """The gateway ports that bindings may use."""
        return self._ports.range

    def free_ports(self, transport: Transport, address: IpAddress | None = None) -> int:
        """Return how many ports can be drawn at `address`; None: where there are the fewest."""
        return self._ports.free(transport, address)

    # -- sessions and primary connections -----------------------------------------------------

    def published_protocol(
        self, dialled: Endpoint, transport: Transport
    ) -> ProtocolDefinition | None:
        """Return what is spoken where a server is published; None: nothing that a filter serves."""
        rule = self.policy.publishes(dialled, transport)
        try:
            return None if rule is None else self.roster.protocol(rule.protocol)
        except InvalidArgument:
            return None

    def announce_primary(self, primary: PrimaryConnection, ready: Callable[[], None]) -> None:
        """Notify the filters of a new connection; `ready` is called when all let it go on.

        The caller then dials the server, unless `primary.is_emulated`. Set `primary.link` before
        the call: a filter that denies resets the client through it.
        """
        self._primary_starts(primary, ready)

    def start_primary(
        self,
        primary: PrimaryConnection,
        *,
        gateway_address: Endpoint | None,
        link: Link,
        client: StreamEnd | None,
        server: StreamEnd | None,
    ) -> None:
        """Begin the chain of a primary connection; the caller feeds `primary.chain` from now on.

        `client` is None when the chain is empty and the caller passes on what no filter sees;
        `server` is None when a filter plays the server. `gateway_address` is the gateway's own on
        the far end's side; None when no server was dialled. A connection without a data filter
        gets one that passes everything.
        """
        primary.gateway_address = gateway_address or primary.gateway_address
        primary.link = link
        # What no filter reads has one record, when it is over, as a binding has.
        level: Level = "debug" if client is None else "info"
        primary.note(
            "connect.accepted", level=level, **primary.parties(), relation=primary.relation
        )
        if client is None:
            return
        if primary.chain.is_empty:
            primary.chain.attach(DataFilter(), Priority.MIDDLE, None, "")
        self.tracing.started(primary)
        primary.chain.begin(link, client, server)

    def end_primary(
        self,
        primary: PrimaryConnection,
        reason: str,
        explanation: str | None = None,
        *,
        abort: bool,
    ) -> None:
        """End a control connection and withdraw all that was opened for it. Idempotent.

        `abort` resets both ends at once. Without it the bytes that filters have sent each other
        pass first, then both ends are closed.
        """
        if not primary.is_open:
            return
        if not abort and primary.chain.is_passing:
            primary.runner.run(self._end_in_turn, (primary, reason, explanation))
            return
        primary.is_open, registry = False, self.registry
        for opening in tuple(primary.openings.values()):
            end = registry.kill if opening.is_killed_with_primary else registry.withdraw
            end(opening, "primary-ended")
        if primary.link is not None:
            (primary.link.abort if abort else primary.link.close)()
        primary.chain.end()
        self.announce_end(
            primary,
            ConnectionTerminating(
                primary, reason, primary.traffic, None, explanation or primary.explanation
            ),
        )
        seconds = round(self.clock() - primary.opened_at, 3)
        primary.note(
            "connect.closed",
            **primary.parties(),
            reason=reason,
            seconds=seconds,
            transfers=primary.transfers,
        )
        del primary.session.primaries[primary.id]
        self._controls.remove(primary)
        self.forget_idle(primary.session)

    def call_later(self, seconds: float, action: Callable[[], None]) -> Deadline:
        """Register `action` to be called after `seconds`; returns its deadline."""
        return self.deadlines.set(self.clock() + seconds, action)

    def shut_down(self, reason: str) -> None:
        """Close every pinhole, reset control connections, shut filters down. Idempotent.

        Transfers in the kernel go on. No filter is notified of their end: all are detached.
        """
        for session in tuple(self.sessions):
            for opening in tuple(session.openings.values()):
                self.registry.withdraw(opening, reason)
            for primary in tuple(session.primaries.values()):
                primary.kill(reason)
        for session in tuple(self.sessions):
            self.forget_idle(session)
            self.sessions.dismiss_filters(session)
        self.roster.stop()

    def replace(self, policy: Policy, filters: Sequence[ApplicationFilter]) -> None:
        """Replace policy and filters; sessions under way keep the filters they have.

        Admitted connections go on; the new policy decides what they ask for from now on. Raises
        what a filter raises in `start`; then nothing has changed.
        """
        self.roster.replace(self, filters, policy.filter_settings)
        self.policy = policy

    # -- bindings -----------------------------------------------------------------------------

    def bindings(self) -> Iterable[Binding]:
        """Iterate over every binding that has not ended."""
        for session in self.sessions:
            yield from session.bindings.values()

    def protocol(self, wanted: ProtocolDefinition | UUID) -> ProtocolDefinition:
        """Return a protocol definition by its UUID; raises InvalidArgument for an unknown one."""
        return wanted if isinstance(wanted, ProtocolDefinition) else self.roster.protocol(wanted)

    def path_for(
        self,
        session: Session,
        protocol: ProtocolDefinition,
        flags: BindFlags,
        event: type[Event],
    ) -> tuple[DataPath, bool]:
        """Return the data path of a secondary connection, and whether filters will be asked.

        The kernel's path, unless user mode is asked for, a filter registered for the `event` that
        a flow will raise, a data filter factory could meet it, or there is no kernel path
        (semantics 1.5 item 9). Raises OutOfResources when the path that is needed is not there.
        """
        is_filtered = bool(
            session.filter_set.subscribers(session, event, protocol, is_secondary=True)
        )
        for factory in session.factories:
            is_filtered = is_filtered or factory.may_meet(event, None)
        if self._kernel_path is not None and not (is_filtered or flags.is_user_mode):
            return self._kernel_path, False
        return self.user_path, is_filtered

    @property
    def user_path(self) -> UserPath:
        """The user-mode data path; raises OutOfResources when this gateway has none."""
        if DataPathKind.USER not in self.data_paths:
            raise OutOfResources("no-user-data-path")
        return cast("UserPath", self.data_paths[DataPathKind.USER])  # what is of that kind is one

    def new_binding_id(self) -> str:
        """Return a name that no binding of this process ever had."""
        return f"{self.name}b{next(self._binding_numbers)}"

    def reservations_at(
        self, path: DataPath, transport: Transport, address: IpAddress
    ) -> PortReservations:
        """Return the port reservations of a gateway address on this data path."""
        key = path, transport, address
        reservations = self._reservations.get(key)
        if reservations is None:
            pool = self._ports.of(transport, address)
            reservations = self._reservations[key] = PortReservations(
                path, transport, address, pool, self.clock, is_kept=self._is_kept
            )
        return reservations

    def _is_kept(self, port: int) -> bool:
        return port in self.policy.kept_ports

    def external_address(self, client: IpAddress) -> IpAddress | None:
        """Return where peers reach a client's ports (`Policy.external_address`)."""
        return self.policy.external_address(client)

    @takes(client=IpAddress, asker=Asker)
    def client_session(self, client: IpAddress, asker: Asker = ANYONE) -> Session:
        """Implement `model.filter.Firewall`: return the session of a client.

        `asker`: the user and the way of asking, of a client that a front end serves.
        """
        return self.sessions.begin_unused(client, asker, is_private=False)

    @takes(client=IpAddress)
    def private_session(self, client: IpAddress) -> Session:
        """Implement `model.filter.Firewall`: return a new private session."""
        return self.sessions.begin_unused(client, is_private=True)

    # -- inside -------------------------------------------------------------------------------

    async def _end_in_turn(
        self, primary: PrimaryConnection, reason: str, explanation: str | None
    ) -> None:
        """End a connection, when every call that was queued before has run."""
        self.end_primary(primary, reason, explanation, abort=False)

    def new_runner(self, connection: Connection) -> SerialRunner:
        """Return a new runner for a connection's filter code; a fault in it ends the connection."""

        def fault(error: BaseException, name: str) -> None:
            self.filter_failed(connection, error, name)

        return self._runner(fault)

    def new_strand(self, bundle: Bundle) -> SerialRunner:
        """Return a new runner for a bundle's timers; a fault in one of them ends the bundle."""

        def fault(error: BaseException, _name: str) -> None:
            self.roster.timer_failed(bundle, error)

        return self._runner(fault)

    def _runner(self, fault: Callable[[BaseException, str], None]) -> SerialRunner:
        environment = self._environment
        return SerialRunner(environment.suspend, environment.filter_running, fault, self.call_later)
