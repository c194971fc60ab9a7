"""One direction, between two pairs of connected loopback sockets."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.relay.loopback import run

from sallyport.io import pump
from sallyport.io.pipes import Pipe, Pipes
from sallyport.io.pump import Pump, Wait
from sallyport.io.sockets import PAUSE_SECONDS


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of one TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    for end in (one, other):
        end.setblocking(False)
    return one, other


class Rig:
    """A pump with a writer before it and a reader after it."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.pipes = Pipes()
        self.writer, self.source = pair()
        self.sink, self.reader = pair()
        self.source.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        self.over: asyncio.Future[str] = self.loop.create_future()
        self.pump = Pump(
            self.loop,
            self.pipes,
            self.source,
            self.sink,
            waiting=self._ask,
            ended=lambda: self._is_over("ended"),
            broken=lambda: self._is_over("broken"),
        )

    def _is_over(self, how: str) -> None:
        self._ask()
        self.over.set_result(how)

    def start(self) -> None:
        """Watch its two sockets, as their owner does."""
        self._ask()

    def _ask(self) -> None:
        wait, turn = self.pump.wait, self.pump.turn
        self.loop.remove_reader(self.source)
        self.loop.remove_writer(self.sink)
        if wait is Wait.SOURCE:
            self.loop.add_reader(self.source, turn)
        elif wait is Wait.SINK:
            self.loop.add_writer(self.sink, turn)

    def stop(self) -> None:
        self.pump.stop()
        self._ask()

    def close(self) -> None:
        self.stop()
        self.pipes.close()
        for sock in (self.writer, self.source, self.sink, self.reader):
            sock.close()

    async def read(self, step: int = 1 << 20) -> bytes:
        read = bytearray()
        while more := await self.loop.sock_recv(self.reader, step):
            read += more
        return bytes(read)


@contextmanager
def rig() -> Iterator[Rig]:
    made = Rig()
    try:
        yield made
    finally:
        made.close()


@settings(max_examples=30, deadline=None)
@given(
    chunks=st.lists(st.binary(max_size=3000) | st.integers(1, 400_000).map(bytes), max_size=8),
    step=st.sampled_from([1 << 10, 1 << 16, 1 << 20]),
)
def test_any_stream_arrives_as_it_was_sent_however_it_is_cut(
    chunks: list[bytes], step: int
) -> None:
    async def scenario() -> None:
        with rig() as r:
            r.start()

            async def write() -> None:
                for chunk in chunks:
                    await r.loop.sock_sendall(r.writer, chunk)
                r.writer.shutdown(socket.SHUT_WR)

            read, _ = await asyncio.gather(r.read(step), write())

            assert read == b"".join(chunks)
            assert await r.over == "ended"
            assert r.pump.moved == len(read)

    run(scenario())


def test_urgent_bytes_arrive_in_their_place() -> None:
    async def scenario() -> None:
        with rig() as r:
            r.start()
            r.writer.send(b"before ")
            r.writer.send(b"!", socket.MSG_OOB)
            r.writer.send(b" after")
            r.writer.shutdown(socket.SHUT_WR)

            assert await r.read() == b"before ! after"

    run(scenario())


def test_an_urgent_byte_does_not_keep_the_loop_awake() -> None:
    async def scenario() -> None:
        with rig() as r:
            turns: list[None] = []
            real = r.pipes.borrow

            def borrow() -> Pipe | None:
                turns.append(None)
                return real()

            r.pipes.borrow = borrow  # type: ignore[method-assign]
            r.start()
            r.writer.send(b"!", socket.MSG_OOB)
            assert await r.loop.sock_recv(r.reader, 1) == b"!"
            for _ in range(100):
                await asyncio.sleep(0)

            assert len(turns) <= 3

    run(scenario())


def test_without_a_pipe_it_waits_a_moment_and_then_goes_on() -> None:
    async def scenario() -> None:
        with rig() as r:
            real, refusals = r.pipes.borrow, [None, None]

            def borrow() -> Pipe | None:
                return refusals.pop() if refusals else real()

            r.pipes.borrow = borrow  # type: ignore[method-assign]
            began = r.loop.time()
            r.start()
            r.writer.send(b"patience")
            r.writer.shutdown(socket.SHUT_WR)

            assert await r.read() == b"patience"
            assert refusals == []
            assert r.loop.time() - began >= 2 * PAUSE_SECONDS

    run(scenario())


def test_a_reader_that_is_gone_breaks_it_once() -> None:
    async def scenario() -> None:
        with rig() as r:
            r.start()
            r.reader.close()
            await r.loop.sock_sendall(r.writer, bytes(1 << 16))
            await r.loop.sock_sendall(r.writer, bytes(1 << 16))

            assert await r.over == "broken"

    run(scenario())


def test_a_stopped_pump_moves_nothing_and_gives_its_pipe_back() -> None:
    async def scenario() -> None:
        with rig() as r:
            r.start()
            r.stop()
            r.stop()
            r.writer.send(b"too late")
            for _ in range(10):
                await asyncio.sleep(0)

            assert r.pump.moved == 0
            assert r.pump.wait is Wait.NOTHING

    run(scenario())


def test_what_a_stopped_pump_held_is_in_nobody_elses_pipe() -> None:
    async def scenario() -> None:
        with rig() as r:
            r.start()
            while r.pump.wait is Wait.SOURCE:  # nobody reads behind it
                with contextlib.suppress(BlockingIOError):
                    r.writer.send(bytes(1 << 16))
                await asyncio.sleep(0)
            r.stop()

            pipe = r.pipes.borrow()
            assert pipe is not None
            with pytest.raises(BlockingIOError):
                os.read(pipe.reader, 1)
            r.pipes.discard(pipe)

    run(scenario())


def test_a_turn_moves_two_pipes_full_and_leaves_the_rest_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pump, "LARGE_PIPE_BYTES", 1000)
    monkeypatch.setattr(pump, "_FEW_BYTES", 0)

    async def scenario() -> None:
        with rig() as r:
            r.writer.send(bytes(10_000))
            seen = [0]
            r.start()
            while r.pump.moved < 10_000:
                await asyncio.sleep(0)
                seen.append(r.pump.moved)

            assert max(after - before for before, after in pairwise(seen)) == 2000

    run(scenario())


def test_one_busy_stream_does_not_keep_the_others_waiting() -> None:
    async def scenario() -> None:
        with rig() as busy, rig() as other:
            busy.start()
            other.start()
            is_done = False

            async def flood() -> None:
                while not is_done:
                    await busy.loop.sock_sendall(busy.writer, bytes(1 << 20))
                busy.writer.shutdown(socket.SHUT_WR)

            async def ask() -> None:
                nonlocal is_done
                for _ in range(20):
                    other.writer.send(b"?")
                    assert await other.loop.sock_recv(other.reader, 1) == b"?"
                is_done = True

            await asyncio.gather(flood(), busy.read(), ask())

    run(scenario())
