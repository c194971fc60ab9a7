import asyncio
import json
import logging
import os
import re
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import get_args

import pytest

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.runtime.environment import Journal, Level
from sallyport.ops.logs import EventJournal, Format, StandardLogging, set_up
from sallyport.reasons import REASONS

Reader = Callable[[], str]


class Word(StrEnum):
    ARMED = "armed"


@pytest.fixture
def pipe() -> Iterator[tuple[int, Reader]]:
    out, into = os.pipe()
    os.set_blocking(out, False)
    yield into, lambda: os.read(out, 65536).decode()
    os.close(out)
    os.close(into)


def events(lines: str) -> list[str]:
    return [json.loads(line)["event"] for line in lines.splitlines()]


def test_on_a_pipe_events_are_json_lines(pipe: tuple[int, Reader]) -> None:
    journal: Journal = EventJournal(descriptor=pipe[0])

    journal.record(
        "binding.armed",
        session="8f3a",
        proxy=Endpoint.parse("[2001:db8::1]:40000"),
        state=Word.ARMED,
        flags={"timeout"},
        line=b"PORT \xff\r\n",
        rule=None,
        ports=2,
    )

    line = pipe[1]()
    when = json.loads(line).pop("time")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", when)
    assert line.endswith("}\n")
    assert line.count("\n") == 1
    assert list(json.loads(line).items())[1:] == [
        ("level", "info"),
        ("event", "binding.armed"),
        ("session", "8f3a"),
        ("proxy", "[2001:db8::1]:40000"),
        ("state", "armed"),
        ("flags", ["timeout"]),
        ("line", "PORT \\xff\r\n"),
        ("rule", None),
        ("ports", 2),
    ]


def test_text_is_one_line_of_words(pipe: tuple[int, Reader]) -> None:
    EventJournal(form=Format.TEXT, descriptor=pipe[0]).record(
        "binding.armed",
        level="warning",
        session="8f3a",
        proxy=Endpoint.parse("203.0.113.1:40000"),
        flags=["a", "b"],
        rule="office ftp",
        empty="",
    )

    assert pipe[1]().split(" ", 1)[1] == (
        "warning binding.armed session=8f3a proxy=203.0.113.1:40000 flags=a,b"
        ' rule="office ftp" empty=""\n'
    )


@pytest.mark.parametrize("text", ["a\nb", "\x1b[2J", "\x9b2J", "\u202e", 'a"b', "a\\", "a=b"])
@pytest.mark.parametrize("form", [Format.TEXT, Format.JSON])
def test_peers_write_no_lines_and_no_escapes_of_their_own(
    pipe: tuple[int, Reader], text: str, form: Format
) -> None:
    EventJournal(form=form, descriptor=pipe[0]).record("line.refused", text=text)

    line = pipe[1]()
    assert line.count("\n") == 1
    assert "\x1b" not in line
    if form is Format.TEXT:
        assert line.split("text=", 1)[1] == json.dumps(text) + "\n"
    else:
        assert json.loads(line)["text"] == text


class EveryOther:
    """Wants every second record."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.lines: list[bytes] = []

    def interested(self, level: str, fields: Mapping[str, object]) -> list[int]:
        self.asked.append(f"{level} {fields['number']}")
        return [] if len(self.asked) % 2 else [1]

    def take(self, numbers: list[int], line: bytes) -> None:
        self.lines.append(line)


def test_a_listener_has_the_records_it_wants_also_below_the_level_and_the_log_does_not(
    pipe: tuple[int, Reader],
) -> None:
    journal = EventJournal("info", Format.TEXT, pipe[0])
    listener = journal.listener = EveryOther()
    for number, level in enumerate((*get_args(Level)[1::-1], "info")):
        journal.record("a.b", level=level, number=number)

    assert listener.asked == ["debug 0", "trace 1", "info 2"]
    assert [json.loads(line)["number"] for line in listener.lines] == [1]
    assert pipe[1]().count("\n") == 1


def test_a_client_that_is_refused_all_the_time_is_counted_and_not_written(
    pipe: tuple[int, Reader],
) -> None:
    journal = EventJournal(form=Format.JSON, descriptor=pipe[0])
    for _ in range(500):
        journal.record("connect.refused", level="warning", client="10.0.0.8", reason="no-rule")
    journal.minute_is_over()

    lines = pipe[1]().splitlines()
    assert len(lines) == limits.REPEATED_RECORDS + 1
    last = json.loads(lines[-1])
    assert (last["event"], last["record"], last["times"]) == (
        "log.repeated",
        "connect.refused",
        500 - limits.REPEATED_RECORDS,
    )
    assert journal.refusals["no-rule"] == 500


def test_on_a_terminal_events_are_text() -> None:
    main, terminal = os.openpty()
    try:
        EventJournal(descriptor=terminal).record("gateway.started", pid=1)

        assert os.read(main, 1000).split(b" ", 1)[1] == b"info gateway.started pid=1\r\n"
    finally:
        os.close(main)
        os.close(terminal)


class Untellable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_below_its_level_the_journal_does_not_even_look_at_the_fields(
    pipe: tuple[int, Reader],
) -> None:
    journal = EventJournal("warning", descriptor=pipe[0])

    journal.record("a.happened", level="info", value=Untellable())
    journal.record("b.happened", level="warning")

    assert journal.lost == 0
    assert "b.happened" in pipe[1]()


def test_refusals_are_counted_by_their_reason_written_or_not(pipe: tuple[int, Reader]) -> None:
    journal = EventJournal("error", descriptor=pipe[0])

    for reason in ("too-many-bindings", "no-rule-matched", "too-many-bindings"):
        journal.record("binding.refused", level="warning", reason=reason)
    journal.record("binding.closed", level="error", reason="finished")

    assert journal.refusals == {"too-many-bindings": 2, "no-rule-matched": 1}
    assert events(pipe[1]()) == ["binding.closed"]


def test_a_refusal_for_a_reason_that_has_no_text_is_lost_and_stops_nothing() -> None:
    journal = EventJournal("error")

    journal.record("binding.refused", level="warning", reason=Untellable())

    assert journal.lost == 1


def test_a_field_that_has_no_text_loses_the_line_only() -> None:
    journal = EventJournal(descriptor=os.open(os.devnull, os.O_WRONLY))

    journal.record("a.happened", value=Untellable())

    assert journal.lost == 1


def test_a_full_disk_stops_nothing_and_is_counted() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    journal = EventJournal(descriptor=full)

    journal.record("a.happened")
    journal.record("b.happened")

    assert journal.lost == 2
    os.close(full)


@pytest.mark.parametrize("append", [os.O_APPEND, 0])
def test_a_line_that_a_disk_has_room_for_a_part_of_spoils_no_other(
    append: int, tmp_path: Path
) -> None:
    file = tmp_path / "log"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | append)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    journal = EventJournal("info", Format.JSON, descriptor)
    try:
        journal.record("first")
        room = file.stat().st_size + 10
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
        journal.record("second")
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        journal.record("third")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        os.close(descriptor)

    events = [json.loads(line)["event"] for line in file.read_text().splitlines()]
    assert events == ["first", "third"]
    assert journal.lost == 1


def test_a_closed_stderr_stops_nothing_and_is_counted() -> None:
    out, into = os.pipe()
    os.close(out)
    os.close(into)
    journal = EventJournal(descriptor=into)

    journal.record("a.happened")

    assert journal.lost == 1


@pytest.mark.timeout(10)
def test_a_reader_that_has_stopped_costs_lines_and_not_the_gateway() -> None:
    out, into = os.pipe()
    journal = EventJournal(descriptor=into)
    while not journal.lost:
        journal.record("a.happened", filler="x" * 3000)
    told = os.read(out, 1 << 20)

    journal.record("b.happened")

    assert b"b.happened" not in told
    assert b"b.happened" in os.read(out, 1 << 20)
    os.close(out)
    os.close(into)


def test_a_line_that_a_pipe_might_not_take_at_once_is_lost() -> None:
    out, into = os.pipe()
    journal = EventJournal(descriptor=into)

    journal.record("a.happened", filler="x" * 4096)

    assert journal.lost == 1
    os.close(out)
    os.close(into)


class Loop:
    """An event loop's `call_soon`, whose turns a test counts."""

    def __init__(self) -> None:
        self._soon: list[Callable[[], None]] = []

    def call_soon(self, action: Callable[[], None]) -> None:
        self._soon.append(action)

    def turn(self) -> int:
        """Run what was asked for; give how much that was."""
        actions, self._soon = self._soon, []
        for action in actions:
            action()
        return len(actions)


def test_the_lines_of_one_turn_are_written_together(pipe: tuple[int, Reader]) -> None:
    journal, loop = EventJournal(descriptor=pipe[0]), Loop()

    with journal.gathered(loop.call_soon):
        journal.record("a.happened")
        journal.record("b.happened")
        with pytest.raises(BlockingIOError):
            pipe[1]()
        assert loop.turn() == 1
        assert events(pipe[1]()) == ["a.happened", "b.happened"]

        journal.record("c.happened")
        assert loop.turn() == 1
        assert events(pipe[1]()) == ["c.happened"]


def test_an_error_is_written_at_once_behind_what_came_before_it(pipe: tuple[int, Reader]) -> None:
    journal, loop = EventJournal(descriptor=pipe[0]), Loop()

    with journal.gathered(loop.call_soon):
        journal.record("a.happened")
        journal.record("b.failed", level="error")

        assert events(pipe[1]()) == ["a.happened", "b.failed"]
        loop.turn()
        assert journal.lost == 0


def test_when_the_loop_is_over_nothing_is_held_back(pipe: tuple[int, Reader]) -> None:
    journal = EventJournal(descriptor=pipe[0])

    with journal.gathered(Loop().call_soon):
        journal.record("a.happened")
    journal.record("b.happened")

    assert events(pipe[1]()) == ["a.happened", "b.happened"]


def test_what_is_held_back_is_never_more_than_one_write(pipe: tuple[int, Reader]) -> None:
    journal, loop = EventJournal(descriptor=pipe[0]), Loop()

    with journal.gathered(loop.call_soon):
        for name in "abc":
            journal.record(f"{name}.happened", filler="x" * 1900)

        assert events(pipe[1]()) == ["a.happened", "b.happened"]
        loop.turn()
        assert events(pipe[1]()) == ["c.happened"]


def test_every_line_of_a_turn_that_could_not_be_written_is_counted() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    journal = EventJournal(descriptor=full)

    with journal.gathered(Loop().call_soon):
        for _ in range(3):
            journal.record("a.happened")

    assert journal.lost == 3
    os.close(full)


def test_the_time_is_exact_at_the_turn_of_a_second(
    pipe: tuple[int, Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([1_700_000_000_000_001_999, 1_700_000_000_999_999_999, 1_700_000_001_000_000_000])
    monkeypatch.setattr(time, "time_ns", lambda: next(times))
    journal = EventJournal(descriptor=pipe[0])

    for _ in range(3):
        journal.record("a.happened")

    assert [json.loads(line)["time"] for line in pipe[1]().splitlines()] == [
        "2023-11-14T22:13:20.000001Z",
        "2023-11-14T22:13:20.999999Z",
        "2023-11-14T22:13:21.000000Z",
    ]


def test_what_libraries_complain_about_comes_as_an_event(pipe: tuple[int, Reader]) -> None:
    library = logging.Logger("asyncio")
    library.addHandler(StandardLogging(EventJournal(descriptor=pipe[0])))

    library.error("Task %s failed", 1, exc_info=ValueError("why"))
    library.info("not this")

    event = json.loads(pipe[1]())
    assert event["event"] == "library.complained"
    assert (event["level"], event["library"]) == ("error", "asyncio")
    assert (event["message"], event["error"]) == ("Task 1 failed", "ValueError('why')")


def test_a_request_that_a_stop_breaks_off_is_no_complaint(pipe: tuple[int, Reader]) -> None:
    library = logging.Logger("uvicorn.error")
    library.addHandler(StandardLogging(EventJournal(descriptor=pipe[0])))

    library.error("Exception in ASGI application", exc_info=asyncio.CancelledError())
    library.error("Exception in ASGI application", exc_info=ValueError("ours"))

    assert json.loads(pipe[1]())["error"] == "ValueError('ours')"


def test_the_process_journal_takes_over_the_logging_module(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])

    set_up("info", Format.JSON)
    logging.getLogger("asyncio").warning("slow")

    assert json.loads(capfd.readouterr().err)["message"] == "slow"


def test_a_record_of_trouble_says_in_the_registry_s_words_what_happened_and_what_to_do(
    pipe: tuple[int, Reader],
) -> None:
    journal = EventJournal(descriptor=pipe[0])

    journal.record("binding.refused", level="warning", reason="too-many-bindings")

    known = REASONS["too-many-bindings"]
    line = json.loads(pipe[1]())
    assert (line["meaning"], line["remedy"]) == (known.happened, known.remedy)


@pytest.mark.parametrize(
    ("level", "reason"), [("info", "finished"), ("warning", "a-reason-of-another-s-filter")]
)
def test_a_normal_end_or_an_unregistered_reason_is_written_without_text(
    pipe: tuple[int, Reader], level: Level, reason: str
) -> None:
    journal = EventJournal(descriptor=pipe[0])

    journal.record("binding.closed", level=level, reason=reason)

    assert {"meaning", "remedy"}.isdisjoint(json.loads(pipe[1]()))
