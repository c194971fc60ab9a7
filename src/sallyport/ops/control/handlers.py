"""The answers of the admin API: the gateway's objects as rows of `ops.control.schema`."""

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal

import sallyport
from sallyport.addresses import IpAddress
from sallyport.core.engine.gateway import Gateway
from sallyport.core.model.binding import Binding
from sallyport.core.model.hooks import Source
from sallyport.core.model.session import Session
from sallyport.core.pinholes.datapath import DataPathKind
from sallyport.errors import NotFound
from sallyport.flags import Transport
from sallyport.ops.config.load import Configuration
from sallyport.ops.control import transfers
from sallyport.ops.control.explain import explain
from sallyport.ops.control.filter_rows import rows_of
from sallyport.ops.control.measured import measured
from sallyport.ops.control.onlookers import Onlookers
from sallyport.ops.control.operations import Handler, Stream
from sallyport.ops.control.schema import (
    BindingRow,
    Bindings,
    ControlRow,
    Explained,
    Filters,
    FlowRow,
    Killed,
    Rules,
    SessionRow,
    Sessions,
    Status,
    Transfers,
    address_in,
    rules_of,
    worker_in,
)
from sallyport.ops.logs import EventJournal

_TRANSPORTS: Mapping[Transport, Literal["tcp", "udp"]] = {
    Transport.TCP: "tcp",
    Transport.UDP: "udp",
}

_SOURCES: Mapping[Source, Literal["secure-nat", "firewall-client"]] = {
    Source.SECURE_NAT: "secure-nat",
    Source.FIREWALL_CLIENT: "firewall-client",
}


def _usual_path(gateway: Gateway) -> DataPathKind:
    """Return the data path of bindings that ask for none: the fastest there is."""
    return min(gateway.data_paths, key=list(DataPathKind).index)


class Handlers:
    """The handlers of one gateway."""

    def __init__(
        self,
        gateway: Gateway,
        journal: EventJournal,
        configuration: Callable[[], Configuration],
    ) -> None:
        """`configuration` returns the one in force."""
        self._configuration = configuration
        self._gateway = gateway
        self._journal = journal
        self._started = gateway.clock()
        self._onlookers = Onlookers(journal, gateway.tracing)

    def table(self) -> Mapping[str, Handler]:
        """Return the handler of each operation, by its name."""
        return {
            "status": self.status,
            "sessions.list": self.sessions,
            "sessions.show": self.sessions,
            "sessions.kill": self.kill_session,
            "bindings.list": self.bindings,
            "bindings.show": self.bindings,
            "bindings.kill": self.kill_binding,
            "transfers.list": self.transfers,
            "transfers.kill": self.kill_transfer,
            "rules.show": self.rules,
            "filters.list": self.filters,
            "explain": self.explain,
            "measure": lambda _arguments: measured(self._gateway, self._journal),
        }

    def streams(self) -> Mapping[str, Stream]:
        """Return what tells each stream, by the name of its operation."""
        return {"events": self._onlookers.events, "trace": self._onlookers.trace}

    def status(self, _arguments: Mapping[str, object]) -> Status:
        """Answer `status`."""
        gateway, configuration = self._gateway, self._configuration()
        sessions = tuple(gateway.sessions)
        return Status(
            release=sallyport.__version__,
            pid=os.getpid(),
            uptime_seconds=round(gateway.clock() - self._started, 3),
            data_path=_usual_path(gateway).value,
            port_range=str(gateway.port_range),
            networks=[network.name for network in gateway.policy.networks],
            supervised=list(configuration.supervised_names),
            unsupervised=list(configuration.unsupervised),
            sessions=len(sessions),
            controls=sum(len(session.primaries) for session in sessions),
            bindings=sum(len(session.bindings) for session in sessions),
            refusals=dict(self._journal.refusals),
            log_records_lost=self._journal.lost,
            degraded=self._trouble(),
        )

    def _trouble(self) -> str | None:
        """Return what is not as it should be in this worker, for all of its clients."""
        gateway, roster = self._gateway, self._gateway.roster
        found = [
            f"filter {name} is {why}"
            for name, why in roster.off().items()
            if roster.is_off_for_all(name)
        ]
        found += [
            f"no free {one.name.lower()} port in {gateway.port_range}"
            for one in Transport
            if not gateway.free_ports(one)
        ]
        return "; ".join(found) or None

    def sessions(self, arguments: Mapping[str, object]) -> Sessions:
        """Answer `sessions.list`, and `sessions.show` with an id; raises NotFound."""
        wanted = arguments.get("id")
        chosen = self._gateway.sessions if wanted is None else [self._session(wanted)]
        return Sessions(sessions=[self._session_row(session) for session in chosen])

    def kill_session(self, arguments: Mapping[str, object]) -> Killed:
        """Answer `sessions.kill`, by an id or by the address of a client; raises NotFound."""
        if (client := address_in(arguments.get("id"))) is not None:
            return self._kill_client(client)
        session = self._session(arguments.get("id"))
        bindings = list(session.bindings)
        session.kill("killed-by-operator")
        return Killed(sessions=[session.id], bindings=bindings)

    def _kill_client(self, client: IpAddress) -> Killed:
        """End the sessions of a client, and what it has opened to published servers."""
        sessions = [one for one in self._gateway.sessions if one.client_address == client]
        controls = [
            control
            for session in self._gateway.sessions
            for control in session.primaries.values()
            if control.client.address == client and session not in sessions
        ]
        bindings = [binding for session in sessions for binding in session.bindings]
        for session in sessions:
            session.kill("killed-by-operator")
        for control in controls:
            control.kill("killed-by-operator")
        return Killed(
            sessions=[session.id for session in sessions],
            bindings=bindings,
            controls=[f"{control.client} > {control.server}" for control in controls],
        )

    def bindings(self, arguments: Mapping[str, object]) -> Bindings:
        """Answer `bindings.list`, and `bindings.show` with an id; raises NotFound."""
        wanted = arguments.get("id")
        chosen = self._gateway.bindings() if wanted is None else [self._binding(wanted)]
        return Bindings(bindings=[self._binding_row(binding) for binding in chosen])

    def kill_binding(self, arguments: Mapping[str, object]) -> Killed:
        """Answer `bindings.kill`; raises NotFound."""
        binding = self._binding(arguments.get("id"))
        binding.kill("killed-by-operator")
        return Killed(sessions=[], bindings=[binding.id])

    def transfers(self, _arguments: Mapping[str, object]) -> Transfers:
        """Answer `transfers.list`."""
        return Transfers(transfers=list(transfers.rows(self._gateway)))

    def kill_transfer(self, arguments: Mapping[str, object]) -> Killed:
        """Answer `transfers.kill`; raises NotFound."""
        killed = transfers.kill(self._gateway, arguments.get("id"), "killed-by-operator")
        return Killed(sessions=[], bindings=[], transfers=[killed])

    def rules(self, _arguments: Mapping[str, object]) -> Rules:
        """Answer `rules.show`."""
        return rules_of(self._gateway.policy)

    def filters(self, _arguments: Mapping[str, object]) -> Filters:
        """Answer `filters.list`."""
        rows = rows_of(self._configuration().filters, self._gateway.roster.off())
        return Filters(filters=list(rows))

    def explain(self, arguments: Mapping[str, object]) -> Explained:
        """Answer `explain`; raises BadQuestion, and NotFound for an unknown protocol."""
        return explain(self._gateway, self._configuration(), arguments)

    def _session(self, wanted: object) -> Session:
        for session in self._gateway.sessions:
            if session.id == wanted:
                return session
        raise NotFound(f"no session {wanted}")

    def _binding(self, wanted: object) -> Binding:
        for binding in self._gateway.bindings():
            if binding.id == wanted:
                return binding
        raise NotFound(f"no binding {wanted}")

    def _session_row(self, session: Session) -> SessionRow:
        age = timedelta(seconds=self._gateway.clock() - session.since)
        return SessionRow(
            id=session.id,
            worker=worker_in(session.id),
            client=str(session.client_address),
            user=session.user,
            source=_SOURCES[session.source],
            since=(datetime.now(UTC) - age).isoformat(timespec="seconds"),
            controls=[
                ControlRow(
                    client=str(primary.client),
                    server=str(primary.server),
                    filter=primary.protocol.name,
                    state="connected" if primary.gateway_address else "connecting",
                )
                for primary in session.primaries.values()
            ],
            bindings=len(session.bindings),
        )

    def _binding_row(self, binding: Binding) -> BindingRow:
        first, ip_filter, primary = binding.connections[0], binding.ip_filter, binding.primary
        return BindingRow(
            id=binding.id,
            worker=worker_in(binding.id),
            session=binding.session.id,
            filter=binding.protocol.name,
            rule=binding.rule.name,
            transport=_TRANSPORTS[binding.transport],
            proxy_address=str(binding.proxy_address),
            client_address=None if first.client_address is None else str(first.client_address),
            peers=None
            if ip_filter is None
            else [str(a) if a == b else f"{a}-{b}" for a, b in ip_filter.ranges],
            flags=[str(flag.name) for flag in binding.flags],
            data_path=first.data_path.value,
            state=binding.state.value,
            age_seconds=round(self._gateway.clock() - binding.created_at, 3),
            expires_in=None if binding.expires_in is None else round(binding.expires_in, 3),
            frontend=str(transfers.asker_of(binding).frontend),
            user=binding.user,
            connections=[
                FlowRow(
                    peer=str(flow.peer),
                    from_peer_bytes=flow.from_peer_bytes,
                    to_peer_bytes=flow.to_peer_bytes,
                )
                for connection in binding.connections
                for flow in connection.peers()
            ],
            primary=None if primary is None else f"{primary.client} > {primary.server}",
        )
