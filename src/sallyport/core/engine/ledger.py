"""Ledger: registers every binding and permission, records what becomes of it, and releases it.

Making and closing stand side by side here, so that a reader sees that the one releases all that the
other takes: the reserved port, the count against the quota, the entries in session and primary.
"""

from collections.abc import Mapping
from typing import NamedTuple

from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.model.adopted_transfer import AdoptedTransfer
from sallyport.core.model.binding import Binding
from sallyport.core.model.connection import PrimaryConnection, parties_of
from sallyport.core.model.engine import Engine
from sallyport.core.model.events import (
    NO_PARAMETERS,
    ConnectionRefused,
    ConnectionTerminating,
    EstablishedConnection,
    Event,
)
from sallyport.core.model.future_connection import FutureConnection
from sallyport.core.model.request import BindRequest
from sallyport.core.model.secondary import SecondaryConnection
from sallyport.core.pinholes.datapath import Missed
from sallyport.core.pinholes.lifecycle import CLOSED
from sallyport.core.pinholes.registry import Traffic
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.runtime.environment import Level
from sallyport.errors import BindError
from sallyport.limits import (
    DELAY_FOR_A_BIND_IN_VAIN,
    IN_VAIN_SECONDS,
    MAX_UNUSED_REMEMBERED,
)

# Ends that need no word by themselves.
_NORMAL = frozenset({"finished", "idle"})


class Unused(NamedTuple):
    """A pinhole that has closed and that no flow has used."""

    listen: Endpoint
    missed: Missed
    ended_at: float


class Ledger:
    """Keeps the books of one gateway: quota, journal, and the events for a bind's caller alone."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._journal = engine.journal
        self.unused: dict[IpAddress, Unused] = {}
        """The last pinhole of each client that no peer used, for `explain`; the oldest is first."""

    # -- bindings -----------------------------------------------------------------------------

    def bind_refused(self, request: BindRequest, refusal: BindError) -> None:
        """Record why a bind was refused."""
        self._in_vain(request.primary)
        protocol = request.protocol
        self._note_refusal(
            refusal,
            protocol=protocol.name if isinstance(protocol, ProtocolDefinition) else protocol,
            **parties_of(request.session, request.primary) | _by_rule(refusal),
            named=", ".join(map(str, request.client_addresses)),
        )

    def arming_refused(self, binding: Binding, refusal: BindError) -> None:
        """Record why a binding could not be armed."""
        self._note_refusal(
            refusal,
            binding=binding.id,
            protocol=binding.protocol.name,
            **parties_of(binding.session, binding.primary, binding.rule),
            named=", ".join(str(one.client_address or "unknown") for one in binding.connections),
        )

    def binding_made(self, binding: Binding, request: BindRequest) -> None:
        """Register a new binding, its connections and their time limits.

        The rule may give it less time than it was asked for.
        """
        session = binding.session
        session.bindings[binding.id] = binding
        for connection in binding.connections:
            session.hold(connection, binding.primary)
            self._engine.registry.add(connection)
            if (keeper := binding.bundle or binding.primary) is not None:
                keeper.openings[connection.pinhole.id] = connection
        binding.live(request.lifetime, binding.rule.max_lifetime)
        binding.watch_for_silence(request.idle, binding.rule.max_idle)
        self._note_bound("binding.reserved", binding.connections[0], "debug")

    def bind_denied(self, binding: Binding, name: str) -> None:
        """Record which filter denied a bind."""
        self._journal.record(
            "binding.denied",
            level="warning",
            **parties_of(binding.session, binding.primary, binding.rule),
            protocol=binding.protocol.name,
            binding=binding.id,
            reason="denied-by-filter",
            filter=name,
        )

    def port_armed(self, connection: SecondaryConnection) -> None:
        """Record that a pinhole is open; once for each binding.

        What belongs to a control connection has its one record when it is over. A port that lives
        for hours by itself is told of when it opens, too.
        """
        if connection.index == 0:
            binding = connection.binding
            if binding is not None and binding.idle_limit is not None:
                binding.idle_limit.restart()
            is_shared = binding is not None and binding.is_shared
            is_quiet = is_shared or connection.primary is not None
            self._note_bound("binding.armed", connection, "debug" if is_quiet else "info")

    def peer_admitted(self, connection: SecondaryConnection, peer: Endpoint) -> None:
        """Notify the caller of the bind that a peer is connected."""
        self._journal.record(
            "binding.established",
            level="debug",
            session=connection.session.id,
            binding=connection.binding_id,
            peer=peer,
        )
        _count_transfer(connection)
        self._notify_of_peer(EstablishedConnection, connection, peer)

    def peer_failed(self, connection: SecondaryConnection, peer: Endpoint) -> None:
        """Notify the caller of the bind that an attempt failed."""
        self._journal.record(
            "binding.attempt_failed",
            session=connection.session.id,
            binding=connection.binding_id,
            peer=peer,
        )
        self._notify_of_peer(ConnectionRefused, connection, peer)

    def port_closed(self, connection: SecondaryConnection, reason: str, traffic: Traffic) -> None:
        """Release what the connection held and notify the caller of the bind."""
        session, primary = connection.session, connection.primary
        binding, listen = connection.binding, connection.proxy_address
        if connection.reservations is not None:
            connection.reservations.give_back(listen)
        session.let_go(connection, primary)
        if session.factories:
            session.forget_attached(connection.pinhole.id)
        if (keeper := connection.bundle or primary) is not None:
            keeper.openings.pop(connection.pinhole.id, None)
        if binding is not None and all(one.state is CLOSED for one in binding.connections):
            del session.bindings[binding.id]
            binding.let_go()
        self._summarize(
            "binding.closed",
            connection,
            reason,
            level="debug" if binding and binding.is_shared and not traffic.flows else "info",
            seconds=0.0 if binding is None else self._engine.clock() - binding.created_at,
            binding=connection.binding_id,
            proxy=listen,
            peer=connection.latest_peer,
            flows=traffic.flows,
            from_peer_bytes=traffic.from_peer_bytes,
            to_peer_bytes=traffic.to_peer_bytes,
        )
        # The last step, because the filter may kill the rest of the binding from within its event.
        self._notify(connection, self._terminating(connection, reason, traffic))
        self._engine.forget_idle(session)

    def flow_denied(
        self, connection: SecondaryConnection | FutureConnection, peer: Endpoint, name: str
    ) -> None:
        """Record which filter denied a peer that had arrived."""
        self._journal.record(
            "flow.denied",
            level="warning",
            **parties_of(connection.session, connection.primary, connection.rule),
            protocol=connection.protocol.name,
            proxy=connection.proxy_address,
            peer=peer,
            reason="denied-by-filter",
            filter=name,
        )

    def flow_turned_away(
        self, connection: SecondaryConnection | FutureConnection, peer: Endpoint
    ) -> None:
        """Record a peer that came while the connection had as many flows as its rule lets it."""
        self._journal.record(
            "flow.turned_away",
            level="warning",
            **parties_of(connection.session, connection.primary, connection.rule),
            protocol=connection.protocol.name,
            proxy=connection.proxy_address,
            peer=peer,
            reason="too-many-flows",
        )

    # -- outbound permissions -----------------------------------------------------------------

    def permission_made(self, future: FutureConnection) -> None:
        """Register a permission and its time limit."""
        future.session.hold(future, future.primary)
        if future.primary is not None:
            future.primary.openings[future.pinhole.id] = future
        self._engine.registry.add(future)

    def permission_used(self, future: FutureConnection, client: Endpoint) -> None:
        """Notify the caller of the permission that the client has connected."""
        self._note(future, "connect.established", "debug", client)
        _count_transfer(future)
        self._notify_of_peer(EstablishedConnection, future, client)

    def permission_failed(self, future: FutureConnection, client: Endpoint) -> None:
        """Notify the caller of the permission that the client's attempt failed."""
        self._note(future, "connect.attempt_failed", "info", client)
        self._notify_of_peer(ConnectionRefused, future, client)

    def permission_closed(self, future: FutureConnection, reason: str, traffic: Traffic) -> None:
        """Release a permission and the port it held, if any, and notify its caller."""
        if future.reservations is not None:
            future.reservations.give_back(future.proxy_address)
        future.session.let_go(future, future.primary)
        if future.primary is not None:
            future.primary.openings.pop(future.pinhole.id, None)
        self._summarize(
            "connect.secondary_closed",
            future,
            reason,
            seconds=self._engine.clock() - future.created_at,
            to=future.pinhole.target,
            flows=traffic.flows,
            from_client_bytes=traffic.from_peer_bytes,
            to_client_bytes=traffic.to_peer_bytes,
        )
        self._notify(future, self._terminating(future, reason, traffic))
        self._engine.forget_idle(future.session)

    # -- transfers of an earlier process ------------------------------------------------------

    def transfer_adopted(self, transfer: AdoptedTransfer, source: Endpoint) -> None:
        """Record that a transfer was found and is watched again."""
        client, peer = transfer.ends(source)
        self._journal.record(
            "transfer.adopted", session=transfer.session.id, client=client, peer=peer
        )

    def transfer_closed(self, transfer: AdoptedTransfer, reason: str, traffic: Traffic) -> None:
        """Release what an adopted transfer counted for, and record its sums."""
        client, peer = transfer.ends(transfer.latest_peer or transfer.pinhole.listen)
        here, there = traffic.from_peer_bytes, traffic.to_peer_bytes
        from_client, to_client = (there, here) if transfer.is_inbound else (here, there)
        transfer.session.let_go(transfer, None)
        self._journal.record(
            "transfer.closed",
            session=transfer.session.id,
            client=client,
            peer=peer,
            reason=reason,
            seconds=round(self._engine.clock() - transfer.began, 3),
            from_client_bytes=from_client,
            to_client_bytes=to_client,
        )
        self._engine.forget_idle(transfer.session)

    # -- inside -------------------------------------------------------------------------------

    def _terminating(
        self, connection: SecondaryConnection | FutureConnection, reason: str, traffic: Traffic
    ) -> ConnectionTerminating:
        self._engine.ask_no_more(connection)
        event = ConnectionTerminating(
            connection,
            reason,
            traffic,
            connection.context,
            connection.explanation,
            parameters=_settings_for(connection),
        )
        self._engine.announce_end(connection, event)
        return event

    def _notify_of_peer(
        self,
        kind: type[EstablishedConnection] | type[ConnectionRefused],
        connection: SecondaryConnection | FutureConnection,
        peer: Endpoint,
    ) -> None:
        known = _settings_for(connection)
        self._notify(connection, kind(connection, peer, connection.context, parameters=known))

    def _notify(self, connection: SecondaryConnection | FutureConnection, event: Event) -> None:
        """Notify the caller of a bind or permission, and no other filter (semantics 1.5 rule 11).

        The event runs on the primary's runner while that works, behind the calls already queued
        there: a filter then sees the transfer's event in order with the control connection's data.
        """
        session_filter = connection.session_filter
        if session_filter is None or connection.session.filter_set.is_retired:
            return
        primary = connection.primary
        is_attended = primary is not None and primary.is_open and not primary.runner.is_closed
        runner = primary.runner if is_attended and primary else self._engine.new_runner(connection)
        runner.run(session_filter.on_event, (event,), connection.asked_by)

    def _note(self, future: FutureConnection, event: str, level: Level, client: Endpoint) -> None:
        primary = future.primary
        self._journal.record(
            event,
            level=level,
            session=future.session.id,
            connection=None if primary is None else primary.id,
            client=client,
            server=future.pinhole.target,
        )

    def _note_refusal(self, refusal: BindError, **fields: object) -> None:
        if str(refusal) != refusal.reason:
            fields["error"] = str(refusal)
        refusal.is_recorded = True
        self._journal.record(
            "binding.refused", level="warning", code=refusal.code, reason=refusal.reason, **fields
        )

    def _summarize(
        self,
        event: str,
        connection: SecondaryConnection | FutureConnection,
        reason: str,
        *,
        seconds: float,
        level: Level = "info",
        **fields: object,
    ) -> None:
        """Write the one record that says all about a transfer that is over."""
        if connection.explanation is not None:
            # A filter had a reason of its own: a transfer that was blocked is no normal end.
            level, fields["explanation"] = "warning", connection.explanation
            reason = "closed-by-filter" if reason in _NORMAL else reason
        if connection.missed is not None:
            if seconds < IN_VAIN_SECONDS:
                self._in_vain(connection.primary)
            fields["unused"] = connection.missed
            # Of all that can be the cause, this one is for the operator of this host to mend.
            level = "warning" if connection.missed is Missed.DROPPED else level
            if (reason, connection.missed) != ("server-refused", Missed.NOTHING_CAME):
                self._remember(connection, connection.missed)
        self._journal.record(
            event,
            level=level,
            **parties_of(connection.session, connection.primary, connection.rule),
            protocol=connection.protocol.name,
            reason=reason,
            seconds=round(seconds, 3),
            **fields,
        )

    def _in_vain(self, primary: PrimaryConnection | None) -> None:
        """Let who asked for a bind that came to nothing wait for it.

        Else a client that does nothing but bind has as much of the time as one that transfers.
        """
        if primary is not None:
            host = self._engine.policy.host_of(primary.client.address)
            self._engine.delay(host, DELAY_FOR_A_BIND_IN_VAIN)

    def _remember(self, connection: SecondaryConnection | FutureConnection, missed: Missed) -> None:
        client = connection.session.client_address
        self.unused.pop(client, None)
        self.unused[client] = Unused(connection.proxy_address, missed, self._engine.clock())
        if len(self.unused) > MAX_UNUSED_REMEMBERED:
            del self.unused[next(iter(self.unused))]

    def _note_bound(self, event: str, first: SecondaryConnection, level: Level) -> None:
        """Record an event of a binding; its first port stands for it."""
        pinhole = first.pinhole
        self._journal.record(
            event,
            level=level,
            protocol=first.protocol.name,
            session=first.session.id,
            binding=first.binding_id,
            rule=first.rule.name,
            client=pinhole.target or "unknown",
            proxy=pinhole.listen,
            peers="anyone" if pinhole.sources is None else pinhole.sources,
        )


def _by_rule(refusal: BindError) -> dict[str, object]:
    return {} if refusal.rule is None else {"rule": refusal.rule}


def _settings_for(connection: SecondaryConnection | FutureConnection) -> Mapping[str, object]:
    """Return the settings of the filter that asked for it, if that has any."""
    return connection.session.filter_set.parameters.get(connection.asked_by, NO_PARAMETERS)


def _count_transfer(connection: SecondaryConnection | FutureConnection) -> None:
    if connection.primary is not None:
        connection.primary.transfers += 1
