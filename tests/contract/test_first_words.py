"""A client that speaks before its peer does, to the peer's own address and port, as RTP does."""

from ipaddress import ip_network

import pytest
from tests.contract.bench import Bench, Watcher
from tests.contract.conftest import Build
from tests.contract.setups import HEARING, over

from sallyport.addresses import Endpoint
from sallyport.core.model.binding import Binding
from sallyport.core.pinholes.lifecycle import State
from sallyport.flags import BindFlags
from sallyport.ipfilter import IpFilter

IN_KERNEL = over(lambda setup: setup.bench == "kernel" and not setup.is_tcp)

ANYONE, ONE, A_NETWORK = "anyone", "one", "a network"
"""Whom a binding is for: not limited, an address, and more addresses than are listed one by one."""
PEERS = pytest.mark.parametrize("peers", [ANYONE, ONE, A_NETWORK])


def bound(
    bench: Bench, peers: str = ONE, flags: BindFlags = BindFlags.NONE
) -> tuple[Endpoint, Binding]:
    """Bind for a client that waits for datagrams and may speak."""
    server, client = bench.way.server, bench.client()
    bench.serve(client)
    wide = ip_network((server, server.max_prefixlen - 8), strict=False)
    limit = {ANYONE: None, ONE: IpFilter.of(server), A_NETWORK: IpFilter.of(wide)}[peers]
    flags |= BindFlags.BIDIRECTIONAL
    return client, bench.bind(client, flags=flags, ip_filter=limit)


def hold_for_one_peer(bench: Bench, peers: str, flags: BindFlags) -> None:
    """The peer sees the announced port, its answer arrives, and the one place is still there."""
    client, binding = bound(bench, peers, flags)

    peer, seen = bench.speak_first(client, bench.way.server)

    assert seen == binding.proxy_address
    assert bench.answer_to(seen) == peer
    bench.until(lambda: binding.state is State.LIVE)
    # A peer may send from another port than it hears at.
    talk = bench.reach(bench.way.server, binding.proxy_address)
    assert talk.reaches_client(b"from another port")
    assert talk.reaches_peer(b"to its own port")
    assert bench.is_refused(bench.way.server, binding.proxy_address)
    binding.kill()
    with pytest.raises(TimeoutError):
        bench.answer_to(seen, b"too late")


@IN_KERNEL
@PEERS
@pytest.mark.parametrize("more", [BindFlags.NONE, BindFlags.TIMEOUT], ids=["lasting", "timed"])
def test_it_reaches_the_peer_from_the_announced_port(
    bench: Bench, more: BindFlags, peers: str
) -> None:
    hold_for_one_peer(bench, peers, more)


@HEARING
@PEERS
def test_in_user_mode_it_does_so_too(bench: Bench, peers: str) -> None:
    hold_for_one_peer(bench, peers, BindFlags.NO_KERNEL_MODE)


def hold_for_many_peers(bench: Bench, peers: str, flags: BindFlags) -> None:
    """What the client says is a flow of the binding, counted and ended with it."""
    client, binding = bound(bench, peers, flags | BindFlags.ALLOW_MULTIPLE)

    peer, seen = bench.speak_first(client, bench.way.server)

    assert seen == binding.proxy_address
    assert bench.answer_to(seen) == peer
    bench.until(lambda: bool(binding.connections[0].running))
    (flow,) = binding.connections[0].peers()
    assert flow.peer == peer
    assert flow.from_peer_bytes > flow.to_peer_bytes > 0
    binding.kill()
    with pytest.raises(TimeoutError):
        bench.answer_to(seen, b"too late")


@IN_KERNEL
@PEERS
def test_what_a_client_of_many_peers_says_first_is_a_flow_of_the_binding(
    bench: Bench, peers: str
) -> None:
    hold_for_many_peers(bench, peers, BindFlags.NONE)


@HEARING
@PEERS
def test_in_user_mode_it_is_one_too(bench: Bench, peers: str) -> None:
    hold_for_many_peers(bench, peers, BindFlags.NO_KERNEL_MODE)


@HEARING
def test_a_data_filter_sees_what_the_client_says_first(build: Build) -> None:
    watcher = Watcher()
    bench = build(watcher)
    client, binding = bound(bench)

    peer, seen = bench.speak_first(client, bench.way.server)
    bench.answer_to(seen)
    bench.speak_again(client)

    assert seen == binding.proxy_address
    heard = ["client: first", "peer: answer to the first", "client: again"]
    assert watcher.witness.heard == [f"started {peer}", *heard]


@HEARING
def test_a_filter_that_denies_the_peer_lets_the_client_say_nothing(build: Build) -> None:
    watcher = Watcher(denies=True)
    bench = build(watcher)
    client, binding = bound(bench)

    with pytest.raises(TimeoutError):
        bench.speak_first(client, bench.way.server)

    assert binding.state is State.ARMED


@HEARING
def test_after_a_silence_the_client_may_speak_first_again(
    short_silence: None, bench: Bench
) -> None:
    client, binding = bound(bench, flags=BindFlags.NO_KERNEL_MODE)
    peer, seen = bench.speak_first(client, bench.way.server)
    bench.answer_to(seen)
    bench.fall_silent(binding)

    assert bench.speak_again(client) == seen == binding.proxy_address
    assert bench.answer_to(seen, b"and an answer") == peer


@HEARING
def test_a_client_that_had_spoken_before_its_bind_is_heard_from_the_announced_port(
    bench: Bench,
) -> None:
    client = bench.client()
    bench.serve(client)
    peer, before = bench.speak_first(client, bench.way.server)
    bench.answer_to(before)
    flags = BindFlags.BIDIRECTIONAL | BindFlags.NO_KERNEL_MODE
    binding = bench.bind(client, flags=flags)

    assert bench.speak_again(client) == binding.proxy_address
    assert bench.answer_to(binding.proxy_address, b"and an answer") == peer


@HEARING
@pytest.mark.parametrize("flags", [BindFlags.NONE, BindFlags.NO_KERNEL_MODE], ids=["usual", "user"])
def test_when_the_binding_has_ended_it_speaks_as_any_client_does(
    bench: Bench, flags: BindFlags
) -> None:
    client, binding = bound(bench, flags=flags)
    _, seen = bench.speak_first(client, bench.way.server)
    bench.answer_to(seen)
    binding.kill()

    again = bench.speak_again(client)

    assert (again == seen) is not bench.way.is_nat
