"""Who gets through a TCP port, on loopback with real sockets."""

import asyncio
import errno
import resource
import socket

import pytest
from msgspec.structs import replace
from tests.relay.loopback import HOSTS, bench, descriptors, endpoint_of, name, run

from sallyport.addresses import Endpoint
from sallyport.io.sockets import PAUSE_SECONDS
from sallyport.ipfilter import IpFilter


@pytest.mark.parametrize("host", HOSTS)
def test_a_peer_and_a_client_talk_through_a_pinhole(host: str) -> None:
    async def scenario() -> None:
        async with bench(host) as b:
            client = b.client()
            pinhole = await b.opened(b.pinhole(client))
            peer, accepted = await b.flow(client, pinhole)

            await b.loop.sock_sendall(peer, b"from the peer")
            await b.loop.sock_sendall(accepted, b"from the client")

            assert await b.read(accepted, 13) == b"from the peer"
            assert await b.read(peer, 15) == b"from the client"
            assert b.told.established == [(pinhole.id, endpoint_of(peer))]

    run(scenario())


@pytest.mark.parametrize("host", HOSTS)
def test_of_eight_peers_at_once_exactly_one_gets_through_and_the_others_are_reset(
    host: str,
) -> None:
    async def scenario() -> None:
        async with bench(host) as b:
            client = b.client()
            pinhole = await b.opened(b.pinhole(client))

            peers = [b.peer(pinhole) for _ in range(8)]
            accepted = await b.accept(client)
            await b.told.until(lambda: b.told.established)
            through = b.told.established[0][1]
            losers = [peer for peer in peers if endpoint_of(peer) != through]

            assert [await b.is_reset(peer) for peer in losers] == [True] * 7
            assert len(b.told.established) == 1
            assert b.told.refused == []
            await b.loop.sock_sendall(accepted, b"welcome")
            winner = next(peer for peer in peers if endpoint_of(peer) == through)
            assert await b.read(winner, 7) == b"welcome"

    run(scenario())


def test_a_single_pinhole_that_was_used_lets_nobody_in() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.client()
            pinhole = await b.opened(b.pinhole(client))
            await b.flow(client, pinhole)

            with pytest.raises(ConnectionRefusedError):
                b.peer(pinhole)

    run(scenario())


def test_a_port_stays_held_while_and_after_its_pinhole_is_used() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.client()
            pinhole = await b.opened(b.pinhole(client))
            await b.flow(client, pinhole)
            b.path.kill([pinhole.id])
            with socket.socket() as other:
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

                with pytest.raises(OSError, match="in use"):
                    other.bind(name(pinhole.listen))

    run(scenario())


def test_a_pinhole_opens_at_a_port_where_an_earlier_flow_still_runs() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.client()
            first = await b.opened(b.pinhole(client))
            await b.flow(client, first)

            again = await b.opened(replace(first, id=99))
            await b.flow(client, again)

            assert [pinhole_id for pinhole_id, _ in b.told.established] == [first.id, 99]

    run(scenario())


def test_many_may_connect_where_many_are_allowed() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.client()
            pinhole = await b.opened(b.pinhole(client, single=False))

            flows = [await b.flow(client, pinhole) for _ in range(5)]

            assert len({endpoint_of(peer) for peer, _ in flows}) == 5
            assert len(b.path.counters(pinhole.id)) == 5

    run(scenario())


def test_a_stranger_is_not_answered_and_does_not_use_the_pinhole_up() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.client()
            pinhole = await b.opened(b.pinhole(client, sources=IpFilter.of("127.0.0.2")))

            assert b.ignores(pinhole, host="127.0.0.3")
            friend = b.peer(pinhole, host="127.0.0.2")
            await b.told.until(lambda: b.told.established)

            assert b.told.established == [(pinhole.id, endpoint_of(friend))]
            assert b.told.refused == []

    run(scenario())


def test_an_empty_filter_lets_nobody_in() -> None:
    async def scenario() -> None:
        async with bench() as b:
            pinhole = await b.opened(b.pinhole(b.client(), sources=IpFilter()))

            assert b.ignores(pinhole)
            assert b.told.established == []

    run(scenario())


def test_a_peer_from_another_port_than_the_pinhole_names_is_a_stranger() -> None:
    async def scenario() -> None:
        async with bench() as b:
            friend = b.new()
            ports = frozenset({endpoint_of(friend).port})
            pinhole = await b.opened(b.pinhole(b.client(), source_ports=ports))

            assert b.ignores(pinhole)
            b.connect(friend, pinhole)
            await b.told.until(lambda: b.told.established)

            assert b.told.established == [(pinhole.id, endpoint_of(friend))]

    run(scenario())


def test_a_peer_beyond_the_limit_of_flows_is_reset_and_told_of() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.client()
            pinhole = await b.opened(b.pinhole(client, single=False, max_flows=2))
            first, _ = await b.flow(client, pinhole)
            await b.flow(client, pinhole)

            third = b.peer(pinhole)
            assert await b.is_reset(third)
            assert b.told.turned_away == [(pinhole.id, endpoint_of(third))]
            first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            first.close()
            await b.told.until(lambda: b.told.ended)
            await b.flow(client, pinhole)

            assert len(b.told.established) == 3

    run(scenario())


def test_without_descriptors_a_door_rests_instead_of_spinning_and_then_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries = []
    real = socket.socket.accept

    def accept(listener: socket.socket) -> tuple[socket.socket, object]:
        try:
            return real(listener)
        except OSError as error:
            tries.append(error.errno)
            raise

    async def scenario() -> None:
        async with bench() as b:
            client = b.client()
            pinhole = await b.opened(b.pinhole(client))
            peer = b.new()
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            monkeypatch.setattr(socket.socket, "accept", accept)
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
            try:
                b.connect(peer, pinhole)
                # Twice the pause: the port looks again once in between.
                await asyncio.sleep(2 * PAUSE_SECONDS)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await b.told.until(lambda: b.told.established)

            assert 1 <= tries.count(errno.EMFILE) <= 3

    run(scenario())


def test_a_closed_pinhole_resets_who_waits_and_leaves_its_flows_alone() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.client()
            pinhole = await b.opened(b.pinhole(client, single=False))
            peer, accepted = await b.flow(client, pinhole)
            waiting = b.peer(pinhole)  # the loop has had no chance to accept it

            b.path.close([pinhole.id])
            b.path.close([pinhole.id])

            assert await b.is_reset(waiting)
            await b.loop.sock_sendall(peer, b"still here")
            assert await b.read(accepted, 10) == b"still here"
            assert len(b.told.established) == 1

    run(scenario())


def test_nothing_accepted_is_left_behind_by_a_stranger() -> None:
    async def scenario() -> None:
        async with bench() as b:
            pinhole = await b.opened(b.pinhole(b.client(), sources=too_many()))
            before = descriptors()
            for _ in range(20):
                with b.peer(pinhole) as stranger:
                    assert await b.is_reset(stranger)

            assert descriptors() == before

    run(scenario())


def too_many() -> IpFilter:
    """More prefixes than a program has room for, none of them on loopback."""
    return IpFilter.of(*(f"10.{n >> 7}.{(n << 1) & 255}.0" for n in range(3000)))


@pytest.mark.parametrize("host", HOSTS)
def test_whom_a_port_answers_follows_its_peers_and_its_other_pinholes(host: str) -> None:
    async def scenario() -> None:
        async with bench(host) as b:
            nobody = b.pinhole(b.client(), sources=IpFilter(), single=False)
            pinhole = await b.opened(nobody)
            assert b.ignores(pinhole)

            await b.path.set_peers([pinhole.id], IpFilter.of(host), None)
            assert not b.ignores(pinhole)

            await b.path.set_peers([pinhole.id], IpFilter(), None)
            assert b.ignores(pinhole)

    run(scenario())


def test_a_target_nobody_routes_to_refuses_the_peer() -> None:
    async def scenario() -> None:
        async with bench() as b:
            nowhere = Endpoint.parse("255.255.255.255:2000")
            pinhole = await b.opened(replace(b.pinhole(None), target=nowhere))
            peer = b.peer(pinhole)

            assert await b.is_reset(peer)
            assert b.told.refused == [(pinhole.id, endpoint_of(peer))]

    run(scenario())


def test_a_hundred_peers_at_once_all_get_through_where_many_may() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.client(backlog=128)
            pinhole = await b.opened(b.pinhole(client, single=False, backlog=1))
            peers = [b.peer(pinhole) for _ in range(100)]

            for _ in peers:
                await b.accept(client)
            await b.told.until(lambda: len(b.told.established) == len(peers))

    run(scenario())
