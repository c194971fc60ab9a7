"""Asking a running gateway: HTTP over its control socket; blocking, with a deadline."""

import http.client
import os
import socket
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlencode

import msgspec

from sallyport import limits
from sallyport.errors import NotRunning, OperatorError, RequestRefused
from sallyport.ops.control.operations import CONFLICT, OPERATIONS
from sallyport.ops.control.schema import Problem

_T = TypeVar("_T")

# What msgspec raises for bytes that are no such JSON: text that is not UTF-8 and lists nested too
# deep have exceptions of their own.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def request(path: Path, command: str, /, *, expect: type[_T], **arguments: object) -> _T:
    """Ask the gateway at `path` for an operation and return its answer as `expect`.

    Raises NotRunning when no gateway listens, RequestRefused with the gateway's own error, and
    OperatorError when the socket may not be used or the answer cannot be read.
    """
    with _asked(path, command, arguments) as response:
        return _decoded(path, response.read(), expect)


def follow(path: Path, command: str, /, **arguments: object) -> Generator[bytes, None, None]:
    """Yield each document of a stream, as JSON, for as long as the gateway sends some.

    Raises as `request` does.
    """
    with _asked(path, command, arguments) as response:
        for line in response:
            # A line that begins with a colon is a comment: a sign of life.
            if line.startswith(b"data: "):
                yield line.removeprefix(b"data: ").rstrip()


class _Connection(http.client.HTTPConnection):
    """HTTP to a UNIX socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("sallyport", timeout=limits.CONTROL_REQUEST_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self._path))


@contextmanager
def _asked(
    path: Path, command: str, arguments: Mapping[str, object]
) -> Iterator[http.client.HTTPResponse]:
    """Send a request and give the answer to it; an error in it is raised."""
    operation = OPERATIONS[command]
    target = quote(operation.path.format(**arguments))
    rest = {name: value for name, value in arguments.items() if f"{{{name}}}" not in operation.path}
    query = f"?{urlencode(rest)}" if rest else ""
    try:
        with closing(_Connection(path)) as connection:
            connection.request(operation.method, f"{target}{query}")
            response = connection.getresponse()
            is_answer = operation.may_conflict and response.status == CONFLICT
            if response.status != http.client.OK and not is_answer:
                problem = _decoded(path, response.read(), Problem)
                raise RequestRefused(problem.code, problem.message)
            yield response
    except (FileNotFoundError, ConnectionRefusedError):
        raise NotRunning(
            f"no gateway listens on {path}; start one with `sallyport run`, or name its socket"
            " with --control-socket"
        ) from None
    except PermissionError:
        raise OperatorError(
            f"{path} is not yours to use; ask as root, as the gateway's user, or as a member of"
            " its control_group or monitor_group"
        ) from None
    except OSError as error:
        raise OperatorError(f"{path} gives no answer: {error}; is the gateway stuck?") from None
    except http.client.HTTPException as error:
        raise _other_version(path, error) from None


def _decoded(path: Path, body: bytes, expect: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=expect)
    except _UNREADABLE as error:
        raise _other_version(path, error) from None


def _other_version(path: Path, error: Exception) -> OperatorError:
    return OperatorError(
        f"the gateway at {path} speaks another version: {error}; use its own `sallyport`"
    )
