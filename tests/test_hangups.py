"""Resets of sockets nobody reads."""

import asyncio
import socket
import struct

from tests.relay.loopback import run
from tests.relay.test_pump import pair

from sallyport.hangups import Hangups


def test_a_reset_is_told_though_nobody_reads() -> None:
    async def scenario() -> None:
        hangups = Hangups(asyncio.get_running_loop())
        told = asyncio.Event()
        ours, theirs = pair()
        with ours, theirs:
            hangups.watch(ours, told.set)
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            theirs.close()

            await told.wait()
            hangups.forget(ours)
        hangups.close()

    run(scenario())


def test_a_reset_that_came_before_the_watch_is_told_too() -> None:
    async def scenario() -> None:
        hangups = Hangups(asyncio.get_running_loop())
        told = asyncio.Event()
        ours, theirs = pair()
        with ours, theirs:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            theirs.close()
            hangups.watch(ours, told.set)

            await told.wait()
            hangups.forget(ours)
        hangups.close()

    run(scenario())


def test_bytes_and_the_end_of_one_direction_are_not_told() -> None:
    async def scenario() -> None:
        hangups = Hangups(asyncio.get_running_loop())
        told: list[None] = []
        ours, theirs = pair()
        with ours, theirs:
            hangups.watch(ours, lambda: told.append(None))
            theirs.send(b"bytes")
            theirs.shutdown(socket.SHUT_WR)
            for _ in range(10):
                await asyncio.sleep(0)
            hangups.forget(ours)
        hangups.close()

        assert told == []

    run(scenario())


def test_a_socket_that_was_shut_both_ways_is_told_of_once() -> None:
    async def scenario() -> None:
        hangups = Hangups(asyncio.get_running_loop())
        told: list[None] = []
        ours, theirs = pair()
        with ours, theirs:
            hangups.watch(ours, lambda: told.append(None))
            theirs.shutdown(socket.SHUT_WR)
            ours.shutdown(socket.SHUT_WR)
            for _ in range(10):
                await asyncio.sleep(0)
            hangups.forget(ours)
        hangups.close()

        assert len(told) == 1

    run(scenario())


def test_a_forgotten_socket_is_not_told_of_even_in_the_same_turn() -> None:
    async def scenario() -> None:
        hangups = Hangups(asyncio.get_running_loop())
        told: list[str] = []
        news = asyncio.Event()
        pairs = {"a": pair(), "b": pair()}

        def hung_up(name: str) -> None:
            told.append(name)
            for ours, _ in pairs.values():
                hangups.forget(ours)
            news.set()

        for name, (ours, theirs) in pairs.items():
            hangups.watch(ours, lambda name=name: hung_up(name))  # type: ignore[misc]
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            theirs.close()
        await news.wait()
        await asyncio.sleep(0)
        for ours, _ in pairs.values():
            hangups.forget(ours)
            ours.close()
        hangups.close()

        assert len(told) == 1

    run(scenario())
