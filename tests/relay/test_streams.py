"""From the first dialling to the last byte, on loopback with real sockets."""

import socket
import struct
from collections.abc import Callable

import pytest
from tests.relay.loopback import HOSTS, Bench, bench, descriptors, endpoint_of, run

from sallyport import limits
from sallyport.core.pinholes.datapath import FlowCounters, Pinhole
from sallyport.io import pump
from sallyport.io.pipes import LARGE_PIPE_BYTES


def reset(sock: socket.socket) -> None:
    """Close so that the other end sees a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def stuffed(b: Bench) -> tuple[socket.socket, list[socket.socket]]:
    """Make a client whose accept queue is full: whoever dials it hears nothing."""
    client = b.client(backlog=0)
    queued = b.new()
    queued.connect_ex(client.getsockname())
    return client, [queued]


@pytest.mark.parametrize("host", HOSTS)
def test_a_refusing_client_means_a_reset_peer_and_a_pinhole_that_stays_open(host: str) -> None:
    async def scenario() -> None:
        async with bench(host) as b:
            client = b.new()  # bound, and not listening yet
            pinhole = await b.opened(b.pinhole(client))
            refused = b.peer(pinhole)

            assert await b.is_reset(refused)
            assert b.told.refused == [(pinhole.id, endpoint_of(refused))]
            client.listen()
            peer, _ = await b.flow(client, pinhole)

            assert b.told.established == [(pinhole.id, endpoint_of(peer))]

    run(scenario())


def test_a_client_that_does_not_answer_is_given_up_and_the_next_peer_has_its_chance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "CONNECT_TIMEOUT_SECONDS", 0.05)

    async def scenario() -> None:
        async with bench() as b:
            client, queued = stuffed(b)
            pinhole = await b.opened(b.pinhole(client))
            first, second = b.peer(pinhole), b.peer(pinhole)

            assert await b.is_reset(first)
            assert b.told.refused == [(pinhole.id, endpoint_of(first))]
            await b.accept(client)  # room for one
            queued.clear()
            await b.told.until(lambda: len(b.told.refused) == 2 or b.told.established)

            assert [e for _, e in b.told.refused[1:] + b.told.established] == [endpoint_of(second)]

    run(scenario())


def test_a_peer_that_resets_while_its_client_is_dialled_is_let_go_at_once() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client, _ = stuffed(b)
            pinhole = await b.opened(b.pinhole(client))
            peer = b.peer(pinhole)
            name = endpoint_of(peer)
            reset(peer)

            await b.told.until(lambda: b.told.refused)

            assert b.told.refused == [(pinhole.id, name)]

    run(scenario())


def test_closing_a_pinhole_resets_the_peer_whose_client_is_being_dialled() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client, _ = stuffed(b)
            pinhole = await b.opened(b.pinhole(client))
            peer = b.peer(pinhole)
            await b.turn()

            b.path.close([pinhole.id])

            assert await b.is_reset(peer)
            assert b.told.refused == []
            assert b.path.live_pinholes == 0

    run(scenario())


@pytest.mark.parametrize("host", HOSTS)
def test_the_end_of_one_direction_is_passed_on_and_the_other_goes_on(host: str) -> None:
    async def scenario() -> None:
        async with bench(host) as b:
            client = b.client()
            pinhole = await b.opened(b.pinhole(client))
            peer, accepted = await b.flow(client, pinhole)

            await b.loop.sock_sendall(peer, b"question")
            peer.shutdown(socket.SHUT_WR)
            assert await b.read(accepted, 1000) == b"question"
            await b.loop.sock_sendall(accepted, b"the answer")
            accepted.close()

            assert await b.read(peer, 1000) == b"the answer"
            await b.told.until(lambda: b.told.ended)
            assert b.told.ended == [(pinhole.id, FlowCounters(endpoint_of(peer), 8, 10))]
            assert b.path.live_pinholes == 0
            assert b.path.counters(pinhole.id) == []

    run(scenario())


def test_a_complete_flow_leaves_what_a_slow_reader_has_not_read_yet() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.client()
            pinhole = await b.opened(b.pinhole(client))
            peer = b.new()
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            b.connect(peer, pinhole)
            accepted = await b.accept(client)
            peer.shutdown(socket.SHUT_WR)
            await b.loop.sock_sendall(accepted, bytes(100_000))
            accepted.close()
            await b.told.until(lambda: b.told.ended)

            assert await b.read(peer, 200_000) == bytes(100_000)

    run(scenario())


def test_urgent_bytes_of_a_peer_stay_in_their_place() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.client()
            pinhole = await b.opened(b.pinhole(client))
            peer, accepted = await b.flow(client, pinhole)

            peer.send(b"before ")
            peer.send(b"!", socket.MSG_OOB)
            peer.send(b" after")

            assert await b.read(accepted, 14) == b"before ! after"

    run(scenario())


def choose_peer(peer: socket.socket, accepted: socket.socket) -> list[socket.socket]:
    return [peer, accepted]


def choose_client(peer: socket.socket, accepted: socket.socket) -> list[socket.socket]:
    return [accepted, peer]


Choice = Callable[[socket.socket, socket.socket], list[socket.socket]]


@pytest.mark.parametrize("choose", [choose_peer, choose_client])
def test_a_reset_is_passed_on_as_a_reset_after_what_came_before_it(choose: Choice) -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.client()
            pinhole = await b.opened(b.pinhole(client))
            resetting, other = choose(*await b.flow(client, pinhole))

            await b.loop.sock_sendall(resetting, b"before")
            assert await b.read(other, 6) == b"before"
            reset(resetting)

            assert await b.is_reset(other)
            await b.told.until(lambda: b.told.ended)

    run(scenario())


@pytest.mark.parametrize("choose", [choose_peer, choose_client])
def test_what_arrived_before_a_reset_is_not_lost_though_it_takes_many_turns(
    monkeypatch: pytest.MonkeyPatch, choose: Choice
) -> None:
    monkeypatch.setattr(pump, "LARGE_PIPE_BYTES", 1)

    async def scenario() -> None:
        async with bench() as b:
            client = b.client()
            pinhole = await b.opened(b.pinhole(client))
            resetting, other = choose(*await b.flow(client, pinhole))

            resetting.send(b"last words")
            reset(resetting)  # the loop has not run in between

            assert await b.read(other, 10) == b"last words"
            assert await b.is_reset(other)

    run(scenario())


@pytest.mark.parametrize("choose", [choose_peer, choose_client])
def test_a_reset_is_passed_on_when_that_direction_had_ended(choose: Choice) -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.client()
            pinhole = await b.opened(b.pinhole(client))
            resetting, other = choose(*await b.flow(client, pinhole))

            resetting.shutdown(socket.SHUT_WR)
            assert await b.read(other, 1) == b""
            reset(resetting)
            await b.told.until(lambda: b.told.ended)

            with pytest.raises(ConnectionError):
                await b.loop.sock_sendall(other, b"to nobody")

    run(scenario())


@pytest.mark.parametrize("choose", [choose_peer, choose_client])
def test_a_reset_is_passed_on_while_the_other_end_does_not_read(choose: Choice) -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.client()
            pinhole = await b.opened(b.pinhole(client))
            sending, stuck = choose(*await b.flow(client, pinhole))
            await fill(b, sending)

            reset(sending)
            await b.told.until(lambda: b.told.ended)

            assert await b.is_reset(stuck)

    run(scenario())


async def fill(b: Bench, sending: socket.socket) -> int:
    """Send until nothing more is taken, however long the loop turns; give the bytes."""
    sent, turns_in_vain = 0, 0
    block = bytes(1 << 16)
    while turns_in_vain < 200:
        try:
            sent += sending.send(block)
            turns_in_vain = 0
        except BlockingIOError:
            turns_in_vain += 1
        await next_turn(b)
    return sent


async def next_turn(b: Bench) -> None:
    """Let the loop look at its descriptors once."""
    done = b.loop.create_future()
    b.loop.call_later(0.001, done.set_result, None)
    await done


def test_a_slow_reader_makes_the_sender_wait_and_pins_one_pipe() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.client()
            # Small buffers: what is held beyond them is ours.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            pinhole = await b.opened(b.pinhole(client))
            peer, accepted = await b.flow(client, pinhole)
            before = descriptors()
            sent = await fill(b, peer)

            # At most the two socket buffers Linux grows to (tcp_wmem, tcp_rmem) at either side.
            assert sent < 32 * LARGE_PIPE_BYTES
            assert descriptors() <= before + 2
            peer.shutdown(socket.SHUT_WR)
            received = 0
            while more := await b.loop.sock_recv(accepted, 1 << 20):
                received += len(more)

            assert received == sent

    run(scenario())


@pytest.mark.parametrize("host", HOSTS)
def test_a_kill_resets_both_ends_at_once_though_both_are_idle(host: str) -> None:
    async def scenario() -> None:
        async with bench(host) as b:
            client = b.client()
            pinhole = await b.opened(b.pinhole(client))
            peer, accepted = await b.flow(client, pinhole)

            b.path.kill([pinhole.id])
            b.path.kill([pinhole.id])

            assert b.told.ended == [(pinhole.id, FlowCounters(endpoint_of(peer), 0, 0))]
            assert await b.is_reset(peer)
            assert await b.is_reset(accepted)
            assert len(b.told.ended) == 1

    run(scenario())


def test_a_flow_may_be_killed_by_whoever_is_told_that_it_began() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.client()
            pinhole = await b.opened(b.pinhole(client))
            b.told.on_established = lambda pinhole_id: b.path.kill([pinhole_id])
            peer = b.peer(pinhole)

            assert await b.is_reset(peer)
            assert len(b.told.ended) == 1
            assert b.path.live_pinholes == 0

    run(scenario())


def test_running_flows_are_counted_byte_by_byte() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.client()
            pinhole = await b.opened(b.pinhole(client))
            peer, accepted = await b.flow(client, pinhole)

            await b.loop.sock_sendall(peer, bytes(70_000))
            await b.read(accepted, 70_000)
            await b.loop.sock_sendall(accepted, bytes(5))
            await b.read(peer, 5)

            counted = [FlowCounters(endpoint_of(peer), 70_000, 5)]
            assert b.path.counters(pinhole.id) == counted

    run(scenario())


def test_a_thousand_flows_leave_no_descriptor_behind() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.client()
            pinhole = await b.opened(b.pinhole(client, single=False))
            await one_flow(b, client, pinhole, is_reset=False)
            before = descriptors()

            for number in range(1000):
                await one_flow(b, client, pinhole, is_reset=number % 2 == 0)

            assert descriptors() == before
            assert len(b.told.ended) == 1001

    async def one_flow(
        b: Bench, client: socket.socket, pinhole: Pinhole, *, is_reset: bool
    ) -> None:
        ended = len(b.told.ended)
        with b.peer(pinhole) as peer:
            accepted, _ = await b.loop.sock_accept(client)
            with accepted:
                await b.loop.sock_sendall(peer, b"x")
                await b.read(accepted, 1)
                if is_reset:
                    reset(accepted)
        await b.told.until(lambda: len(b.told.ended) > ended)

    run(scenario())
