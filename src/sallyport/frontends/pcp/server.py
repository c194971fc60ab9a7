"""The service behind port 5351 of the gateway: each client's requests, one after another.

Requests come by interception from the inside interfaces alone, so none from outside is ever read
(attack C08); the worker that serves a client reads its requests.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.runtime.environment import Journal
from sallyport.frontends.pcp.responder import PcpResponder

# Requests of one client that wait for the answer to its last one: they may be about one mapping. A
# client that hears nothing repeats.
_MAX_WAITING: Final = 16

_Waiting = deque[tuple[bytes, Endpoint, Callable[[bytes], None]]]


class PcpServer:
    """Passes requests to the responder, one client's in turn; made inside a running loop."""

    def __init__(
        self,
        responder: PcpResponder,
        journal: Journal,
        tasks: asyncio.TaskGroup,
        ready: asyncio.Event,
    ) -> None:
        """`ready` is set while mappings are in our hands; requests wait for it."""
        self._ready = ready
        self._responder = responder
        self._journal = journal
        self._tasks = tasks
        self._waiting: dict[IpAddress, _Waiting] = {}

    def received(self, data: bytes, client: Endpoint, answer: Callable[[bytes], None]) -> None:
        """Take one request; `answer` sends the answer, from the address that was asked.

        Dropped when `_MAX_WAITING` requests of this client wait already.
        """
        waiting = self._waiting.get(client.address)
        if waiting is None:
            waiting = self._waiting[client.address] = deque([(data, client, answer)])
            self._tasks.create_task(self._serve(client.address, waiting))
        elif len(waiting) < _MAX_WAITING:
            waiting.append((data, client, answer))

    async def _serve(self, client: IpAddress, waiting: _Waiting) -> None:
        while waiting:
            await self._ready.wait()
            data, source, send = waiting[0]
            try:
                answer = await self._responder.answer(data, source)
            except Exception as error:  # noqa: BLE001 - a fence: our fault costs one answer
                self._journal.record(
                    "frontend.failed",
                    level="error",
                    frontend="pcp",
                    client=source,
                    error=repr(error),
                )
            else:
                with suppress(OSError):  # a full queue: the client repeats
                    if answer is not None:
                        send(answer)
            waiting.popleft()
        del self._waiting[client]
