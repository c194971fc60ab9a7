"""One control connection from its arrival to its end, over real sockets on the loopback."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress

import pytest
from tests.io.test_pump import pair

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.engine.gateway import Gateway
from sallyport.core.model.connection import PrimaryConnection
from sallyport.core.model.events import ConnectTcp, Event
from sallyport.core.model.filter import ApplicationFilter, DataFilter, SessionFilter
from sallyport.core.model.session import Session
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.flags import Transport
from sallyport.frontends import control_connection
from sallyport.frontends.control_connection import ControlConnection
from sallyport.io.fair_poller import FairPoller
from sallyport.io.sockets import RESET_ON_CLOSE, prepare_leg
from sallyport.testing.memory import pause
from sallyport.testing.world import VirtualWorld, make_gateway

CLIENT, SERVER = Endpoint.parse("10.0.0.8:50000"), Endpoint.parse("203.0.113.9:21")
FTP = ProtocolDefinition("ftp", Transport.TCP, 21)


class Emulator(DataFilter):
    """Plays the server."""

    async def started(self) -> None:
        self.client.send(b"220 made up\r\n")


class Flooder(DataFilter):
    """Answers with more than anybody asked for."""

    async def from_client(self, data: bytes) -> None:
        for _ in range(limits.MAX_QUEUED_BYTES // len(data) * 4):
            self.client.send(data)


class Choosing(SessionFilter):
    """Does with a new connection what it is told to; by itself nothing."""

    def __init__(self) -> None:
        self.denies = False
        self.waits = False
        self.attaches: DataFilter | None = None
        self.emulates = False

    async def on_event(self, event: Event) -> None:
        if not isinstance(event, ConnectTcp):
            return
        if self.waits:
            await pause()
        if self.attaches is not None:
            event.connection.attach_data_filter(self.attaches)
        assert isinstance(event.connection, PrimaryConnection)
        event.connection.is_emulated = self.emulates
        if self.denies:
            event.connection.deny()


class Chooser(ApplicationFilter):
    """Has one session filter for everybody."""

    name = "chooser"
    api_version = 1
    protocols = (FTP,)

    def __init__(self, one: SessionFilter) -> None:
        self._one = one

    def attach_to_session(self, session: Session) -> SessionFilter:
        return self._one


class Bench:
    """A client that was accepted, and a server that waits to be dialled."""

    def __init__(self, undo: ExitStack) -> None:
        self.filter = Choosing()
        self.gateway: Gateway
        self.world: VirtualWorld
        self.gateway, _, self.world = make_gateway([Chooser(self.filter)])
        self.primary: PrimaryConnection = self.gateway.admit_primary(FTP, CLIENT, SERVER)
        self.client, self.accepted = (undo.enter_context(end) for end in pair())
        prepare_leg(self.accepted)
        self.listener = undo.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.listener.setblocking(False)
        self._undo = undo
        poller = FairPoller(asyncio.get_running_loop())
        undo.callback(poller.close)
        undo.callback(self.primary.kill)
        self.control = ControlConnection(self.gateway, poller, self.primary, accepted=self.accepted)

    async def connected(self) -> socket.socket:
        """Begin, and give the server's side."""
        self.control.begin()
        server, _ = await asyncio.get_running_loop().sock_accept(self.listener)
        return self._undo.enter_context(server)

    async def until_over(self) -> list[object]:
        """Let the loop turn until the connection is over; give the reasons in the journal."""
        while self.primary.is_open:  # noqa: ASYNC110 - a gateway in memory has no events
            await asyncio.sleep(0)
        return self.world.journal.reasons("connect.closed")

    async def turns(self) -> None:
        """Let the loop look at its descriptors as often as the longest way through it takes."""
        for _ in range(10):
            await asyncio.sleep(0)

    def nobody_dialled(self) -> bool:
        try:
            self.listener.accept()[0].close()
        except BlockingIOError:
            return True
        return False


@pytest.fixture(autouse=True)
def nearby(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dial a port on loopback that the test knows, whatever server is named."""
    monkeypatch.setattr(
        control_connection, "name_of", lambda endpoint: WHERE.get(endpoint, ("127.0.0.1", 9))
    )


WHERE: dict[Endpoint, object] = {}


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    async with asyncio.timeout(10):
        with ExitStack() as undo:
            made = Bench(undo)
            WHERE[SERVER] = made.listener.getsockname()
            yield made


async def receive(end: socket.socket) -> bytes:
    return await asyncio.get_running_loop().sock_recv(end, 1 << 16)


async def is_reset(end: socket.socket) -> bool:
    try:
        while await receive(end):
            pass
    except ConnectionResetError:
        return True
    return False


def reset(end: socket.socket) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    end.close()


def test_bytes_pass_both_ways_and_a_half_closed_stream_goes_on_to_its_end() -> None:
    async def scenario() -> None:
        async with bench() as b:
            server = await b.connected()
            b.client.send(b"QUIT\r\n")
            b.client.shutdown(socket.SHUT_WR)
            assert await receive(server) == b"QUIT\r\n"
            assert await receive(server) == b""
            server.send(b"221 Bye\r\n")
            server.close()

            assert await receive(b.client) == b"221 Bye\r\n"
            assert await receive(b.client) == b""
            assert await b.until_over() == ["closed"]

    asyncio.run(scenario())


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_reset_of_one_end_is_a_reset_of_the_other(who: str) -> None:
    async def scenario() -> None:
        async with bench() as b:
            server = await b.connected()
            gone, other = (b.client, server) if who == "client" else (server, b.client)
            reset(gone)

            assert await is_reset(other)
            assert await b.until_over() == [f"{who}-reset"]

    asyncio.run(scenario())


def test_killing_the_connection_resets_both_ends() -> None:
    async def scenario() -> None:
        async with bench() as b:
            server = await b.connected()
            await b.turns()
            b.primary.kill()

            assert await is_reset(b.client)
            assert await is_reset(server)

    asyncio.run(scenario())


def test_the_gateways_address_is_that_of_its_leg_to_the_server() -> None:
    async def scenario() -> None:
        async with bench() as b:
            server = await b.connected()
            await b.turns()
            host, port = server.getpeername()

            assert b.primary.gateway_address == Endpoint.parse(f"{host}:{port}")

    asyncio.run(scenario())


def test_nobody_is_dialled_before_every_filter_has_answered() -> None:
    async def scenario() -> None:
        async with bench() as b:
            b.filter.waits = True
            b.control.begin()
            await b.turns()
            assert b.nobody_dialled()

            b.world.resume()
            server, _ = await asyncio.get_running_loop().sock_accept(b.listener)
            server.close()

    asyncio.run(scenario())


def test_a_client_that_a_filter_denies_is_reset_and_its_server_hears_nothing() -> None:
    async def scenario() -> None:
        async with bench() as b:
            b.filter.denies = True
            b.control.begin()

            assert await is_reset(b.client)
            await b.turns()
            assert b.nobody_dialled()

    asyncio.run(scenario())


def test_a_client_that_resets_before_its_server_is_dialled_is_let_go_at_once() -> None:
    async def scenario() -> None:
        async with bench() as b:
            b.filter.waits = True
            b.control.begin()
            reset(b.client)

            assert await b.until_over() == ["client-reset"]
            b.world.resume()
            await b.turns()
            assert b.nobody_dialled()

    asyncio.run(scenario())


def never_answered() -> tuple[socket.socket, socket.socket]:
    """Return a socket that the poller watches, and its other end, which never answers."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            ours.send(bytes(1 << 16))
    return ours, theirs


def is_closed(end: socket.socket) -> bool:
    """Whether the other end is, behind whatever it has sent."""
    end.setblocking(False)
    with suppress(ConnectionResetError):
        while end.recv(1 << 16):
            pass
    return True


def test_a_connection_killed_while_its_server_is_dialled_gives_the_dialling_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        async with bench() as b:
            dialled, theirs = never_answered()
            monkeypatch.setattr(control_connection, "_dial", lambda _primary: dialled)
            b.control.begin()
            await b.turns()
            b.primary.kill()

            assert await is_reset(b.client)
            with theirs:
                assert is_closed(theirs)

    asyncio.run(scenario())


def test_a_server_that_does_not_answer_is_waited_for_no_longer_than_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        async with bench() as b:
            dialled, theirs = never_answered()
            monkeypatch.setattr(control_connection, "_dial", lambda _primary: dialled)
            b.control.begin()
            b.world.pass_time(b.gateway, limits.CONNECT_TIMEOUT_SECONDS - 1)
            assert b.primary.is_open
            b.world.pass_time(b.gateway, 1)

            assert await is_reset(b.client)
            assert await b.until_over() == ["server-timed-out"]
            with theirs:
                assert is_closed(theirs)

    asyncio.run(scenario())


def test_a_server_that_refuses_is_a_reset_for_the_client_and_a_line_in_the_journal() -> None:
    async def scenario() -> None:
        async with bench() as b:
            b.listener.close()
            b.control.begin()

            assert await is_reset(b.client)
            assert await b.until_over() == ["server-refused-connection"]
            assert "connect.failed" in b.world.journal.events()

    asyncio.run(scenario())


def test_a_connection_closed_before_its_server_answered_ends_in_order() -> None:
    async def scenario() -> None:
        async with bench() as b:
            b.filter.waits = True
            b.control.begin()
            b.primary.close("enough")

            assert await receive(b.client) == b""
            assert await b.until_over() == ["enough"]

    asyncio.run(scenario())


def test_an_emulated_connection_is_played_by_its_filter_and_nobody_is_dialled() -> None:
    async def scenario() -> None:
        async with bench() as b:
            b.filter.attaches, b.filter.emulates = Emulator(), True
            b.control.begin()

            assert await receive(b.client) == b"220 made up\r\n"
            assert b.nobody_dialled()
            # As which address the server would have seen us: here all servers are on the loopback.
            assert b.primary.gateway_address is not None
            assert str(b.primary.gateway_address.address) == "127.0.0.1"

    asyncio.run(scenario())


def test_a_filter_that_floods_a_client_ends_its_session_and_fills_no_memory() -> None:
    async def scenario() -> None:
        async with bench() as b:
            b.filter.attaches = Flooder()
            await b.connected()
            b.client.send(b"x" * 4096)

            assert await b.until_over() == ["filter-failed"]
            assert await is_reset(b.client)

    asyncio.run(scenario())
