"""The relay of a control connection, over real sockets on the loopback."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.connection import PrimaryConnection
from sallyport.filters.ftp import FTP
from sallyport.frontends.control import ClientSide, Relay
from sallyport.testing import make_gateway

CLIENT, SERVER = Endpoint.parse("10.0.0.8:50000"), Endpoint.parse("203.0.113.9:21")
OURS = Endpoint.parse("203.0.113.1:50001")


@dataclass(slots=True)
class Ends:
    """What the two ends hold, and the connection between them."""

    client: socket.socket
    server: socket.socket
    primary: PrimaryConnection


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of one TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    for end in (one, other):
        end.setblocking(False)
    return one, other


@asynccontextmanager
async def relaying() -> AsyncIterator[Ends]:
    """Relay between two ends, with a filter that passes everything."""
    loop = asyncio.get_running_loop()
    gateway, _, _ = make_gateway()
    primary = gateway.admit_primary(FTP, CLIENT, SERVER)
    client, our_client = pair()
    server, our_server = pair()
    sides: list[ClientSide] = []
    await loop.create_connection(lambda: ClientSide(sides.append), sock=our_client)
    relay = Relay(primary, sides[0])
    await loop.create_connection(lambda: relay.server, sock=our_server)
    relay.start(
        gateway.start_primary(
            primary, gateway_address=OURS, link=relay, client=relay.client, server=relay.server
        )
    )
    yield Ends(client, server, primary)
    primary.kill()
    for end in (client, server):
        end.close()


async def receive(end: socket.socket) -> bytes:
    async with asyncio.timeout(5):
        return await asyncio.get_running_loop().sock_recv(end, 1 << 16)


def test_bytes_pass_both_ways_and_a_half_closed_stream_goes_on() -> None:
    async def scenario() -> None:
        async with relaying() as ends:
            ends.client.send(b"QUIT\r\n")
            ends.client.shutdown(socket.SHUT_WR)
            assert await receive(ends.server) == b"QUIT\r\n"
            assert await receive(ends.server) == b""
            ends.server.send(b"221 Bye\r\n")
            assert await receive(ends.client) == b"221 Bye\r\n"

    asyncio.run(scenario())


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_reset_of_one_end_is_a_reset_of_the_other(who: str) -> None:
    async def scenario() -> None:
        async with relaying() as ends:
            gone, other = ends.client, ends.server
            if who == "server":
                gone, other = other, gone
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            gone.close()
            with pytest.raises(ConnectionResetError):
                await receive(other)
            assert not ends.primary.is_open

    asyncio.run(scenario())


def test_killing_the_connection_resets_both_ends() -> None:
    async def scenario() -> None:
        async with relaying() as ends:
            ends.primary.kill()
            for end in (ends.client, ends.server):
                with pytest.raises(ConnectionResetError):
                    await receive(end)

    asyncio.run(scenario())


def test_a_reader_that_has_stopped_stops_the_writer_and_fills_no_memory() -> None:
    async def flood(end: socket.socket, relay: Relay) -> None:
        while relay.client.transport.is_reading():
            with contextlib.suppress(BlockingIOError):
                end.send(b"x" * 65536)
            await asyncio.sleep(0)

    async def scenario() -> None:
        async with relaying() as ends:
            relay = ends.primary.link
            assert isinstance(relay, Relay)
            await asyncio.wait_for(flood(ends.client, relay), 5)

            buffered = relay.server.transport.get_write_buffer_size()
            assert 0 < buffered <= limits.CONTROL_BUFFER_BYTES + 256 * 1024  # one read of asyncio's

    asyncio.run(scenario())
