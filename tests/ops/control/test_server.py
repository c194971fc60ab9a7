import asyncio
import json
import os
import socket
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from sallyport import limits
from sallyport.core.runtime.environment import Level
from sallyport.errors import NotFound, NotRunning, OperatorError, StartupError
from sallyport.ops.control.schema import SessionRow, Sessions
from sallyport.ops.control.server import ControlServer, Handler, RequestRefused, request

SESSION = SessionRow(
    id="8f3a", client="10.0.0.8", since="2026-01-01T00:00:00Z", controls=[], bindings=2
)


class Memory:
    """A journal that remembers."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def record(self, event: str, /, *, level: Level = "info", **_fields: object) -> None:
        self.events.append(f"{level} {event}")


def show(arguments: Mapping[str, object]) -> Sessions:
    if arguments.get("id") != SESSION.id:
        raise NotFound(f"no session {arguments.get('id')}")
    return Sessions(sessions=[SESSION])


def broken(_arguments: Mapping[str, object]) -> object:
    raise ZeroDivisionError("a bug")


HANDLERS: Mapping[str, Handler] = {
    "sessions.show": show,
    "broken": broken,
    "big": lambda _: "x" * 3_000_000,
}


@contextmanager
def running(path: Path, journal: Memory | None = None) -> Iterator[None]:
    """Run a control server in a thread of its own, as blocking clients need it."""
    started, loop = threading.Event(), asyncio.new_event_loop()

    async def serve() -> None:
        server = ControlServer(path, HANDLERS, journal or Memory())
        await server.start()
        started.set()
        await stopping.wait()
        await server.stop()

    stopping = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(5)
        yield
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()
        loop.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "control.sock"


def speak(path: Path, data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(path))
        connection.sendall(data)
        return connection.makefile("rb").read()


def test_a_question_is_answered_with_what_the_handler_gives(path: Path) -> None:
    with running(path):
        assert request(path, "sessions.show", expect=Sessions, id="8f3a") == Sessions(
            sessions=[SESSION]
        )


def test_the_lines_on_the_socket_are_plain_json(path: Path) -> None:
    with running(path):
        answer = speak(path, b'{"command": "sessions.show", "arguments": {"id": "8f3a"}}\n')

    assert answer.endswith(b"}\n")
    assert json.loads(answer)["result"]["sessions"][0]["client"] == "10.0.0.8"


def test_an_error_keeps_its_code_on_the_way(path: Path) -> None:
    with running(path), pytest.raises(RequestRefused, match="no session ffff") as caught:
        request(path, "sessions.show", expect=Sessions, id="ffff")

    assert caught.value.refusal == "not-found"


def test_a_bug_in_a_handler_is_an_answer_and_an_event_and_the_server_lives(path: Path) -> None:
    journal = Memory()
    with running(path, journal):
        with pytest.raises(RequestRefused, match="a bug") as caught:
            request(path, "broken", expect=object)
        assert request(path, "sessions.show", expect=Sessions, id="8f3a").sessions == [SESSION]

    assert caught.value.refusal == "internal-error"
    assert journal.events == ["error request.failed"]


def test_an_unknown_command_is_answered_with_those_there_are(path: Path) -> None:
    with running(path), pytest.raises(RequestRefused, match=r"has: big, broken, sessions\.show"):
        request(path, "reload", expect=object)


@pytest.mark.parametrize(
    "data",
    [
        b"hello\n",
        b'{"command": 1}\n',
        b'{"command": "big", "argument": {}}\n',
        b"\xff\n",
        b'{"command": "\xff"}\n',
        b'{"arguments": {"a": ' + b"[" * 1900 + b"]" * 1900 + b'}, "command": 1}\n',
        b"x" * (limits.MAX_CONTROL_REQUEST_BYTES + 1) + b"\n",
    ],
)
def test_what_is_no_request_is_refused_and_the_server_lives(path: Path, data: bytes) -> None:
    with running(path):
        assert json.loads(speak(path, data))["error"]["code"] == "bad-request"
        assert request(path, "sessions.show", expect=Sessions, id="8f3a").sessions == [SESSION]


def test_an_answer_larger_than_every_buffer_arrives_whole(path: Path) -> None:
    with running(path):
        assert len(request(path, "big", expect=str)) == 3_000_000


def test_the_socket_is_its_owners_alone(path: Path) -> None:
    with running(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_stopped_server_leaves_nothing(path: Path) -> None:
    with running(path):
        pass

    assert list(path.parent.iterdir()) == []
    with pytest.raises(NotRunning, match="start one with `sallyport run`"):
        request(path, "status", expect=object)


def test_stopping_ends_an_operator_who_never_asks(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.settimeout(5)
        with running(path):
            silent.connect(str(path))
            # The answer to a later connection shows that this one has been taken.
            speak(path, b"?\n")

        assert silent.recv(1) == b""


def test_an_operator_who_never_asks_is_let_go(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CONTROL_REQUEST_SECONDS", 0.01)
    with running(path):
        assert speak(path, b"no end of line") == b""


def test_the_socket_of_a_dead_gateway_is_replaced(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    with running(path):
        assert request(path, "sessions.show", expect=Sessions, id="8f3a").sessions == [SESSION]


def test_a_second_instance_is_refused_and_the_first_keeps_its_socket(path: Path) -> None:
    async def start_second() -> None:
        await ControlServer(path, HANDLERS, Memory()).start()

    with running(path):
        with pytest.raises(StartupError, match="another instance is running"):
            asyncio.run(start_second())

        assert request(path, "sessions.show", expect=Sessions, id="8f3a").sessions == [SESSION]


def test_a_file_that_is_no_socket_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("precious")

    with pytest.raises(StartupError, match="is not a socket"):
        asyncio.run(ControlServer(path, HANDLERS, Memory()).start())

    assert path.read_text() == "precious"


@pytest.mark.parametrize("folder", ["/proc/none", "/dev/null/x"])
def test_a_path_where_nothing_can_be_is_told(folder: str) -> None:
    with pytest.raises(StartupError, match="name another socket"):
        asyncio.run(ControlServer(Path(folder) / "s", HANDLERS, Memory()).start())


def test_an_answer_of_another_version_is_told_as_such(path: Path) -> None:
    with running(path), pytest.raises(OperatorError, match="another version"):
        request(path, "sessions.show", expect=int, id="8f3a")


def hang_up(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    connection.close()


def test_a_gateway_that_hangs_up_is_told(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        answering = threading.Thread(target=hang_up, args=(listener,))
        answering.start()

        with pytest.raises(OperatorError, match="gives no answer"):
            request(path, "status", expect=object)

        answering.join()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use every socket")
def test_somebody_elses_socket_is_told_as_such(path: Path) -> None:
    with running(path):
        path.chmod(0)
        with pytest.raises(OperatorError, match="not yours to use"):
            request(path, "status", expect=object)
