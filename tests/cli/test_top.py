import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from tests.cli.test_observe import STATUS
from tests.cli.test_transfers import ACTIVE as ROW
from tests.ops.control.served import served

from sallyport.cli import main, top
from sallyport.cli.top import Speeds
from sallyport.lab.gateway import sallyport
from sallyport.ops.control.operations import Handler
from sallyport.ops.control.schema import Look, Transfers


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A gateway on which a transfer runs and a client is refused at each look."""
    looks = iter(range(100))

    def status(_arguments: Mapping[str, object]) -> object:
        return msgspec.structs.replace(STATUS, refusals={"policy-denied": 3 + next(looks)})

    handlers: dict[str, Handler] = {
        "status": status,
        "transfers.list": lambda _: Transfers(transfers=[ROW]),
    }
    path = tmp_path / "control.sock"
    with served(path, handlers):
        yield path


def run(path: Path, *arguments: str) -> int:
    argv = ["top", "--interval", "0.2", "--count", "2", *arguments]
    return main([*argv, "--control-socket", str(path)])


def test_without_a_terminal_each_look_is_a_table(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(path) == 0

    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("sessions 1, ") for line in lines) == 2
    assert "refused lately: policy-denied 1" in lines
    assert any(ROW.client in line for line in lines)


def test_as_json_each_look_is_one_line(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(path, "--json") == 0

    looks = [msgspec.json.decode(line, type=Look) for line in capsys.readouterr().out.splitlines()]
    assert [look.status.refusals for look in looks] == [{"policy-denied": 3}, {"policy-denied": 4}]
    assert looks[1].transfers[0].bytes_per_second == 0
    assert json.loads(msgspec.json.encode(looks[0]))["version"] == 1


def test_a_transfer_is_as_fast_as_its_bytes_since_the_last_look() -> None:
    speeds = Speeds()
    slow = msgspec.structs.replace(ROW, id="slow", from_client_bytes=0, to_client_bytes=100)
    fast = msgspec.structs.replace(ROW, id="fast", from_client_bytes=0, to_client_bytes=100)

    assert speeds.of([slow, fast], 10.0)[0].bytes_per_second == ROW.bytes_per_second
    later = [
        msgspec.structs.replace(slow, to_client_bytes=300),
        msgspec.structs.replace(fast, from_client_bytes=800),
    ]
    assert [(row.id, row.bytes_per_second) for row in speeds.of(later, 12.0)] == [
        ("fast", 400),
        ("slow", 100),
    ]


def test_a_terminal_shows_the_screen_anew(path: Path) -> None:
    ours, theirs = pty.openpty()
    argv = [*sallyport(), "top", "--interval", "0.2", "--count", "2"]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120", "LINES": "30"}
    with subprocess.Popen(
        [*argv, "--control-socket", str(path)], stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # EIO: the other side is closed
            while data := os.read(ours, 65536):
                shown += data
        os.close(ours)

    assert process.returncode == 0
    assert b"refused lately: policy-denied 1" in shown
    assert shown.count(ROW.client.encode()) == 2


def test_a_terminal_without_rich_is_told_what_to_install(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "rich.live", None)
    monkeypatch.setattr(top, "_is_terminal", lambda: True)

    assert run(path) == 1
    assert "pip install 'sallyport[top]'" in capsys.readouterr().err


def test_where_no_gateway_runs_it_ends(tmp_path: Path) -> None:
    assert run(tmp_path / "none.sock") == 3
