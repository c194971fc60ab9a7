from collections.abc import Callable, Coroutine
from ipaddress import ip_address
from typing import Any

import pytest

from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import (
    Arrival,
    DataPathKind,
    FlowCounters,
    Link,
    Pinhole,
    StreamEnd,
)
from sallyport.errors import AddressInUse, AddressNotAvailable, OutOfResources
from sallyport.flags import Transport
from sallyport.ipfilter import IpFilter
from sallyport.testing import MemoryDataPath, pause

LISTEN = Endpoint.parse("203.0.113.1:40000")
TARGET = Endpoint.parse("10.0.0.8:1553")
PEER = Endpoint.parse("203.0.113.9:20")
STRANGER = Endpoint.parse("198.51.100.7:20")


PLAIN: dict[str, Any] = {
    "transport": Transport.TCP,
    "listen": LISTEN,
    "target": TARGET,
    "sources": IpFilter.of(PEER.address),
}


class Sink:
    def __init__(self) -> None:
        self.told: list[tuple[str, int, Endpoint]] = []
        self.arrivals: list[Arrival] = []

    def flow_arrived(self, pinhole_id: int, peer: Endpoint, arrival: Arrival) -> None:
        self.told.append(("arrived", pinhole_id, peer))
        self.arrivals.append(arrival)

    def flow_established(self, pinhole_id: int, peer: Endpoint) -> None:
        self.told.append(("established", pinhole_id, peer))

    def flow_refused(self, pinhole_id: int, peer: Endpoint) -> None:
        self.told.append(("refused", pinhole_id, peer))

    def flow_turned_away(self, pinhole_id: int, peer: Endpoint) -> None:
        self.told.append(("turned away", pinhole_id, peer))

    def flow_ended(self, pinhole_id: int, counters: FlowCounters) -> None:
        self.told.append(("ended", pinhole_id, counters.peer))


class Bench:
    """A data path, its sink, and a way to run `open` to its end."""

    def __init__(self, kind: DataPathKind = DataPathKind.KERNEL) -> None:
        self.sink = Sink()
        self.path = MemoryDataPath([LISTEN.address], kind=kind)
        self.path.attach(self.sink)

    def open(self, **fields: Any) -> None:  # noqa: ANN401 - any field of Pinhole
        run(self.path.open([Pinhole(**({"id": 7} | PLAIN | fields))]))


def run(work: Coroutine[Any, Any, None]) -> None:
    with pytest.raises(StopIteration):
        work.send(None)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_port_is_held_by_one_at_a_time(bench: Bench) -> None:
    bench.path.reserve(Transport.TCP, LISTEN)

    with pytest.raises(AddressInUse):
        bench.path.reserve(Transport.TCP, LISTEN)
    bench.path.reserve(Transport.UDP, LISTEN)
    bench.path.release(Transport.TCP, LISTEN)
    bench.path.release(Transport.TCP, LISTEN)
    bench.path.reserve(Transport.TCP, LISTEN)


def test_a_port_of_a_local_program_is_taken(bench: Bench) -> None:
    bench.path.occupied.add((Transport.TCP, LISTEN))

    with pytest.raises(AddressInUse):
        bench.path.reserve(Transport.TCP, LISTEN)


def test_an_address_of_somebody_else_is_not_available(bench: Bench) -> None:
    with pytest.raises(AddressNotAvailable):
        bench.path.reserve(Transport.TCP, Endpoint(ip_address("192.0.2.1"), 40000))


def test_a_single_pinhole_admits_one_flow_and_then_nobody(bench: Bench) -> None:
    bench.open()

    assert bench.path.connect(STRANGER, LISTEN) is None
    assert bench.path.connect(PEER, LISTEN) == TARGET
    assert bench.path.connect(PEER.with_port(21), LISTEN) is None
    assert bench.sink.told == [("established", 7, PEER)]
    assert [flow.peer for flow in bench.path.counters(7)] == [PEER]


def test_a_pinhole_for_many_stays_open(bench: Bench) -> None:
    bench.open(single=False)

    assert bench.path.connect(PEER, LISTEN) == TARGET
    assert bench.path.connect(PEER.with_port(21), LISTEN) == TARGET


def test_source_ports_narrow_a_pinhole(bench: Bench) -> None:
    bench.open(source_ports=frozenset({20}))

    assert bench.path.connect(PEER.with_port(21), LISTEN) is None
    assert bench.path.connect(PEER, LISTEN) == TARGET


def test_an_attempt_is_told_and_spends_nothing(bench: Bench) -> None:
    bench.open()

    bench.path.attempt(STRANGER, LISTEN)
    bench.path.attempt(PEER, LISTEN)

    assert bench.sink.told == [("refused", 7, PEER)]
    assert bench.path.connect(PEER, LISTEN) == TARGET


def test_closing_lets_flows_go_on_and_killing_resets_them(bench: Bench) -> None:
    bench.open(single=False)
    bench.path.connect(PEER, LISTEN)
    bench.path.close([7])
    bench.path.close([7])
    assert bench.path.connect(PEER.with_port(21), LISTEN) is None
    assert bench.path.counters(7) != []

    bench.path.kill([7])
    bench.path.kill([7])

    assert bench.path.resets == [(7, PEER)]
    assert bench.path.counters(7) == []
    assert bench.sink.told[-1] == ("ended", 7, PEER)


def test_a_flow_finishes_with_its_bytes(bench: Bench) -> None:
    bench.open()
    bench.path.connect(PEER, LISTEN)

    bench.path.finish(PEER, from_peer=5, to_peer=6)

    assert bench.sink.told[-1] == ("ended", 7, PEER)
    assert bench.path.flows == {}


def test_the_next_open_can_be_made_to_fail_once(bench: Bench) -> None:
    bench.path.fail_next = OutOfResources("full")

    with pytest.raises(OutOfResources):
        bench.path.open([]).send(None)
    bench.open()
    assert list(bench.path.pinholes) == [7]


def test_a_slow_open_waits_once_before_it_takes_effect(bench: Bench) -> None:
    bench.path.is_slow = True
    pinhole = Pinhole(7, Transport.TCP, LISTEN, TARGET, None)
    opening = bench.path.open([pinhole])

    assert opening.send(None) is None
    assert bench.path.pinholes == {}
    with pytest.raises(StopIteration):
        opening.send(None)
    assert bench.path.pinholes == {7: pinhole}


UDP: dict[str, Any] = {"transport": Transport.UDP, "sources": None}
OTHER = PEER.with_port(21)


def test_it_stands_for_the_kernel_unless_told_otherwise_and_shares_its_host() -> None:
    kernel = MemoryDataPath([LISTEN.address])
    user = MemoryDataPath([LISTEN.address], kind=DataPathKind.USER, beside=kernel)
    assert (kernel.kind, user.kind) == (DataPathKind.KERNEL, DataPathKind.USER)

    kernel.reserve(Transport.TCP, LISTEN)
    with pytest.raises(AddressInUse):
        user.reserve(Transport.TCP, LISTEN)


def test_the_first_source_of_a_single_udp_pinhole_owns_it_even_after_silence(bench: Bench) -> None:
    bench.open(**UDP)

    assert bench.path.send(PEER, LISTEN) == TARGET
    assert bench.path.send(OTHER, LISTEN) is None
    bench.path.finish(PEER)
    assert bench.path.send(OTHER, LISTEN) is None
    assert bench.path.send(PEER, LISTEN) == TARGET
    assert [kind for kind, _, _ in bench.sink.told] == ["established", "ended", "established"]


def test_a_udp_pinhole_for_many_has_a_flow_for_each_source(bench: Bench) -> None:
    bench.open(**UDP, single=False)
    for peer in (PEER, OTHER, PEER):
        assert bench.path.send(peer, LISTEN) == TARGET

    assert bench.sink.told == [("established", 7, PEER), ("established", 7, OTHER)]


def test_datagrams_are_counted_by_what_is_in_them(bench: Bench) -> None:
    bench.open(**UDP, is_answered=True)
    bench.path.send(PEER, LISTEN, b"12345")
    bench.path.answer(LISTEN, PEER, b"123")

    assert bench.path.counters(7) == [FlowCounters(PEER, 5, 3)]


@pytest.mark.parametrize("is_answered", [True, False])
def test_the_client_answers_whom_it_may_and_only_after_it_was_spoken_to(
    bench: Bench, is_answered: bool
) -> None:
    bench.open(**UDP, is_answered=is_answered)

    assert not bench.path.answer(LISTEN, PEER)
    bench.path.send(PEER, LISTEN)
    assert bench.path.answer(LISTEN, PEER) is is_answered
    assert not bench.path.answer(LISTEN, OTHER)


def test_a_closed_udp_pinhole_lets_its_flow_go_on_and_nothing_new_in(bench: Bench) -> None:
    bench.open(**UDP, single=False)
    bench.path.send(PEER, LISTEN)
    bench.path.close([7])

    assert bench.path.send(PEER, LISTEN) == TARGET
    assert bench.path.send(OTHER, LISTEN) is None
    bench.path.kill([7])
    assert bench.path.send(PEER, LISTEN) is None


def test_tcp_and_udp_do_not_meet(bench: Bench) -> None:
    bench.open(**UDP)

    assert bench.path.connect(PEER, LISTEN) is None
    assert bench.path.send(PEER, LISTEN) == TARGET


def test_what_the_gateway_sends_is_kept(bench: Bench) -> None:
    bench.path.send_from(LISTEN, PEER, b"request")

    assert bench.path.sent == [(LISTEN, PEER, b"request")]


def test_nothing_is_admitted_until_the_target_is_known(bench: Bench) -> None:
    bench.open(target=None)
    assert bench.path.connect(PEER, LISTEN) is None

    run(bench.path.retarget(7, TARGET))
    assert bench.path.connect(PEER, LISTEN) == TARGET


def test_sources_can_be_replaced_and_a_spent_token_stays_spent(bench: Bench) -> None:
    bench.open()
    run(bench.path.set_peers([7], IpFilter.of(STRANGER.address), None))
    assert bench.path.connect(PEER, LISTEN) is None
    assert bench.path.connect(STRANGER, LISTEN) == TARGET

    run(bench.path.set_peers([7], None, None))
    assert bench.path.connect(PEER, LISTEN) is None


def test_changing_what_is_closed_changes_nothing(bench: Bench) -> None:
    run(bench.path.retarget(7, TARGET))
    run(bench.path.set_peers([7], None, None))

    assert bench.path.pinholes == {}


@pytest.mark.parametrize(
    ("fields", "is_distinct"),
    [
        ({}, False),
        ({"sources": IpFilter.of("203.0.113.0/24")}, False),
        ({"source_ports": frozenset({20})}, False),
        ({"sources": IpFilter.of("198.51.100.0/24")}, True),
        ({"sources": None}, True),
        ({"transport": Transport.UDP}, True),
        ({"listen": LISTEN.with_port(40001)}, True),
        ({"target": None}, True),
    ],
)
def test_two_pinholes_at_one_place_for_one_source_are_refused_as_by_the_kernel(
    bench: Bench, fields: dict[str, Any], is_distinct: bool
) -> None:
    bench.open()
    second = bench.path.open([Pinhole(**({"id": 8} | PLAIN | fields))])
    if is_distinct:
        run(second)
        return
    with pytest.raises(AddressInUse, match="pinhole-exists"):
        second.send(None)
    assert list(bench.path.pinholes) == [7]


def test_pinholes_for_different_ports_of_one_source_are_distinct(bench: Bench) -> None:
    bench.open(source_ports=frozenset({20}), target=TARGET.with_port(1))
    bench.open(id=8, source_ports=frozenset({21}), target=TARGET.with_port(2))

    assert bench.path.connect(OTHER, LISTEN) == TARGET.with_port(2)


def test_a_peers_own_pinhole_comes_before_one_for_anyone(bench: Bench) -> None:
    bench.open(id=6, sources=None, target=TARGET.with_port(1))
    bench.open()

    assert bench.path.connect(PEER, LISTEN) == TARGET
    assert bench.path.connect(STRANGER, LISTEN) == TARGET.with_port(1)


def test_a_pause_waits_once() -> None:
    waiting = pause()

    assert next(waiting) is None
    with pytest.raises(StopIteration):
        next(waiting)


# -- user mode: peers wait until somebody has answered ----------------------------------------


class Echo:
    """A tap that sends everybody's bytes back, and keeps what happens to it."""

    def __init__(self) -> None:
        self.on_idle: Callable[[], None] = lambda: None
        self.is_busy = self.holds_accepted = self.holds_dialled = False
        self.done: list[str] = []
        self.link: Link | None = None
        self.ends: dict[str, StreamEnd | None] = {}

    def begin(self, link: Link, accepted: StreamEnd | None, dialled: StreamEnd | None) -> None:
        self.link = link
        self.ends = {"accepted": accepted, "dialled": dialled}
        self.done.append("begin")

    def from_accepted(self, data: bytes) -> None:
        end = self.ends["accepted"]
        assert end is not None
        end.send(data)

    def from_dialled(self, data: bytes) -> None:
        end = self.ends["dialled"]
        assert end is not None
        end.send(data)

    def accepted_closed(self) -> None:
        self._shut()

    def dialled_closed(self) -> None:
        self._shut()

    def flooded(self) -> None:
        self.done.append("flooded")

    def end(self) -> None:
        self.done.append("end")

    def _shut(self) -> None:
        for end in self.ends.values():
            if end is not None:
                end.shutdown()


@pytest.fixture
def user() -> Bench:
    return Bench(DataPathKind.USER)


def test_in_user_mode_a_peer_is_let_in_when_somebody_says_so(user: Bench) -> None:
    user.open()
    assert user.path.connect(PEER, LISTEN) is None
    (arrival,) = user.sink.arrivals
    assert user.path.flows == {}

    arrival.proceed(None)
    arrival.proceed(None)
    arrival.refuse()
    assert [kind for kind, _, _ in user.sink.told] == ["arrived", "established"]
    assert user.path.filtered == {}
    assert user.path.refused == []


def test_a_peer_that_is_refused_leaves_a_single_pinhole_to_the_next(user: Bench) -> None:
    user.open()
    user.path.connect(PEER, LISTEN)
    user.sink.arrivals[0].refuse()
    user.path.connect(PEER.with_port(21), LISTEN)
    user.sink.arrivals[1].proceed(None)

    assert user.path.refused == [PEER]
    assert list(user.path.flows[7]) == [PEER.with_port(21)]


def test_a_tap_is_fed_until_both_have_closed(user: Bench) -> None:
    user.open()
    user.path.connect(PEER, LISTEN)
    tap = Echo()
    user.sink.arrivals[0].proceed(tap)
    flow = user.path.filtered[7, PEER]
    flow.peer_says(b"p")
    flow.target_says(b"t")
    assert (flow.accepted.take(), flow.dialled.take()) == (b"p", b"t")

    flow.peer_closes()
    assert tap.done == ["begin"]
    flow.target_closes()
    assert tap.done == ["begin", "end"]
    assert user.path.filtered == {}
    assert [kind for kind, _, _ in user.sink.told] == ["arrived", "established", "ended"]
    assert user.path.resets == []


def test_a_tap_may_reset_its_flow(user: Bench) -> None:
    user.open()
    user.path.connect(PEER, LISTEN)
    tap = Echo()
    user.sink.arrivals[0].proceed(tap)
    assert tap.link is not None
    for _ in range(2):
        tap.link.abort()

    assert tap.done == ["begin", "end"]
    assert user.path.resets == [(7, PEER)]
    assert user.path.flows == {}


def test_a_peer_that_waits_at_a_pinhole_that_is_gone_ends_its_tap(user: Bench) -> None:
    user.open()
    user.path.connect(PEER, LISTEN)
    user.path.close([7])
    tap = Echo()
    user.sink.arrivals[0].proceed(tap)

    assert tap.done == ["end"]
    assert [kind for kind, _, _ in user.sink.told] == ["arrived"]


def test_datagrams_of_a_peer_that_waits_are_lost_and_it_arrives_once(user: Bench) -> None:
    user.open(transport=Transport.UDP)
    for _ in range(2):
        assert user.path.send(PEER, LISTEN, b"lost") is None
    (arrival,) = user.sink.arrivals
    tap = Echo()
    arrival.proceed(tap)
    assert user.path.send(PEER, LISTEN, b"heard") == TARGET

    assert user.path.filtered[7, PEER].accepted.datagrams == [b"heard"]


def test_whom_somebody_speaks_for_is_dialled_without_a_pinhole(user: Bench) -> None:
    tap = Echo()
    user.path.deliver(Pinhole(**({"id": 8} | PLAIN)), STRANGER, tap)

    assert user.sink.told == [("established", 8, STRANGER)]
    assert tap.ends["accepted"] is None
    assert user.path.pinholes == {}

    unknown = Echo()
    user.path.deliver(Pinhole(**({"id": 9} | PLAIN | {"target": None})), STRANGER, unknown)
    assert user.sink.told[1:] == [("refused", 9, STRANGER)]
    assert unknown.done == ["end"]
