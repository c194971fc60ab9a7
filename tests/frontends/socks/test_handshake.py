"""What a client says before its request, in pieces of any size, over a pair of sockets."""

import asyncio
import socket
from collections.abc import Coroutine
from ipaddress import ip_address
from typing import Any

import pytest
from tests.io.test_pump import pair

from sallyport.frontends.socks.handshake import SocksHandshake, WrongPassword
from sallyport.io.fair_poller import FairPoller
from sallyport.passwords import PasswordHash
from sallyport.wire.socks import NotSocks, SocksCommand, SocksRefusal, SocksRequest

PASSWORDS = {"alice": PasswordHash.of(b"secret", bytes(16))}
REQUEST = b"\5\1\0\1\xcb\0\x71\x09\0\x15"
WANTED = SocksRequest(5, SocksCommand.CONNECT, ip_address("203.0.113.9"), 21)


def login(name: bytes, password: bytes) -> bytes:
    return b"\1" + bytes((len(name),)) + name + bytes((len(password),)) + password


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 10))


async def hear(
    said: bytes, passwords: dict[str, PasswordHash] | None, *, byte_by_byte: bool = False
) -> tuple[object, bytes, bytes]:
    """Return what a client asked for or what was raised, what it heard, and what was not read."""
    loop = asyncio.get_running_loop()
    asked: asyncio.Future[object] = loop.create_future()
    client, ours = pair()
    poller = FairPoller(loop)
    with client, ours:
        async with asyncio.TaskGroup() as tasks:
            talk = SocksHandshake(poller, tasks, ours, passwords, asked.set_result)
            talk.begin()
            for piece in (said[i : i + 1] for i in range(len(said))) if byte_by_byte else (said,):
                await loop.sock_sendall(client, piece)
                await asyncio.sleep(0)
            client.shutdown(socket.SHUT_WR)
            found = await asked
        talk.give_up()
        poller.close()
        rest = await loop.sock_recv(ours, 100)
        ours.shutdown(socket.SHUT_WR)
        return found, await loop.sock_recv(client, 100), rest


@pytest.mark.parametrize("byte_by_byte", [False, True])
def test_a_request_is_read_however_it_is_cut_and_nothing_behind_it(byte_by_byte: bool) -> None:
    async def scenario() -> None:
        said = b"\5\1\0" + REQUEST + b"early"
        found, heard, rest = await hear(said, None, byte_by_byte=byte_by_byte)
        assert (found, heard, rest) == ((None, WANTED), b"\5\0", b"early")

    run(scenario())


def test_a_user_proves_who_he_is() -> None:
    async def scenario() -> None:
        said = b"\5\2\0\2" + login(b"alice", b"secret") + REQUEST
        found, heard, _ = await hear(said, PASSWORDS)
        assert (found, heard) == (("alice", WANTED), b"\5\2\1\0")

    run(scenario())


@pytest.mark.parametrize(
    ("name", "password"),
    [(b"alice", b"wrong"), (b"alice", b"secret\0"), (b"alice\0", b"secret"), (b"bob", b"secret")],
)
def test_rfc_1929_another_name_or_password_is_refused_and_nothing_behind_it_is_read(
    name: bytes, password: bytes
) -> None:
    async def scenario() -> None:
        found, heard, rest = await hear(b"\5\1\2" + login(name, password) + REQUEST, PASSWORDS)
        assert isinstance(found, WrongPassword)
        assert found.reason == "wrong-password"
        assert (heard, rest) == (b"\5\2\1\1", REQUEST)

    run(scenario())


def test_rfc_1928_section_3_without_a_method_in_common_the_answer_is_ff() -> None:
    async def scenario() -> None:
        for passwords, offered in ((PASSWORDS, b"\5\1\0"), (None, b"\5\1\2"), (None, b"\5\0")):
            found, heard, _ = await hear(offered, passwords)
            assert isinstance(found, WrongPassword)
            assert (found.reason, heard) == ("no-method-in-common", b"\5\xff")

    run(scenario())


def test_version_4_has_no_password_so_it_is_refused_where_one_is_wanted() -> None:
    async def scenario() -> None:
        said = b"\4\1\0\x15\xcb\0\x71\x09alice\0"
        found, heard, _ = await hear(said, None)
        assert isinstance(found, tuple)
        assert (found[0], found[1].user_id, heard) == (None, "alice", b"")
        found, _, _ = await hear(said, PASSWORDS)
        assert isinstance(found, SocksRefusal)
        assert found.version == 4

    run(scenario())


@pytest.mark.parametrize("said", [b"", b"\5", b"\5\1\0\5\1\0\1\xcb"])
def test_who_leaves_in_the_middle_has_asked_for_nothing(said: bytes) -> None:
    async def scenario() -> None:
        assert isinstance((await hear(said, None))[0], EOFError)

    run(scenario())


def test_another_protocol_is_recognised() -> None:
    async def scenario() -> None:
        found, heard, _ = await hear(b"CONNECT example.org:443 HTTP/1.1\r\n\r\n", None)
        assert isinstance(found, NotSocks)
        assert heard == b""

    run(scenario())


def test_what_a_client_says_behind_its_request_waits_and_wakes_nothing() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        poller, asked, done = FairPoller(loop), loop.create_future(), list[object]()

        def take(result: object) -> None:
            done.append(result)
            asked.set_result(None)

        client, ours = pair()
        with client, ours:
            async with asyncio.TaskGroup() as tasks:
                SocksHandshake(poller, tasks, ours, None, take).begin()
                client.send(b"\5\1\0")
                assert await loop.sock_recv(client, 2) == b"\5\0"
                client.send(REQUEST)
                await asked
                client.send(b"more")
                await asyncio.sleep(0.05)
                turns = poller.turn
                await asyncio.sleep(0.05)

            assert done == [(None, WANTED)]
            assert poller.turn - turns <= 1
            assert await loop.sock_recv(ours, 10) == b"more"
        poller.close()

    run(scenario())
