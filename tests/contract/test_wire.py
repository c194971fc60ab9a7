"""What only real bytes can show: resets, half-closes, streams as they were, pairs as RTP wants."""

from ipaddress import ip_network

import pytest
from tests.contract.lab_bench import LabBench
from tests.contract.lab_talk import LabTalk
from tests.contract.setups import REAL_TCP, REAL_UDP

from sallyport.addresses import Endpoint
from sallyport.core.model.binding import Binding
from sallyport.core.pinholes.lifecycle import State
from sallyport.flags import BindFlags
from sallyport.ipfilter import IpFilter


def connected(bench: LabBench, flags: BindFlags = BindFlags.NONE) -> tuple[Binding, LabTalk]:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client, flags=flags)
    return binding, bench.reach(bench.way.server, binding.proxy_address)


@REAL_TCP
@pytest.mark.parametrize("flags", [BindFlags.NONE, BindFlags.NO_KERNEL_MODE], ids=["usual", "user"])
def test_a_strangers_syn_is_not_answered(bench: LabBench, flags: BindFlags) -> None:
    way, client = bench.way, bench.client()
    bench.serve(client)
    prefix = ip_network((way.server, way.server.max_prefixlen - 1), strict=False)
    binding = bench.bind(
        client,
        ip_filter=IpFilter.of(prefix),
        peer_ports=frozenset({7001, 7002}),
        flags=flags | BindFlags.ALLOW_MULTIPLE,
    )

    assert bench.ignores(way.stranger, binding.proxy_address, 7001)
    assert bench.ignores(way.server, binding.proxy_address, 7003)
    assert bench.reach(way.server, binding.proxy_address, source_port=7002).reaches_client(b"in")


@REAL_TCP
def test_kill_resets_both_idle_ends_within_a_second(bench: LabBench) -> None:
    binding, talk = connected(bench)
    binding.connections[0].kill()

    assert talk.reset_seen_by(talk.outer, seconds=1.0)
    assert talk.reset_seen_by(talk.inner, seconds=1.0)
    assert binding.state is State.CLOSED


@REAL_TCP
def test_kill_resets_every_connection_of_a_binding_for_many(bench: LabBench) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client, flags=BindFlags.ALLOW_MULTIPLE)
    peers = (bench.way.server, bench.way.stranger)
    talks = [bench.reach(peer, binding.proxy_address) for peer in peers]
    binding.kill()

    for talk in talks:
        assert talk.reset_seen_by(talk.outer, seconds=1.0)
        assert talk.reset_seen_by(talk.inner, seconds=1.0)


@REAL_TCP
def test_f26_a_lone_syn_does_not_use_the_binding_up(bench: LabBench) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client)
    bench.spoof(bench.way.nobody, binding.proxy_address)

    assert bench.reach(bench.way.server, binding.proxy_address).reaches_client(b"hello")
    assert bench.witness.kinds() == ["EstablishedConnection"]


@REAL_TCP
def test_a_half_close_of_either_side_leaves_the_other_direction_open(bench: LabBench) -> None:
    for first, then in (("outer", "inner"), ("inner", "outer")):
        binding, talk = connected(bench)
        talk.half_close(first)

        assert talk.sees_end(then)
        assert (talk.reaches_peer if then == "inner" else talk.reaches_client)(b"the rest")
        talk.half_close(then)
        assert talk.sees_end(first)
        bench.until(lambda binding=binding: binding.state is State.CLOSED)  # type: ignore[misc]


@REAL_TCP
def test_a_reset_of_either_side_is_passed_on(bench: LabBench) -> None:
    for first, then in (("outer", "inner"), ("inner", "outer")):
        binding, talk = connected(bench)
        talk.reset(first)

        assert talk.reset_seen_by(getattr(talk, then), seconds=1.0)
        bench.until(lambda binding=binding: binding.state is State.CLOSED)  # type: ignore[misc]


@REAL_TCP
def test_a_stream_of_megabytes_arrives_as_it_was_sent_in_both_directions(bench: LabBench) -> None:
    _, talk = connected(bench)
    # No block repeats, so that a lost or doubled one shows.
    stream = b"".join(number.to_bytes(4, "big") for number in range(1 << 20))

    assert talk.reaches_client(stream)
    assert talk.reaches_peer(stream)


@REAL_UDP
def test_an_rtp_pair_is_an_even_port_and_the_next_and_echoes_both(bench: LabBench) -> None:
    clients = [bench.client(), bench.client()]
    for client in clients:
        bench.serve(client)
    binding = bench.bind(*clients, flags=BindFlags.BIDIRECTIONAL, proxy_address=bench.wish())
    rtp, rtcp = binding.connections

    assert rtp.proxy_address.port % 2 == 0
    assert rtcp.proxy_address == Endpoint(rtp.proxy_address.address, rtp.proxy_address.port + 1)
    for connection, client in zip(binding.connections, clients, strict=True):
        talk = bench.reach(bench.way.server, connection.proxy_address)
        assert talk.at == client
        assert talk.reaches_peer(b"echo of " + bytes(str(client), "ascii"))


@REAL_UDP
def test_datagrams_keep_their_boundaries_and_sizes(bench: LabBench) -> None:
    _, talk = connected(bench, BindFlags.BIDIRECTIONAL)

    for size in (1, 512, 1472, 8000):
        assert talk.reaches_client(bytes([size % 251]) * size)
        assert talk.reaches_peer(bytes([size % 239]) * size)
