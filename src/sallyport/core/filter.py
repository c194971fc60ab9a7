"""The filter interface: what a protocol author writes, and all of Sallyport such an author sees.

One `ApplicationFilter` per process (`IFWXFilter`) makes one `SessionFilter` per client
(`IFWXSessionFilter`), which attaches `DataFilter`s (`IFWXDataFilter`) to connections. Their methods
are `async def` and await only methods of the session: no event loop, no sockets, no clock.
"""

from abc import ABC, abstractmethod
from typing import Protocol

from sallyport.core.connection import PrimaryConnection
from sallyport.core.events import Event
from sallyport.core.protocols import ProtocolDefinition
from sallyport.core.session import Session


class StreamEnd(Protocol):
    """One end of an intercepted stream, as a data filter holds it (`IFWXSocket`)."""

    def send(self, data: bytes) -> None:
        """Queue bytes towards this end; never blocks, never raises, drops after the end."""

    def shutdown(self) -> None:
        """Say that no more bytes will come towards this end (FIN); idempotent."""


class DataFilter:
    """Sits in a connection's stream: everything both sides say passes through it.

    The defaults pass bytes and half-closes on untouched. Calls never overlap: the next one comes
    when the coroutine of the last has finished.
    """

    client: StreamEnd
    server: StreamEnd
    connection: PrimaryConnection

    def set_sockets(
        self, client: StreamEnd, server: StreamEnd, connection: PrimaryConnection
    ) -> None:
        """Start: called once, before any data."""
        self.client, self.server, self.connection = client, server, connection

    async def from_client(self, data: bytes) -> None:
        """Take bytes the client sent."""
        self.server.send(data)

    async def from_server(self, data: bytes) -> None:
        """Take bytes the server sent."""
        self.client.send(data)

    async def client_closed(self) -> None:
        """The client will send no more (FIN)."""
        self.server.shutdown()

    async def server_closed(self) -> None:
        """The server will send no more (FIN)."""
        self.client.shutdown()

    async def deadline_passed(self) -> None:
        """The deadline set by `connection.set_deadline` has passed; the default ends it."""
        self.connection.kill("deadline-passed")

    def detach(self) -> None:
        """Release everything: called exactly once, when the connection is over."""


class SessionFilter(ABC):
    """A filter's memory for one client."""

    @abstractmethod
    async def on_event(self, event: Event) -> None:
        """Take one event of this session."""

    def detach(self) -> None:
        """Release everything: called exactly once, when the session is over."""


class ApplicationFilter(ABC):
    """A protocol filter; one instance per process."""

    name: str
    protocols: tuple[ProtocolDefinition, ...]
    """The protocols whose primary connections this filter sees."""
    watches_binds = False
    """Whether this filter is told of every bind of other filters, of any protocol (BindTcp,
    BindUdp, Listen), and may deny it."""
    watches_secondaries = False
    """Whether this filter wants to see the bytes of these protocols' secondary connections too:
    they then pass through user mode."""

    @abstractmethod
    def attach_to_session(self, session: Session) -> SessionFilter:
        """Make the session filter; called when a first connection of ours starts in a session."""
