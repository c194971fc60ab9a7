import os
import socket
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.ops.control.served import served

from sallyport import limits
from sallyport.errors import NotFound, NotRunning, OperatorError, RequestRefused
from sallyport.ops.control.client import request
from sallyport.ops.control.schema import Reloaded, SessionRow, Sessions

SESSION = SessionRow(
    id="w1.s5", client="10.0.0.8", since="2026-01-01T00:00:00Z", controls=[], bindings=2
)


def show(arguments: Mapping[str, object]) -> Sessions:
    if arguments["id"] != SESSION.id:
        raise NotFound(f"no session {arguments['id']}")
    return Sessions(sessions=[SESSION])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


def test_a_question_is_answered_with_a_document(path: Path) -> None:
    with served(path, {"sessions.show": show}):
        assert request(path, "sessions.show", expect=Sessions, id="w1.s5").sessions == [SESSION]


@pytest.mark.parametrize("wanted", ["ffff", "", "a/b", "a b?c#d", "..", "€", "%2e"])
def test_an_error_keeps_its_code_on_the_way_whatever_was_asked_for(path: Path, wanted: str) -> None:
    with served(path, {"sessions.show": show}), pytest.raises(RequestRefused) as caught:
        request(path, "sessions.show", expect=Sessions, id=wanted)

    assert (caught.value.refusal, str(caught.value)) == ("not-found", f"no session {wanted}")


@pytest.mark.parametrize("is_valid", [True, False])
def test_a_reload_is_answered_with_its_document_whether_or_not_it_changed_anything(
    path: Path, is_valid: bool
) -> None:
    answer = Reloaded(file="/etc/s.toml", valid=is_valid, errors=[], filters=[])
    with served(path, {"reload": lambda _: answer}):
        assert request(path, "reload", expect=Reloaded) == answer


def test_no_gateway_is_told(path: Path) -> None:
    with pytest.raises(NotRunning, match="start one with `sallyport run`"):
        request(path, "status", expect=object)


def test_an_answer_of_another_version_is_told_as_such(path: Path) -> None:
    with served(path, {"sessions.show": show}), pytest.raises(OperatorError, match="version"):
        request(path, "sessions.show", expect=int, id="w1.s5")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"", "gives no answer"),
        (b'{"result": null}\n', "another version"),
        (b"HTTP/1.1 500 Oops\r\ncontent-length: 2\r\n\r\n{}", "another version"),
    ],
)
def test_a_gateway_that_hangs_up_or_speaks_otherwise_is_told(
    path: Path, said: bytes, told: str
) -> None:
    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(said)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        answering = threading.Thread(target=answer)
        answering.start()
        with pytest.raises(OperatorError, match=told):
            request(path, "status", expect=object)
        answering.join()


def test_a_gateway_that_says_nothing_is_not_waited_for(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CONTROL_REQUEST_SECONDS", 0.01)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(OperatorError, match="gives no answer: timed out"):
            request(path, "status", expect=object)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use every socket")
def test_somebody_elses_socket_is_told_as_such(path: Path) -> None:
    with served(path, {}):
        path.chmod(0)
        with pytest.raises(OperatorError, match="not yours to use"):
            request(path, "status", expect=object)
