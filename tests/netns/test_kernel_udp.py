"""UDP on the kernel data path: whose datagrams get in, which way, and when it is over."""

import socket
from contextlib import ExitStack

import pytest
from msgspec.structs import replace
from tests.netns import kernel_bench
from tests.netns.kernel_bench import SILENCE, WAYS, Bench, Way, datagrams

from sallyport.addresses import Endpoint
from sallyport.flags import Transport
from sallyport.kernel.first_datagrams import group_of
from sallyport.kernel.packet_log import PacketLog
from sallyport.kernel.placeholders import Placeholders
from sallyport.lab.host import Host
from sallyport.lab.network import Lab

pytestmark = pytest.mark.netns

WAY = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)


def outside(host: Host, way: Way) -> socket.socket:
    return datagrams(host, f"[{host.address6}]:0" if way.version == 6 else f"{host.address4}:0")


def throw(sock: socket.socket, to: str, data: bytes) -> None:
    endpoint = Endpoint.parse(to)
    sock.sendto(data, (str(endpoint.address), endpoint.port))


def silence(sock: socket.socket) -> bool:
    """Whether nothing comes to a socket."""
    sock.settimeout(SILENCE)
    try:
        sock.recv(2048)
    except TimeoutError:
        return True
    finally:
        sock.settimeout(kernel_bench.PATIENCE)
    return False


@WAY
def test_the_first_datagram_gets_in_and_is_told_of(bench: Bench, way: Way) -> None:
    bench.open(way.udp())
    with datagrams(bench.lab.client, way.target) as inside, outside(bench.lab.server, way) as peer:
        throw(peer, way.listen, b"one")
        data, source = inside.recvfrom(64)
        bench.until(lambda: bool(bench.sink.told))

        assert (data, source[:2]) == (b"one", peer.getsockname()[:2])
        assert bench.sink.told == [("established", 1)]
        assert bench.sink.peers[0].port == peer.getsockname()[1]


@pytest.mark.parametrize("is_taken", [False, True], ids=["free", "taken"])
def test_without_our_group_of_the_packet_log_all_else_works(wires: Lab, *, is_taken: bool) -> None:
    way = WAYS[0]
    with ExitStack() as undo:
        if is_taken:
            with wires.gateway.entered():
                undo.callback(PacketLog(group_of(0), 64).close)
        bench = undo.enter_context(kernel_bench.running(wires))
        bench.open(replace(way.udp(), idle_seconds=60))
        inside = undo.enter_context(datagrams(wires.client, way.target))
        peer = undo.enter_context(outside(wires.server, way))
        throw(peer, way.listen, b"one")
        assert inside.recv(64) == b"one"
        bench.until(lambda: bool(bench.sink.told))

        assert bench.path.first_datagram(1) == (b"" if is_taken else b"one")


@WAY
def test_of_a_single_pinhole_the_first_source_is_the_only_one(bench: Bench, way: Way) -> None:
    bench.open(way.udp())
    with (
        datagrams(bench.lab.client, way.target) as inside,
        outside(bench.lab.server, way) as first,
        outside(bench.lab.server, way) as same_host,
        outside(bench.lab.stranger, way) as other_host,
    ):
        throw(first, way.listen, b"first")
        assert inside.recv(64) == b"first"
        for late in (same_host, other_host):
            throw(late, way.listen, b"late")
        assert silence(inside)
        bench.until(lambda: bool(bench.sink.told))
        for late in (same_host, other_host):
            throw(late, way.listen, b"late")
        assert silence(inside)
        throw(first, way.listen, b"again")

        assert inside.recv(64) == b"again"
        assert bench.sink.told == [("established", 1)]


@WAY
def test_the_first_source_owns_the_pinhole_after_its_flow_idled_out(bench: Bench, way: Way) -> None:
    bench.open(way.udp())
    with (
        datagrams(bench.lab.client, way.target) as inside,
        outside(bench.lab.server, way) as owner,
        outside(bench.lab.server, way) as other,
    ):
        throw(owner, way.listen, b"first")
        inside.recv(64)
        bench.until(lambda: bool(bench.sink.told))
        bench.forget_flows()
        bench.until(lambda: bench.sink.told[-1] == ("ended", 1))
        throw(other, way.listen, b"other")
        assert silence(inside)
        throw(owner, way.listen, b"back")

        assert inside.recv(64) == b"back"
        bench.until(lambda: bench.sink.told[-1] == ("established", 1))


@WAY
def test_a_pinhole_for_many_takes_every_source(bench: Bench, way: Way) -> None:
    bench.open(way.udp(single=False))
    with (
        datagrams(bench.lab.client, way.target) as inside,
        outside(bench.lab.server, way) as one,
        outside(bench.lab.stranger, way) as other,
    ):
        for peer in (one, other):
            throw(peer, way.listen, b"hello")
            assert inside.recv(64) == b"hello"
        bench.until(lambda: bench.sink.told == [("established", 1)] * 2)


@WAY
def test_an_answered_pinhole_lets_the_client_answer_in_the_right_name(
    bench: Bench, way: Way
) -> None:
    bench.open(way.udp(is_answered=True))
    with datagrams(bench.lab.client, way.target) as inside, outside(bench.lab.server, way) as peer:
        throw(peer, way.listen, b"question")
        _, source = inside.recvfrom(64)
        inside.sendto(b"answer", source)
        data, answerer = peer.recvfrom(64)

        at = Endpoint.parse(way.listen)
        assert (data, *answerer[:2]) == (b"answer", str(at.address), at.port)


@WAY
def test_without_an_answer_asked_for_nothing_goes_back(bench: Bench, way: Way) -> None:
    bench.open(way.udp(is_answered=False))
    with datagrams(bench.lab.client, way.target) as inside, outside(bench.lab.server, way) as peer:
        throw(peer, way.listen, b"question")
        _, source = inside.recvfrom(64)
        inside.sendto(b"answer", source)

        assert silence(peer)
        throw(peer, way.listen, b"go on")
        assert inside.recv(64) == b"go on"


@WAY
def test_closing_leaves_the_flow_and_lets_nobody_else_in(bench: Bench, way: Way) -> None:
    bench.open(way.udp(single=False))
    with (
        datagrams(bench.lab.client, way.target) as inside,
        outside(bench.lab.server, way) as peer,
        outside(bench.lab.stranger, way) as late,
    ):
        throw(peer, way.listen, b"one")
        inside.recv(64)
        bench.path.close([1])
        throw(late, way.listen, b"late")
        assert silence(inside)
        throw(peer, way.listen, b"two")

        assert inside.recv(64) == b"two"
        # Told of before close() returned, without a turn of the loop.
        assert bench.sink.told == [("established", 1)]
        assert bench.elements() == []


@WAY
def test_kill_ends_the_flow_at_once_with_its_bytes(bench: Bench, way: Way) -> None:
    bench.open(way.udp())
    with datagrams(bench.lab.client, way.target) as inside, outside(bench.lab.server, way) as peer:
        throw(peer, way.listen, bytes(1000))
        inside.recv(2048)
        bench.path.kill([1])
        bench.until(lambda: bench.sink.told == [("established", 1), ("ended", 1)])
        throw(peer, way.listen, b"more")

        assert silence(inside)
        assert bench.sink.ended[0].from_peer_bytes == 1000
        assert bench.elements() == []


@WAY
def test_a_timed_flow_is_over_when_it_was_idle_so_long(wires: Lab, way: Way) -> None:
    with kernel_bench.running(wires, idle_seconds=1) as bench:
        bench.open(replace(way.udp(), idle_seconds=1))
        with (
            datagrams(bench.lab.client, way.target) as inside,
            outside(bench.lab.server, way) as peer,
        ):
            throw(peer, way.listen, b"one")
            inside.recv(64)
            bench.until(lambda: bench.sink.told == [("established", 1), ("ended", 1)])
            # The pinhole is still its own: when it ends is for others to say.
            throw(peer, way.listen, b"two")
            assert inside.recv(64) == b"two"


@pytest.mark.parametrize("way", WAYS[:2], ids=lambda way: way.name)
def test_a_port_that_is_noted_and_not_held_sends_all_the_same(wires: Lab, way: Way) -> None:
    ports = Placeholders(limit=0)
    at = Endpoint.parse(way.listen)
    with outside(wires.server, way) as peer, wires.gateway.entered():
        ports.reserve(Transport.UDP, at)
        to = Endpoint(wires.server.address(way.version), peer.getsockname()[1])
        ports.send(at, to, b"request")
        data, source = peer.recvfrom(64)

        assert (data, *source[:2]) == (b"request", str(at.address), at.port)


@pytest.mark.parametrize("way", WAYS[:2], ids=lambda way: way.name)
def test_a_port_that_a_listener_of_ours_has_on_loopback_sends_all_the_same(
    wires: Lab, way: Way
) -> None:
    at = Endpoint.parse(way.listen)
    own = {4: "127.0.0.1", 6: "[::1]"}[way.version]
    with (
        outside(wires.server, way) as peer,
        wires.gateway.entered(),
        datagrams(wires.gateway, f"{own}:{at.port}"),
    ):
        to = Endpoint(wires.server.address(way.version), peer.getsockname()[1])
        Placeholders(limit=0).send(at, to, b"request")
        data, source = peer.recvfrom(64)

        assert (data, *source[:2]) == (b"request", str(at.address), at.port)


@WAY
def test_what_is_sent_from_a_port_is_answered_through_its_pinhole(bench: Bench, way: Way) -> None:
    with bench.lab.gateway.entered():
        if "nat" in way.name:
            bench.path.reserve(Transport.UDP, Endpoint.parse(way.listen))
        bench.open(way.udp())
        with (
            datagrams(bench.lab.client, way.target) as inside,
            outside(bench.lab.server, way) as peer,
        ):
            to = Endpoint(bench.lab.server.address(way.version), peer.getsockname()[1])
            bench.path.send_from(Endpoint.parse(way.listen), to, b"request")
            data, source = peer.recvfrom(64)
            peer.sendto(b"reply", source[:2])

            at = Endpoint.parse(way.listen)
            assert (data, *source[:2]) == (b"request", str(at.address), at.port)
            assert inside.recv(64) == b"reply"
