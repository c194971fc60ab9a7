"""The kernel data path on a real kernel, through a real gateway, in every kind of relation."""

import socket

import pytest
from msgspec.structs import replace
from tests.netns.kernel_bench import (
    PATIENCE,
    SILENCE,
    WAYS,
    Bench,
    Way,
    begin,
    dial,
    listen,
    send_syn,
)

from sallyport.core.pinholes.datapath import Pinhole
from sallyport.errors import AddressInUse, InvalidArgument
from sallyport.ipfilter import IpFilter

pytestmark = pytest.mark.netns

WAY = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)


def is_alive(near: socket.socket, far: socket.socket) -> bool:
    near.sendall(b"ping")
    return far.recv(4) == b"ping"


def reset_of(sock: socket.socket) -> str:
    """Read until the other side is gone, and say how."""
    try:
        return "closed" if sock.recv(1) == b"" else "data"
    except ConnectionResetError:
        return "reset"
    except TimeoutError:
        return "silence"


@WAY
def test_the_peer_reaches_the_client_and_is_told_of_once(bench: Bench, way: Way) -> None:
    bench.open(way.pinhole(bench.lab))
    with listen(bench.lab.client, way.target) as inside, dial(bench.lab.server, way.listen) as peer:
        client, seen = inside.accept()
        with client:
            bench.until(lambda: bool(bench.sink.told))

            assert is_alive(peer, client)
            assert is_alive(client, peer)
            assert seen[:2] == peer.getsockname()[:2]
            assert bench.sink.told == [("established", 1)]
            assert str(bench.sink.peers[0].address) == peer.getsockname()[0]


@WAY
def test_f25_of_many_connections_at_once_exactly_one_is_admitted(bench: Bench, way: Way) -> None:
    bench.open(way.pinhole(bench.lab))
    with listen(bench.lab.client, way.target) as inside:
        attempts = [begin(bench.lab.server, way.listen) for _ in range(20)]
        client, _ = inside.accept()
        bench.until(lambda: ("established", 1) in bench.sink.told)
        for attempt in attempts:
            attempt.settimeout(SILENCE)
        client.sendall(b"x" * len(attempts))
        fates = [reset_of(attempt) for attempt in attempts]

        assert fates.count("data") == 1
        assert bench.sink.told.count(("established", 1)) == 1
        inside.settimeout(SILENCE)
        with pytest.raises(TimeoutError):
            inside.accept()
        for sock in (client, *attempts):
            sock.close()


@WAY
def test_f25_after_the_first_connection_the_pinhole_is_gone(bench: Bench, way: Way) -> None:
    bench.open(way.pinhole(bench.lab))
    with listen(bench.lab.client, way.target), dial(bench.lab.server, way.listen):
        bench.until(lambda: bool(bench.sink.told))
        bench.sweep()

        assert bench.elements() == []
        with pytest.raises(TimeoutError):
            dial(bench.lab.server, way.listen, SILENCE)


@WAY
def test_f25_until_the_used_pinhole_is_swept_the_second_connection_is_reset(
    bench: Bench, way: Way
) -> None:
    bench.open(way.pinhole(bench.lab))
    with (
        listen(bench.lab.client, way.target) as inside,
        dial(bench.lab.server, way.listen) as first,
    ):
        bench.until(lambda: bool(bench.sink.told))
        client, _ = inside.accept()
        inside.settimeout(SILENCE)
        with client:
            with pytest.raises(ConnectionResetError), dial(bench.lab.server, way.listen) as second:
                second.recv(1)
            with pytest.raises(TimeoutError):
                inside.accept()
            bench.sweep()

            assert bench.elements() == []
            first.sendall(b"still there")
            assert client.recv(64) == b"still there"


@WAY
def test_f24_a_stranger_is_refused_and_counted_and_the_pinhole_stays(
    bench: Bench, way: Way
) -> None:
    bench.open(way.pinhole(bench.lab))
    before = bench.strangers()
    with listen(bench.lab.client, way.target):
        with pytest.raises(TimeoutError):
            dial(bench.lab.stranger, way.listen, SILENCE)

        assert bench.strangers() == before + 1
        dial(bench.lab.server, way.listen).close()


@WAY
def test_f26_a_lone_syn_does_not_use_the_pinhole_up(bench: Bench, way: Way) -> None:
    # .77 is nobody: the answer to its SYN is lost, as with a spoofed source.
    version = 4 if way.name.endswith("4") else 6
    nobody = "203.0.113.77" if version == 4 else "2001:db8::77"
    allowed = IpFilter.of(nobody, bench.lab.server.address(version))
    bench.open(way.pinhole(bench.lab, sources=allowed))
    with listen(bench.lab.client, way.target) as inside:
        send_syn(bench.lab.stranger, nobody, way.listen)
        with dial(bench.lab.server, way.listen) as peer:
            client, _ = inside.accept()
            with client:
                assert is_alive(peer, client)
                bench.until(lambda: bool(bench.sink.told))

    assert bench.sink.told == [("established", 1)]


@WAY
def test_fast_open_is_hidden_from_the_client(bench: Bench, way: Way) -> None:
    # RFC 7413: kind 34, 8 bytes of cookie, 2 of padding. Data before the handshake needs it.
    fast_open = bytes([34, 10]) + b"A COOKIE" + bytes([1, 1])
    bench.open(way.pinhole(bench.lab))
    with bench.lab.client.entered():
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
    with wire:
        wire.settimeout(PATIENCE)
        peer = str(bench.lab.server.address(4 if way.name.endswith("4") else 6))
        send_syn(bench.lab.server, peer, way.listen, fast_open)
        packet = b""
        # The SYN is the only packet with these flags and this window.
        while packet[-32:-16][12:] != bytes([0x80, 0x02, 0x20, 0x00]):
            packet = wire.recv(2048)

    assert packet[-12:] == bytes([1] * 12)


@WAY
def test_a_refused_first_attempt_is_told_and_does_not_use_the_pinhole_up(
    bench: Bench, way: Way
) -> None:
    bench.open(way.pinhole(bench.lab))
    with pytest.raises(ConnectionRefusedError):
        dial(bench.lab.server, way.listen)
    bench.until(lambda: bench.sink.told == [("refused", 1)])
    with listen(bench.lab.client, way.target), dial(bench.lab.server, way.listen):
        bench.until(lambda: ("established", 1) in bench.sink.told)


@WAY
def test_kill_resets_both_idle_ends_within_a_second(bench: Bench, way: Way) -> None:
    bench.open(way.pinhole(bench.lab))
    with listen(bench.lab.client, way.target) as inside, dial(bench.lab.server, way.listen) as peer:
        client, _ = inside.accept()
        bench.until(lambda: bool(bench.sink.told))
        bench.path.kill([1])
        peer.settimeout(1.0)
        client.settimeout(1.0)

        assert (reset_of(peer), reset_of(client)) == ("reset", "reset")
        bench.until(lambda: bench.sink.told[-1] == ("ended", 1))
        assert bench.path.counters(1) == []
        client.close()


@WAY
def test_the_end_is_told_promptly_with_the_bytes_of_each_direction(bench: Bench, way: Way) -> None:
    bench.open(way.pinhole(bench.lab))
    with listen(bench.lab.client, way.target) as inside:
        peer = dial(bench.lab.server, way.listen)
        client, _ = inside.accept()
        peer.sendall(bytes(100_000))
        peer.close()
        received = 0
        while chunk := client.recv(65536):
            received += len(chunk)
        client.close()
        bench.until(lambda: bool(bench.sink.ended), seconds=1.0)

        assert received == 100_000
        # SACK blocks of a loaded host count a few bytes more, and whatever it sends again.
        assert 100_000 <= bench.sink.ended[0].from_peer_bytes < 200_000
        assert bench.sink.ended[0].to_peer_bytes < 1_000
        assert bench.sink.told == [("established", 1), ("ended", 1)]


@WAY
def test_live_counters_grow_with_the_transfer(bench: Bench, way: Way) -> None:
    bench.open(way.pinhole(bench.lab))
    with listen(bench.lab.client, way.target) as inside, dial(bench.lab.server, way.listen) as peer:
        client, _ = inside.accept()
        bench.until(lambda: bool(bench.sink.told))
        before = bench.path.counters(1)[0].to_peer_bytes
        client.sendall(bytes(50_000))
        while len(peer.recv(50_000, socket.MSG_WAITALL)) < 50_000:
            pass

        assert bench.path.counters(1)[0].to_peer_bytes >= before + 50_000
        client.close()


@WAY
def test_a_pinhole_for_many_admits_several_and_closing_it_leaves_them(
    bench: Bench, way: Way
) -> None:
    bench.open(way.pinhole(bench.lab, single=False))
    with listen(bench.lab.client, way.target) as inside:
        pairs = [(dial(bench.lab.server, way.listen), inside.accept()[0]) for _ in range(3)]
        bench.until(lambda: bench.sink.told == [("established", 1)] * 3)
        bench.path.close([1])

        assert all(is_alive(peer, client) for peer, client in pairs)
        with pytest.raises(TimeoutError):
            dial(bench.lab.server, way.listen, SILENCE)
        for pair in pairs:
            for sock in pair:
                sock.close()


@WAY
def test_a_pinhole_without_a_filter_admits_any_source(bench: Bench, way: Way) -> None:
    pinhole = way.pinhole(bench.lab)
    bench.open(
        Pinhole(1, pinhole.transport, pinhole.listen, pinhole.target, sources=None, single=True)
    )
    with listen(bench.lab.client, way.target), dial(bench.lab.stranger, way.listen):
        bench.until(lambda: bench.sink.told == [("established", 1)])


@WAY
def test_f27_only_the_source_ports_that_were_asked_for_get_in(bench: Bench, way: Way) -> None:
    wide = way.pinhole(bench.lab)
    bench.open(replace(wide, source_ports=frozenset({20})))
    with listen(bench.lab.client, way.target):
        with pytest.raises(TimeoutError):
            dial(bench.lab.server, way.listen, SILENCE)
        dial(bench.lab.server, way.listen, source_port=20).close()


@WAY
def test_an_empty_filter_admits_nobody(bench: Bench, way: Way) -> None:
    pinhole = way.pinhole(bench.lab)
    bench.open(Pinhole(1, pinhole.transport, pinhole.listen, pinhole.target, IpFilter(), True))
    with listen(bench.lab.client, way.target), pytest.raises(TimeoutError):
        dial(bench.lab.server, way.listen, SILENCE)


def test_two_clients_may_hold_passes_to_the_same_port_of_a_server(bench: Bench) -> None:
    server = "203.0.113.9:30000"
    way = Way("outward", server, server)
    bench.open(
        way.pinhole(bench.lab, 1, sources=IpFilter.of("10.0.0.8")),
        way.pinhole(bench.lab, 2, sources=IpFilter.of("10.0.0.9")),
    )
    with listen(bench.lab.server, server) as outside, dial(bench.lab.client, server):
        accepted, source = outside.accept()
        bench.until(lambda: bench.sink.told == [("established", 1)])

        assert source[0] == "203.0.113.1"
        assert not 40000 <= source[1] <= 59999
        accepted.close()


def test_all_pinholes_of_a_call_open_or_none(bench: Bench) -> None:
    bench.open(WAYS[0].pinhole(bench.lab, 1))
    before = bench.elements()

    with pytest.raises(AddressInUse):
        bench.open(WAYS[2].pinhole(bench.lab, 2), WAYS[0].pinhole(bench.lab, 3))

    assert bench.elements() == before
    bench.path.close([1, 2, 3])
    assert bench.elements() == []


def test_an_idle_time_that_is_not_offered_is_refused_and_opens_nothing(bench: Bench) -> None:
    odd = replace(WAYS[0].udp(), idle_seconds=61)

    with pytest.raises(InvalidArgument, match="idle-time-not-offered"):
        bench.open(WAYS[2].pinhole(bench.lab, 2), odd)
    assert bench.elements() == []


def test_two_thousand_cycles_leave_no_elements_and_no_openings(bench: Bench) -> None:
    for number in range(2000):
        bench.open(WAYS[number % len(WAYS)].pinhole(bench.lab, number))
        bench.path.close([number])
    bench.path.drain()

    assert bench.elements() == []
    assert bench.path.live_pinholes == 0


@WAY
def test_a_foreign_firewall_that_drops_lets_us_pass_by_the_documented_rule(
    bench: Bench, way: Way
) -> None:
    bench.open(way.pinhole(bench.lab))
    gateway = bench.lab.gateway
    chain = "chain inet foreign forward { type filter hook forward priority 10; policy drop; }"
    gateway.run(["nft", "add table inet foreign; add " + chain])
    try:
        with listen(bench.lab.client, way.target):
            with pytest.raises(TimeoutError):
                dial(bench.lab.server, way.listen, SILENCE)
            documented = "add rule inet foreign forward ct mark & 0x80000000 != 0 accept"
            gateway.run(["nft", documented])

            dial(bench.lab.server, way.listen).close()
    finally:
        gateway.run(["nft", "delete", "table", "inet", "foreign"])
