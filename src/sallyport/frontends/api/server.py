"""The socket of the local API: who is there, lines in, lines out, and the end of what was made."""

import asyncio
import grp
import os
import pwd
import socket
import struct
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from sallyport import limits
from sallyport.addresses import IpAddress
from sallyport.core.engine.gateway import Gateway
from sallyport.errors import StartupError
from sallyport.frontends.api.responder import ApiResponder, Book
from sallyport.io.sockets import closed_on_error
from sallyport.wire.api import Lines

# socket(7), struct ucred: pid, uid, gid.
_CREDENTIALS: Final = struct.Struct("3i")
_READ_BYTES: Final = 64 * 1024
_BACKLOG: Final = 128


def worker_path(path: str, index: int) -> str:
    """Return the socket of one worker, counted from 0: the first has the path itself."""
    return path if index == 0 else f"{path}.{index + 1}"


def api_socket(path: str, group: str | None) -> socket.socket:
    """Make a socket at `path` for the members of `group`, None: for our own user alone.

    Takes the place of one that is left there. Raises StartupError.
    """
    try:
        gid = -1 if group is None else grp.getgrnam(group).gr_gid
    except KeyError:
        raise StartupError(f"[frontends.api]: there is no group {group!r}; name one") from None
    with closed_on_error(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as made:
        try:
            Path(path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            if Path(path).is_socket():
                Path(path).unlink()
            made.bind(path)
            # Between bind and listen no process can connect: the mode is right before it matters.
            os.chown(path, -1, gid)
            Path(path).chmod(0o600 if group is None else 0o660)
        except OSError as error:
            raise StartupError(
                f"[frontends.api]: cannot listen at {path}: {error.strerror}; write another"
            ) from None
        made.setblocking(False)
        return made


class ApiServer:
    """Serves processes of this host; one for each worker."""

    def __init__(self, gateway: Gateway, tasks: asyncio.TaskGroup) -> None:
        self._gateway = gateway
        self._tasks = tasks
        self._book: Book = {}
        self._listeners: list[socket.socket] = []
        self._connections: Counter[int] = Counter()
        """How many each user has, by its number."""
        self._elsewhere: Callable[[IpAddress], str | None] = lambda _client: None

    def send_elsewhere(self, elsewhere: Callable[[IpAddress], str | None]) -> None:
        """Know which socket serves the clients that are not ours; None for one that is."""
        self._elsewhere = elsewhere

    def serve(self, listener: socket.socket) -> None:
        """Start to accept; the socket stays the caller's."""
        listener.listen(_BACKLOG)
        self._listeners.append(listener)
        asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def leave(self, listener: socket.socket) -> None:
        """Accept there no more; what was accepted goes on."""
        self._listeners.remove(listener)
        asyncio.get_running_loop().remove_reader(listener)

    def close(self) -> None:
        """Accept nothing more; idempotent."""
        for listener in tuple(self._listeners):
            self.leave(listener)

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except OSError:  # it has gone again, or there is no descriptor: it waits
            return
        uid, known = _uid_of(sock), self._connections
        is_full = known.total() >= limits.MAX_API_CONNECTIONS
        if is_full or known[uid] >= limits.MAX_API_CONNECTIONS_OF_ONE:
            sock.close()
            return
        sock.setblocking(False)
        known[uid] += 1
        self._tasks.create_task(self._serve(sock, uid))

    async def _serve(self, sock: socket.socket, uid: int) -> None:
        try:
            user = await asyncio.to_thread(_name_of, uid)
            reader, writer = await asyncio.open_unix_connection(sock=sock)
            await self._converse(reader, writer, user)
        except Exception as error:  # noqa: BLE001 - a fence: our fault costs one connection
            self._gateway.journal.record(
                "frontend.failed", level="error", frontend="api", client=None, error=repr(error)
            )
        finally:
            self._connections[uid] -= 1
            if not self._connections[uid]:
                del self._connections[uid]

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, user: str
    ) -> None:
        def tell(line: bytes) -> None:
            # Who does not read its events has gone as far as we can know.
            if writer.transport.get_write_buffer_size() > limits.MAX_API_BACKLOG_BYTES:
                writer.transport.abort()
            else:
                writer.write(line)

        responder = ApiResponder(
            self._gateway, self._book, user, tell=tell, elsewhere=self._elsewhere
        )
        lines = Lines()
        try:
            with suppress(OSError, ValueError):  # it has gone, or what it says has no end
                while data := await reader.read(_READ_BYTES):
                    for line in lines.feed(data):
                        writer.write(await responder.answer(line))
                        await writer.drain()
                        # Neither waits as a rule: a block of requests would have one long turn.
                        await asyncio.sleep(0)
        finally:
            responder.close()
            writer.close()


def _uid_of(sock: socket.socket) -> int:
    """Return the number of the user whose process is at the other end."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _pid, uid, _gid = _CREDENTIALS.unpack(raw)
    return int(uid)


def _name_of(uid: int) -> str:
    """Return the name of a user; its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
