"""Data filters to build chains of, and a control connection through such a chain."""

from collections.abc import Sequence

from tests.core.office import EXTERNAL, Office, Pause, WatchingFilter

from sallyport.addresses import Endpoint
from sallyport.core.model.chain import Priority
from sallyport.core.model.connection import Connection, PrimaryConnection
from sallyport.core.model.events import AcceptedConnection, ConnectTcp, Event, UdpDestination
from sallyport.core.model.filter import DataFilter
from sallyport.core.pinholes.datapath import StreamEnd
from sallyport.testing.flows import MemoryLink

Placed = tuple[DataFilter, Priority]


class Recording(DataFilter):
    """Passes everything, and keeps every call; calls of one log must not overlap."""

    def __init__(self, name: str = "", log: list[str] | None = None) -> None:
        self.name = name
        self.log: list[str] = [] if log is None else log
        self.is_slow = False
        """Whether every call waits once before it does anything."""

    def set_sockets(
        self,
        client: StreamEnd,
        server: StreamEnd,
        connection: Connection,
        peer: object,
        context: object,
    ) -> None:
        super().set_sockets(client, server, connection, peer, context)  # type: ignore[arg-type]
        self.log.append(f"{self.name} set")

    async def _note(self, call: str) -> None:
        assert not self.log or not self.log[-1].endswith("…"), f"{call} while {self.log[-1]}"
        if self.is_slow:
            self.log.append(f"{self.name} {call}…")
            await Pause()
            self.log.pop()
        self.log.append(f"{self.name} {call}")

    async def started(self) -> None:
        await self._note("started")

    async def from_client(self, data: bytes) -> None:
        await self._note(f"client {data.decode()}")
        await super().from_client(data)

    async def from_server(self, data: bytes) -> None:
        await self._note(f"server {data.decode()}")
        await super().from_server(data)

    async def client_closed(self) -> None:
        await self._note("client closed")
        await super().client_closed()

    async def server_closed(self) -> None:
        await self._note("server closed")
        await super().server_closed()

    def detach(self) -> None:
        self.log.append(f"{self.name} detached")


class Upper(DataFilter):
    """Says everything louder."""

    async def from_client(self, data: bytes) -> None:
        self.server.send(data.upper())

    async def from_server(self, data: bytes) -> None:
        self.client.send(data.upper())


class Holding(DataFilter):
    """Keeps everything of a direction until its end."""

    def __init__(self) -> None:
        self.held = {"client": b"", "server": b""}

    async def from_client(self, data: bytes) -> None:
        self.held["client"] += data

    async def from_server(self, data: bytes) -> None:
        self.held["server"] += data

    async def client_closed(self) -> None:
        self.server.send(self.held["client"])
        self.server.shutdown()

    async def server_closed(self) -> None:
        self.client.send(self.held["server"])
        self.client.shutdown()


class Splitting(DataFilter):
    """Passes every byte on by itself."""

    async def from_client(self, data: bytes) -> None:
        for byte in data:
            self.server.send(bytes([byte]))

    async def from_server(self, data: bytes) -> None:
        for byte in data:
            self.client.send(bytes([byte]))


class Placing(WatchingFilter):
    """Attaches the given data filters to every flow it is asked about."""

    def __init__(self, *placed: Placed, context: object = None) -> None:
        super().__init__()
        self.placed = placed
        self.context = context
        self.react = self._attach

    def _attach(self, event: Event) -> None:
        if isinstance(event, ConnectTcp | UdpDestination | AcceptedConnection):
            for data_filter, priority in self.placed:
                event.connection.attach_data_filter(data_filter, priority, self.context)


class Conversation:
    """A control connection through these data filters, both ends in reach."""

    def __init__(
        self,
        *placed: Placed | DataFilter,
        office: Office | None = None,
        context: object = None,
    ) -> None:
        pairs: Sequence[Placed] = [
            (one, Priority.MIDDLE) if isinstance(one, DataFilter) else one for one in placed
        ]
        self.office = office or Office(Placing(*pairs, context=context))
        self.link = MemoryLink()
        self.client, self.server = self.link.client, self.link.server
        self.primary: PrimaryConnection = self.office.admit()
        self.primary.link = self.link
        self.office.gateway.announce_primary(self.primary, self._start)

    def _start(self) -> None:
        self.office.gateway.start_primary(
            self.primary,
            gateway_address=Endpoint(EXTERNAL, 50001),
            link=self.link,
            client=self.client,
            server=self.server,
        )

    def client_says(self, *segments: bytes) -> None:
        """Deliver bytes of the client."""
        for segment in segments:
            self.primary.chain.from_accepted(segment)

    def server_says(self, *segments: bytes) -> None:
        """Deliver bytes of the server."""
        for segment in segments:
            self.primary.chain.from_dialled(segment)

    def heard(self) -> tuple[bytes, bytes]:
        """What the client and the server heard since the last time."""
        return self.client.take(), self.server.take()

    def faults(self) -> list[tuple[object, object]]:
        """Every fault in the journal: whose, and what."""
        return [
            (fields["filter"], fields["error"])
            for event, fields in self.office.world.journal.records
            if event == "filter.failed"
        ]
