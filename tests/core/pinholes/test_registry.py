"""What openings do with a data path; how bindings and permissions use them is tested there."""

from collections.abc import Iterable, Sequence

import pytest
from tests.core.office import CLIENT, PEER, Pause, SlowDataPath, run
from tests.core.pinholes.registry_bench import LISTEN, OTHER_PEER, Bench

from sallyport import limits
from sallyport.core.pinholes.datapath import FlowCounters, Pinhole, Tap
from sallyport.core.pinholes.lifecycle import State
from sallyport.core.pinholes.registry import Traffic
from sallyport.errors import OutOfResources, Terminating
from sallyport.flags import Transport
from sallyport.testing import MemoryDataPath


def test_a_whole_life_is_told_in_order() -> None:
    bench = Bench()
    opening = bench.armed()
    bench.data_path.attempt(PEER, LISTEN)
    bench.data_path.connect(PEER, LISTEN)
    bench.data_path.finish(PEER, 10, 20)

    assert opening.told == ["armed", "refused 20", "admitted 20", "finished"]
    assert opening.traffic_at_end == Traffic(1, 10, 20)
    assert len(bench.registry) == 0


def test_an_attempt_that_fails_does_not_use_a_single_pinhole_up() -> None:
    bench = Bench()
    opening = bench.armed()
    for _ in range(3):
        bench.data_path.attempt(PEER, LISTEN)

    assert opening.state is State.ARMED
    assert bench.data_path.connect(PEER, LISTEN) == CLIENT


def test_an_opening_is_armed_once() -> None:
    bench = Bench()
    opening = bench.armed()
    with pytest.raises(Terminating, match="not-in-this-state"):
        run(bench.registry.arm([opening]))
    assert opening.state is State.ARMED


def test_what_has_ended_is_not_armed_and_neither_is_what_is_armed_with_it() -> None:
    bench = Bench()
    whole, ended = bench.add(), bench.add(offset=1)
    bench.registry.withdraw(ended, "withdrawn")

    with pytest.raises(Terminating, match="not-in-this-state"):
        run(bench.registry.arm([whole, ended]))
    assert whole.state is State.RESERVED
    assert not bench.data_path.pinholes


def test_when_the_data_path_refuses_all_are_withdrawn() -> None:
    bench = Bench()
    both = [bench.add(), bench.add(offset=1)]
    bench.data_path.fail_next = OutOfResources("set-full")

    with pytest.raises(OutOfResources):
        run(bench.registry.arm(both))
    assert [opening.told for opening in both] == [["could-not-open"]] * 2


@pytest.mark.parametrize("ending", ["withdraw", "kill"])
@pytest.mark.parametrize("ended", [0, 1, 2])
def test_what_ends_while_the_data_path_is_busy_leaves_no_pinhole_open(
    ending: str, ended: int
) -> None:
    bench = Bench(SlowDataPath([LISTEN.address]))
    three = [bench.add(offset=offset) for offset in range(3)]
    arming = bench.registry.arm(three)
    arming.send(None)
    getattr(bench.registry, ending)(three[ended], "meanwhile")

    with pytest.raises(Terminating, match="ended-while-arming"):
        arming.send(None)
    assert not bench.data_path.pinholes
    assert all(opening.is_closed for opening in three)
    assert sorted(opening.told[0] for opening in three) == ["ended-while-arming"] * 2 + [
        "meanwhile"
    ]
    assert len(bench.registry) == 0


def test_a_coroutine_given_up_while_the_data_path_is_busy_withdraws_its_openings() -> None:
    bench = Bench(SlowDataPath([LISTEN.address]))
    opening = bench.add()
    arming = bench.registry.arm([opening])
    arming.send(None)
    arming.close()

    assert opening.told == ["could-not-open"]
    assert not bench.data_path.pinholes


def test_f22_withdrawing_lets_nothing_new_in_and_a_transfer_finish() -> None:
    bench = Bench()
    opening = bench.armed(single=False)
    bench.data_path.connect(PEER, LISTEN)
    for _ in range(2):
        bench.registry.withdraw(opening, "withdrawn")

    assert opening.state is State.LIVE
    assert bench.data_path.connect(OTHER_PEER, LISTEN) is None
    assert not bench.data_path.resets
    bench.data_path.finish(PEER)
    assert opening.told[-1] == "finished"


def test_withdrawing_ends_what_has_only_flows_that_are_over() -> None:
    bench = Bench()
    opening = bench.armed(single=False)
    bench.data_path.connect(PEER, LISTEN)
    bench.data_path.finish(PEER, 1, 2)
    bench.registry.withdraw(opening, "withdrawn")

    assert opening.told[-1] == "withdrawn"
    assert opening.traffic_at_end == Traffic(1, 1, 2)


def test_killing_resets_every_flow_and_says_so_once() -> None:
    bench = Bench()
    opening = bench.armed(single=False)
    bench.data_path.connect(PEER, LISTEN)
    bench.data_path.connect(OTHER_PEER, LISTEN)
    for _ in range(2):
        bench.registry.kill(opening, "operator")

    assert bench.data_path.resets == [(opening.pinhole.id, PEER), (opening.pinhole.id, OTHER_PEER)]
    assert opening.told == ["armed", "admitted 20", "admitted 21", "operator"]
    assert opening.traffic_at_end == Traffic(flows=2)
    assert not bench.data_path.pinholes


def test_killing_a_transfer_keeps_its_reason_and_its_byte_counts() -> None:
    bench = Bench()
    opening = bench.armed()
    bench.data_path.connect(PEER, LISTEN)
    bench.data_path.flows[opening.pinhole.id][PEER] = FlowCounters(PEER, 10, 20)
    bench.registry.kill(opening, "operator")

    assert opening.told[-1] == "operator"
    assert opening.traffic_at_end == Traffic(1, 10, 20)


def test_reports_about_what_is_gone_are_ignored() -> None:
    bench = Bench()
    opening = bench.armed()
    bench.registry.kill(opening, "killed")
    told = list(opening.told)
    number = opening.pinhole.id
    bench.registry.flow_established(number, PEER)
    bench.registry.flow_refused(number, PEER)
    bench.registry.flow_ended(number, FlowCounters(PEER, 0, 0))

    assert opening.told == told
    assert opening.state is State.CLOSED


def test_byte_counts_can_be_read_while_a_transfer_runs_and_after_it() -> None:
    bench = Bench()
    opening = bench.armed(single=False)
    bench.data_path.connect(PEER, LISTEN)
    bench.data_path.connect(OTHER_PEER, LISTEN)
    bench.data_path.finish(OTHER_PEER, 3, 4)
    bench.data_path.flows[opening.pinhole.id][PEER] = FlowCounters(PEER, 1, 2)

    assert bench.registry.traffic(opening) == Traffic(2, 1 + 3, 2 + 4)


def test_ten_thousand_flows_that_have_ended_leave_nothing_but_a_sum() -> None:
    bench = Bench()
    opening = bench.armed(single=False)
    for _ in range(10_000):
        bench.data_path.connect(PEER, LISTEN)
        bench.data_path.finish(PEER, 3, 4)

    assert opening.running == {}
    assert bench.registry.traffic(opening) == Traffic(10_000, 30_000, 40_000)


class LateDataPath(MemoryDataPath):
    """Hears of a flow only when the pinhole is closed, as the kernel's queue may have it."""

    def close(self, pinhole_ids: Iterable[int]) -> None:
        numbers = [number for number in pinhole_ids if number in self.pinholes]
        for number in numbers:
            self.connect(PEER, self.pinholes[number].listen)
        super().close(numbers)


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("is_timed", [True, False])
def test_a_flow_admitted_just_before_the_end_may_finish(single: bool, is_timed: bool) -> None:
    bench = Bench(LateDataPath([LISTEN.address]))
    opening = bench.armed(single=single, is_timed=is_timed)
    if is_timed:
        bench.pass_time(limits.ACCEPT_TIMEOUT_SECONDS)
    else:
        bench.registry.withdraw(opening, "withdrawn")

    assert opening.told == ["armed", "admitted 20"]
    assert opening.state is State.LIVE
    bench.data_path.finish(PEER, 1, 2)
    assert opening.told[-1] == "finished"
    assert opening.traffic_at_end == Traffic(1, 1, 2)


class QuickDataPath(MemoryDataPath):
    """Admits a flow before `open` has returned."""

    async def open(self, pinholes: Sequence[Pinhole]) -> None:
        await super().open(pinholes)
        self.connect(PEER, pinholes[0].listen)
        await Pause()


def test_a_flow_that_is_quicker_than_open_returns_is_admitted() -> None:
    bench = Bench(QuickDataPath([LISTEN.address]))
    opening = bench.add(is_timed=True)
    arming = bench.registry.arm([opening])
    arming.send(None)
    with pytest.raises(StopIteration):
        arming.send(None)

    assert opening.told == ["armed", "admitted 20"]
    assert opening.state is State.LIVE
    assert len(bench.deadlines) == 0


def test_a_flow_that_was_quicker_than_a_failure_is_reset() -> None:
    bench = Bench(QuickDataPath([LISTEN.address]))
    opening = bench.add()
    arming = bench.registry.arm([opening])
    arming.send(None)
    arming.close()

    assert opening.told == ["armed", "admitted 20", "could-not-open"]
    assert bench.data_path.resets == [(opening.pinhole.id, PEER)]


# -- the time limit ---------------------------------------------------------------------------

LIMIT = limits.ACCEPT_TIMEOUT_SECONDS


@pytest.mark.parametrize("is_armed", [False, True])
def test_a_timed_opening_that_nobody_uses_ends_after_a_minute(is_armed: bool) -> None:
    bench = Bench()
    opening = bench.armed(is_timed=True) if is_armed else bench.add(is_timed=True)
    bench.pass_time(LIMIT - 0.1)
    assert not opening.is_closed
    bench.pass_time(0.1)

    assert opening.told[-1] == "timed-out"
    assert not bench.data_path.pinholes
    assert len(bench.registry) == len(bench.deadlines) == 0


def test_the_minute_starts_again_when_the_pinhole_opens() -> None:
    bench = Bench()
    opening = bench.add(is_timed=True)
    bench.pass_time(LIMIT - 1)
    run(bench.registry.arm([opening]))
    bench.pass_time(LIMIT - 1)
    assert opening.state is State.ARMED
    bench.pass_time(1)
    assert opening.is_closed


def test_an_attempt_that_fails_does_not_start_the_minute_again() -> None:
    bench = Bench()
    opening = bench.armed(is_timed=True)
    bench.pass_time(LIMIT - 1)
    bench.data_path.attempt(PEER, LISTEN)
    bench.pass_time(1)

    assert opening.told[-1] == "timed-out"


def test_a_transfer_has_no_time_limit() -> None:
    bench = Bench()
    opening = bench.armed(is_timed=True)
    bench.data_path.connect(PEER, LISTEN)

    assert len(bench.deadlines) == 0
    bench.pass_time(100 * LIMIT)
    assert opening.state is State.LIVE


def test_an_untimed_opening_waits_for_ever() -> None:
    bench = Bench()
    opening = bench.armed()
    bench.pass_time(1e6)
    assert opening.state is State.ARMED


def test_no_number_is_given_twice() -> None:
    registry = Bench().registry
    assert len({registry.new_id() for _ in range(100)}) == 100


def test_a_peer_that_arrives_at_a_pinhole_that_is_gone_is_refused() -> None:
    class Late:
        told = ""

        def proceed(self, tap: Tap | None) -> None:
            self.told = f"proceed {tap}"

        def refuse(self) -> None:
            self.told = "refuse"

    bench, late = Bench(), Late()
    bench.registry.flow_arrived(bench.registry.new_id(), PEER, late)

    assert late.told == "refuse"


def test_an_opening_is_found_where_it_listens_until_it_has_ended() -> None:
    bench = Bench()
    first, other = bench.add(), bench.add(offset=1)
    at = bench.registry.at

    assert at(first.transport, LISTEN) is first
    assert at(Transport.UDP, LISTEN) is not first
    bench.registry.withdraw(first, "withdrawn")
    assert at(first.transport, LISTEN) is None
    assert at(other.transport, other.pinhole.listen) is other
    run(bench.registry.arm([other]))
    bench.registry.kill(other, "killed")
    assert at(other.transport, other.pinhole.listen) is None
