"""Two sockets whose bytes pass from one to the other, until both directions have ended."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.io.test_pump import pair

from sallyport.io.fair_poller import FairPoller
from sallyport.io.pipes import Pipes
from sallyport.io.sockets import RESET_ON_CLOSE, prepare_leg
from sallyport.io.spliced_stream import SplicedStream


@dataclass
class Bench:
    """Both far ends, and what was told of the end."""

    left: socket.socket
    right: socket.socket
    stream: SplicedStream
    legs: tuple[socket.socket, socket.socket]
    poller: FairPoller
    ended: list[socket.socket | None] = field(default_factory=list)

    async def told(self) -> socket.socket | None:
        while not self.ended:  # noqa: ASYNC110 - told by a callback
            await asyncio.sleep(0)
        (broken,) = self.ended
        return broken


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    loop = asyncio.get_running_loop()
    poller, pipes = FairPoller(loop), Pipes()
    (left, first), (right, second) = pair(), pair()
    for leg in (first, second):
        prepare_leg(leg)
    ended: list[socket.socket | None] = []
    stream = SplicedStream(loop, pipes, poller, (first, second), ended.append)
    with left, right:
        async with asyncio.timeout(10):
            yield Bench(left, right, stream, (first, second), poller, ended)
        stream.abort()
    pipes.close()
    poller.close()


async def receive(end: socket.socket) -> bytes:
    return await asyncio.get_running_loop().sock_recv(end, 1000)


def test_bytes_and_both_ends_of_the_stream_pass_and_are_counted() -> None:
    async def scenario() -> None:
        async with bench() as b:
            b.stream.start()
            b.left.send(b"there")
            assert await receive(b.right) == b"there"
            b.left.shutdown(socket.SHUT_WR)
            assert await receive(b.right) == b""
            b.right.send(b"and back")
            assert await receive(b.left) == b"and back"
            b.right.shutdown(socket.SHUT_WR)
            assert await receive(b.left) == b""
            assert await b.told() is None
            assert b.stream.moved == (5, 8)

    asyncio.run(scenario())


def test_a_reset_of_one_end_resets_the_other_and_says_which_it_was() -> None:
    async def scenario() -> None:
        async with bench() as b:
            b.stream.start()
            b.right.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            b.right.close()
            assert await b.told() is b.legs[1]
            try:
                assert await receive(b.left) != b""
            except ConnectionResetError:
                return
            raise AssertionError("an end that looks complete")

    asyncio.run(scenario())


def test_what_is_ended_is_ended_once_and_does_not_start() -> None:
    async def scenario() -> None:
        async with bench() as b:
            b.stream.abort()
            b.stream.close()
            b.stream.start()
            assert b.ended == [None]

    asyncio.run(scenario())


def test_who_has_no_room_holds_back_the_other_end_alone_and_learns_of_its_reset() -> None:
    async def scenario() -> None:
        async with bench() as b:
            b.stream.start()
            loop = asyncio.get_running_loop()
            flood = loop.create_task(loop.sock_sendall(b.left, bytes(1 << 24)))
            b.right.send(b"nobody reads here, and still")
            assert await receive(b.left) == b"nobody reads here, and still"

            flood.cancel()
            b.left.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            b.left.close()
            assert await b.told() is b.legs[0]

    asyncio.run(scenario())


def test_nothing_wakes_the_loop_while_both_ends_are_silent() -> None:
    async def scenario() -> None:
        async with bench() as b:
            b.stream.start()
            b.left.send(b"there")
            assert await receive(b.right) == b"there"
            b.left.shutdown(socket.SHUT_WR)
            assert await receive(b.right) == b""
            before = b.poller.turn
            await asyncio.sleep(0.05)

            assert b.poller.turn - before <= 1

    asyncio.run(scenario())
