"""Flow decisions without a kernel: reports in, calls on the sink and wishes out."""

from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import Arrival, FlowCounters, Pinhole
from sallyport.errors import OutOfResources
from sallyport.flags import Transport
from sallyport.ipfilter import IpFilter
from sallyport.kernel import marks
from sallyport.kernel.flows import FlowTable
from sallyport.kernel.installed_pinhole import Flow, InstalledPinhole
from sallyport.wire import conntrack
from sallyport.wire.conntrack import FlowReport, FlowTuple

LISTEN = Endpoint.parse("203.0.113.1:40000")
TARGET = Endpoint.parse("10.0.0.8:1553")
PEER = Endpoint.parse("203.0.113.9:20")
STRANGER = Endpoint.parse("203.0.113.66:20")


@dataclass
class Bench:
    """A flow table with everything it says and wishes, in order."""

    said: list[str] = field(default_factory=list)
    readable: FlowCounters | None = field(default_factory=lambda: FlowCounters(PEER, 7, 8))
    flows: FlowTable = field(init=False)

    def __post_init__(self) -> None:
        self.flows = FlowTable(self)
        self.flows.attach(self)

    def flow_arrived(self, pinhole_id: int, peer: Endpoint, arrival: Arrival) -> None:
        raise AssertionError("the kernel lets peers in by itself")

    def flow_established(self, pinhole_id: int, peer: Endpoint) -> None:
        self.said.append(f"{pinhole_id} established {peer}")

    def flow_refused(self, pinhole_id: int, peer: Endpoint) -> None:
        self.said.append(f"{pinhole_id} refused {peer}")

    def flow_turned_away(self, pinhole_id: int, peer: Endpoint) -> None:
        raise AssertionError("the kernel turns nobody away")

    def flow_ended(self, pinhole_id: int, counters: FlowCounters) -> None:
        bytes_each = f"{counters.from_peer_bytes}/{counters.to_peer_bytes}"
        self.said.append(f"{pinhole_id} ended {counters.peer} {bytes_each}")

    def retire(self, installed: InstalledPinhole) -> None:
        self.flows.close([installed])
        self.said.append(f"{installed.pinhole.id} retired")

    def renew(self, installed: InstalledPinhole) -> None:
        self.said.append(f"{installed.pinhole.id} is {installed.owner}'s")

    def watch(self, installed: InstalledPinhole, flow: Flow) -> None:
        self.said.append(f"watch {installed.pinhole.id} {flow.peer}")

    def said_first(self, peer: Endpoint, listen: Endpoint) -> bytes:
        return f"{peer} to {listen}".encode()

    def kill_flow(self, flow: Flow) -> None:
        self.said.append(f"kill {flow.peer}")

    def conclude(self, flow: Flow) -> FlowCounters | None:
        assert flow.peer == PEER
        return self.readable

    def enter(self, number: int = 1, *, single: bool = True) -> InstalledPinhole:
        (installed,) = self.flows.enter([pinhole(number, single=single)])
        return installed

    def enter_udp(
        self, *, single: bool = True, idle_seconds: float | None = None
    ) -> InstalledPinhole:
        udp = replace(pinhole(single=single), transport=Transport.UDP, idle_seconds=idle_seconds)
        (installed,) = self.flows.enter([udp])
        return installed


def pinhole(number: int = 1, *, single: bool = True) -> Pinhole:
    return Pinhole(number, Transport.TCP, LISTEN, TARGET, IpFilter.of(PEER.address), single)


def report(installed: InstalledPinhole, bits: int, *, destroyed: bool = False) -> FlowReport:
    original = conntrack.write_tuple(FlowTuple(6, PEER, LISTEN))
    reply = conntrack.write_tuple(FlowTuple(6, TARGET, PEER))
    counts = (100, 200) if destroyed else (0, 0)
    mark = marks.PIN | bits | installed.generation
    return FlowReport(destroyed, mark, original, reply, *counts)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_winning_closes_a_single_pinhole_before_it_is_told(bench: Bench) -> None:
    bench.flows.apply(report(bench.enter(), marks.WON))

    assert bench.said == ["1 retired", "1 established 203.0.113.9:20"]


def test_winning_leaves_a_pinhole_for_many_open(bench: Bench) -> None:
    bench.flows.apply(report(bench.enter(single=False), marks.WON))

    assert bench.said == ["1 established 203.0.113.9:20"]


def test_a_flow_is_told_once_however_often_it_is_reported(bench: Bench) -> None:
    installed = bench.enter(single=False)
    for _ in range(3):
        bench.flows.apply(report(installed, marks.WON))

    assert len(bench.said) == 1


def test_both_sides_closing_is_the_end_and_the_entry_is_not_another(bench: Bench) -> None:
    installed = bench.enter(single=False)
    bench.flows.apply(report(installed, marks.WON))
    bench.flows.apply(report(installed, marks.WON | marks.ENDS))
    bench.flows.apply(report(installed, marks.WON | marks.ENDS, destroyed=True))

    assert bench.said[1:] == ["1 ended 203.0.113.9:20 7/8"]


def test_one_side_closing_is_not_the_end(bench: Bench) -> None:
    installed = bench.enter(single=False)
    bench.flows.apply(report(installed, marks.WON))
    bench.flows.apply(report(installed, marks.WON | marks.END_ORIGINAL))

    assert bench.said == ["1 established 203.0.113.9:20"]


def test_a_destroyed_flow_ends_with_the_bytes_of_its_report(bench: Bench) -> None:
    installed = bench.enter(single=False)
    bench.flows.apply(report(installed, marks.WON))
    bench.flows.apply(report(installed, marks.WON, destroyed=True))

    assert bench.said[1:] == ["1 ended 203.0.113.9:20 100/200"]


def test_when_the_entry_is_gone_before_it_is_read_its_own_report_ends_it(bench: Bench) -> None:
    installed = bench.enter(single=False)
    bench.readable = None
    bench.flows.apply(report(installed, marks.WON))
    bench.flows.apply(report(installed, marks.WON | marks.ENDS))
    bench.flows.apply(report(installed, marks.WON | marks.ENDS, destroyed=True))

    assert bench.said[1:] == ["1 ended 203.0.113.9:20 100/200"]


def test_f26_an_attempt_that_never_won_is_refused_and_shuts_nothing(bench: Bench) -> None:
    bench.flows.apply(report(bench.enter(), 0, destroyed=True))

    assert bench.said == ["1 refused 203.0.113.9:20"]


def test_the_first_datagram_makes_its_source_the_owner_and_leaves_the_pinhole_open(
    bench: Bench,
) -> None:
    installed = bench.enter_udp()
    bench.flows.apply(report(installed, marks.WON))

    assert bench.said == ["1 is 203.0.113.9:20's", "1 established 203.0.113.9:20"]
    assert installed.is_open


def test_an_owner_that_comes_back_is_told_of_and_changes_nothing(bench: Bench) -> None:
    installed = bench.enter_udp()
    for destroyed in (False, True, False):
        bench.flows.apply(report(installed, marks.WON, destroyed=destroyed))
    bench.flows.settle()

    assert bench.said[2:] == ["1 ended 203.0.113.9:20 100/200", "1 established 203.0.113.9:20"]
    assert len(bench.flows) == 1


def test_a_pinhole_for_many_sources_has_no_owner(bench: Bench) -> None:
    bench.flows.apply(report(bench.enter_udp(single=False), marks.WON))

    assert bench.said == ["1 established 203.0.113.9:20"]


def test_a_timed_flow_is_watched_each_time_it_begins(bench: Bench) -> None:
    installed = bench.enter_udp(single=False, idle_seconds=60)
    for destroyed in (False, True, False):
        bench.flows.apply(report(installed, marks.WON, destroyed=destroyed))

    assert bench.said.count("watch 1 203.0.113.9:20") == 2
    (flow,) = installed.flows.values()
    assert flow.first == b"203.0.113.9:20 to 203.0.113.1:40000"


def test_a_half_open_flow_says_nothing(bench: Bench) -> None:
    bench.flows.apply(report(bench.enter(), 0))

    assert bench.said == []


def test_a_flow_that_lived_and_died_in_an_overrun_uses_the_pinhole_up(bench: Bench) -> None:
    bench.flows.apply(report(bench.enter(), marks.WON | marks.ENDS, destroyed=True))

    assert bench.said == [
        "1 retired",
        "1 established 203.0.113.9:20",
        "1 ended 203.0.113.9:20 100/200",
    ]


def test_reports_of_unknown_numbers_are_ignored(bench: Bench) -> None:
    installed = bench.enter()
    bench.flows.withdraw([installed])
    bench.flows.apply(report(installed, marks.WON))

    assert bench.said == []


def test_a_flow_that_won_just_before_the_close_is_still_told(bench: Bench) -> None:
    installed = bench.enter()
    bench.flows.close([installed])
    bench.flows.apply(report(installed, marks.WON))
    bench.flows.settle()

    assert bench.said == ["1 established 203.0.113.9:20"]
    assert bench.flows.of([1]) == [installed]


def test_a_flow_that_won_just_before_the_kill_is_killed(bench: Bench) -> None:
    installed = bench.enter()
    installed.is_killed = True
    bench.flows.close([installed])
    bench.flows.apply(report(installed, marks.WON))

    assert bench.said == ["kill 203.0.113.9:20", "1 established 203.0.113.9:20"]


@pytest.mark.parametrize("is_wanted", [True, False])
def test_a_flow_that_won_just_before_others_were_cut_off_is_ended_if_it_is_one_of_them(
    bench: Bench, is_wanted: bool
) -> None:
    installed = bench.enter(single=False)
    who = PEER.address if is_wanted else STRANGER.address
    installed.pinhole = installed.pinhole.for_peers(IpFilter.of(who), None)
    installed.is_strict = True
    bench.flows.apply(report(installed, marks.WON))

    killed = [] if is_wanted else ["kill 203.0.113.9:20"]
    assert bench.said == [*killed, "1 established 203.0.113.9:20"]


def test_what_is_closed_and_has_no_flows_is_forgotten(bench: Bench) -> None:
    installed = bench.enter()
    bench.flows.apply(report(installed, marks.WON))
    bench.flows.settle()
    assert len(bench.flows) == 1
    bench.flows.apply(report(installed, marks.WON, destroyed=True))
    bench.flows.settle()

    assert len(bench.flows) == 0
    assert bench.flows.of([1]) == []


def test_a_new_pinhole_with_an_old_number_is_not_forgotten_with_the_old_one(bench: Bench) -> None:
    bench.flows.close([bench.enter()])
    renewed = bench.enter()
    bench.flows.settle()

    assert bench.flows.of([1]) == [renewed]


def test_resync_tells_what_the_lost_events_would_have_told(bench: Bench) -> None:
    gone = bench.enter(1, single=False)
    bench.flows.apply(report(gone, marks.WON))
    bench.said.clear()
    bench.flows.resync([])
    live = bench.enter(2, single=False)
    bench.flows.resync([report(live, marks.WON)])
    bench.flows.resync([report(live, marks.WON)])

    assert bench.said == ["1 ended 203.0.113.9:20 0/0", "2 established 203.0.113.9:20"]


def adopt(bench: Bench, found: Pinhole, *, is_over: bool = False) -> InstalledPinhole:
    template = report(bench.enter(9), 0)
    adopted = bench.flows.adopt(found, template.original, template.reply)
    bench.flows.begin_adopted(adopted, is_over=is_over)
    return adopted


def test_an_adopted_flow_is_told_like_any_other_and_opens_nothing(bench: Bench) -> None:
    adopted = adopt(bench, pinhole())
    bench.flows.apply(report(adopted, marks.WON | marks.ENDS))

    assert not adopted.is_open
    assert bench.said == ["1 established 203.0.113.9:20", "1 ended 203.0.113.9:20 7/8"]


def test_one_that_both_sides_have_closed_is_told_to_its_end_at_once(bench: Bench) -> None:
    adopt(bench, pinhole(), is_over=True)

    assert bench.said == ["1 established 203.0.113.9:20", "1 ended 203.0.113.9:20 7/8"]


def test_of_an_adopted_udp_flow_its_silence_is_watched(bench: Bench) -> None:
    adopt(bench, replace(pinhole(), transport=Transport.UDP, idle_seconds=60))

    assert bench.said[0] == "watch 1 203.0.113.9:20"


def test_numbers_skip_the_living_the_avoided_and_zero() -> None:
    flows = FlowTable(Bench(), last=0xF_FFFF - 1, series=3)
    flows.avoid([0x30_0001, 0x30_0003])
    numbers = [flows.enter([pinhole(n)])[0].generation for n in range(3)]

    assert numbers == [0x3F_FFFF, 0x30_0002, 0x30_0004]


def test_when_every_number_is_taken_nothing_is_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sallyport.kernel.flows._NUMBERS", 3)
    flows = FlowTable(Bench())
    flows.enter([pinhole(1), pinhole(2)])

    with pytest.raises(OutOfResources, match="no-mark-left"):
        flows.enter([pinhole(3)])
    assert len(flows) == 2


def test_a_flow_that_the_client_began_is_the_peers_with_its_bytes_the_right_way_round(
    bench: Bench,
) -> None:
    many = replace(pinhole(single=False), transport=Transport.UDP, is_answered=True)
    first, second = bench.flows.enter([many, replace(many, id=2)])
    assert (first.may_speak, second.may_speak) == (True, False)
    original = conntrack.write_tuple(FlowTuple(17, TARGET, PEER))
    reply = conntrack.write_tuple(FlowTuple(17, PEER, LISTEN))
    mark = marks.PIN | marks.WON | first.generation

    bench.flows.apply(FlowReport(False, mark, original, reply, 0, 0))
    bench.flows.apply(FlowReport(True, mark, original, reply, 100, 200))

    assert bench.said == ["1 established 203.0.113.9:20", "1 ended 203.0.113.9:20 200/100"]
    bench.flows.close([first])
    assert bench.flows.enter([replace(many, id=3)])[0].may_speak
