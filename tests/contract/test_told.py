"""Who is told what: the caller of the bind alone, with its context, in the order of events."""

import pytest
from tests.contract.bench import Bench, Chooser, Guard, Watcher, Witness
from tests.contract.conftest import Build
from tests.contract.places import CONTRACT
from tests.contract.setups import REAL, REAL_TCP, TCP, UDP, Setup, over

from sallyport.core.model.events import (
    BindTcp,
    BindUdp,
    ConnectionTerminating,
    EstablishedConnection,
)
from sallyport.core.model.filter import DataFilter
from sallyport.core.pinholes.datapath import DataPathKind, Missed
from sallyport.core.pinholes.lifecycle import State
from sallyport.errors import AddressInUse, BadContext
from sallyport.flags import BindFlags, Transport
from sallyport.ipfilter import IpFilter


def test_the_caller_is_told_of_the_peer_with_its_context(bench: Bench) -> None:
    client, context = bench.client(), object()
    bench.serve(client)
    binding = bench.bind(client, context=context)
    talk = bench.reach(bench.way.server, binding.proxy_address)
    (event,) = bench.witness.events

    assert event == EstablishedConnection(binding.connections[0], talk.peer, context)


def test_nobody_but_the_caller_is_told(build: Build) -> None:
    watcher, other = Watcher(), Witness()
    bench = build(watcher)
    clients = [bench.client(), bench.client()]
    for client in clients:
        bench.serve(client)
    mine, others = bench.bind(clients[0]), bench.bind(clients[1], session_filter=other)
    bench.reach(bench.way.server, mine.proxy_address)

    assert bench.witness.kinds() == ["EstablishedConnection"]
    assert other.events == []
    assert "EstablishedConnection" not in watcher.witness.kinds()
    others.kill()
    assert other.kinds() == ["ConnectionTerminating"]


# -- other filters --------------------------------------------------------------------------------


def test_filters_that_watch_binds_are_told_of_each_port_and_tcp_also_listens(
    build: Build,
) -> None:
    guard = Guard()
    bench = build(guard)
    binding = bench.bind(bench.client(), bench.client())
    expected = ["BindTcp", "BindTcp", "Listen", "Listen"]

    assert guard.witness.kinds() == (
        expected if bench.transport is Transport.TCP else ["BindUdp", "BindUdp"]
    )
    told = [event.connection for event in guard.witness.events[:2]]
    assert told == list(binding.connections)


def test_a_bind_that_another_filter_denies_fails_as_in_use_and_leaves_nothing(
    setup: Setup, build: Build
) -> None:
    bench = build(Guard(BindTcp if setup.is_tcp else BindUdp))
    before = bench.holdings()

    with pytest.raises(AddressInUse):
        bench.bind(bench.client(), bench.client())

    after = bench.holdings()
    assert (after.path, after.openings, after.bindings) == (before.path, 0, ())


@REAL
def test_a_data_filter_sees_what_peer_and_client_say(build: Build) -> None:
    watcher = Watcher()
    bench = build(watcher)
    client = bench.client()
    bench.serve(client)
    is_udp = bench.transport is Transport.UDP
    binding = bench.bind(client, flags=BindFlags.BIDIRECTIONAL if is_udp else BindFlags.NONE)
    talk = bench.reach(bench.way.server, binding.proxy_address)

    assert talk.reaches_client(b"question")
    assert talk.reaches_peer(b"answer")
    assert watcher.witness.heard[0] == f"started {talk.peer}"
    assert watcher.witness.heard[-2:] == ["peer: question", "client: answer"]
    binding.kill()
    assert watcher.witness.heard[-1] == "detached"
    assert watcher.witness.heard.count("detached") == 1


def test_whom_a_filter_denies_does_not_get_in_and_does_not_use_the_binding_up(
    build: Build,
) -> None:
    bench = build(Watcher(denies=True))
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client)

    assert bench.is_refused(bench.way.server, binding.proxy_address)
    assert binding.state is State.ARMED
    assert "EstablishedConnection" not in bench.witness.kinds()


def test_without_a_session_filter_the_binding_works_all_the_same(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client, session_filter=None)

    assert bench.reach(bench.way.server, binding.proxy_address).reaches_client(b"hello")


@TCP
def test_an_attempt_the_client_refuses_is_told_and_does_not_use_the_binding_up(
    bench: Bench,
) -> None:
    client = bench.client()
    binding = bench.bind(client)
    bench.fail(bench.way.server, binding.proxy_address)

    bench.until(lambda: bench.witness.kinds() == ["ConnectionRefused"])
    assert binding.state is State.ARMED
    bench.serve(client)
    assert bench.reach(bench.way.server, binding.proxy_address).reaches_client(b"hello")


# -- why nobody came ------------------------------------------------------------------------------


def unused(bench: Bench) -> object:
    """What the last record of a binding's end says of what came to it."""
    ends = [fields for event, fields in bench.journal.records if event == "binding.closed"]
    return ends[-1].get("unused")


@REAL
def test_a_port_to_which_nothing_came_says_so(bench: Bench) -> None:
    bench.bind(ip_filter=IpFilter.of(bench.way.server)).withdraw()

    assert unused(bench) == Missed.NOTHING_CAME


@REAL
def test_a_port_to_which_only_a_stranger_came_says_so(bench: Bench) -> None:
    binding = bench.bind(ip_filter=IpFilter.of(bench.way.server))
    assert bench.is_refused(bench.way.stranger, binding.proxy_address)
    binding.withdraw()

    assert unused(bench) == Missed.STRANGER_CAME


@REAL
def test_a_stranger_who_came_before_a_port_was_opened_is_none_of_its_own(bench: Bench) -> None:
    first = bench.bind(ip_filter=IpFilter.of(bench.way.server))
    assert bench.is_refused(bench.way.stranger, first.proxy_address)
    other = bench.bind(ip_filter=IpFilter.of(bench.way.server))
    other.withdraw()

    assert unused(bench) == Missed.NOTHING_CAME


@REAL_TCP
def test_a_port_whose_client_refused_says_so_whoever_else_came(bench: Bench) -> None:
    binding = bench.bind(ip_filter=IpFilter.of(bench.way.server))
    assert bench.is_refused(bench.way.stranger, binding.proxy_address)
    bench.fail(bench.way.server, binding.proxy_address)
    bench.until(lambda: bench.witness.kinds() == ["ConnectionRefused"])
    binding.withdraw()

    assert unused(bench) == Missed.NOT_TAKEN


@REAL
def test_a_port_whose_peer_a_filter_denied_says_nothing_of_what_came(build: Build) -> None:
    bench = build(Watcher(denies=True))
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client)
    assert bench.is_refused(bench.way.server, binding.proxy_address)
    binding.withdraw()

    assert unused(bench) is None


@REAL
def test_a_port_that_was_used_says_nothing_of_what_came(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client)
    bench.reach(bench.way.server, binding.proxy_address)
    binding.kill()

    assert unused(bench) is None


@TCP
def test_the_end_is_told_with_what_was_transferred(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client, context="mine")
    talk = bench.reach(bench.way.server, binding.proxy_address)
    talk.finish()
    bench.until(lambda: binding.state is State.CLOSED)
    event = bench.witness.events[-1]

    assert isinstance(event, ConnectionTerminating)
    assert (event.reason, event.context, event.traffic.flows) == ("finished", "mine", 1)


# -- what a connection knows of itself ------------------------------------------------------------


def test_the_external_names_are_the_peers_and_the_proxy_address(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    (connection,) = bench.bind(client).connections

    assert connection.external_socket_name() == connection.proxy_address
    with pytest.raises(BadContext):
        connection.external_peer_name()
    talk = bench.reach(bench.way.server, connection.proxy_address)
    assert connection.external_peer_name() == talk.peer


@REAL_TCP
def test_bytes_are_counted_in_each_direction(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    (connection,) = bench.bind(client).connections
    talk = bench.reach(bench.way.server, connection.proxy_address)
    before = connection.traffic()
    assert talk.reaches_client(bytes(50_000))
    assert talk.reaches_peer(bytes(20_000))
    after = connection.traffic()

    # Payload, on every path; a SACK block of a loaded host may count a few bytes more, and so does
    # what it sends again.
    from_peer = after.from_peer_bytes - before.from_peer_bytes
    to_peer = after.to_peer_bytes - before.to_peer_bytes
    assert 50_000 <= from_peer < 60_000
    assert 20_000 <= to_peer < 30_000
    assert [flow.peer for flow in connection.peers()] == [talk.peer]


@over(lambda setup: setup.bench in {"user", "kernel"})
def test_a_data_filter_of_a_bind_sees_its_bytes_and_no_others(build: Build) -> None:
    chooser = Chooser()
    bench, choosing = build(chooser), chooser.witness
    clients = [bench.client() for _ in range(3)]
    bindings = []
    for client, wanted in zip(clients, (False, True, False), strict=True):
        choosing.wanted = wanted
        bench.serve(client)
        bindings.append(bench.bind(client))
    plain, watched, other = (binding.connections[0] for binding in bindings)

    assert watched.data_path is DataPathKind.USER
    assert plain.data_path is other.data_path is bench.kinds[0]
    for connection, data in ((plain, b"plain"), (watched, b"watched"), (other, b"other")):
        assert bench.reach(bench.way.server, connection.proxy_address).reaches_client(data)
    heard = [line for line in choosing.heard if "hello" not in line]
    assert "peer: watched" in heard
    assert not [line for line in heard if "plain" in line or "other" in line]


@over(lambda setup: setup.bench != "user")
def test_a_data_filter_on_a_kernel_mode_connection_is_out_of_context(bench: Bench) -> None:
    (connection,) = bench.bind().connections

    with pytest.raises(BadContext):
        connection.attach_data_filter(DataFilter())


@UDP
def test_a_datagram_can_be_sent_from_the_proxy_address_before_any_came(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    (connection,) = bench.bind(client, flags=BindFlags.BIDIRECTIONAL).connections
    heard = bench.heard_outside(lambda to: connection.send_to(to, b"request"))

    assert heard == (b"request", connection.proxy_address)


@TCP
def test_a_datagram_cannot_be_sent_from_a_stream(bench: Bench) -> None:
    (connection,) = bench.bind().connections

    with pytest.raises(BadContext):
        connection.send_to(bench.at_outside(9), b"request")


def test_the_protocol_may_be_named_by_its_uuid(bench: Bench) -> None:
    binding = bench.bind(protocol=CONTRACT.uuid)

    assert binding.protocol == CONTRACT
