"""Flows whose bytes data filters see, and flows that filters make up, on loopback."""

import asyncio
import socket

import pytest
from tests.relay.loopback import HOSTS, UDP, Bench, bench, descriptors, endpoint_of, name, run
from tests.relay.test_streams import reset
from tests.taps import WritingTap

from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import FlowCounters, Pinhole

PEER = Endpoint.parse("198.51.100.9:20")


def tapped(b: Bench) -> WritingTap:
    """Let everybody in, by way of this tap."""
    tap = WritingTap(b.told.log)
    b.told.on_arrival = lambda arrival: arrival.proceed(tap)
    return tap


async def logged(b: Bench, what: str) -> None:
    """Let the loop turn until this was written down; `run` has the deadline."""
    while what not in b.told.log:  # noqa: ASYNC110 - a tap has no events
        await asyncio.sleep(0)


@pytest.mark.parametrize("host", HOSTS)
def test_it_shares_its_turns_with_all_else_of_the_clients_host(host: str) -> None:
    async def scenario() -> None:
        async with bench(host) as b:
            client = b.client()
            tapped(b)
            await b.flow(client, await b.opened(b.pinhole(client)))

            assert b.poller.has_others(())
            assert not b.poller.has_others({f"the host of {host}"})

    run(scenario())


@pytest.mark.parametrize("host", HOSTS)
def test_the_tap_sees_what_peer_and_client_say_in_the_order_that_is_promised(host: str) -> None:
    async def scenario() -> None:
        async with bench(host) as b:
            client = b.client()
            tapped(b)
            pinhole = await b.opened(b.pinhole(client))
            peer, accepted = await b.flow(client, pinhole)

            await b.loop.sock_sendall(peer, b"to the client")
            assert await b.read(accepted, 13) == b"to the client"
            peer.shutdown(socket.SHUT_WR)
            assert await b.read(accepted, 1) == b""
            await b.loop.sock_sendall(accepted, b"to the peer")
            accepted.close()
            assert await b.read(peer, 100) == b"to the peer"
            await b.told.until(lambda: b.told.ended)

            assert b.told.log == [
                "arrived",
                "established",
                "begin",
                "accepted: to the client",
                "accepted closed",
                "dialled: to the peer",
                "dialled closed",
                "end",
                "ended",
            ]
            assert b.told.ended == [(pinhole.id, FlowCounters(endpoint_of(peer), 13, 11))]
            assert b.path.live_pinholes == 0

    run(scenario())


def test_what_a_filter_makes_of_the_bytes_is_what_arrives_and_what_is_counted() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.client()
            tap = tapped(b)
            tap.on_accepted = lambda data: tap.to_dialled(data * 2)
            pinhole = await b.opened(b.pinhole(client))
            peer, accepted = await b.flow(client, pinhole)
            await b.loop.sock_sendall(peer, b"twice")

            assert await b.read(accepted, 10) == b"twicetwice"
            assert b.path.counters(pinhole.id) == [FlowCounters(endpoint_of(peer), 10, 0)]

    run(scenario())


def test_a_kill_resets_both_ends_and_ends_the_tap_first() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.client()
            tapped(b)
            pinhole = await b.opened(b.pinhole(client))
            peer, accepted = await b.flow(client, pinhole)
            b.path.kill([pinhole.id])
            b.path.kill([pinhole.id])

            assert await b.is_reset(peer)
            assert await b.is_reset(accepted)
            assert b.told.log == ["arrived", "established", "begin", "end", "ended"]

    run(scenario())


def test_a_flow_killed_by_whoever_is_told_that_it_began_never_begins_for_its_tap() -> None:
    async def scenario() -> None:
        async with bench() as b:
            tapped(b)
            b.told.on_established = lambda pinhole_id: b.path.kill([pinhole_id])
            peer = b.peer(await b.opened(b.pinhole(b.client())))

            assert await b.is_reset(peer)
            assert b.told.log == ["arrived", "established", "end", "ended"]

    run(scenario())


def test_a_single_pinhole_takes_one_tapped_flow_and_many_where_many_are_allowed() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.client()
            tapped(b)
            single = await b.opened(b.pinhole(client))
            await b.flow(client, single)
            with pytest.raises(ConnectionRefusedError):
                b.peer(single)

            many = await b.opened(b.pinhole(client, single=False))
            flows = [await b.flow(client, many) for _ in range(3)]
            assert {counters.peer for counters in b.path.counters(many.id)} == {
                endpoint_of(peer) for peer, _ in flows
            }

    run(scenario())


@pytest.mark.parametrize("how", ["abort", "close"])
def test_a_filter_may_end_the_flow_by_its_link(how: str) -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.client()
            tap = tapped(b)
            peer, accepted = await b.flow(client, await b.opened(b.pinhole(client)))
            tap.to_accepted(b"bye")
            (tap.link.abort if how == "abort" else tap.link.close)()

            assert await b.is_reset(peer) is (how == "abort")
            assert await b.is_reset(accepted) is (how == "abort")
            await b.told.until(lambda: b.told.ended)
            assert b.told.log == ["arrived", "established", "begin", "end", "ended"]
            assert b.told.ended[0][1].to_peer_bytes == 3

    run(scenario())


def test_a_reset_reaches_the_other_end_through_the_tap() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.client()
            tapped(b)
            peer, accepted = await b.flow(client, await b.opened(b.pinhole(client)))
            reset(accepted)

            assert await b.is_reset(peer)
            await b.told.until(lambda: b.told.ended)
            assert b.told.log[-2:] == ["end", "ended"]

    run(scenario())


# -- emulation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_open", [True, False])
def test_a_filter_speaks_for_a_peer_that_is_not_there(is_open: bool) -> None:
    async def scenario() -> None:
        async with bench() as b:
            client, tap = b.client(), WritingTap(b.told.log)
            pinhole = b.pinhole(client)
            if is_open:
                await b.path.open([pinhole])
            b.path.deliver(pinhole, PEER, tap)
            accepted = await b.accept(client)
            await b.told.until(lambda: b.told.established)
            tap.to_dialled(b"made up")
            assert await b.read(accepted, 7) == b"made up"
            await b.loop.sock_sendall(accepted, b"thanks")
            await logged(b, "dialled: thanks")
            assert b.path.counters(pinhole.id) == [FlowCounters(PEER, 7, 0)]
            tap.link.close()

            assert await b.read(accepted, 1) == b""
            await b.told.until(lambda: b.told.ended)
            assert b.told.log == ["established", "begin", "dialled: thanks", "end", "ended"]
            assert b.told.established == [(pinhole.id, PEER)]
            assert b.told.ended == [(pinhole.id, FlowCounters(PEER, 7, 0))]
            assert b.path.live_pinholes == 0
            with pytest.raises(ConnectionRefusedError):
                b.peer(pinhole)

    run(scenario())


def test_a_client_that_is_not_there_refuses_what_is_made_up() -> None:
    async def scenario() -> None:
        async with bench() as b:
            pinhole = b.pinhole(b.new())
            b.path.deliver(pinhole, PEER, WritingTap(b.told.log))
            await b.told.until(lambda: b.told.refused)

            assert b.told.log == ["end", "refused"]
            assert b.told.refused == [(pinhole.id, PEER)]
            assert b.path.live_pinholes == 0

    run(scenario())


def test_what_is_made_up_is_killed_like_any_other_flow() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.client()
            pinhole = b.pinhole(client)
            b.path.deliver(pinhole, PEER, WritingTap(b.told.log))
            accepted = await b.accept(client)
            await b.told.until(lambda: b.told.established)
            b.path.kill([pinhole.id])

            assert await b.is_reset(accepted)
            assert b.told.log == ["established", "begin", "end", "ended"]

    run(scenario())


def test_a_pinhole_that_opens_after_something_was_made_up_kills_both() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.client()
            pinhole = b.pinhole(client, single=False)
            b.path.deliver(pinhole, PEER, WritingTap(b.told.log))
            made_up = await b.accept(client)
            await b.told.until(lambda: b.told.established)
            await b.path.open([pinhole])
            peer, _ = await b.flow(client, pinhole)
            assert len(b.path.counters(pinhole.id)) == 2
            b.path.kill([pinhole.id])

            assert await b.is_reset(made_up)
            assert await b.is_reset(peer)
            assert b.path.live_pinholes == 0

    run(scenario())


def test_what_is_made_up_counts_among_the_flows() -> None:
    async def scenario() -> None:
        async with bench() as b:
            pinhole = b.pinhole(b.client(), single=False, max_flows=1)
            b.path.deliver(pinhole, PEER, WritingTap())
            b.path.deliver(pinhole, PEER, WritingTap(b.told.log))

            assert b.told.log == ["end", "refused"]

    run(scenario())


# -- datagrams ------------------------------------------------------------------------------------


async def hear(b: Bench, sock: socket.socket) -> bytes:
    return await b.loop.sock_recv(sock, 100)


def send(peer: socket.socket, pinhole: Pinhole, data: bytes) -> None:
    peer.sendto(data, name(pinhole.listen))


@pytest.mark.parametrize("host", HOSTS)
def test_the_tap_sees_every_datagram_both_ways(host: str) -> None:
    async def scenario() -> None:
        async with bench(host) as b:
            client, peer = b.new(UDP), b.new(UDP)
            tapped(b)
            pinhole = await b.opened(b.pinhole(client, UDP, is_answered=True))
            send(peer, pinhole, b"?")
            data, back = await b.loop.sock_recvfrom(client, 100)
            client.sendto(b"!!", back)

            assert (data, await hear(b, peer)) == (b"?", b"!!")
            assert b.told.log == ["arrived", "established", "begin", "accepted: ?", "dialled: !!"]
            assert b.path.counters(pinhole.id) == [FlowCounters(endpoint_of(peer), 1, 2)]
            b.path.kill([pinhole.id])
            assert b.told.log[-2:] == ["end", "ended"]

    run(scenario())


def test_each_source_has_a_tap_of_its_own() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client, taps = b.new(UDP), [WritingTap(), WritingTap()]
            waiting = iter(taps)
            b.told.on_arrival = lambda arrival: arrival.proceed(next(waiting))
            pinhole = await b.opened(b.pinhole(client, UDP, single=False))
            for number in range(2):
                send(b.new(UDP), pinhole, b"%d" % number)
            assert [await hear(b, client) for _ in taps] == [b"0", b"1"]

            assert [tap.told for tap in taps] == [
                ["begin", "accepted: 0"],
                ["begin", "accepted: 1"],
            ]

    run(scenario())


def test_datagrams_that_come_while_a_filter_waits_are_lost() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client, peer = b.new(UDP), b.new(UDP)
            tap = tapped(b)
            pinhole = await b.opened(b.pinhole(client, UDP, is_answered=True))
            send(peer, pinhole, b"first")
            _, back = await b.loop.sock_recvfrom(client, 100)
            tap.is_busy = True
            send(peer, pinhole, b"lost")
            client.sendto(b"lost too", back)
            await b.turn()
            tap.resume()
            send(peer, pinhole, b"second")

            assert await hear(b, client) == b"second"
            assert b.told.log[3:] == ["accepted: first", "accepted: second"]
            assert b.path.counters(pinhole.id) == [FlowCounters(endpoint_of(peer), 11, 0)]

    run(scenario())


@pytest.mark.parametrize("how", ["abort", "close"])
def test_a_filter_may_end_a_flow_of_datagrams(how: str) -> None:
    async def scenario() -> None:
        async with bench() as b:
            client, peer = b.new(UDP), b.new(UDP)
            tap = tapped(b)
            pinhole = await b.opened(b.pinhole(client, UDP))
            send(peer, pinhole, b"one")
            assert await hear(b, client) == b"one"
            (tap.link.abort if how == "abort" else tap.link.close)()
            tap.to_accepted(b"late")
            tap.to_dialled(b"late")
            await b.turn()

            assert b.told.log[-2:] == ["end", "ended"]
            for sock in (client, peer):
                with pytest.raises(BlockingIOError):
                    sock.recv(100)

    run(scenario())


def test_a_filter_speaks_to_a_client_in_datagrams_for_a_peer_that_is_not_there() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client, tap = b.new(UDP), WritingTap(b.told.log)
            pinhole = b.pinhole(client, UDP, is_answered=True)
            before = descriptors()
            b.path.deliver(pinhole, PEER, tap)
            tap.to_dialled(b"made up")
            data, back = await b.loop.sock_recvfrom(client, 100)
            client.sendto(b"thanks", back)
            await logged(b, "dialled: thanks")
            b.path.kill([pinhole.id])

            assert data == b"made up"
            assert b.told.log == ["established", "begin", "dialled: thanks", "end", "ended"]
            assert b.told.ended == [(pinhole.id, FlowCounters(PEER, 7, 0))]
            assert descriptors() == before
            assert b.path.live_pinholes == 0

    run(scenario())


def test_without_a_descriptor_what_is_made_up_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object) -> socket.socket:
        raise OSError(24, "Too many open files")

    async def scenario() -> None:
        async with bench() as b:
            pinhole = b.pinhole(b.new(UDP), UDP)
            monkeypatch.setattr("sallyport.relay.bound_ports.make", exhausted)
            b.path.deliver(pinhole, PEER, WritingTap(b.told.log))

            assert b.told.log == ["end", "refused"]
            assert b.path.live_pinholes == 0

    run(scenario())
