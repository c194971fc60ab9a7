"""Datagrams through a port, on loopback with real sockets."""

import asyncio
import resource
import socket

import pytest
from tests.relay.loopback import HOSTS, UDP, Bench, bench, descriptors, endpoint_of, name, run

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import FlowCounters, Pinhole
from sallyport.ipfilter import IpFilter
from sallyport.relay.udp import UdpPort


async def datagram(b: Bench, sock: socket.socket) -> bytes:
    return await b.loop.sock_recv(sock, 1 << 16)


def send(peer: socket.socket, pinhole: Pinhole, data: bytes) -> None:
    peer.sendto(data, name(pinhole.listen))


def waiting(sock: socket.socket) -> list[bytes]:
    """Take every datagram that has arrived."""
    taken = []
    while True:
        try:
            taken.append(sock.recv(1 << 16))
        except BlockingIOError:
            return taken


@pytest.mark.parametrize("host", HOSTS)
def test_peers_and_client_exchange_datagrams_and_answers_go_back_by_peer(host: str) -> None:
    async def scenario() -> None:
        async with bench(host) as b:
            client = b.new(UDP)
            pinhole = await b.opened(b.pinhole(client, UDP, single=False, is_answered=True))
            peers = [b.new(UDP), b.new(UDP)]

            for number, peer in enumerate(peers):
                send(peer, pinhole, b"from %d" % number)
            for _ in peers:
                data, back = await b.loop.sock_recvfrom(client, 100)
                client.sendto(b"answer to " + data, back)

            assert await datagram(b, peers[0]) == b"answer to from 0"
            assert await datagram(b, peers[1]) == b"answer to from 1"
            assert sorted(b.told.established) == sorted(
                (pinhole.id, endpoint_of(peer)) for peer in peers
            )

    run(scenario())


def test_answers_come_from_the_address_the_peer_wrote_to() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client, peer = b.new(UDP), b.new(UDP)
            pinhole = await b.opened(b.pinhole(client, UDP, is_answered=True))
            send(peer, pinhole, b"?")
            _, back = await b.loop.sock_recvfrom(client, 100)
            client.sendto(b"!", back)

            _, source = await b.loop.sock_recvfrom(peer, 100)

            assert source == name(pinhole.listen)

    run(scenario())


def test_without_an_answer_allowed_the_clients_datagrams_reach_nobody() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client, peer = b.new(UDP), b.new(UDP)
            pinhole = await b.opened(b.pinhole(client, UDP))
            send(peer, pinhole, b"?")
            _, back = await b.loop.sock_recvfrom(client, 100)

            client.sendto(b"!", back)
            await b.turn()

            assert waiting(peer) == []
            assert b.path.counters(pinhole.id) == [FlowCounters(endpoint_of(peer), 1, 0)]
            # Nor do they pile up on our side of the client.
            (port,) = b.path._ports.values()
            assert isinstance(port, UdpPort)
            (flow,) = port.flows.values()
            assert waiting(flow._client_leg) == []

    run(scenario())


def test_a_stranger_neither_gets_in_nor_owns_the_pinhole() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.new(UDP)
            friend, stranger = b.new(UDP, "127.0.0.2"), b.new(UDP, "127.0.0.3")
            pinhole = await b.opened(b.pinhole(client, UDP, sources=IpFilter.of("127.0.0.2")))
            send(stranger, pinhole, b"stranger")
            send(friend, pinhole, b"friend")

            assert await datagram(b, client) == b"friend"
            assert waiting(client) == []
            assert b.told.established == [(pinhole.id, endpoint_of(friend))]

    run(scenario())


def test_a_datagram_sent_before_the_pinhole_opened_is_never_delivered() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client, peer = b.new(UDP), b.new(UDP)
            pinhole = b.pinhole(client, UDP)
            send(peer, pinhole, b"early")
            await b.path.open([pinhole])
            send(peer, pinhole, b"in time")

            assert await datagram(b, client) == b"in time"

    run(scenario())


def test_a_datagram_queued_when_the_pinhole_closed_is_not_delivered_to_the_next_one() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client, peer = b.new(UDP), b.new(UDP)
            pinhole = await b.opened(b.pinhole(client, UDP))
            send(peer, pinhole, b"for the first")
            b.path.close([pinhole.id])
            await b.path.open([pinhole])
            send(peer, pinhole, b"for the second")

            assert await datagram(b, client) == b"for the second"

    run(scenario())


def test_after_close_admitted_sources_go_on_and_new_ones_do_not_begin() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client, old, new = b.new(UDP), b.new(UDP), b.new(UDP)
            pinhole = await b.opened(b.pinhole(client, UDP, single=False))
            send(old, pinhole, b"old")
            assert await datagram(b, client) == b"old"

            b.path.close([pinhole.id])
            send(new, pinhole, b"new")
            send(old, pinhole, b"old again")

            assert await datagram(b, client) == b"old again"
            assert waiting(client) == []

    run(scenario())


def test_a_port_released_under_a_running_flow_goes_with_the_flow() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client, peer = b.new(UDP), b.new(UDP)
            pinhole = await b.opened(b.pinhole(client, UDP))
            send(peer, pinhole, b"one")
            assert await datagram(b, client) == b"one"
            b.path.close([pinhole.id])
            b.path.release(UDP, pinhole.listen)
            send(peer, pinhole, b"two")
            assert await datagram(b, client) == b"two"

            b.path.kill([pinhole.id])

            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.bind(name(pinhole.listen))
            assert b.path.live_pinholes == 0

    run(scenario())


def test_a_kill_ends_every_flow_at_once() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client, peer = b.new(UDP), b.new(UDP)
            before = descriptors()
            pinhole = await b.opened(b.pinhole(client, UDP, single=False, is_answered=True))
            send(peer, pinhole, b"one")
            assert await datagram(b, client) == b"one"

            b.path.kill([pinhole.id])
            send(peer, pinhole, b"two")
            await b.turn()

            assert b.told.ended == [(pinhole.id, FlowCounters(endpoint_of(peer), 3, 0))]
            assert waiting(client) == []
            assert descriptors() == before + 1  # the reserved port

    run(scenario())


def test_a_flow_may_be_killed_by_whoever_is_told_that_it_began() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.new(UDP)
            pinhole = await b.opened(b.pinhole(client, UDP))
            b.told.on_established = lambda pinhole_id: b.path.kill([pinhole_id])
            send(b.new(UDP), pinhole, b"one")
            await b.told.until(lambda: b.told.ended)

            assert waiting(client) == []
            assert b.path.live_pinholes == 0

    run(scenario())


def test_sources_beyond_the_limit_are_not_let_in_and_told_of() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.new(UDP)
            pinhole = await b.opened(b.pinhole(client, UDP, single=False, max_flows=2))
            peers = [b.new(UDP) for _ in range(4)]
            for number, peer in enumerate(peers):
                send(peer, pinhole, b"%d" % number)

            assert [await datagram(b, client) for _ in range(2)] == [b"0", b"1"]
            await b.turn()
            assert waiting(client) == []
            assert b.told.turned_away == [(pinhole.id, endpoint_of(peer)) for peer in peers[2:]]

    run(scenario())


@pytest.mark.parametrize("is_answered", [True, False])
def test_a_client_that_was_not_there_yet_loses_nothing_that_comes_later(
    is_answered: bool,
) -> None:
    async def scenario() -> None:
        async with bench() as b:
            client, peer = b.new(UDP), b.new(UDP)
            port = endpoint_of(client).port
            pinhole = await b.opened(b.pinhole(client, UDP, is_answered=is_answered))
            client.close()
            for _ in range(3):
                send(peer, pinhole, b"to nobody")
                await b.turn()
            late = b.new(UDP, port=port)
            send(peer, pinhole, b"now")

            assert await datagram(b, late) == b"now"

    run(scenario())


def test_without_a_descriptor_a_source_is_refused_and_may_try_again() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client, peer = b.new(UDP), b.new(UDP)
            pinhole = await b.opened(b.pinhole(client, UDP))
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
            try:
                send(peer, pinhole, b"one")
                await b.told.until(lambda: b.told.refused)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            send(peer, pinhole, b"two")

            assert await datagram(b, client) == b"two"
            assert b.told.refused == [(pinhole.id, endpoint_of(peer))]

    run(scenario())


def test_a_burst_is_dealt_with_in_turns_of_sixty_four() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client, peer = b.new(UDP), b.new(UDP)
            pinhole = await b.opened(b.pinhole(client, UDP))
            for number in range(100):
                send(peer, pinhole, b"%d" % number)
            turns: list[int] = []
            while sum(turns) < 100:
                await asyncio.sleep(0)
                turns.append(len(waiting(client)))

            assert [turn for turn in turns if turn] == [64, 36]

    run(scenario())


def test_the_largest_datagram_passes_whole() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client, peer = b.new(UDP), b.new(UDP)
            pinhole = await b.opened(b.pinhole(client, UDP))
            # 65535 less 20 of IPv4's header and 8 of UDP's.
            send(peer, pinhole, bytes(65507))

            assert len(await datagram(b, client)) == 65507

    run(scenario())


def test_one_datagram_can_be_sent_from_a_reserved_port() -> None:
    async def scenario() -> None:
        async with bench() as b:
            peer = b.new(UDP)
            listen = b.reserved(UDP)

            b.path.send_from(listen, endpoint_of(peer), b"by ourselves")

            assert await b.loop.sock_recvfrom(peer, 100) == (b"by ourselves", name(listen))

    run(scenario())


def test_what_cannot_be_sent_is_lost_without_a_word() -> None:
    async def scenario() -> None:
        async with bench() as b:
            peer = b.new(UDP)
            listen = b.reserved(UDP)
            b.path.send_from(listen, endpoint_of(peer), bytes(1 << 16))
            b.path.send_from(listen, Endpoint.parse("255.255.255.255:9"), b"broadcast")

            assert waiting(peer) == []

    run(scenario())


def test_an_increased_receive_buffer_loses_less_of_a_burst() -> None:
    async def scenario() -> None:
        async with bench() as b:
            passed = []
            for size in (None, limits.INCREASED_RECEIVE_BUFFER):
                client, peer = b.new(UDP), b.new(UDP)
                pinhole = await b.opened(b.pinhole(client, UDP, receive_buffer=size))
                # The loop does not run meanwhile, so nothing is read.
                for _ in range(600):
                    peer.sendto(bytes(1000), name(pinhole.listen))
                await b.told.until(lambda: bool(b.told.established))
                b.told.established.clear()
                before = -1
                while before < (now := b.path.counters(pinhole.id)[0].from_peer_bytes):
                    before = now
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                passed.append(now)
            plain, increased = passed

            # Without privileges the host's net.core.rmem_max is the most: twice its default size.
            assert increased > 1.5 * plain

    run(scenario())
