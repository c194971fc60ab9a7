import asyncio
import os
import socket
from collections.abc import Awaitable, Callable

import pytest

from sallyport.ops.processes.channel import Channel
from sallyport.ops.processes.messages import Ask, Frames, WorkerRequest, decode_request, frame


class End:
    """One end of a channel, and what it was told."""

    def __init__(self, sock: socket.socket) -> None:
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()
        self.lost = asyncio.Event()
        loop = asyncio.get_running_loop()
        self.channel = Channel(sock, loop, self.heard.put_nowait, self.lost.set)


def with_two(act: Callable[[End, End], Awaitable[None]]) -> None:
    async def scenario() -> None:
        one, other = (End(sock) for sock in socket.socketpair())
        try:
            async with asyncio.timeout(10):
                await act(one, other)
        finally:
            one.channel.close()
            other.channel.close()

    before = set(os.listdir("/proc/self/fd"))
    asyncio.run(scenario())
    assert set(os.listdir("/proc/self/fd")) == before


def asking(text: str) -> WorkerRequest:
    return WorkerRequest(1, Ask("status", {"text": text}))


def test_what_is_longer_than_any_buffer_arrives_whole() -> None:
    async def act(one: End, other: End) -> None:
        sent = [asking("x" * 3_000_000), asking("short")]
        for message in sent:
            one.channel.send(message)

        assert [decode_request(await other.heard.get()) for _ in sent] == sent

    with_two(act)


def test_descriptors_arrive_in_order_however_many_they_are() -> None:
    async def act(one: End, other: End) -> None:
        made = [os.memfd_create(f"number-{n}") for n in range(600)]
        for number, descriptor in enumerate(made):
            os.write(descriptor, str(number).encode())
        one.channel.send(asking("take"), made)
        for descriptor in made:  # the sender's own are the sender's to close
            os.close(descriptor)
        await other.heard.get()

        taken = other.channel.take_descriptors(600)

        said = [os.pread(descriptor, 8, 0) for descriptor in taken]
        assert said == [str(number).encode() for number in range(600)]
        assert not any(os.get_inheritable(descriptor) for descriptor in taken)
        for descriptor in taken:
            os.close(descriptor)

    with_two(act)


def test_descriptors_that_nobody_takes_are_closed() -> None:
    async def act(one: End, other: End) -> None:
        with open(os.devnull, "rb") as made:  # noqa: ASYNC230 - it never blocks
            one.channel.send(asking("take"), [made.fileno()])
        await other.heard.get()

    with_two(act)


def test_the_end_of_the_other_side_is_told_once() -> None:
    async def act(one: End, other: End) -> None:
        one.channel.close()
        await other.lost.wait()
        other.channel.send(asking("into the void"))

    with_two(act)


def test_what_is_no_message_ends_the_channel() -> None:
    async def scenario() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            lost = asyncio.Event()
            loop = asyncio.get_running_loop()
            channel = Channel(ours, loop, lambda body: None, lost.set)
            theirs.sendall(b"\xff\xff\xff\xff")
            await asyncio.wait_for(lost.wait(), 10)
            channel.close()

    asyncio.run(scenario())


def test_who_goes_on_with_a_duplicate_begins_between_two_messages() -> None:
    async def scenario() -> None:
        ours, theirs = socket.socketpair()
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        channel = Channel(ours, loop, heard.put_nowait, lambda: None)
        with theirs, socket.socket(fileno=channel.duplicate()) as kept:
            first, second, third = (frame(asking(text)) for text in ("first", "second", "third"))
            theirs.sendall(first + second[:5])
            await heard.get()
            theirs.sendall(second[5:])
            channel.release()
            theirs.sendall(third)
            assert decode_request(heard.get_nowait()) == asking("second")
            assert kept.recv(1000) == third

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_a_message_is_one_frame() -> None:
    (body,) = Frames().feed(frame(asking("x")))
    assert decode_request(body) == asking("x")


def test_descriptors_that_cannot_all_be_duplicated_leave_none_behind() -> None:
    async def act(one: End, _other: End) -> None:
        there = os.memfd_create("there")
        with pytest.raises(OSError, match="Bad file"):
            one.channel.send(asking("take"), [there, -1])
        os.close(there)

    with_two(act)
