import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from msgspec import Raw
from tests.ops.control.served import UnixHttp, ask, served

from sallyport import limits
from sallyport.errors import NotFound, PolicyDenied, RequestRefused
from sallyport.ops.control.application import BadRequest
from sallyport.ops.control.client import follow
from sallyport.ops.control.feed import Feed
from sallyport.ops.control.operations import OPERATIONS, Handler, Operation
from sallyport.ops.control.schema import Killed, Lost, Reloaded, Sessions
from sallyport.testing.world import MemoryJournal


def broken(_arguments: Mapping[str, object]) -> object:
    raise ZeroDivisionError("a bug")


def refuse(_arguments: Mapping[str, object]) -> object:
    raise PolicyDenied("denied-by-rule")


def by_worker(_arguments: Mapping[str, object]) -> object:
    raise RequestRefused(NotFound.code, "no session w1.s9")


MISTAKEN = Reloaded(file="/etc/s.toml", valid=False, errors=[], filters=[])

HANDLERS: Mapping[str, Handler] = {
    "sessions.list": lambda _: Sessions(sessions=[]),
    "sessions.show": by_worker,
    "sessions.kill": lambda found: Killed(sessions=[str(found["id"])], bindings=[]),
    "bindings.list": broken,
    "bindings.kill": refuse,
    "explain": dict,
    "reload": lambda _: MISTAKEN,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


@pytest.mark.parametrize(
    ("method", "target", "status", "answer"),
    [
        ("GET", "/v1/sessions", 200, {"version": 1, "sessions": []}),
        ("DELETE", "/v1/sessions/w1.s2", 200, {"version": 1, "sessions": ["w1.s2"]}),
        ("GET", "/v1/explain?client=a&server=b&protocol=c&bind=5", 200, {"bind": "5"}),
        ("GET", "/v1/sessions/w1.s9", 404, {"code": "not-found", "message": "no session w1.s9"}),
        ("DELETE", "/v1/bindings/1", 422, {"code": "policy-denied"}),
        ("POST", "/v1/reload", 409, {"version": 1, "file": "/etc/s.toml", "valid": False}),
        ("GET", "/v1/status", 503, {"code": "not-ready"}),
        ("POST", "/v1/sessions", 405, {"code": "method-not-allowed"}),
        ("GET", "/v1/nothing", 404, {"code": "unknown-command"}),
        ("GET", "/", 404, {"code": "unknown-command"}),
        ("GET", "/v1/sessions?clent=1", 400, {"code": "bad-request"}),
        ("GET", "/v1/explain?client=a&server=b", 400, {"code": "bad-request"}),
    ],
)
def test_each_operation_has_its_place_and_each_error_its_code(
    path: Path, method: str, target: str, status: int, answer: Mapping[str, object]
) -> None:
    with served(path, HANDLERS):
        got_status, got = ask(path, method, target)

    assert got_status == status
    assert {key: got[key] for key in answer} == answer


def test_a_bug_in_a_handler_is_an_answer_and_an_event_and_the_server_lives(path: Path) -> None:
    journal = MemoryJournal()
    with served(path, HANDLERS, journal=journal):
        status, answer = ask(path, "GET", "/v1/bindings")
        assert ask(path, "GET", "/v1/sessions")[0] == 200

    assert (status, answer["code"]) == (500, "internal-error")
    assert journal.events() == ["request.failed"]


def test_what_is_wrong_with_an_argument_is_said_by_its_name(path: Path) -> None:
    with served(path, HANDLERS):
        unknown = ask(path, "GET", "/v1/explain?clint=a")[1]["message"]
        missing = ask(path, "GET", "/v1/explain")[1]["message"]

    assert unknown == "explain has no parameter 'clint'; write 'client'"
    assert missing.startswith("explain needs the parameter 'client': The address")
    assert BadRequest.code == "bad-request"


def test_the_openapi_document_is_where_an_answer_says_it_is(path: Path) -> None:
    with served(path, HANDLERS):
        assert "/openapi.json" in ask(path, "GET", "/v1/nothing")[1]["message"]
        assert ask(path, "GET", "/openapi.json")[1]["openapi"].startswith("3.1")


# -- streams ---------------------------------------------------------------------------------------


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> str:
    """A stream of its own, besides those there are."""
    operation = Operation("ticks", "GET", "/v1/ticks", Sessions, "A test.", is_stream=True)
    monkeypatch.setitem(OPERATIONS, "ticks", operation)
    return operation.name


def raw(number: int) -> Raw:
    return Raw(b'{"number": %d}' % number)


def test_a_stream_is_read_as_it_is_told_and_ends_when_it_is_closed(path: Path, stream: str) -> None:
    feed: list[Feed] = []

    async def begin(arguments: Mapping[str, object]) -> Feed:
        assert arguments == {}
        feed.append(Feed())
        feed[0].put(raw(0))
        return feed[0]

    with served(path, {}, {stream: begin}) as loop:
        reader = follow(path, stream)
        got = [next(reader)]
        loop.call_soon_threadsafe(feed[0].put, raw(1))
        got.append(next(reader))
        loop.call_soon_threadsafe(feed[0].close)
        got += reader

    assert got == [b'{"number": 0}', b'{"number": 1}']


def test_who_stops_reading_ends_what_tells(
    path: Path, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STREAM_SIGN_OF_LIFE_SECONDS", 0.01)
    ended = asyncio.Event()

    async def begin(_arguments: Mapping[str, object]) -> Feed:
        feed = Feed()
        feed.put(raw(0))
        feed.at_end(ended.set)
        return feed

    with served(path, {}, {stream: begin}) as loop:
        connection = UnixHttp(path)
        connection.request("GET", "/v1/ticks")
        answer = connection.getresponse()
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.readline() == b'data: {"number": 0}\n'
        assert [answer.readline(), answer.readline()] == [b"\n", b":\n"]  # a sign of life
        answer.close()
        connection.close()
        asyncio.run_coroutine_threadsafe(ended.wait(), loop).result(5)


def test_a_stream_that_is_refused_says_why(path: Path, stream: str) -> None:
    async def begin(_arguments: Mapping[str, object]) -> Feed:
        raise NotFound("no session w1.s9")

    with served(path, {}, {stream: begin}), pytest.raises(RequestRefused, match=r"w1\.s9"):
        next(follow(path, stream))


def test_looking_whether_a_stream_is_there_does_not_begin_it(path: Path, stream: str) -> None:
    with served(path, {}, {}):
        assert ask(path, "HEAD", "/v1/ticks") == (200, None)


def test_a_document_that_says_what_is_missing_is_one_of_the_stream() -> None:
    assert Lost(lost=3).version == 1
