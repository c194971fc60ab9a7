"""OpeningRegistry of datagrams, and openings that are changed while they live."""

from collections.abc import Iterable

import pytest
from tests.core.office import CLIENT, PEER, SlowDataPath, run
from tests.core.pinholes.registry_bench import LISTEN, OTHER_PEER, Bench, Recorded

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import DataPathKind, Pinhole
from sallyport.core.pinholes.lifecycle import State
from sallyport.core.pinholes.registry import OpeningRegistry, Traffic
from sallyport.core.runtime.deadlines import Deadlines
from sallyport.errors import OutOfResources, Terminating
from sallyport.flags import Transport
from sallyport.ipfilter import IpFilter
from sallyport.testing import MemoryDataPath

# -- datagrams --------------------------------------------------------------------------------


def test_the_first_source_owns_a_single_udp_pinhole_and_may_come_back() -> None:
    bench = Bench()
    opening = bench.armed(Transport.UDP)

    assert bench.data_path.send(PEER, LISTEN) == CLIENT
    assert opening.state is State.LIVE
    assert bench.data_path.send(OTHER_PEER, LISTEN) is None
    bench.data_path.finish(PEER)
    assert opening.state is State.LIVE
    assert bench.data_path.send(OTHER_PEER, LISTEN) is None
    assert bench.data_path.send(PEER, LISTEN) == CLIENT
    assert opening.told == ["armed", "admitted 20", "admitted 20"]


def test_a_timed_udp_opening_ends_with_the_silence_of_its_source() -> None:
    bench = Bench()
    opening = bench.armed(Transport.UDP, is_timed=True)
    bench.data_path.send(PEER, LISTEN)
    bench.pass_time(10 * limits.ACCEPT_TIMEOUT_SECONDS)
    assert opening.state is State.LIVE

    bench.data_path.finish(PEER, 5, 6)
    assert opening.told[-1] == "idle"
    assert opening.traffic_at_end == Traffic(1, 5, 6)
    assert not bench.data_path.pinholes


def test_a_source_that_comes_back_while_its_opening_ends_is_not_cut() -> None:
    class ReturningDataPath(MemoryDataPath):
        def close(self, pinhole_ids: Iterable[int]) -> None:
            numbers = list(pinhole_ids)
            self.send(PEER, LISTEN)
            super().close(numbers)

    bench = Bench(ReturningDataPath([LISTEN.address]))
    opening = bench.armed(Transport.UDP, is_timed=True)
    bench.data_path.send(PEER, LISTEN)
    bench.data_path.finish(PEER)

    assert opening.state is State.LIVE
    bench.data_path.finish(PEER)
    assert opening.told[-1] == "idle"


def test_who_hears_of_a_late_flow_may_kill_the_opening_that_ends() -> None:
    class Killing(Recorded):
        __slots__ = ()

        def on_admitted(self, peer: Endpoint) -> None:
            super().on_admitted(peer)
            if len(self.told) > 2:
                bench.registry.kill(self, "enough")

    class ReturningDataPath(MemoryDataPath):
        def close(self, pinhole_ids: Iterable[int]) -> None:
            numbers = list(pinhole_ids)
            if not self.flows:
                self.send(PEER, LISTEN)
            super().close(numbers)

    bench = Bench(ReturningDataPath([LISTEN.address]))
    pinhole = Pinhole(bench.registry.new_id(), Transport.UDP, LISTEN, CLIENT, None)
    opening = Killing(pinhole, path=bench.data_path, is_timed=True)
    bench.registry.add(opening)
    run(bench.registry.arm([opening]))
    bench.data_path.send(PEER, LISTEN)
    bench.data_path.finish(PEER)

    assert opening.told == ["armed", "admitted 20", "admitted 20", "enough"]
    assert opening.state is State.CLOSED


@pytest.mark.parametrize("is_silent", [True, False])
def test_withdrawing_a_live_udp_opening_closes_it_and_what_runs_may_finish(is_silent: bool) -> None:
    bench = Bench()
    opening = bench.armed(Transport.UDP)
    bench.data_path.send(PEER, LISTEN)
    if is_silent:
        bench.data_path.finish(PEER)
    bench.registry.withdraw(opening, "withdrawn")

    assert not bench.data_path.pinholes
    if not is_silent:
        assert opening.state is State.LIVE
        bench.data_path.finish(PEER)
    assert opening.told[-1] == ("withdrawn" if is_silent else "idle")


def test_a_udp_opening_for_many_stays_armed_while_sources_come_and_go() -> None:
    bench = Bench()
    opening = bench.armed(Transport.UDP, single=False)
    for peer in (PEER, OTHER_PEER):
        assert bench.data_path.send(peer, LISTEN) == CLIENT
    bench.data_path.finish(PEER)
    bench.data_path.finish(OTHER_PEER)

    assert opening.state is State.ARMED


# -- changes ----------------------------------------------------------------------------------


def test_nothing_is_admitted_until_the_target_is_known() -> None:
    bench = Bench()
    opening = bench.add(target=None)
    run(bench.registry.arm([opening]))
    assert bench.data_path.connect(PEER, LISTEN) is None

    run(bench.registry.retarget(opening, CLIENT))
    assert bench.data_path.connect(PEER, LISTEN) == CLIENT


def test_what_is_changed_before_the_pinhole_opens_is_how_it_opens() -> None:
    bench = Bench()
    opening = bench.add(target=None)
    run(bench.registry.retarget(opening, CLIENT))
    run(bench.registry.set_peers([opening], IpFilter(), None))
    run(bench.registry.arm([opening]))

    assert bench.data_path.pinholes == {opening.pinhole.id: opening.pinhole}
    assert bench.data_path.connect(PEER, LISTEN) is None


def test_what_is_changed_while_the_pinhole_opens_has_taken_effect_when_it_is_open() -> None:
    bench = Bench(SlowDataPath([LISTEN.address]))
    opening = bench.add(target=None)
    arming = bench.registry.arm([opening])
    arming.send(None)
    run(bench.registry.retarget(opening, CLIENT))
    run(bench.registry.set_peers([opening], IpFilter.of(PEER.address), None))
    with pytest.raises(StopIteration):
        arming.send(None)

    assert bench.data_path.pinholes == {opening.pinhole.id: opening.pinhole}
    assert opening.pinhole.target == CLIENT
    assert opening.pinhole.sources == IpFilter.of(PEER.address)


def test_a_change_the_data_path_refuses_has_changed_nothing() -> None:
    bench = Bench()
    opening = bench.add(target=None)
    run(bench.registry.arm([opening]))
    before = opening.pinhole

    bench.data_path.fail_next = OutOfResources("set-full")
    with pytest.raises(OutOfResources):
        run(bench.registry.retarget(opening, CLIENT))
    bench.data_path.fail_next = OutOfResources("set-full")
    with pytest.raises(OutOfResources):
        run(bench.registry.set_peers([opening], IpFilter(), None))
    assert opening.pinhole == before
    assert bench.data_path.pinholes == {before.id: before}
    assert opening.state is State.ARMED


@pytest.mark.parametrize("change", ["retarget", "set_peers"])
def test_a_change_of_what_ended_meanwhile_says_so(change: str) -> None:
    bench = Bench()
    opening = bench.add(target=None)
    run(bench.registry.arm([opening]))
    bench.data_path.is_slow = True
    changing = (
        bench.registry.retarget(opening, CLIENT)
        if change == "retarget"
        else bench.registry.set_peers([opening], IpFilter(), None)
    )
    changing.send(None)
    bench.registry.kill(opening, "meanwhile")

    with pytest.raises(Terminating, match="ended-meanwhile"):
        changing.send(None)
    assert not bench.data_path.pinholes


def test_each_opening_is_on_its_own_data_path_and_both_report_here() -> None:
    kernel = MemoryDataPath([LISTEN.address])
    user = MemoryDataPath([LISTEN.address], kind=DataPathKind.USER, beside=kernel)
    openings = OpeningRegistry([kernel, user], Deadlines(lambda _: None), lambda: 0.0)
    made = []
    for offset, path in enumerate((kernel, user)):
        listen = LISTEN.with_port(LISTEN.port + offset)
        pinhole = Pinhole(openings.new_id(), Transport.TCP, listen, CLIENT, None)
        opening = Recorded(pinhole, path=path, is_timed=False)
        openings.add(opening)
        run(openings.arm([opening]))
        assert path.connect(PEER, listen) == CLIENT
        made.append(opening)

    assert [opening.state for opening in made] == [State.LIVE, State.LIVE]
    openings.kill(made[1], "killed")
    assert (kernel.resets, user.resets) == ([], [(made[1].pinhole.id, PEER)])
