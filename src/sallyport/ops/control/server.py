"""HTTP for the admin API, at the control socket and over TCP; one request a connection.

Of uvicorn only the protocol is used. Its server would take the process's signals, look ten times a
second whether to end, and end by sleeping.
"""

import asyncio
import fcntl
import http
import os
import socket
import stat
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.errors import StartupError
from sallyport.ops.control.access import Rights
from sallyport.ops.control.schema import Problem

_CLOSE: Final = (b"connection", b"close")


class HttpServer:
    """Serves one application at sockets of several kinds."""

    def __init__(self, application: ASGIApp) -> None:
        # Nothing is configured here but what the protocol looks at. Its own logging setup would
        # replace ours.
        self._config = Config(
            application,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=limits.MAX_CONTROL_REQUEST_BYTES,
        )
        self._config.load()
        self._state = ServerState()
        self._state.default_headers = [_CLOSE]
        self._refused: set[HttpConnection] = set()
        self._servers: list[asyncio.Server] = []
        self._path: Path | None = None

    async def open_unix(self, path: Path, rights: Rights) -> None:
        """Listen at a path, which one gateway has, for those who have rights there.

        Raises StartupError when another instance has it.
        """
        listener = _claim(path, rights.mode)
        self._path = path
        self._servers.append(
            await asyncio.get_running_loop().create_unix_server(
                partial(self._connection, rights), sock=listener
            )
        )

    async def open_tcp(self, endpoint: Endpoint) -> None:
        """Listen at an address; the application itself asks who comes. Raises StartupError."""
        loop, host = asyncio.get_running_loop(), str(endpoint.address)
        try:
            server = await loop.create_server(
                partial(self._connection, None), host, endpoint.port, reuse_address=True
            )
        except OSError as error:
            raise StartupError(
                f"cannot listen on {endpoint}: {error.strerror}; name another in [admin] or"
                " [metrics]"
            ) from None
        self._servers.append(server)

    async def stop(self) -> None:
        """End all connections and remove the socket; idempotent."""
        servers, self._servers = self._servers, []
        for server in servers:
            server.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None
        for task in tuple(self._state.tasks):
            task.cancel()
        await asyncio.gather(*self._state.tasks, return_exceptions=True)
        for connection in (*self._state.connections, *self._refused):
            connection.transport.abort()
        for server in servers:
            await server.wait_closed()

    def _connection(self, rights: Rights | None) -> "HttpConnection":
        return HttpConnection(self._config, self._state, rights, self._refused)


class HttpConnection(H11Protocol):
    """One connection: it is asked who it is, may ask once, and must do so soon."""

    def __init__(
        self,
        config: Config,
        state: ServerState,
        rights: Rights | None,
        refused: "set[HttpConnection]",
    ) -> None:
        """`rights` are None where the application asks itself who comes.

        `refused` has those that have been told no and have not hung up yet.
        """
        super().__init__(config, state, {})
        self._rights = rights
        self._refused = refused

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Let in who has rights and finds room."""
        super().connection_made(transport)
        access = None
        if self._rights is not None:
            access = self._rights.of_peer(transport.get_extra_info("socket"))
        if self._rights is not None and access is None:
            self._refuse(
                http.HTTPStatus.FORBIDDEN,
                Problem(
                    code="not-permitted",
                    message="this socket is not yours to use; ask as root, as the gateway's user,"
                    " or as a member of its control_group or monitor_group",
                ),
            )
        elif len(self.connections) > limits.MAX_CONTROL_CONNECTIONS:
            self._refuse(
                http.HTTPStatus.SERVICE_UNAVAILABLE,
                Problem(
                    code="too-many-askers",
                    message=f"{limits.MAX_CONTROL_CONNECTIONS} connections are open; end some",
                ),
            )
        else:
            self.app_state = {"access": access}
            self._look_again()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._refused.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless it has been refused."""
        if self not in self._refused:
            super().data_received(data)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio.Protocol allows it
        """Answer who sends no more, as `nc -N` does; one who has asked nothing has left."""
        return self.cycle is not None and not self.cycle.response_complete

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._refuse(http.HTTPStatus.BAD_REQUEST, Problem(code="bad-request", message=msg))

    def _refuse(self, status: http.HTTPStatus, problem: Problem) -> None:
        body = msgspec.json.encode(problem)
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.connections.discard(self)
        if len(self._refused) >= limits.MAX_CONTROL_REFUSALS:
            self.transport.close()
            return
        # To close while the request is still unread would reset, and take the answer along.
        self._refused.add(self)
        self.transport.write_eof()
        self.loop.call_later(limits.CONTROL_REFUSAL_SECONDS, self.transport.abort)

    def _look_again(self) -> None:
        self.loop.call_later(limits.CONTROL_REQUEST_SECONDS, self._let_go)

    def _let_go(self) -> None:
        """End a connection on which nothing was asked, or whose answer is not taken."""
        if self not in self.connections:
            return
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()
        else:
            self._look_again()


def _claim(path: Path, mode: int) -> socket.socket:
    """Return a listening socket at `path`, in place of one that a dead gateway left."""
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise StartupError(f"{path.parent}: {error.strerror}; name another socket") from None
    try:
        # Two gateways starting at once must not each take the other's new socket for a dead one.
        fcntl.flock(folder, fcntl.LOCK_EX)
        _remove_stale(path)
        return _listen(path, mode)
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


def _listen(path: Path, mode: int) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(os.fspath(path))
        # Between bind() and listen() no process can connect: the mode is right before it matters.
        path.chmod(mode)
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener
