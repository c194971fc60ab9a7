"""When connections are accepted, and when they wait."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

import pytest
from tests.relay.loopback import endpoint_of, run

from sallyport.addresses import Endpoint
from sallyport.io.acceptor import Acceptor
from sallyport.io.fair_poller import FairPoller
from sallyport.io.sockets import prepare_leg


class Bench:
    def __init__(self, undo: ExitStack) -> None:
        self._undo = undo
        self.listener = undo.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
        prepare_leg(self.listener)
        poller = FairPoller(asyncio.get_running_loop())
        undo.callback(poller.close)
        self.accepted: list[tuple[socket.socket, Endpoint]] = []
        self.acceptor = Acceptor(asyncio.get_running_loop(), poller, self.listener, self._take)
        self.takes = 100
        undo.callback(lambda: self.acceptor.turn(is_on=False))

    def _take(self, leg: socket.socket, peer: Endpoint) -> None:
        self.accepted.append((self._undo.enter_context(leg), peer))
        if len(self.accepted) == self.takes:
            self.acceptor.turn(is_on=False)

    def come(self) -> socket.socket:
        return self._undo.enter_context(socket.create_connection(self.listener.getsockname()))

    async def turns(self) -> None:
        """Let the loop look at its descriptors more often than it needs to."""
        for _ in range(5):
            await asyncio.sleep(0)


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    with ExitStack() as undo:
        yield Bench(undo)


def test_who_comes_waits_until_the_acceptor_is_on() -> None:
    async def scenario() -> None:
        async with bench() as b:
            peer = b.come()
            await b.turns()
            assert b.accepted == []

            b.acceptor.turn(is_on=True)
            b.acceptor.turn(is_on=True)
            await b.turns()

            ((leg, name),) = b.accepted
            assert name == endpoint_of(peer)
            assert not leg.getblocking()

    run(scenario())


def test_whoever_is_told_may_turn_it_off_and_the_next_ones_wait() -> None:
    async def scenario() -> None:
        async with bench() as b:
            b.takes = 1
            for _ in range(3):
                b.come()
            b.acceptor.turn(is_on=True)
            await b.turns()
            assert len(b.accepted) == 1

            b.acceptor.turn(is_on=True)
            await b.turns()
            assert len(b.accepted) == 3

    run(scenario())


def test_after_the_first_a_crowd_is_accepted_in_turns_of_sixteen() -> None:
    async def scenario() -> None:
        async with bench() as b:
            for _ in range(40):
                b.come()
            b.acceptor.turn(is_on=True)
            seen = [0]
            while seen[-1] < 40:
                await asyncio.sleep(0)
                seen.append(len(b.accepted))

            assert sorted(set(seen)) == [0, 1, 17, 33, 40]

    run(scenario())


def test_a_leg_that_is_closed_is_a_reset() -> None:
    async def scenario() -> None:
        async with bench() as b:
            peer = b.come()
            b.acceptor.turn(is_on=True)
            await b.turns()
            b.accepted[0][0].close()

            with pytest.raises(ConnectionResetError):
                peer.recv(1)

    run(scenario())
