"""Who gets in: exactly one, or many, and nobody whom the IP filter does not name."""

import pytest
from tests.contract.bench import Bench
from tests.contract.conftest import Build
from tests.contract.setups import TCP, UDP

from sallyport.addresses import IpAddress
from sallyport.core.pinholes.lifecycle import State
from sallyport.errors import Terminating
from sallyport.flags import BindFlags, Transport
from sallyport.ipfilter import IpFilter


def only(*addresses: IpAddress) -> IpFilter:
    return IpFilter.of(*addresses)


def around(bench: Bench) -> IpFilter:
    """A prefix with the server in it, and the stranger not."""
    return IpFilter.of("203.0.113.0/28" if bench.way.version == 4 else "2001:db8::/122")


@TCP
def test_by_default_exactly_one_connection_is_ever_accepted(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client)
    first = bench.reach(bench.way.server, binding.proxy_address)

    assert bench.is_refused(bench.way.server, binding.proxy_address)
    assert bench.is_refused(bench.way.stranger, binding.proxy_address)
    assert first.reaches_client(b"still here")
    assert binding.state is State.LIVE


@UDP
def test_by_default_the_first_remote_source_is_the_only_one(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client)
    first = bench.reach(bench.way.server, binding.proxy_address)

    # Another port of the same host is another source, and so is the same port of another host.
    assert bench.is_refused(bench.way.server, binding.proxy_address)
    assert bench.is_refused(bench.way.stranger, binding.proxy_address, source_port=first.peer.port)
    assert first.reaches_client(b"still here")
    assert binding.state is State.LIVE


def test_allow_multiple_lets_many_in_and_stays_open(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client, flags=BindFlags.ALLOW_MULTIPLE)
    peers = [bench.way.server, bench.way.stranger, bench.way.server]
    talks = [bench.reach(peer, binding.proxy_address) for peer in peers]

    assert all(talk.reaches_client(b"hello %d" % n) for n, talk in enumerate(talks))
    assert len({talk.peer for talk in talks}) == 3
    assert binding.state is State.ARMED


def test_in_user_mode_there_are_as_many_at_once_as_the_rule_lets(build: Build) -> None:
    bench = build(max_flows_per_binding=2)
    client = bench.client()
    bench.serve(client)
    flags = BindFlags.ALLOW_MULTIPLE | BindFlags.NO_KERNEL_MODE
    binding = bench.bind(client, flags=flags)
    for _ in range(2):
        bench.reach(bench.way.server, binding.proxy_address)

    assert bench.is_refused(bench.way.server, binding.proxy_address)
    records = [fields for event, fields in bench.journal.records if event == "flow.turned_away"]
    assert {record["reason"] for record in records} == {"too-many-flows"}
    assert binding.state is State.ARMED


# -- filters --------------------------------------------------------------------------------------


def test_without_a_filter_anyone_may_come(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client, ip_filter=None)

    assert bench.reach(bench.way.stranger, binding.proxy_address).reaches_client(b"hello")


def test_an_empty_filter_means_nobody(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client, ip_filter=IpFilter())

    assert bench.is_refused(bench.way.server, binding.proxy_address)


def test_a_stranger_does_not_get_in_and_does_not_use_the_binding_up(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client, ip_filter=only(bench.way.server))

    assert bench.is_refused(bench.way.stranger, binding.proxy_address)
    assert binding.state is State.ARMED
    assert bench.witness.kinds() == []
    assert bench.reach(bench.way.server, binding.proxy_address).reaches_client(b"hello")


def test_several_single_addresses_are_each_let_in(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    both = only(bench.way.server, bench.way.stranger)
    binding = bench.bind(client, ip_filter=both, flags=BindFlags.ALLOW_MULTIPLE)

    for peer in (bench.way.server, bench.way.stranger):
        assert bench.reach(peer, binding.proxy_address).reaches_client(b"from %d" % int(peer))


@pytest.mark.parametrize("shape", ["prefix", "range", "exclusion"])
def test_a_filter_of_many_addresses_lets_in_exactly_those_in_it(bench: Bench, shape: str) -> None:
    way, client = bench.way, bench.client()
    filters = {
        "prefix": around(bench),
        "range": IpFilter().include_range(way.server - 2, way.server),
        "exclusion": IpFilter()
        .include_range(way.server, way.stranger + 1)
        .exclude_range(way.stranger, way.stranger),
    }
    bench.serve(client)
    binding = bench.bind(client, ip_filter=filters[shape])

    assert bench.is_refused(way.stranger, binding.proxy_address)
    assert bench.reach(way.server, binding.proxy_address).reaches_client(b"hello")


def test_a_filter_of_the_other_family_names_nobody(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client, ip_filter=only(bench.other_family().server))

    assert bench.is_refused(bench.way.server, binding.proxy_address)


def test_a_filter_can_be_replaced_and_what_runs_goes_on(bench: Bench) -> None:
    way, client = bench.way, bench.client()
    bench.serve(client)
    (connection,) = bench.bind(
        client, ip_filter=only(way.server), flags=BindFlags.ALLOW_MULTIPLE
    ).connections
    running = bench.reach(way.server, connection.proxy_address)

    bench.run(connection.set_ip_filter(only(way.stranger)))
    assert bench.is_refused(way.server, connection.proxy_address)
    bench.reach(way.stranger, connection.proxy_address)
    bench.run(connection.set_ip_filter(IpFilter()))
    assert bench.is_refused(way.stranger, connection.proxy_address)
    bench.run(connection.set_ip_filter(around(bench)))
    assert bench.is_refused(way.stranger, connection.proxy_address)
    bench.reach(way.server, connection.proxy_address)
    bench.run(connection.set_ip_filter(None))
    bench.reach(way.stranger, connection.proxy_address)
    assert running.reaches_client(b"still here")


def test_addresses_and_ports_of_peers_are_replaced_together_and_the_port_stays(
    bench: Bench,
) -> None:
    way, client = bench.way, bench.client()
    bench.serve(client)
    binding = bench.bind(
        client, ip_filter=only(way.server), flags=BindFlags.ALLOW_MULTIPLE | _both_ways(bench)
    )
    at = binding.proxy_address
    running = bench.reach(way.server, at)

    bench.run(binding.set_peers(only(way.stranger), frozenset({7001, 7002})))
    assert bench.is_refused(way.server, at, source_port=7001)
    assert bench.is_refused(way.stranger, at, source_port=7003)
    bench.reach(way.stranger, at, source_port=7002)
    bench.run(binding.set_peers(None))
    bench.reach(way.stranger, at, source_port=7004)
    assert binding.proxy_address == at
    assert running.reaches_client(b"still here")


def test_who_may_come_no_more_can_be_cut_off_and_the_others_go_on(bench: Bench) -> None:
    way, client = bench.way, bench.client()
    bench.serve(client)
    flags = BindFlags.ALLOW_MULTIPLE | _both_ways(bench)
    binding = bench.bind(client, ip_filter=only(way.server, way.stranger), flags=flags)
    at = binding.proxy_address
    stays, goes = bench.reach(way.server, at), bench.reach(way.stranger, at)

    binding.cut_off()
    assert set(binding.connections[0].running) == {stays.peer, goes.peer}
    bench.run(binding.set_peers(only(way.server)))
    binding.cut_off()
    bench.until_ended(binding.connections[0], goes.peer)
    assert goes.is_cut_towards_client(b"too late")
    assert bench.is_refused(way.stranger, at)
    assert stays.reaches_client(b"still here")
    assert binding.state is State.ARMED
    bench.reach(way.server, at)


def _both_ways(bench: Bench) -> BindFlags:
    return BindFlags.NONE if bench.transport is Transport.TCP else BindFlags.BIDIRECTIONAL


def test_a_spent_binding_stays_spent_whatever_its_filter_becomes(bench: Bench) -> None:
    way, client = bench.way, bench.client()
    bench.serve(client)
    (connection,) = bench.bind(client, ip_filter=only(way.server)).connections
    talk = bench.reach(way.server, connection.proxy_address)
    bench.run(connection.set_ip_filter(None))

    assert bench.is_refused(way.stranger, connection.proxy_address)
    assert talk.reaches_client(b"still here")


def test_a_filter_set_before_arming_counts_from_the_start(bench: Bench) -> None:
    way, client = bench.way, bench.client()
    bench.serve(client)
    binding = bench.bind(client, armed=False)
    bench.run(binding.connections[0].set_ip_filter(only(way.server)))
    bench.run(binding.arm())

    assert bench.is_refused(way.stranger, binding.proxy_address)
    assert bench.reach(way.server, binding.proxy_address).reaches_client(b"hello")


def test_the_filter_of_a_binding_that_is_over_cannot_be_set(bench: Bench) -> None:
    (connection,) = bench.bind().connections
    connection.kill()

    with pytest.raises(Terminating):
        bench.run(connection.set_ip_filter(None))


@pytest.mark.parametrize("is_filtered", [True, False])
def test_f27_peers_may_be_held_to_source_ports(bench: Bench, is_filtered: bool) -> None:
    way, client = bench.way, bench.client()
    bench.serve(client)
    binding = bench.bind(
        client,
        ip_filter=only(way.server) if is_filtered else None,
        peer_ports=frozenset({2020, 2021}),
    )

    assert bench.is_refused(way.server, binding.proxy_address, source_port=2022)
    talk = bench.reach(way.server, binding.proxy_address, source_port=2021)
    assert talk.peer.port == 2021


def test_one_peer_may_use_several_bindings_at_once(bench: Bench) -> None:
    clients = [bench.client(), bench.client()]
    bindings = []
    for client in clients:
        bench.serve(client)
        bindings.append(bench.bind(client, ip_filter=only(bench.way.server)))

    for client, binding in zip(clients, bindings, strict=True):
        assert bench.reach(bench.way.server, binding.proxy_address).at == client
