from ipaddress import ip_address

import pytest

from sallyport.addresses import Endpoint
from sallyport.core.datapath import FlowCounters, Pinhole
from sallyport.errors import AddressInUse, AddressNotAvailable, OutOfResources
from sallyport.flags import Transport
from sallyport.ipfilter import IpFilter
from sallyport.testing import MemoryDataPath, pause

LISTEN = Endpoint.parse("203.0.113.1:40000")
TARGET = Endpoint.parse("10.0.0.8:1553")
PEER = Endpoint.parse("203.0.113.9:20")
STRANGER = Endpoint.parse("198.51.100.7:20")


class Sink:
    def __init__(self) -> None:
        self.told: list[tuple[str, int, Endpoint]] = []

    def flow_established(self, pinhole_id: int, peer: Endpoint) -> None:
        self.told.append(("established", pinhole_id, peer))

    def flow_refused(self, pinhole_id: int, peer: Endpoint) -> None:
        self.told.append(("refused", pinhole_id, peer))

    def flow_ended(self, pinhole_id: int, counters: FlowCounters) -> None:
        self.told.append(("ended", pinhole_id, counters.peer))


class Bench:
    """A data path, its sink, and a way to run `open` to its end."""

    def __init__(self) -> None:
        self.sink = Sink()
        self.path = MemoryDataPath([LISTEN.address])
        self.path.attach(self.sink)

    def open(self, *, single: bool = True, source_ports: frozenset[int] | None = None) -> None:
        pinhole = Pinhole(
            id=7,
            transport=Transport.TCP,
            listen=LISTEN,
            target=TARGET,
            sources=IpFilter.of(PEER.address),
            single=single,
            source_ports=source_ports,
        )
        with pytest.raises(StopIteration):
            self.path.open([pinhole]).send(None)


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


def test_a_pause_waits_once() -> None:
    waiting = pause()

    assert next(waiting) is None
    with pytest.raises(StopIteration):
        next(waiting)
