"""The control socket: one JSON line asks, one JSON line answers, then the connection ends.

Who may connect is the file system's decision: the socket is mode 0600. HTTP would bring a server
and its framing for the same two lines.
"""

import asyncio
import fcntl
import inspect
import os
import socket
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct

from sallyport import limits
from sallyport.core.runtime.environment import Journal
from sallyport.errors import NotRunning, OperatorError, SallyportError, StartupError

Handler = Callable[[Mapping[str, object]], object]
"""Takes a request's arguments, gives what msgspec can encode, or an awaitable of that; a
SallyportError is an answer too."""

_T = TypeVar("_T")

# What msgspec raises for bytes that are no such JSON: text that is not UTF-8 and lists nested too
# deep have exceptions of their own.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Request(Struct, forbid_unknown_fields=True):
    command: str
    arguments: dict[str, object] = {}


class _Fault(Struct):
    code: str
    message: str


class _Answer(Struct, omit_defaults=True):
    result: Raw = Raw(b"null")
    error: _Fault | None = None


class RequestRefused(OperatorError):
    """The gateway answered with an error; `refusal` is the code it gave."""

    code = "request-refused"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.refusal = code


class ControlServer:
    """Answers requests by a table of handlers; one per gateway."""

    def __init__(self, path: Path, handlers: Mapping[str, Handler], journal: Journal) -> None:
        self._path = path
        self._handlers = handlers
        self._journal = journal
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Claim the path and listen; raises StartupError when another instance has it."""
        self._server = await asyncio.start_unix_server(
            self._serve, sock=_claim(self._path), limit=limits.MAX_CONTROL_REQUEST_BYTES
        )

    async def stop(self) -> None:
        """End all connections and remove the socket; idempotent."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        self._path.unlink(missing_ok=True)
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio runs connection callbacks as tasks
        self._serving.add(task)
        # drain() then means "the kernel has all of it", which is what the deadline is about.
        writer.transport.set_write_buffer_limits(high=0)
        try:
            async with asyncio.timeout(limits.CONTROL_REQUEST_SECONDS):
                try:
                    answer = await self._answer(await reader.readuntil(b"\n"))
                except asyncio.LimitOverrunError:
                    problem = f"more than {limits.MAX_CONTROL_REQUEST_BYTES} bytes"
                    answer = _Answer(error=_Fault("bad-request", problem))
                writer.write(msgspec.json.encode(answer) + b"\n")
                await writer.drain()
            writer.close()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            # The operator left, was too slow (TimeoutError is an OSError), or stop() ends us all.
            writer.transport.abort()
        finally:
            self._serving.discard(task)

    async def _answer(self, line: bytes) -> _Answer:
        try:
            request = msgspec.json.decode(line, type=_Request)
        except _UNREADABLE as error:
            return _Answer(error=_Fault("bad-request", str(error)))
        handler = self._handlers.get(request.command)
        if handler is None:
            known = ", ".join(sorted(self._handlers))
            problem = f"no command {request.command!r}; this gateway has: {known}"
            return _Answer(error=_Fault("unknown-command", problem))
        try:
            result = handler(request.arguments)
            if inspect.isawaitable(result):
                result = await result
            return _Answer(result=Raw(msgspec.json.encode(result)))
        except RequestRefused as error:  # by a worker
            return _Answer(error=_Fault(error.refusal, str(error)))
        except SallyportError as error:
            return _Answer(error=_Fault(error.code, str(error)))
        except Exception as error:  # noqa: BLE001 - the daemon's fence: a question never ends it
            self._journal.record(
                "request.failed", level="error", command=request.command, error=repr(error)
            )
            return _Answer(error=_Fault("internal-error", repr(error)))


def request(path: Path, command: str, /, *, expect: type[_T], **arguments: object) -> _T:
    """Ask the gateway at `path` and give its answer as `expect`; blocks, with a deadline.

    Raises NotRunning when no gateway listens, RequestRefused with the gateway's own error, and
    OperatorError when the socket may not be used or the answer cannot be read.
    """
    question = msgspec.json.encode(_Request(command, arguments)) + b"\n"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(limits.CONTROL_REQUEST_SECONDS)
            connection.connect(os.fspath(path))
            connection.sendall(question)
            with connection.makefile("rb") as stream:
                line = stream.readline()
        if not line:
            raise ConnectionError("it hung up")
    except (FileNotFoundError, ConnectionRefusedError):
        raise NotRunning(
            f"no gateway listens on {path}; start one with `sallyport run`, or name its socket"
            " with --control-socket"
        ) from None
    except PermissionError:
        raise OperatorError(f"{path} is not yours to use; ask as the gateway's user") from None
    except OSError as error:
        raise OperatorError(f"{path} gives no answer: {error}; is the gateway stuck?") from None
    try:
        answer = msgspec.json.decode(line, type=_Answer)
        if answer.error is not None:
            raise RequestRefused(answer.error.code, answer.error.message)
        return msgspec.json.decode(answer.result, type=expect)
    except _UNREADABLE as error:
        raise OperatorError(
            f"the gateway at {path} speaks another version: {error}; use its own `sallyport`"
        ) from None


def _claim(path: Path) -> socket.socket:
    """Return a listening socket at `path`, mode 0600, in place of one that a dead gateway left."""
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise StartupError(f"{path.parent}: {error.strerror}; name another socket") from None
    try:
        # Two gateways starting at once must not each take the other's new socket for a dead one.
        fcntl.flock(folder, fcntl.LOCK_EX)
        _remove_stale(path)
        return _listen(path)
    except OSError as error:
        raise StartupError(f"{path}: {error.strerror}; name another socket") from None
    finally:
        os.close(folder)


def _remove_stale(path: Path) -> None:
    """Remove a socket without a listener; raises StartupError for one that is in use."""
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise StartupError(f"{path} is not a socket; remove it or name another socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # A full backlog answers EAGAIN at once instead of blocking: also a sign of life.
        probe.settimeout(0)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass
    raise StartupError(
        f"another instance is running on {path}; stop it or give this one its own --control-socket"
    )


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(os.fspath(path))
        # Between bind() and listen() no process can connect: the mode is right before it matters.
        path.chmod(0o600)
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener
