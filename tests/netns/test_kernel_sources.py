"""Who may come, and where it leads: ranges, ports, replaced filters, late targets, full proxy."""

from ipaddress import ip_address

import pytest
from msgspec.structs import replace
from tests.netns.kernel_bench import (
    SILENCE,
    WAYS,
    Bench,
    Way,
    datagrams,
    dial,
    listen,
)

from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import Pinhole
from sallyport.errors import AddressInUse, InvalidArgument, OutOfResources
from sallyport.flags import Transport
from sallyport.ipfilter import IpFilter

pytestmark = pytest.mark.netns

WAY = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
BOTH = IpFilter.of("203.0.113.0/24", "2001:db8::/64")


def set_sources(bench: Bench, sources: IpFilter | None) -> None:
    bench.loop.run_until_complete(bench.path.set_peers([1], sources, None))


def retarget(bench: Bench, target: str) -> None:
    bench.loop.run_until_complete(bench.path.retarget(1, Endpoint.parse(target)))


def is_refused(bench: Bench, way: Way, source_port: int = 0) -> bool:
    try:
        dial(bench.lab.server, way.listen, SILENCE, source_port=source_port).close()
    except TimeoutError:
        return True
    return False


@WAY
def test_a_prefix_admits_its_members_and_nobody_else(bench: Bench, way: Way) -> None:
    beside = IpFilter.of("203.0.112.0/24", "2001:db8:1::/64")
    bench.open(way.pinhole(bench.lab, sources=beside))
    with listen(bench.lab.client, way.target):
        assert is_refused(bench, way)
        bench.path.close([1])
        bench.open(way.pinhole(bench.lab, sources=BOTH))
        dial(bench.lab.server, way.listen).close()
        bench.until(lambda: bool(bench.sink.told))

    bench.sweep()
    assert bench.elements() == []


@WAY
def test_of_a_range_one_address_may_be_left_out(bench: Bench, way: Way) -> None:
    server = bench.lab.server.address(way.version)
    bench.open(way.pinhole(bench.lab, sources=BOTH.exclude_range(server, server)))
    with listen(bench.lab.client, way.target):
        assert is_refused(bench, way)
        dial(bench.lab.stranger, way.listen).close()


@WAY
@pytest.mark.parametrize("sources", [None, BOTH], ids=["anyone", "prefix"])
def test_source_ports_hold_for_anyone_and_for_ranges(
    bench: Bench, way: Way, sources: IpFilter | None
) -> None:
    pinhole = replace(way.pinhole(bench.lab), sources=sources)
    bench.open(replace(pinhole, source_ports=frozenset({20, 21, 2120})))
    with listen(bench.lab.client, way.target):
        assert is_refused(bench, way, 22)
        dial(bench.lab.server, way.listen, source_port=2120).close()


@WAY
def test_ranges_hold_for_datagrams_too(bench: Bench, way: Way) -> None:
    server = bench.lab.server.address(way.version)
    bench.open(replace(way.udp(), sources=BOTH.exclude_range(server, server)))
    with datagrams(bench.lab.client, way.target) as inside:
        for host in (bench.lab.server, bench.lab.stranger):
            address = host.address(way.version)
            at = f"[{address}]:0" if way.version == 6 else f"{address}:0"
            with datagrams(host, at) as peer:
                to = Endpoint.parse(way.listen)
                peer.sendto(host.name.encode(), (str(to.address), to.port))

        assert inside.recv(64) == b"stranger"


def test_two_ranges_that_overlap_at_one_listener_are_one_too_many(bench: Bench) -> None:
    wide = IpFilter.of("203.0.112.0/23")
    bench.open(WAYS[0].pinhole(bench.lab, 1, sources=BOTH))
    before = bench.elements()

    for sources in (BOTH, wide):
        with pytest.raises(AddressInUse):
            bench.open(WAYS[0].pinhole(bench.lab, 2, sources=sources))
    assert bench.elements() == before


def test_more_ranges_than_there_is_room_for_open_nothing(bench: Bench) -> None:
    every_other = (ip_address("11.0.0.0") + 2 * number for number in range(1025))

    with pytest.raises(OutOfResources, match="nftables-set-full"):
        bench.open(WAYS[0].pinhole(bench.lab, sources=IpFilter.of(*every_other)))
    assert bench.elements() == []


@WAY
def test_replaced_sources_hold_at_once_in_either_direction(bench: Bench, way: Way) -> None:
    nobody = IpFilter.of("192.0.2.1", "2001:db8:2::1")
    bench.open(way.pinhole(bench.lab))
    with listen(bench.lab.client, way.target):
        for closed in (nobody, IpFilter(), IpFilter.of("192.0.2.0/24", "2001:db8:2::/64")):
            set_sources(bench, closed)
            assert is_refused(bench, way)
        for opened in (BOTH, None):
            set_sources(bench, opened)
        dial(bench.lab.server, way.listen).close()
        bench.until(lambda: bool(bench.sink.told))

    bench.sweep()
    assert bench.elements() == []


def speak(bench: Bench, way: Way) -> None:
    with dial(bench.lab.stranger, way.listen) as sock:
        sock.sendall(b"me too")
        sock.recv(1)


@WAY
def test_replacing_sources_does_not_renew_a_spent_token(bench: Bench, way: Way) -> None:
    bench.open(way.pinhole(bench.lab))
    with listen(bench.lab.client, way.target), dial(bench.lab.server, way.listen):
        # Without a turn of the loop: for the daemon the pinhole is open.
        with pytest.raises(StopIteration):
            bench.path.set_peers([1], None, None).send(None)

        with pytest.raises(ConnectionResetError):
            speak(bench, way)
        bench.until(lambda: bench.sink.told == [("established", 1)])


_NO_ACKS = """
table inet late {
    chain out {
        type filter hook output priority 0
        tcp flags == ack drop
    }
}
"""


@WAY
def test_a_handshake_under_way_from_a_source_no_longer_allowed_does_not_win(
    bench: Bench, way: Way
) -> None:
    bench.open(way.pinhole(bench.lab))
    # Keeps the last packet of the handshake back until the filter was replaced.
    bench.lab.server.run(["nft", "-f", "-"], stdin=_NO_ACKS)
    with listen(bench.lab.client, way.target) as inside, dial(bench.lab.server, way.listen) as peer:
        set_sources(bench, IpFilter.of(bench.lab.stranger.address(way.version)))
        bench.lab.server.run(["nft", "delete", "table", "inet", "late"])
        peer.sendall(b"let me in")
        inside.settimeout(SILENCE)

        with pytest.raises(TimeoutError):
            inside.accept()
        dial(bench.lab.stranger, way.listen).close()
        bench.until(lambda: ("established", 1) in bench.sink.told)


@WAY
def test_the_owner_of_a_udp_pinhole_comes_back_only_while_it_is_allowed(
    bench: Bench, way: Way
) -> None:
    bench.open(way.udp())
    address = bench.lab.server.address(way.version)
    at = f"[{address}]:0" if way.version == 6 else f"{address}:0"
    to = Endpoint.parse(way.listen)
    with datagrams(bench.lab.client, way.target) as inside, datagrams(bench.lab.server, at) as peer:
        for sources, comes in ((None, True), (IpFilter(), False), (BOTH, True)):
            set_sources(bench, sources)
            peer.sendto(b"hello", (str(to.address), to.port))
            inside.settimeout(SILENCE)
            if comes:
                assert inside.recv(64) == b"hello"
                bench.until(lambda: bench.sink.told[-1] == ("established", 1))
            else:
                with pytest.raises(TimeoutError):
                    inside.recv(64)
            bench.forget_flows()


@WAY
@pytest.mark.parametrize("transport", Transport)
def test_without_a_target_nobody_gets_in_until_there_is_one(
    bench: Bench, way: Way, transport: Transport
) -> None:
    known = way.pinhole(bench.lab) if transport is Transport.TCP else way.udp()
    bench.open(replace(known, target=None))
    assert bench.elements() == []
    with listen(bench.lab.client, way.target):
        assert is_refused(bench, way)
        retarget(bench, way.target)
        if transport is Transport.TCP:
            dial(bench.lab.server, way.listen).close()
            bench.until(lambda: bench.sink.told == [("established", 1)])
        with pytest.raises(InvalidArgument, match="target-is-known"):
            retarget(bench, way.target)


def accept_proxied(bench: Bench, way: Way, pinhole: Pinhole) -> str:
    bench.open(replace(pinhole, is_proxied=True))
    with listen(bench.lab.client, way.target) as inside, dial(bench.lab.server, way.listen) as peer:
        client, source = inside.accept()
        with client:
            client.sendall(b"x")
            assert peer.recv(1) == b"x"
            bench.until(lambda: bool(bench.sink.told))
            assert bench.sink.peers[0].port == peer.getsockname()[1]
    return str(source[0])


@WAY
def test_full_proxy_shows_the_client_the_gateway(bench: Bench, way: Way) -> None:
    gateway = {4: "10.0.0.1", 6: "fd00:a::1"}[way.version]

    assert accept_proxied(bench, way, way.pinhole(bench.lab)) == gateway


@WAY
def test_full_proxy_holds_for_datagrams(bench: Bench, way: Way) -> None:
    bench.open(replace(way.udp(), is_proxied=True))
    address = bench.lab.server.address(way.version)
    at = f"[{address}]:0" if way.version == 6 else f"{address}:0"
    to = Endpoint.parse(way.listen)
    with datagrams(bench.lab.client, way.target) as inside, datagrams(bench.lab.server, at) as peer:
        peer.sendto(b"hello", (str(to.address), to.port))
        _, source = inside.recvfrom(64)
        inside.sendto(b"answer", source)

        assert source[0] == {4: "10.0.0.1", 6: "fd00:a::1"}[way.version]
        assert peer.recv(64) == b"answer"


@WAY
def test_kill_resets_both_ends_of_a_proxied_connection(bench: Bench, way: Way) -> None:
    bench.open(replace(way.pinhole(bench.lab), is_proxied=True))
    with listen(bench.lab.client, way.target) as inside, dial(bench.lab.server, way.listen) as peer:
        client, _ = inside.accept()
        bench.until(lambda: bool(bench.sink.told))
        bench.path.kill([1])
        for end in (peer, client):
            end.settimeout(1.0)
            with pytest.raises(ConnectionResetError):
                end.recv(1)
        client.close()


def test_a_connection_that_begins_at_an_interface_under_another_name_is_translated(
    bench: Bench,
) -> None:
    # Its first packet decides: what was not translated then would never be.
    server, gateway = Endpoint(bench.lab.server.address(4), 2121), bench.lab.gateway
    client = IpFilter.of(bench.lab.client.address(4))
    bench.open(Pinhole(1, Transport.TCP, server, server, client, leads_inside=False))
    with listen(bench.lab.server, str(server)) as listener:
        gateway.run(["ip", "link", "set", "ext0", "name", "other0"])
        try:
            with dial(bench.lab.client, str(server)):
                accepted, source = listener.accept()
                accepted.close()
        finally:
            gateway.run(["ip", "link", "set", "other0", "name", "ext0"])

    assert source[0] == "203.0.113.1"
