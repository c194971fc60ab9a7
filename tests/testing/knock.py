"""A protocol of one command and a filter for it, right and in every wrong way we could think of.

`OPEN <port>` has the gateway open a port to the client's port, and the server is told which. All
other lines, and all the server says, are none of the filter's business.
"""

import contextlib
import types
from collections.abc import Generator

from sallyport.api import (
    ApplicationFilter,
    BindError,
    BindFlags,
    Binding,
    ConnectTcp,
    DataFilter,
    Endpoint,
    Event,
    IpFilter,
    PrimaryConnection,
    ProtocolDefinition,
    Session,
    SessionFilter,
    Transport,
)
from sallyport.testing import (
    Conversation,
    client_closes,
    client_says,
    peer_connects,
    peer_finishes,
    server_closes,
    server_says,
)

KNOCK = ProtocolDefinition("knock", Transport.TCP, 4000)

CONVERSATION = Conversation(
    "one port",
    [
        server_says(b"hello\n", passes=True),
        client_says(b"how do you do\n", passes=True),
        client_says(b"OPEN 5000\n", asks=True, binds=1),
        server_says(b"thank you\n", passes=True),
        peer_connects(),
        client_says(b"bye\n", passes=True),
        peer_finishes(),
        server_says(b"bye\n", passes=True),
        client_closes(),
        server_closes(),
    ],
    versions=(4, 6),
)


class Careful(DataFilter):
    """Does it right."""

    connection: PrimaryConnection

    def __init__(self, of: "KnockSession") -> None:
        self.of = of
        self.begun = b""

    async def from_client(self, data: bytes) -> None:
        *lines, self.begun = (self.begun + data).split(b"\n")
        for line in lines:
            await self.line(line)

    async def client_closed(self) -> None:
        self.begun = b""
        self.server.shutdown()

    async def line(self, line: bytes) -> None:
        verb, _, argument = line.partition(b" ")
        if verb != b"OPEN" or not argument.isdigit():
            self.server.send(line + b"\n")
            return
        try:
            binding = await self.bind(int(argument[:5]))
        except BindError:
            self.client.send(b"NO\n")
        else:
            self.server.send(b"OPEN %d\n" % binding.proxy_address.port)

    async def bind(self, port: int) -> Binding:
        connection = self.connection
        return await self.of.session.bind_for_client(
            [Endpoint(connection.client.address, port & 0xFFFF)],
            transport=Transport.TCP,
            protocol=KNOCK,
            flags=BindFlags.TIMEOUT,
            ip_filter=IpFilter.of(connection.server.address),
            primary=connection,
        )


class KnockSession(SessionFilter):
    def __init__(self, of: "Knock", session: Session) -> None:
        self.of = of
        self.session = session

    async def on_event(self, event: Event) -> None:
        if isinstance(event, ConnectTcp):
            event.connection.attach_data_filter(self.of.kind(self))


class Knock(ApplicationFilter):
    name = "knock"
    api_version = 1
    protocols = (KNOCK,)

    def __init__(self, kind: type[Careful] = Careful) -> None:
        self.kind = kind
        self.current: DataFilter | None = None

    def attach_to_session(self, session: Session) -> SessionFilter:
        return KnockSession(self, session)


# -- planted bugs ---------------------------------------------------------------------------------


HOARD: list[DataFilter] = []


class KeepsAReference(Careful):
    async def started(self) -> None:
        HOARD.append(self)


class KeepsAReferenceToItsSession(Careful):
    async def started(self) -> None:
        vars(self.of.of).setdefault("sessions", []).append(self.of)


class SwallowsTheLastByteOfASegment(Careful):
    async def from_server(self, data: bytes) -> None:
        self.client.send(data[:-1])


class LosesWhatComesInOneByte(Careful):
    async def from_server(self, data: bytes) -> None:
        if len(data) > 1:
            self.client.send(data)


class ForgetsTheBegunLine(Careful):
    async def from_client(self, data: bytes) -> None:
        self.begun = b""
        await super().from_client(data)


class InventsABlank(Careful):
    async def line(self, line: bytes) -> None:
        await super().line(line + b" " if line == b"bye" else line)


class BindsWhenTheClientConnects(Careful):
    async def started(self) -> None:
        with contextlib.suppress(BindError):
            await self.bind(6000)


class BindsWhenTheServerSpeaks(Careful):
    has_bound = False

    async def from_server(self, data: bytes) -> None:
        if not self.has_bound:
            self.has_bound = True
            with contextlib.suppress(BindError):
                await self.bind(6000)
        self.client.send(data)


class BindsBeforeTheLineIsComplete(Careful):
    async def from_client(self, data: bytes) -> None:
        await super().from_client(data)
        if self.begun.startswith(b"OPEN 50"):
            self.begun = b""
            await self.line(b"OPEN 5000")


class BindsTwice(Careful):
    async def line(self, line: bytes) -> None:
        await super().line(line)
        if line.startswith(b"OPEN"):
            with contextlib.suppress(BindError):
                await self.bind(6000)


class RaisesOnNul(Careful):
    async def from_client(self, data: bytes) -> None:
        if b"\0" in data:
            raise ValueError("NUL")
        await super().from_client(data)


class LeavesItOpen(Careful):
    """Binds for nobody's connection, so it ends with none."""

    async def bind(self, port: int) -> Binding:
        assert self.connection.gateway_address is not None
        return await self.of.session.bind_for_client(
            [Endpoint(self.connection.client.address, port)],
            transport=Transport.TCP,
            protocol=KNOCK,
            proxy_address=Endpoint(self.connection.gateway_address.address, 0),
        )


class KeepsTheEndToItself(Careful):
    async def client_closed(self) -> None:
        """Tell nobody."""


class LetsARefusalThrough(Careful):
    async def line(self, line: bytes) -> None:
        if line.startswith(b"OPEN"):
            await self.bind(5000)
        else:
            await super().line(line)


class DoesNotWait(Careful):
    async def bind(self, port: int) -> Binding:
        try:
            super().bind(port).send(None)
        except StopIteration as result:
            binding: Binding = result.value
            return binding
        raise AssertionError("it was always there at once")


class TripsOverItsDeadline(Careful):
    async def started(self) -> None:
        self.set_deadline(60)

    async def deadline_passed(self) -> None:
        raise LookupError("whose was it?")


class MixesUpSessions(Careful):
    async def started(self) -> None:
        self.of.of.current = self

    async def line(self, line: bytes) -> None:
        if line.startswith(b"OPEN"):
            await super().line(line)
        else:
            (self.of.of.current or self).server.send(line + b"\n")

    def detach(self) -> None:
        self.of.of.current = None


class SendsAfterDetach(Careful):
    def detach(self) -> None:
        self.client.send(b"so long\n")


class WaitsForEver(Careful):
    async def from_server(self, data: bytes) -> None:
        while data:
            await _nobody()


@types.coroutine
def _nobody() -> Generator[None, None, None]:
    yield
