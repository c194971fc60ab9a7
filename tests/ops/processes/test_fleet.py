"""What the supervisor does with its workers, which are played."""

import asyncio
import errno

import msgspec
import pytest
from tests.ops.processes.fleet_bench import Bench, plan, played, serve

from sallyport import limits
from sallyport.errors import ConfigError, ConfigErrors, NotFound, RequestRefused, StartupError
from sallyport.ops.processes.lifeline import Lifeline
from sallyport.ops.processes.member import WorkerLost
from sallyport.ops.processes.messages import ConfigSource, SwitchedOff

HANGS = Lifeline.hangs


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test wait for what takes seconds."""
    monkeypatch.setattr(limits, "WORKER_ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(limits, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(limits, "WORKER_RESTART_DELAYS", (0.0,))
    monkeypatch.setattr(limits, "WORKER_STOP_SECONDS", 0.05)


async def happens(bench: Bench, event: str) -> None:
    """Wait until an event is recorded."""
    await bench.recorded(event).wait()


async def by_whom(bench: Bench, command: str, **arguments: object) -> int:
    """Return the pid of the process that answers a command."""
    answer, _silent = await bench.fleet.ask(command, arguments)
    return int(msgspec.json.decode(msgspec.json.encode(answer))["by"])


def test_the_guard_stands_before_anybody_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(bench: Bench) -> None:
        undo = await serve(bench, workers=2)
        assert bench.host == ["tcp4"]
        await bench.fleet.stop()
        undo.close()
        assert bench.host[1:] == ["removed"]

    bench = played(act, monkeypatch)

    kinds = [kind for pid, kind in bench.asked if pid == 101]
    assert kinds == ["prepare", "render", "take", "takeover", "adopt", "stop"]
    kinds = [kind for pid, kind in bench.asked if pid == 102]
    assert kinds == ["prepare", "take", "takeover", "adopt", "stop"]


def test_each_worker_has_a_series_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(bench: Bench) -> None:
        await serve(bench, workers=3)
        assert sorted(member.series for member in bench.fleet.members()) == [0, 1, 2]

    played(act, monkeypatch)


def test_mistakes_in_the_file_end_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(bench: Bench) -> None:
        bench.errors[101, "prepare"] = ConfigErrors([ConfigError("f", 3, "wrong")])
        with pytest.raises(ConfigErrors, match="f:3: wrong"):
            await serve(bench)

    assert played(act, monkeypatch).host == []


def test_a_worker_that_cannot_serve_ends_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(bench: Bench) -> None:
        bench.errors[101, "take"] = StartupError("nft does not run")
        with pytest.raises(StartupError, match="nft does not run"):
            await serve(bench)

    played(act, monkeypatch)


def test_another_worker_that_cannot_begin_ends_the_start_with_one_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def act(bench: Bench) -> None:
        bench.errors[102, "take"] = bench.errors[103, "take"] = StartupError("no table is left")
        with pytest.raises(StartupError, match="no table is left"):
            await serve(bench, workers=3)

    played(act, monkeypatch)


def test_one_that_ends_is_replaced_and_reads_what_is_in_force(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def act(bench: Bench) -> None:
        await serve(bench, workers=2)
        bench.processes[102].end(-11)
        await happens(bench, "worker.replaced")
        assert [member.pid for member in bench.fleet.members()] == [101, 103]
        assert [member.restarts for member in bench.fleet.members()] == [0, 1]

    bench = played(act, monkeypatch)

    kinds = [kind for pid, kind in bench.asked if pid == 103]
    assert kinds == ["prepare", "take", "takeover", "stop"]
    assert [kind for pid, kind in bench.asked if pid == 101][-1] == "stop"


def test_one_that_hangs_is_killed_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WORKER_SILENCE_SECONDS", 0.1)

    async def act(bench: Bench) -> None:
        await serve(bench)
        bench.processes[101].is_silent = True
        await happens(bench, "worker.replaced")
        assert not bench.processes[101].is_alive

    events = played(act, monkeypatch).journal.events()

    assert events[:3] == ["worker.failed", "worker.ended", "worker.replaced"]


def test_one_that_was_stopped_with_the_supervisor_has_time_to_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "WORKER_SILENCE_SECONDS", 0.5)
    looked = asyncio.Event()

    def hangs(line: Lifeline, now: float) -> bool:
        looked.set()
        return HANGS(line, now)

    async def act(bench: Bench) -> None:
        await serve(bench)
        bench.processes[101].is_silent = True
        loop = asyncio.get_running_loop()
        before = loop.time
        monkeypatch.setattr(loop, "time", lambda: before() + 1.0)
        monkeypatch.setattr(Lifeline, "hangs", hangs)
        await looked.wait()
        assert bench.processes[101].is_alive

    assert played(act, monkeypatch).journal.events() == []


def test_one_that_cannot_begin_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(bench: Bench) -> None:
        await serve(bench)
        bench.errors[102, "take"] = StartupError("no memory")
        bench.processes[101].end(1)
        await happens(bench, "worker.replaced")
        assert [member.pid for member in bench.fleet.members()] == [103]

    played(act, monkeypatch)


def test_one_that_the_host_has_no_room_for_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(bench: Bench) -> None:
        await serve(bench)
        bench.lack = [OSError(errno.EMFILE, "Too many open files"), OSError(errno.EAGAIN, "later")]
        bench.processes[101].end(-9)
        await happens(bench, "worker.replaced")
        assert [member.pid for member in bench.fleet.members()] == [102]

    events = played(act, monkeypatch).journal.events()

    assert events == ["worker.ended", "worker.failed", "worker.failed", "worker.replaced"]


def test_a_generation_that_the_host_has_no_room_for_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def act(bench: Bench) -> None:
        await serve(bench, workers=2)
        bench.lack = [None, OSError(errno.EMFILE, "Too many open files")]
        with pytest.raises(WorkerLost, match="cannot be started"):
            await bench.fleet.renew(ConfigSource(text="before"))
        await happens(bench, "worker.left")
        assert [member.pid for member in bench.fleet.members()] == [101, 102]
        assert await by_whom(bench, "rules.show") == 101

    assert (101, "drain") not in played(act, monkeypatch).asked


def test_all_take_a_new_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(bench: Bench) -> None:
        await serve(bench, workers=2)
        bench.plan = plan(2, intercepting=["tcp4", "udp4"])
        await bench.fleet.replace(ConfigSource(file="/etc/s.toml", text="after"))
        assert bench.fleet.plan == bench.plan

    bench = played(act, monkeypatch)

    assert bench.host == ["tcp4", "tcp4 udp4"]
    assert [pid for pid, kind in bench.asked if kind == "take"] == [101, 102, 101, 102]


def test_all_take_the_host_as_it_is_now_and_the_configuration_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def act(bench: Bench) -> None:
        await serve(bench, workers=2)
        bench.plan = plan(2, intercepting=["tcp4", "udp4"])
        await bench.fleet.follow()
        assert bench.fleet.plan == bench.plan
        bench.processes[102].end(-9)
        await happens(bench, "worker.replaced")

    bench = played(act, monkeypatch)

    assert [pid for pid, kind in bench.asked if kind == "take"] == [101, 102, 101, 102, 103]
    assert [text for text in bench.sources if text != "before"] == [None, None]


def test_nobody_accepts_any_more_at_a_place_that_a_configuration_has_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def act(bench: Bench) -> None:
        await serve(bench)
        bench.plan = plan(intercepting=["udp4"])
        await bench.fleet.replace(ConfigSource(text="after"))

    assert played(act, monkeypatch).places == [["tcp4"], ["udp4"]]


@pytest.mark.parametrize("step", ["prepare", "take"])
def test_one_that_refuses_and_nobody_takes(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(bench: Bench) -> None:
        await serve(bench, workers=2)
        before = bench.fleet.plan
        bench.asked.clear()
        bench.plan = plan(2, intercepting=["udp4"])
        bench.errors[101, step] = StartupError("not here")
        with pytest.raises(RequestRefused, match="not here"):
            await bench.fleet.replace(ConfigSource(text="after"))
        assert bench.fleet.plan == before

    bench = played(act, monkeypatch)

    assert (102, "take") not in bench.asked
    assert bench.host[-1] == bench.host[0]


def test_a_request_goes_to_whom_it_concerns(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(bench: Bench) -> None:
        await serve(bench, workers=2)
        assert await by_whom(bench, "sessions.show", id="w2.s1") == 102
        assert await by_whom(bench, "rules.show") == 101
        with pytest.raises(NotFound, match="no worker 7"):
            await bench.fleet.ask("sessions.show", {"id": "w7.s1"})

    played(act, monkeypatch)


def test_one_that_gives_no_answer_is_named_and_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def act(bench: Bench) -> None:
        await serve(bench, workers=2)
        bench.processes[101].is_silent = True
        assert await by_whom(bench, "rules.show") == 102
        with pytest.raises(WorkerLost):
            await bench.fleet.ask("sessions.show", {"id": "w1.s1"})

    played(act, monkeypatch)


def test_one_that_starts_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(bench: Bench) -> None:
        await serve(bench, workers=2)
        bench.errors[103, "prepare"] = StartupError("not yet")
        bench.processes[101].end(-9)
        await happens(bench, "worker.failed")
        assert await by_whom(bench, "rules.show") == 102
        with pytest.raises(WorkerLost):
            await bench.fleet.ask("sessions.show", {"id": "w1.s1"})

    played(act, monkeypatch)


def test_a_new_generation_takes_the_clients_and_the_old_one_runs_dry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def act(bench: Bench) -> None:
        await serve(bench, workers=2)
        await bench.fleet.renew(ConfigSource(file="/etc/s.toml", text="before"))
        await bench.recorded("worker.left").wait()
        assert {member.pid for member in bench.fleet.members() if not member.is_outgoing} == {
            103,
            104,
        }
        assert await by_whom(bench, "rules.show") == 103
        assert await by_whom(bench, "sessions.show", id="w4.s1") == 104

    bench = played(act, monkeypatch)

    kinds = [kind for pid, kind in bench.asked if pid == 101]
    assert kinds[-1] == "drain"
    assert bench.asked.index((104, "take")) < bench.asked.index((101, "drain"))
    assert "worker.ended" not in bench.journal.events()


def test_a_filter_that_one_worker_has_off_for_all_is_off_in_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def act(bench: Bench) -> None:
        await serve(bench, workers=3)
        bench.processes[102].say(SwitchedOff("ftp"))

    asked = played(act, monkeypatch).asked

    assert [pid for pid, kind in asked if kind == "switchoff"] == [101, 103]


def test_mappings_go_to_the_new_generation_when_it_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(bench: Bench) -> None:
        await serve(bench, workers=2)
        bench.book = {"began": 1.0, "leases": ["one"]}
        await bench.fleet.renew(ConfigSource(file="/etc/s.toml", text="before"))

    bench = played(act, monkeypatch)

    both = {"began": 1.0, "leases": ["one", "one"]}
    assert bench.taken_over == [(101, None), (102, None), (103, both), (104, both)]
    order = [
        bench.asked.index(step) for step in ((104, "take"), (101, "handover"), (103, "takeover"))
    ]
    assert order == sorted(order)


def test_a_generation_that_cannot_serve_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(bench: Bench) -> None:
        await serve(bench)
        bench.errors[102, "take"] = StartupError("no")
        with pytest.raises(RequestRefused, match="no"):
            await bench.fleet.renew(ConfigSource(text="before"))
        await bench.recorded("worker.left").wait()
        assert [member.pid for member in bench.fleet.members()] == [101]

    assert (101, "drain") not in played(act, monkeypatch).asked


def test_one_that_does_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(bench: Bench) -> None:
        await serve(bench)
        process = bench.processes[101]
        monkeypatch.setattr(process, "send", lambda *_: None)
        await bench.fleet.stop()
        assert not process.is_alive

    played(act, monkeypatch)


def test_a_worker_that_ends_before_all_serve_ends_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def act(bench: Bench) -> None:
        bench.ends_when_asked[102, "take"] = 101
        with pytest.raises(StartupError, match="worker 1 has ended at the start"):
            await serve(bench, workers=2)

    played(act, monkeypatch)
