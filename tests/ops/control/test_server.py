import asyncio
import json
import os
import select
import socket
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ops.control.served import served

from sallyport import limits
from sallyport.errors import StartupError
from sallyport.ops.control.access import Rights
from sallyport.ops.control.application import Application
from sallyport.ops.control.client import request
from sallyport.ops.control.operations import Access
from sallyport.ops.control.schema import Document, Sessions
from sallyport.ops.control.server import HttpServer
from sallyport.testing.world import MemoryJournal

ASKED = b"GET /v1/sessions HTTP/1.1\r\nHost: sallyport\r\n\r\n"
SESSIONS = Sessions(sessions=[])


def running(path: Path, rights: Rights | None = None):  # type: ignore[no-untyped-def]  # noqa: ANN201
    return served(path, {"sessions.list": lambda _: SESSIONS}, rights=rights)


async def open_at(path: Path) -> None:
    await HttpServer(Application({}, {}, MemoryJournal())).open_unix(path, Rights())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "control.sock"


def speak(path: Path, data: bytes) -> tuple[int, bytes]:
    """Send bytes and return the status and the body of the answer, 0 for none."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(path))
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").read()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, body


def test_one_request_is_answered_and_the_connection_ends(path: Path) -> None:
    with running(path):
        status, body = speak(path, ASKED)

    assert (status, json.loads(body)) == (200, {"version": 1, "sessions": []})


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b'{"command": "status"}\r\n\r\n',
        b"\xff\x00\n\n",
        b"GET / HTTP/1.1\r\n\r\n",  # no host
        b"GET /" + b"x" * (limits.MAX_CONTROL_REQUEST_BYTES + 1),
    ],
)
def test_what_is_no_request_is_refused_and_the_server_lives(path: Path, data: bytes) -> None:
    with running(path):
        status, body = speak(path, data)
        assert request(path, "sessions.list", expect=Sessions) == SESSIONS

    assert (status, json.loads(body)["code"]) == (400, "bad-request")


# Heads of requests in pieces that belong together, or not.
PIECES = (
    *(b"GET ", b"POST ", b"DELETE ", b"/v1/sessions", b"/v1/explain?", b"%00", b"client=", b"&"),
    *(b" HTTP/1.1", b" HTTP/1.0", b" HTTP/9", b"\r\n", b"\n", b"\0", b"\xff", b":"),
    *(b"Host: a", b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Expect: 100-continue"),
    *(b"Connection: upgrade\r\nUpgrade: websocket", b"PRI * HTTP/2.0", b"5\r\nhello", b"x" * 999),
)


def test_whatever_bytes_come_the_answer_is_http_or_none_and_the_server_lives(path: Path) -> None:
    whole = st.lists(st.sampled_from(PIECES) | st.binary(max_size=9), max_size=30).map(b"".join)

    @given(whole | whole.map(lambda data: ASKED + data))
    def asks(data: bytes) -> None:
        status, body = speak(path, data)
        assert status in {0, 200, 400, 404, 405, 422, 503}
        assert status == 0 or not body or json.loads(body)

    with running(path):
        asks()
        assert speak(path, ASKED)[0] == 200


def test_the_socket_is_its_owners_alone(path: Path) -> None:
    with running(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_with_a_group_everybody_may_knock(path: Path) -> None:
    with running(path, Rights(monitor_group=4)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o666


class Nobody(Rights):
    """Rights of which this process has none."""

    def of_peer(self, _sock: socket.socket) -> Access | None:
        return None


def test_a_stranger_is_told_so_before_it_has_asked(path: Path) -> None:
    with running(path, Nobody()):
        status, body = speak(path, b"")

    assert (status, json.loads(body)["code"]) == (403, "not-permitted")


class Onlooker(Rights):
    """Rights by which this process may look."""

    def of_peer(self, _sock: socket.socket) -> Access | None:
        return Access.READ


def test_who_may_look_cannot_change(path: Path) -> None:
    with running(path, Onlooker()):
        status, body = speak(path, b"POST /v1/reload HTTP/1.1\r\nHost: sallyport\r\n\r\n")
        assert speak(path, ASKED)[0] == 200

    assert (status, json.loads(body)["code"]) == (403, "not-permitted")


def test_one_connection_too_many_is_told_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CONTROL_CONNECTIONS", 1)
    with running(path), socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(path))
        status, body = speak(path, ASKED)

    assert (status, json.loads(body)["code"]) == (503, "too-many-askers")


def test_a_stopped_server_leaves_nothing(path: Path) -> None:
    with running(path):
        pass

    assert list(path.parent.iterdir()) == []


def test_stopping_ends_an_operator_who_never_asks(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.settimeout(5)
        with running(path):
            silent.connect(str(path))
            # The answer to a later connection shows that this one has been taken.
            speak(path, ASKED)

        assert silent.recv(1) == b""


@pytest.mark.parametrize("data", [b"", b"GET /v1/sta"])
def test_an_operator_who_never_asks_is_let_go(
    path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.setattr(limits, "CONTROL_REQUEST_SECONDS", 0.01)
    with running(path), socket.socket(socket.AF_UNIX) as silent:
        silent.settimeout(5)
        silent.connect(str(path))
        silent.sendall(data)
        assert silent.recv(1) == b""


def test_an_operator_who_does_not_take_the_answer_is_let_go(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Long(Document, frozen=True):
        text: str = "x" * 3_000_000

    with served(path, {"status": lambda _: Long()}):
        assert len(request(path, "status", expect=Long).text) == 3_000_000
        monkeypatch.setattr(limits, "CONTROL_REQUEST_SECONDS", 0.01)
        with socket.socket(socket.AF_UNIX) as slow:
            slow.settimeout(5)
            slow.connect(str(path))
            slow.sendall(ASKED.replace(b"sessions", b"status"))
            hung_up = select.poll()
            hung_up.register(slow, 0)
            assert hung_up.poll(5000)
            received = slow.makefile("rb").read()

    assert len(received) < 3_000_000


def test_the_socket_of_a_dead_gateway_is_replaced(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    with running(path):
        assert request(path, "sessions.list", expect=Sessions) == SESSIONS


def test_a_second_instance_is_refused_and_the_first_keeps_its_socket(path: Path) -> None:
    with running(path):
        with pytest.raises(StartupError, match="another instance is running"):
            asyncio.run(open_at(path))

        assert request(path, "sessions.list", expect=Sessions) == SESSIONS


def test_a_file_that_is_no_socket_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("precious")

    with pytest.raises(StartupError, match="is not a socket"):
        asyncio.run(open_at(path))

    assert path.read_text() == "precious"


@pytest.mark.parametrize("folder", ["/proc/none", "/dev/null/x"])
def test_a_path_where_nothing_can_be_is_told(folder: str) -> None:
    with pytest.raises(StartupError, match="name another socket"):
        asyncio.run(open_at(Path(folder) / "s"))


def test_the_peer_of_a_socket_is_this_process() -> None:
    here, there = socket.socketpair(socket.AF_UNIX)
    with here, there:
        assert Rights().of_peer(here) is Access.CHANGE
        assert Rights().of(os.geteuid() + 1, ()) is None
