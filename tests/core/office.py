"""A small office behind a gateway in memory: what the tests of the core are made of."""

from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, TypeVar

from sallyport import limits
from sallyport.addresses import Endpoint, PortRange
from sallyport.core.engine.gateway import Gateway
from sallyport.core.model.binding import Binding
from sallyport.core.model.chain import Priority
from sallyport.core.model.connection import PrimaryConnection
from sallyport.core.model.events import AcceptedConnection, ConnectTcp, Event, UdpDestination
from sallyport.core.model.filter import ApplicationFilter, DataFilter, SessionFilter
from sallyport.core.model.future_connection import FutureConnection
from sallyport.core.model.session import Session
from sallyport.core.pinholes.datapath import DataPathKind, Pinhole
from sallyport.core.pinholes.ports import Ports
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rules import Policy
from sallyport.flags import Transport
from sallyport.testing import MemoryDataPath, VirtualWorld
from sallyport.testing.world import GATEWAY_ADDRESSES, make_policy

FTP = ProtocolDefinition("ftp", Transport.TCP, 21)
CLIENT = Endpoint.parse("10.0.0.8:1553")
NEIGHBOUR = Endpoint.parse("10.0.0.9:1553")
PEER = Endpoint.parse("198.51.100.9:20")
EXTERNAL = ip_address("203.0.113.1")

_Result = TypeVar("_Result")


def run(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a coroutine that has nothing to wait for; give its result."""
    try:
        work.send(None)
    except StopIteration as done:
        result: _Result = done.value
        return result
    work.close()
    raise AssertionError("it waits for something")


class Pause(Awaitable[None]):
    """Makes whoever awaits it wait for the next `send`."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class SlowDataPath(MemoryDataPath):
    """Lets a test do something between the call of `open` and its effect."""

    async def open(self, pinholes: Sequence[Pinhole]) -> None:
        await Pause()
        await super().open(pinholes)


class Witness(SessionFilter):
    """Keeps every event; `react` is called with each."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.react: Callable[[Event], object] = id
        self.detached = 0

    async def on_event(self, event: Event) -> None:
        self.events.append(event)
        self.react(event)

    def detach(self) -> None:
        self.detached += 1

    def kinds(self) -> list[str]:
        """The names of every event so far."""
        return [type(event).__name__ for event in self.events]


class WatchingFilter(ApplicationFilter):
    """Attaches a Witness to every session."""

    name = "watching"
    protocols: tuple[ProtocolDefinition, ...] = (FTP,)

    def __init__(self) -> None:
        self.witnesses: list[Witness] = []
        self.react: Callable[[Event], object] = id

    def attach_to_session(self, session: Session) -> SessionFilter:
        witness = Witness()
        witness.react = self.react
        self.witnesses.append(witness)
        return witness


def attaching(
    *data_filters: DataFilter, priority: Priority = Priority.MIDDLE, context: object = None
) -> Callable[[Event], object]:
    """Return a reaction that attaches these to the flow that is about to start."""

    def react(event: Event) -> None:
        if isinstance(event, ConnectTcp | UdpDestination | AcceptedConnection):
            for data_filter in data_filters:
                event.connection.attach_data_filter(data_filter, priority, context)

    return react


class Wire:
    """A link and both ends of a stream at once: keeps what was done to it."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.done: list[str] = []

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def shutdown(self) -> None:
        self.done.append("shutdown")

    def abort(self) -> None:
        self.done.append("abort")

    def close(self) -> None:
        self.done.append("close")


@dataclass(frozen=True)
class Holdings:
    """Everything a refused call could have left behind."""

    reserved: frozenset[tuple[Transport, Endpoint]]
    pinholes: frozenset[int]
    ports: int
    openings: int
    deadlines: int
    bindings: tuple[str, ...]
    quota: tuple[tuple[str, int], ...]
    of_primaries: Counter[str]


class Office:
    """A gateway in memory, with its parts in reach; keywords replace fields of the one rule."""

    def __init__(
        self,
        *filters: ApplicationFilter,
        ports: str = "40000-40999",
        data_path: MemoryDataPath | None = None,
        policy: Policy | None = None,
        kinds: Sequence[DataPathKind] = (DataPathKind.KERNEL, DataPathKind.USER),
        max_controls: int = limits.MAX_CONTROLS,
        **rule: Any,  # noqa: ANN401 - any field of AccessRule
    ) -> None:
        self.world = VirtualWorld()
        addresses = tuple(map(ip_address, GATEWAY_ADDRESSES))
        self.data_path = data_path or MemoryDataPath(addresses)
        self.user_path = MemoryDataPath(addresses, kind=DataPathKind.USER, beside=self.data_path)
        self.ports = Ports(PortRange.parse(ports), self.world.random_below)
        self.gateway = Gateway(
            policy=policy or make_policy(**rule),
            data_paths={
                path.kind: path for path in (self.data_path, self.user_path) if path.kind in kinds
            },
            ports=self.ports,
            environment=self.world,
            filters=filters,
            max_controls=max_controls,
        )
        self.primaries: list[PrimaryConnection] = []
        self.wires: dict[str, Wire] = {}

    def admit(
        self, client: str = "10.0.0.8:50000", server: str = "198.51.100.9:21"
    ) -> PrimaryConnection:
        """Take a control connection whose server has not answered yet."""
        primary = self.gateway.admit_primary(FTP, Endpoint.parse(client), Endpoint.parse(server))
        self.primaries.append(primary)
        return primary

    def dial(
        self, client: str = "10.0.0.8:50000", server: str = "198.51.100.9:21"
    ) -> PrimaryConnection:
        """Take a control connection, ask the filters, and have its server answer."""
        primary = self.admit(client, server)
        self.announce(primary)
        return primary

    def announce(self, primary: PrimaryConnection) -> None:
        """Ask the filters; when all have answered the server answers too."""
        primary.link = self.wires[primary.id] = Wire()
        self.gateway.announce_primary(primary, lambda: self.start(primary))

    def start(self, primary: PrimaryConnection) -> None:
        """Let the server answer."""
        wire = self.wires[primary.id]
        # Routed for IPv6: the server sees the client's own address.
        ours = Endpoint(EXTERNAL, 50001) if primary.client.version == 4 else primary.client
        self.gateway.start_primary(
            primary, gateway_address=ours, link=wire, client=wire, server=wire
        )

    def bind(
        self,
        primary: PrimaryConnection,
        /,
        *clients: Endpoint,
        **arguments: Any,  # noqa: ANN401 - any argument of bind_for_client
    ) -> Binding:
        """Bind for the primary's client, by default at CLIENT."""
        everything: dict[str, Any] = {
            "transport": Transport.TCP,
            "protocol": FTP,
            "primary": primary,
        } | arguments
        return run(primary.session.bind_for_client(clients or (CLIENT,), **everything))

    def allow(
        self,
        primary: PrimaryConnection,
        server: str,
        **arguments: Any,  # noqa: ANN401 - any argument of allow_future_connect
    ) -> FutureConnection:
        """Let the primary's client connect to `server` once."""
        everything: dict[str, Any] = {"protocol": FTP, "primary": primary} | arguments
        return run(primary.session.allow_future_connect(Endpoint.parse(server), **everything))

    def pass_time(self, seconds: float) -> None:
        """Move the clock."""
        self.world.pass_time(self.gateway, seconds)

    def reasons(self, event: str) -> list[object]:
        """The reasons of every journal record of this event."""
        return self.world.journal.reasons(event)

    def holdings(self) -> Holdings:
        """Take stock."""
        return Holdings(
            reserved=frozenset(self.data_path.reserved),
            pinholes=frozenset(self.data_path.pinholes) | frozenset(self.user_path.pinholes),
            ports=self.ports.of(Transport.TCP, EXTERNAL).free,
            openings=len(self.gateway.registry),
            deadlines=len(self.gateway.deadlines),
            bindings=tuple(binding.id for binding in self.gateway.bindings()),
            quota=tuple((s.id, len(s.openings)) for s in self.gateway.sessions),
            of_primaries=Counter({p.id: len(p.openings) for p in self.primaries if p.openings}),
        )
