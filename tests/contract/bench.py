"""The bench: what a contract test may say, whatever carries the bytes.

A test calls `bind` (which is `session.bind_for_client`) and plays the hosts around the gateway:
clients listen, peers come. Each data path has one implementation; tests do not know which.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

from tests.contract.places import CLIENT_PORT, CONTRACT, PUBLISHED, Way

from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.engine.gateway import Gateway
from sallyport.core.model.binding import Binding
from sallyport.core.model.connection import PrimaryConnection
from sallyport.core.model.events import (
    AcceptedConnection,
    BindTcp,
    BindUdp,
    Event,
    Listen,
    UdpDestination,
)
from sallyport.core.model.filter import API_VERSION, ApplicationFilter, DataFilter, SessionFilter
from sallyport.core.model.hooks import Hooks, Scope
from sallyport.core.model.secondary import SecondaryConnection
from sallyport.core.model.session import Session
from sallyport.core.pinholes.datapath import DataPathKind
from sallyport.core.pinholes.ports import Ports
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.flags import Transport
from sallyport.testing import MemoryJournal

_Result = TypeVar("_Result")

# One number for every client port of a run: no test meets what conntrack remembers of another.
_client_ports = count(CLIENT_PORT)


class Witness(SessionFilter):
    """Keeps every event it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def on_event(self, event: Event) -> None:
        """See `SessionFilter`."""
        self.events.append(event)

    def kinds(self) -> list[str]:
        """The names of every event so far."""
        return [type(event).__name__ for event in self.events]


class Vetoing(Witness):
    """Denies every bind of one kind."""

    def __init__(self, denies: type[BindTcp] | type[BindUdp] | None) -> None:
        super().__init__()
        self._denies = denies

    async def on_event(self, event: Event) -> None:
        """See `SessionFilter`."""
        await super().on_event(event)
        if isinstance(event, BindTcp | BindUdp) and type(event) is self._denies:
            event.connection.deny()


class Owner(ApplicationFilter):
    """The filter to which the contract's protocols belong."""

    name = "owner"
    api_version = API_VERSION
    protocols: tuple[ProtocolDefinition, ...] = (CONTRACT, *PUBLISHED.values())

    def __init__(self) -> None:
        self.witness = Witness()

    def attach_to_session(self, session: Session) -> SessionFilter:
        """See `ApplicationFilter`."""
        return self.witness


class Guard(Owner):
    """A filter that is told of every bind; `denies` is the kind of event it answers with a veto."""

    name = "guard"
    protocols = ()
    hooks = Hooks.of(BindTcp, BindUdp, Listen, scope=Scope.ANY_PROTOCOL)

    def __init__(self, denies: type[BindTcp] | type[BindUdp] | None = None) -> None:
        super().__init__()
        self.witness = Vetoing(denies)


class Listener(DataFilter):
    """Writes down whose bytes it sees, and passes them on."""

    def __init__(self, heard: list[str]) -> None:
        self._heard = heard

    async def started(self) -> None:
        """See `DataFilter`."""
        self._heard.append(f"started {self.peer}")

    async def from_client(self, data: bytes) -> None:
        """See `DataFilter`."""
        self._heard.append(f"client: {data.decode()}")
        await super().from_client(data)

    async def from_server(self, data: bytes) -> None:
        """See `DataFilter`."""
        self._heard.append(f"peer: {data.decode()}")
        await super().from_server(data)

    def detach(self) -> None:
        """See `DataFilter`."""
        self._heard.append("detached")


class Watching(Witness):
    """Looks into every secondary connection, or denies it."""

    def __init__(self, *, denies: bool) -> None:
        super().__init__()
        self._denies = denies
        self.heard: list[str] = []

    async def on_event(self, event: Event) -> None:
        """See `SessionFilter`."""
        await super().on_event(event)
        if isinstance(event, AcceptedConnection | UdpDestination):
            if self._denies:
                event.connection.deny()
            else:
                event.connection.attach_data_filter(Listener(self.heard))


class Watcher(Owner):
    """A filter that wants to see what secondary connections carry."""

    name = "watcher"
    hooks = Hooks.of(AcceptedConnection, UdpDestination, scope=Scope.SECONDARY)
    witness: Watching

    def __init__(self, *, denies: bool = False) -> None:
        super().__init__()
        self.witness = Watching(denies=denies)


class Choosing(Witness):
    """Looks into the binds that are made while `wanted`."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted = False
        self.heard: list[str] = []

    async def on_event(self, event: Event) -> None:
        """See `SessionFilter`."""
        await super().on_event(event)
        if self.wanted and isinstance(event, BindTcp | BindUdp):
            event.connection.attach_data_filter(Listener(self.heard))


class Chooser(Owner):
    """A filter that picks what it sees when a port is bound."""

    name = "chooser"
    protocols = ()
    hooks = Hooks.of(BindTcp, BindUdp, scope=Scope.ANY_PROTOCOL)
    witness: Choosing

    def __init__(self) -> None:
        super().__init__()
        self.witness = Choosing()


class Wire:
    """A link and both ends of the control connection, which is nobody's business here."""

    def send(self, data: bytes) -> None:
        """See `StreamEnd`."""

    def shutdown(self) -> None:
        """See `StreamEnd`."""

    def abort(self) -> None:
        """See `Link`."""

    def close(self) -> None:
        """See `Link`."""


@dataclass(frozen=True, slots=True)
class Holdings:
    """Everything a refused call could have left behind; `path` is the data path's own word."""

    path: object
    openings: int
    deadlines: int
    bindings: tuple[str, ...]
    quota: tuple[tuple[str, int], ...]
    ports: tuple[int, ...]


class Talk(ABC):
    """What a peer that got in has with the client; `seen` is the peer as the client sees it.

    `at` is where it arrived.
    """

    peer: Endpoint
    seen: Endpoint
    at: Endpoint

    @abstractmethod
    def reaches_client(self, data: bytes) -> bool:
        """Whether `data` from the peer arrives at the client as it was sent."""

    @abstractmethod
    def reaches_peer(self, data: bytes) -> bool:
        """Whether `data` from the client arrives at the peer as it was sent."""

    @abstractmethod
    def is_cut_towards_client(self, data: bytes) -> bool:
        """Whether `data` from the peer does not arrive at the client."""

    @abstractmethod
    def is_cut_towards_peer(self, data: bytes) -> bool:
        """Whether `data` from the client does not arrive at the peer."""

    @abstractmethod
    def finish(self) -> None:
        """TCP: both ends close."""


class Bench(ABC):
    """A gateway with one primary connection, and the hosts around it."""

    def __init__(self, way: Way, transport: Transport) -> None:
        self.way = way
        self.transport = transport
        self.journal = MemoryJournal()
        self.witness = Witness()
        self.gateway: Gateway
        self.ports: Ports
        self.primary: PrimaryConnection
        self._ended: PrimaryConnection | None = None

    # -- the primitive ------------------------------------------------------------------------

    def bind(self, *clients: Endpoint, **arguments: Any) -> Binding:  # noqa: ANN401 - any argument of bind_for_client
        """Call `bind_for_client`, by default for a new port of the client, and for the primary."""
        everything: dict[str, Any] = {
            "transport": self.transport,
            "protocol": CONTRACT,
            "primary": self.primary,
            "session_filter": self.witness,
        } | arguments
        primary: PrimaryConnection = everything["primary"] or self.primary
        session = primary.session
        return self.run(session.bind_for_client(clients or (self.client(),), **everything))

    def client(self) -> Endpoint:
        """A new port of the client's own address."""
        return Endpoint(self.way.client, next(_client_ports))

    def at_outside(self, port: int = 0) -> Endpoint:
        """The gateway's external address."""
        return Endpoint(self.way.outside, port)

    def other_family(self) -> Way:
        """The same places in the other address family."""
        return Way(10 - self.way.version, self.way.relation)

    def dial(self, way: Way | None = None) -> PrimaryConnection:
        """Let the client open another control connection, which the server answers."""
        way = way or self.way
        primary = self.gateway.admit_primary(
            CONTRACT, Endpoint(way.client, 50000), Endpoint(way.server, CONTRACT.port)
        )
        self._start(primary, way)
        return primary

    def ended_primary(self) -> PrimaryConnection:
        """A control connection of the client that is over; the same at every call."""
        if self._ended is None:
            self._ended = self.dial()
            self._ended.close("over")
        return self._ended

    def wish(self) -> Endpoint | None:
        """A proxy address that gives gateway ports on every relation."""
        return None if self.way.is_nat else self.at_outside()

    def publish(self) -> PrimaryConnection:
        """Let the stranger come to the published server, and the server answer."""
        rules = self.gateway.policy.publishing_rules
        (rule,) = (one for one in rules if one.transport is self.transport)
        primary = self.gateway.admit_published(rule, Endpoint(self.way.stranger, 50000))
        self._start(primary, self.way)
        return primary

    def _start(self, primary: PrimaryConnection, way: Way) -> None:
        ours = way.outside if way.is_nat else way.client
        wire = Wire()
        self.gateway.start_primary(
            primary, gateway_address=Endpoint(ours, 50001), link=wire, client=wire, server=wire
        )

    def holdings(self) -> Holdings:
        """Take stock of everything a call can take."""
        pools = [(t, a) for t in Transport for a in (self.way.outside, self.way.inside)]
        return Holdings(
            path=self.kept(),
            openings=len(self.gateway.registry),
            deadlines=len(self.gateway.deadlines),
            bindings=tuple(binding.id for binding in self.gateway.bindings()),
            quota=tuple((s.id, len(s.openings)) for s in self.gateway.sessions),
            ports=tuple(self.ports.of(*pool).free for pool in pools),
        )

    # -- what differs -------------------------------------------------------------------------

    kinds: Sequence[DataPathKind]
    """Which data paths the gateway has; the first is the one that is used if nothing speaks
    against it."""

    @property
    def keeps_peer_address(self) -> bool:
        """Whether the client sees peers by their own addresses."""
        return True

    @abstractmethod
    def run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Run a coroutine of the core to its end."""

    @abstractmethod
    def until(self, condition: Callable[[], bool]) -> None:
        """Let the gateway work until `condition` about its state or events holds, or fail."""

    @abstractmethod
    def until_ended(self, connection: SecondaryConnection, peer: Endpoint) -> None:
        """Let the gateway work until this flow is over, or fail."""

    @abstractmethod
    def pass_time(self, seconds: float) -> None:
        """Let every deadline of the next `seconds` pass."""

    @abstractmethod
    def serve(self, at: Endpoint) -> None:
        """The inside host of that address listens (TCP) or waits for datagrams (UDP)."""

    @abstractmethod
    async def come(self, peer: IpAddress, listen: Endpoint, source_port: int = 0) -> Talk | None:
        """A peer comes to `listen`; None when it is told that it does not get in."""

    @abstractmethod
    def reach(self, peer: IpAddress, listen: Endpoint, *, source_port: int = 0) -> Talk:
        """A peer comes to `listen` and gets in; fails the test when it does not."""

    def speak_first(self, client: Endpoint, peer: IpAddress) -> tuple[Endpoint, Endpoint]:
        """Send a datagram from the client to a peer; return who the peer is, and whom it sees."""
        raise NotImplementedError  # only where bytes travel

    def speak_again(self, client: Endpoint, data: bytes = b"again") -> Endpoint:
        """Send another datagram from the client to that peer; return whom it sees.

        Raises TimeoutError when it does not arrive.
        """
        raise NotImplementedError  # only where bytes travel

    def answer_to(self, seen: Endpoint, data: bytes = b"answer to the first") -> Endpoint:
        """Answer what was heard in `speak_first`; return whom the client takes it from.

        Raises TimeoutError when it does not arrive.
        """
        raise NotImplementedError  # only where bytes travel

    @abstractmethod
    def is_refused(self, peer: IpAddress, listen: Endpoint, *, source_port: int = 0) -> bool:
        """A peer comes to `listen`: whether it does not get in."""

    @abstractmethod
    def fail(self, peer: IpAddress, listen: Endpoint) -> None:
        """TCP: a peer comes to `listen` while the client does not listen; waits for nothing."""

    @abstractmethod
    def heard_outside(self, send: Callable[[Endpoint], None]) -> tuple[bytes, Endpoint]:
        """UDP: what the server gets, and from where, after `send` was given its address."""

    @abstractmethod
    def fall_silent(self, binding: Binding) -> None:
        """UDP: say nothing for so long that the binding's flows are over."""

    @abstractmethod
    def occupy(self, at: Endpoint) -> None:
        """A local program of the gateway binds `at`."""

    @abstractmethod
    def refuse_next_open(self) -> None:
        """Let the data path's next `open` fail half-way with OutOfResources."""

    @abstractmethod
    def kept(self) -> object:
        """What the data path holds now: pinholes, ports, flows; comparable."""
