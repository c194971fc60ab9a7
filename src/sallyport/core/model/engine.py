"""Engine: everything that the objects of the SDK ask of the gateway at work, in one place.

A session, a connection or a binding is a handle: it knows its own state, and calls the engine for
everything else. This protocol is the complete list of those calls. `core.engine.gateway.Gateway`
implements it. The parts of the gateway call each other through it too, so that no part needs to
know how the gateway is put together, and a test can stand in for any of them.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from sallyport.addresses import Endpoint, IpAddress, PortRange
from sallyport.core.model.events import ConnectionTerminating, Event
from sallyport.core.pinholes.datapath import Arrival, DataPath, UserPath
from sallyport.core.pinholes.registry import OpeningRegistry, Traffic
from sallyport.core.pinholes.reservations import PortReservations
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rates import Rates
from sallyport.core.policy.rules import Policy
from sallyport.core.runtime.deadlines import Deadline
from sallyport.core.runtime.durations import Durations
from sallyport.core.runtime.environment import Journal
from sallyport.core.runtime.serial import SerialRunner
from sallyport.errors import BindError
from sallyport.flags import BindFlags, Transport
from sallyport.ipfilter import IpFilter

if TYPE_CHECKING:
    from sallyport.core.model.adopted_transfer import AdoptedTransfer
    from sallyport.core.model.binding import Binding
    from sallyport.core.model.bundle import Bundle
    from sallyport.core.model.chain import Chain
    from sallyport.core.model.connection import Connection, PrimaryConnection
    from sallyport.core.model.filter import DataFilter, SessionFilter
    from sallyport.core.model.future_connection import FutureConnection
    from sallyport.core.model.negotiated import Negotiated
    from sallyport.core.model.request import BindRequest, FutureRequest
    from sallyport.core.model.secondary import SecondaryConnection
    from sallyport.core.model.session import Session
    from sallyport.core.model.tracing import Tracing


class Engine(Protocol):
    """The gateway, as its sessions, connections and bindings see it.

    The methods are grouped by the module that implements them: the gateway itself, the binder, the
    event dispatcher, the ledger and the roster. Each is documented there, under the same name.
    """

    journal: Journal
    tracing: "Tracing"
    policy: Policy
    registry: OpeningRegistry
    held: dict[str, int]
    rates: Rates
    bind_times: Durations

    # -- the gateway (engine.gateway) ---------------------------------------------------------

    @property
    def clock(self) -> Callable[[], float]: ...
    def minute_of_week(self) -> int: ...
    def delay(self, client: str, seconds: float) -> None: ...
    @property
    def port_range(self) -> PortRange: ...
    def free_ports(self, transport: Transport, address: IpAddress | None = None) -> int: ...
    @property
    def user_path(self) -> UserPath: ...
    def call_later(self, seconds: float, action: Callable[[], None]) -> Deadline: ...
    def new_runner(self, connection: "Connection") -> SerialRunner: ...
    def new_strand(self, bundle: "Bundle") -> SerialRunner: ...
    def new_binding_id(self) -> str: ...
    def protocol(self, wanted: ProtocolDefinition | UUID) -> ProtocolDefinition: ...
    def path_for(
        self,
        session: "Session",
        protocol: ProtocolDefinition,
        flags: BindFlags,
        event: type[Event],
    ) -> tuple[DataPath, bool]: ...
    def reservations_at(
        self, path: DataPath, transport: Transport, address: IpAddress
    ) -> PortReservations: ...
    def end_primary(
        self,
        primary: "PrimaryConnection",
        reason: str,
        explanation: str | None = None,
        *,
        abort: bool,
    ) -> None: ...
    def forget_idle(self, session: "Session") -> None: ...

    # -- the binder (engine.binder) -----------------------------------------------------------

    async def bind(self, request: "BindRequest", *, armed: bool) -> "Binding": ...
    async def allow(
        self, request: "FutureRequest", *, armed: bool
    ) -> "tuple[FutureConnection, ...]": ...
    async def approve(
        self,
        session: "Session",
        transport: Transport,
        address: Endpoint,
        protocol: ProtocolDefinition,
        *,
        flags: BindFlags,
        ip_filter: IpFilter | None,
    ) -> bool: ...
    async def complete_client_address(
        self, connection: "SecondaryConnection", client: Endpoint
    ) -> None: ...
    async def restrict_peers(
        self,
        connections: "Sequence[SecondaryConnection]",
        ip_filter: IpFilter | None,
        peer_ports: frozenset[int] | None,
    ) -> None: ...
    def extend(self, binding: "Binding", seconds: float) -> float: ...
    def require_sendable(self, connection: "Negotiated", peer: Endpoint) -> None: ...
    def require_peer(self, connection: "Negotiated", peer: Endpoint) -> None: ...

    # -- the event dispatcher (engine.dispatch) -----------------------------------------------

    async def ask_about_bind(self, binding: "Binding") -> None: ...
    def ask_about_flow(
        self,
        connection: "SecondaryConnection | FutureConnection",
        peer: Endpoint,
        arrival: Arrival,
        play_peer: "Callable[[Chain], None] | None" = None,
    ) -> None: ...
    def ask_no_more(self, connection: "SecondaryConnection | FutureConnection") -> None: ...
    def announce_end(
        self,
        connection: "PrimaryConnection | SecondaryConnection | FutureConnection",
        event: ConnectionTerminating,
    ) -> None: ...

    # -- the ledger (engine.ledger) -----------------------------------------------------------

    def bind_refused(self, request: "BindRequest", refusal: BindError) -> None: ...
    def bind_denied(self, binding: "Binding", name: str) -> None: ...
    def binding_made(self, binding: "Binding", request: "BindRequest") -> None: ...
    def arming_refused(self, binding: "Binding", refusal: BindError) -> None: ...
    def port_armed(self, connection: "SecondaryConnection") -> None: ...
    def peer_admitted(self, connection: "SecondaryConnection", peer: Endpoint) -> None: ...
    def peer_failed(self, connection: "SecondaryConnection", peer: Endpoint) -> None: ...
    def port_closed(
        self, connection: "SecondaryConnection", reason: str, traffic: Traffic
    ) -> None: ...
    def flow_denied(
        self, connection: "SecondaryConnection | FutureConnection", peer: Endpoint, name: str
    ) -> None: ...
    def flow_turned_away(
        self, connection: "SecondaryConnection | FutureConnection", peer: Endpoint
    ) -> None: ...
    def permission_made(self, future: "FutureConnection") -> None: ...
    def permission_used(self, future: "FutureConnection", client: Endpoint) -> None: ...
    def permission_failed(self, future: "FutureConnection", client: Endpoint) -> None: ...
    def permission_closed(
        self, future: "FutureConnection", reason: str, traffic: Traffic
    ) -> None: ...
    def transfer_adopted(self, transfer: "AdoptedTransfer", source: Endpoint) -> None: ...
    def transfer_closed(
        self, transfer: "AdoptedTransfer", reason: str, traffic: Traffic
    ) -> None: ...

    # -- the roster (engine.roster) -----------------------------------------------------------

    def is_off(
        self, name: str, session: "Session", primary: "PrimaryConnection | None"
    ) -> bool: ...
    def filter_failed(self, connection: "Connection", error: BaseException, name: str) -> None: ...
    def detach(
        self,
        attached: "DataFilter | SessionFilter",
        session: "Session",
        name: str,
        primary: "PrimaryConnection | None" = None,
    ) -> None: ...
