"""A control server in a thread of its own, as blocking clients need it."""

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sallyport.core.runtime.environment import Journal
from sallyport.ops.control.access import Rights
from sallyport.ops.control.application import Application, BeginFeed
from sallyport.ops.control.operations import Handler
from sallyport.ops.control.server import HttpServer
from sallyport.testing.world import MemoryJournal


@contextmanager
def served(
    path: Path,
    handlers: Mapping[str, Handler],
    streams: Mapping[str, BeginFeed] | None = None,
    *,
    journal: Journal | None = None,
    rights: Rights | None = None,
) -> Iterator[asyncio.AbstractEventLoop]:
    """Serve operations at `path`; gives the loop in which that happens."""
    started, loop, stopping = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        application = Application(handlers, streams or {}, journal or MemoryJournal())
        server = HttpServer(application)
        await server.open_unix(path, rights or Rights())
        started.set()
        await stopping.wait()
        await server.stop()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(5)
        yield loop
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()
        loop.close()


class UnixHttp(http.client.HTTPConnection):
    """HTTP to a UNIX socket, as any other program speaks it."""

    def __init__(self, path: Path) -> None:
        super().__init__("sallyport", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(5)
        self.sock.connect(str(self._path))


def ask(path: Path, method: str, target: str) -> tuple[int, Any]:
    """Return the status and the JSON that answer a request."""
    connection = UnixHttp(path)
    connection.request(method, target)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read() or b"null")
