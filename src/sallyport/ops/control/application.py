"""The admin API as an ASGI application: a route for each operation, errors as JSON."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from sallyport import limits
from sallyport.core.runtime.environment import Journal
from sallyport.errors import OperatorError, RequestRefused, SallyportError
from sallyport.ops.config.document import nearest
from sallyport.ops.control.access import Tokens
from sallyport.ops.control.feed import Feed
from sallyport.ops.control.openapi import openapi
from sallyport.ops.control.operations import (
    CONFLICT,
    OPERATIONS,
    Access,
    Handler,
    Operation,
)
from sallyport.ops.control.schema import Problem
from sallyport.ops.reload import NotReady

BeginFeed = Callable[[Mapping[str, object]], Awaitable[Feed]]
"""Begin a stream with a request's arguments; a SallyportError is an answer too."""

_T = TypeVar("_T")

_Endpoint = Callable[[Request], Awaitable[Response]]

# Codes that mean the same as a status of HTTP; for every other one the request was understood and
# cannot be done (RFC 9110 section 15.5.21).
_STATUS: Final = {
    "bad-request": 400,
    "bad-question": 400,
    "not-authenticated": 401,
    "not-permitted": 403,
    "not-found": 404,
    "unknown-command": 404,
    "method-not-allowed": 405,
    "internal-error": 500,
    "not-ready": 503,
    "worker-lost": 503,
}
_UNDERSTOOD: Final = 422

_NO_TOKENS: Final = Tokens()

# Neither a browser nor a proxy keeps what a gateway was doing.
_HEADERS: Final = {"cache-control": "no-store"}


class BadRequest(OperatorError):
    """An argument is missing or unknown; the message names it."""

    code = "bad-request"


class NotAuthenticated(OperatorError):
    """A request over TCP comes without a token that is known."""

    code = "not-authenticated"


class NotPermitted(OperatorError):
    """The caller may not ask for this."""

    code = "not-permitted"


class Application(Starlette):
    """Answers every operation of which it is given a handler or a stream."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        streams: Mapping[str, BeginFeed],
        journal: Journal,
        *,
        tokens: Tokens = _NO_TOKENS,
        also: Sequence[Route] = (),
    ) -> None:
        """Both tables are by the names of operations, and may be filled later.

        `also` are routes beside, which everybody may ask for who can connect.
        """
        self._tokens = tokens
        self._handlers = handlers
        self._streams = streams
        self._journal = journal
        # In a path `{id}` ends at a slash: an id with one is unknown, and not another path.
        routes = [
            Route(one.path.replace("{id}", "{id:path}"), self._endpoint(one), methods=[one.method])
            for one in OPERATIONS.values()
        ]
        super().__init__(
            routes=[*routes, *also, Route("/openapi.json", _openapi)],
            exception_handlers={HTTPException: _no_route},
        )
        self.router.redirect_slashes = False

    def _endpoint(self, operation: Operation) -> _Endpoint:
        async def answer(request: Request) -> Response:
            try:
                return await self._answered(operation, request)
            except RequestRefused as error:  # by a worker
                return problem(error.refusal, str(error))
            except SallyportError as error:
                return problem(error.code, str(error))
            except Exception as error:  # noqa: BLE001 - a fence: a question never ends the daemon
                self._journal.record(
                    "request.failed", level="error", command=operation.name, error=repr(error)
                )
                return problem("internal-error", repr(error))

        return answer

    async def _answered(self, operation: Operation, request: Request) -> Response:
        access = self._require(operation, request)
        arguments = _arguments(operation, request)
        if operation.is_stream and request.method == "HEAD":
            return Response(media_type="text/event-stream")
        if operation.is_stream:
            return EventStream(await self._follow(operation, arguments))
        document = await self._answer(operation, arguments)
        is_conflict = operation.may_conflict and not getattr(document, "valid", True)
        answer = _json(document, CONFLICT if is_conflict else 200)
        # The page offers to end something to those who may.
        answer.headers["sallyport-access"] = access.name.lower()
        return answer

    def _require(self, operation: Operation, request: Request) -> Access:
        """Return what the caller may do, if that is enough.

        Raises NotPermitted, and NotAuthenticated over TCP.
        """
        access: Access | None = request.state.access
        if access is None:
            access = self._tokens.of(request.headers.get("authorization"))
        if access is None:
            raise NotAuthenticated("send the header `Authorization: Bearer TOKEN`")
        if access < operation.access:
            raise NotPermitted(
                f"you may {access.name.lower()} here, and {operation.name} is to"
                f" {operation.access.name.lower()}; ask as root, as the gateway's user, as a member"
                " of its control_group, or with its control token"
            )
        return access

    async def _answer(self, operation: Operation, arguments: Mapping[str, object]) -> object:
        result = _known(self._handlers, operation)(arguments)
        return await result if inspect.isawaitable(result) else result

    async def _follow(self, operation: Operation, arguments: Mapping[str, object]) -> Feed:
        return await _known(self._streams, operation)(arguments)


class EventStream(StreamingResponse):
    """A feed as server-sent events (WHATWG HTML, section 9.2), until either side ends it."""

    def __init__(self, feed: Feed) -> None:
        super().__init__(_events(feed), media_type="text/event-stream", headers=_HEADERS)
        self._feed = feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; the feed is closed whichever side ends this, and however."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._feed.close()


def problem(code: str, message: str) -> Response:
    """Return the answer that says why there is no other."""
    answer = _json(Problem(code=code, message=message), _STATUS.get(code, _UNDERSTOOD))
    if code == NotAuthenticated.code:
        answer.headers["www-authenticate"] = "Bearer"  # RFC 9110 section 11.6.1
    return answer


async def _events(feed: Feed) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(limits.STREAM_SIGN_OF_LIFE_SECONDS):
                item = await feed.take()
        except TimeoutError:
            yield b":\n\n"
            continue
        if item is None:
            return
        yield b"data: " + bytes(item) + b"\n\n"


def _known(table: Mapping[str, _T], operation: Operation) -> _T:
    found = table.get(operation.name)
    if found is None:
        raise NotReady("the gateway is starting or stopping; ask again when it runs")
    return found


def _arguments(operation: Operation, request: Request) -> dict[str, object]:
    """Return what a request says beside its path; raises BadRequest."""
    found: dict[str, object] = {**request.query_params, **request.path_params}
    known = {one.name: one for one in operation.parameters}
    for name in found.keys() - known.keys():
        raise BadRequest(f"{operation.name} has no parameter {name!r}; {nearest(name, known)}")
    for one in operation.parameters:
        if one.is_required and one.name not in found:
            raise BadRequest(f"{operation.name} needs the parameter {one.name!r}: {one.meaning}")
    return found


def _json(document: object, status: int = 200) -> Response:
    return Response(
        msgspec.json.encode(document),
        status,
        media_type="application/json",
        headers=_HEADERS,
    )


async def _openapi(_request: Request) -> Response:
    return _json(openapi())


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for
    if error.status_code == _STATUS["method-not-allowed"]:
        answer = problem(
            "method-not-allowed", f"{request.method} means nothing at {request.url.path}"
        )
        answer.headers.update(error.headers or {})
        return answer
    return problem(
        "unknown-command", f"nothing is at {request.url.path}; /openapi.json lists what there is"
    )
