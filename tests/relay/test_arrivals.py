"""A peer that waits to be let in: what the sink may answer, and when."""

import socket

import pytest
from tests.relay.loopback import TCP, UDP, Bench, bench, endpoint_of, name, run
from tests.relay.test_streams import reset, stuffed
from tests.taps import WritingTap

from sallyport.core.pinholes.datapath import Arrival, Pinhole
from sallyport.flags import Transport
from sallyport.ipfilter import IpFilter


def hold(b: Bench) -> list[Arrival]:
    """Answer no arrival by ourselves; give the list of those that wait."""
    waiting: list[Arrival] = []
    b.told.on_arrival = waiting.append
    return waiting


async def come(b: Bench, pinhole: Pinhole) -> socket.socket:
    """Let a peer come, and wait until the sink knows of it."""
    before = b.told.log.count("arrived")
    made = b.peer(pinhole)
    await b.told.until(lambda: b.told.log.count("arrived") > before)
    return made


def is_silent(sock: socket.socket) -> bool:
    try:
        sock.recv(1)
    except BlockingIOError:
        return True
    return False


def test_nobody_is_dialled_before_the_arrival_is_answered() -> None:
    async def scenario() -> None:
        async with bench() as b:
            waiting, client = hold(b), b.client()
            peer = await come(b, await b.opened(b.pinhole(client)))
            await b.turn()
            with pytest.raises(BlockingIOError):
                client.accept()
            assert is_silent(peer)

            waiting[0].proceed(None)
            accepted = await b.accept(client)
            await b.told.until(lambda: b.told.established)
            await b.loop.sock_sendall(peer, b"hello")

            assert await b.read(accepted, 5) == b"hello"
            assert b.told.log == ["arrived", "established"]

    run(scenario())


def test_who_is_refused_is_reset_and_the_next_in_line_has_its_chance() -> None:
    async def scenario() -> None:
        async with bench() as b:
            waiting, client = hold(b), b.client()
            pinhole = await b.opened(b.pinhole(client))
            first, second = await come(b, pinhole), b.peer(pinhole)
            await b.turn()
            assert len(waiting) == 1  # a single pinhole deals with one at a time

            waiting[0].refuse()
            await b.told.until(lambda: len(waiting) == 2)
            waiting[1].proceed(None)
            await b.told.until(lambda: b.told.established)

            assert await b.is_reset(first)
            assert b.told.established == [(pinhole.id, endpoint_of(second))]
            assert b.told.refused == []

    run(scenario())


def test_a_peer_that_resets_while_it_waits_is_told_and_the_answer_comes_too_late() -> None:
    async def scenario() -> None:
        async with bench() as b:
            waiting, client = hold(b), b.client()
            pinhole = await b.opened(b.pinhole(client))
            peer = await come(b, pinhole)
            who = endpoint_of(peer)
            reset(peer)
            await b.told.until(lambda: b.told.refused)

            tap = WritingTap(b.told.log)
            waiting[0].proceed(tap)
            waiting[0].refuse()

            assert b.told.refused == [(pinhole.id, who)]
            assert b.told.log == ["arrived", "refused", "end"]
            with pytest.raises(BlockingIOError):
                client.accept()

    run(scenario())


@pytest.mark.parametrize("how", ["close", "kill", "sources"])
def test_a_pinhole_that_is_shut_resets_who_waits_and_tells_nobody(how: str) -> None:
    async def scenario() -> None:
        async with bench() as b:
            waiting = hold(b)
            pinhole = await b.opened(b.pinhole(b.client()))
            peer = await come(b, pinhole)
            if how == "sources":
                await b.path.set_peers([pinhole.id], IpFilter(), None)
            else:
                (b.path.close if how == "close" else b.path.kill)([pinhole.id])
            waiting[0].proceed(None)

            assert await b.is_reset(peer)
            assert b.told.log == ["arrived"]

    run(scenario())


def test_a_dialling_that_is_cut_short_ends_its_tap() -> None:
    async def scenario() -> None:
        async with bench() as b:
            waiting = hold(b)
            client, _ = stuffed(b)
            pinhole = await b.opened(b.pinhole(client))
            peer = await come(b, pinhole)
            waiting[0].proceed(WritingTap(b.told.log))
            b.path.close([pinhole.id])

            assert await b.is_reset(peer)
            assert b.told.log == ["arrived", "end"]

    run(scenario())


def test_a_client_that_refuses_ends_the_tap_before_the_sink_is_told() -> None:
    async def scenario() -> None:
        async with bench() as b:
            b.told.on_arrival = lambda arrival: arrival.proceed(WritingTap(b.told.log))
            pinhole = await b.opened(b.pinhole(b.new()))
            peer = b.peer(pinhole)

            assert await b.is_reset(peer)
            assert b.told.log == ["arrived", "end", "refused"]

    run(scenario())


def test_who_waits_counts_among_the_flows() -> None:
    async def scenario() -> None:
        async with bench() as b:
            hold(b)
            pinhole = await b.opened(b.pinhole(b.client(), single=False, max_flows=1))
            await come(b, pinhole)

            assert await b.is_reset(b.peer(pinhole))
            assert b.told.log == ["arrived", "turned away"]

    run(scenario())


# -- datagrams ------------------------------------------------------------------------------------


async def sent(b: Bench, peer: socket.socket, pinhole: Pinhole, data: bytes) -> None:
    peer.sendto(data, name(pinhole.listen))
    await b.turn()


async def datagram_pinhole(
    b: Bench, *, single: bool = True
) -> tuple[socket.socket, Pinhole, list[Arrival]]:
    client = b.new(UDP)
    return client, await b.opened(b.pinhole(client, UDP, single=single)), hold(b)


def taken(sock: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(sock.recv(100))
        except BlockingIOError:
            return found


def test_datagrams_of_a_source_that_waits_are_lost_and_it_is_asked_about_once() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client, pinhole, waiting = await datagram_pinhole(b)
            peer = b.new(UDP)
            for data in (b"lost", b"lost too"):
                await sent(b, peer, pinhole, data)
            assert len(waiting) == 1

            waiting[0].proceed(None)
            await sent(b, peer, pinhole, b"heard")

            assert taken(client) == [b"heard"]
            assert b.told.log == ["arrived", "established"]

    run(scenario())


def test_a_source_that_is_refused_does_not_own_the_pinhole_and_is_asked_about_again() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client, pinhole, waiting = await datagram_pinhole(b)
            one, other = b.new(UDP), b.new(UDP)
            await sent(b, one, pinhole, b"one")
            await sent(b, other, pinhole, b"other")  # one at a time
            assert len(waiting) == 1

            waiting[0].refuse()
            for sock in (other, one):
                await sent(b, sock, pinhole, b"again")
            waiting[1].proceed(None)
            await sent(b, other, pinhole, b"in")
            await sent(b, one, pinhole, b"out")

            assert len(waiting) == 2
            assert taken(client) == [b"in"]
            assert b.told.established == [(pinhole.id, endpoint_of(other))]

    run(scenario())


def test_many_sources_wait_side_by_side_where_many_are_allowed() -> None:
    async def scenario() -> None:
        async with bench() as b:
            _, pinhole, waiting = await datagram_pinhole(b, single=False)
            for peer in [b.new(UDP) for _ in range(3)] * 2:
                await sent(b, peer, pinhole, b"?")

            assert len(waiting) == 3  # each is asked about once

    run(scenario())


@pytest.mark.parametrize("transport", [TCP, UDP])
def test_an_answer_after_the_pinhole_is_gone_does_no_harm(transport: Transport) -> None:
    async def scenario() -> None:
        async with bench() as b:
            waiting = hold(b)
            client = b.client() if transport is TCP else b.new(UDP)
            pinhole = await b.opened(b.pinhole(client, transport))
            if transport is TCP:
                await come(b, pinhole)
            else:
                await sent(b, b.new(UDP), pinhole, b"?")
            b.path.close([pinhole.id])
            assert b.path.live_pinholes == 0

            waiting[0].proceed(WritingTap(b.told.log))
            waiting[0].refuse()
            await b.turn()

            assert b.told.log == ["arrived", "end"]

    run(scenario())
