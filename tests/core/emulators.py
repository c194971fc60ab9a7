"""Filters that play somebody, for the tests of emulation."""

from tests.core.office import Witness

from sallyport.core.model.events import AcceptedConnection, BindTcp, BindUdp, Event, UdpDestination
from sallyport.core.model.filter import ApplicationFilter, DataFilter, SessionFilter
from sallyport.core.model.hooks import Hooks, Scope
from sallyport.core.model.secondary import SecondaryConnection
from sallyport.core.model.session import Session
from sallyport.testing.memory import pause

# A peer has arrived, or is played.
ARRIVED = Hooks.of(AcceptedConnection, UdpDestination, scope=Scope.SECONDARY | Scope.ANY_PROTOCOL)


class Player(DataFilter):
    """Greets the client and answers what it says in capitals, from the far end of the chain."""

    def __init__(self, greeting: bytes = b"") -> None:
        self.greeting = greeting
        self.heard = b""
        self.done: list[str] = []

    async def started(self) -> None:
        self.done.append("started")
        if self.greeting:
            self.client.send(self.greeting)

    async def from_client(self, data: bytes) -> None:
        self.heard += data
        self.server.send(data)
        self.client.send(data.upper())

    async def client_closed(self) -> None:
        self.server.shutdown()
        self.client.shutdown()

    def detach(self) -> None:
        self.done.append("detached")


class Tagger(DataFilter):
    """Puts a tag before what passes."""

    def __init__(self, tag: bytes) -> None:
        self.tag = tag

    async def from_client(self, data: bytes) -> None:
        self.server.send(self.tag + data)

    async def from_server(self, data: bytes) -> None:
        self.client.send(self.tag + data)


class Taker(SessionFilter):
    """Takes every bind over."""

    def __init__(self, taken: list[SecondaryConnection]) -> None:
        self._taken = taken

    async def on_event(self, event: Event) -> None:
        assert isinstance(event, BindTcp | BindUdp)
        event.connection.emulate_for_bind()
        self._taken.append(event.connection)


class TakingFilter(ApplicationFilter):
    """Takes over every bind of any protocol."""

    name = "taking"
    api_version = 1
    hooks = Hooks.of(BindTcp, BindUdp, scope=Scope.ANY_PROTOCOL)

    def __init__(self) -> None:
        self.taken: list[SecondaryConnection] = []

    def attach_to_session(self, session: Session) -> SessionFilter:
        return Taker(self.taken)


class HookedFilter(ApplicationFilter):
    """Has one witness, told of what `hooks` say."""

    api_version = 1

    def __init__(self, name: str, hooks: Hooks) -> None:
        self.name = name
        self.hooks = hooks
        self.witness = Witness()

    def attach_to_session(self, session: Session) -> SessionFilter:
        return self.witness


class SlowWitness(Witness):
    async def on_event(self, event: Event) -> None:
        await super().on_event(event)
        await pause()


class Slow(HookedFilter):
    """Takes its time to answer."""

    def __init__(self) -> None:
        super().__init__("slow", ARRIVED)
        self.witness = SlowWitness()
