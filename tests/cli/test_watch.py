import json
from collections.abc import Iterator, Mapping

import pytest

from sallyport.cli import main, watch

RECORDS: list[dict[str, object]] = [
    {
        "time": "2026-11-29T04:00:00.000000Z",
        "level": "trace",
        "event": "trace.said",
        "worker": 1,
        "session": "w1.s2",
        "sender": "client",
        "receiver": "gateway",
        "text": "PORT 10,0,0,8,6,17",
    },
    {
        "time": "2026-11-29T04:00:00.000250Z",
        "level": "trace",
        "event": "trace.decided",
        "session": "w1.s2",
        "asked": "bind",
        "steps": ["rule: allowed-by-rule (rule office)"],
        "reason": "allowed-by-rule",
    },
    {"lost": 12},
    {
        "time": "2026-11-29T04:00:00.001250Z",
        "level": "info",
        "event": "binding.armed",
        "worker": 1,
        "session": "w1.s2",
        "binding": "w1.b3",
    },
]


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, object]]:
    """Answer in the gateway's place until the operator interrupts; each request is kept."""
    questions: list[Mapping[str, object]] = []

    def follow(_path: object, command: str, **arguments: object) -> Iterator[bytes]:
        questions.append({"command": command, **arguments})
        for record in RECORDS:
            yield json.dumps(record).encode()
        raise KeyboardInterrupt

    monkeypatch.setattr(watch, "follow", follow)
    return questions


def test_events_are_lines_of_json_as_they_come(
    asked: list[Mapping[str, object]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["events"]) == 0

    assert list(map(json.loads, capsys.readouterr().out.splitlines())) == RECORDS
    assert asked == [{"command": "events"}]


def test_a_trace_is_read_line_by_line_with_the_time_between(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["trace"]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "     +0.0 ms  w1.s2    client > gateway  PORT 10,0,0,8,6,17",
        "     +0.2 ms  w1.s2   decided: allowed-by-rule asked=bind",
        "                        rule: allowed-by-rule (rule office)",
        "              12 records were lost here: they came too fast",
        "     +1.0 ms  w1.s2   binding.armed binding=w1.b3",
    ]


def test_a_trace_is_of_whom_it_is_asked_for(
    asked: list[Mapping[str, object]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trace", "--client", "10.0.0.8", "--protocol", "ftp", "--json"]) == 0

    assert asked == [{"command": "trace", "client": "10.0.0.8", "protocol": "ftp"}]
    assert json.loads(capsys.readouterr().out.splitlines()[1]) == RECORDS[1]
