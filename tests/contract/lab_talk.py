"""What a peer that got in has with the client, on real sockets; and how long tests wait."""

import asyncio
import socket
import struct
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from tests.contract.bench import Talk

from sallyport.addresses import Endpoint
from sallyport.flags import Transport

if TYPE_CHECKING:
    from tests.contract.lab_bench import LabBench

# Long enough for a loaded machine, and never waited for when things go well.
PATIENCE = 20.0
# How long we watch before we say that nothing comes. What is let through arrives in 1 ms; should it
# ever take longer, a test of a refusal has shown nothing, but none fails.
SILENCE = 0.1


def endpoint_of(name: Any) -> Endpoint:  # noqa: ANN401 - an address of the socket module
    """Read a socket name."""
    return Endpoint.parse(f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}")


class LabTalk(Talk):
    """Two sockets with the gateway between them."""

    def __init__(
        self,
        bench: "LabBench",
        outer: socket.socket,
        to: tuple[str, int],
        inner: socket.socket,
        seen: Endpoint,
    ) -> None:
        self._bench = bench
        self.outer, self.inner = outer, inner
        self._to = to
        self.peer, self.seen = endpoint_of(outer.getsockname()), seen
        self.at = endpoint_of(inner.getsockname())

    def reaches_client(self, data: bytes) -> bool:
        """See `Talk`."""
        return self._bench.run(self._to_client(data))

    def reaches_peer(self, data: bytes) -> bool:
        """See `Talk`."""
        return self._bench.run(self._to_peer(data))

    def is_cut_towards_client(self, data: bytes) -> bool:
        """See `Talk`."""
        return self._is_cut(self._to_client(data))

    def is_cut_towards_peer(self, data: bytes) -> bool:
        """See `Talk`."""
        return self._is_cut(self._to_peer(data))

    def _is_cut(self, way: Coroutine[Any, Any, bool]) -> bool:
        try:
            return not self._bench.run(asyncio.wait_for(way, SILENCE))
        except (TimeoutError, ConnectionError):
            return True

    def finish(self) -> None:
        """See `Talk`."""
        for first, then in (("outer", "inner"), ("inner", "outer")):
            self.half_close(first)
            assert self.sees_end(then)

    def half_close(self, end: str) -> None:
        """Say at the "inner" or "outer" end that no more bytes will come."""
        self._end(end).shutdown(socket.SHUT_WR)

    def sees_end(self, end: str) -> bool:
        """Whether an end hears that no more bytes will come."""
        return self._bench.run(self._read(self._end(end), 1)) == b""

    def reset(self, end: str) -> None:
        """Break off at one end."""
        linger = struct.pack("ii", 1, 0)
        self._end(end).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._end(end).close()

    def _end(self, name: str) -> socket.socket:
        return {"inner": self.inner, "outer": self.outer}[name]

    def reset_seen_by(self, sock: socket.socket, seconds: float) -> bool:
        """Whether that end hears a reset within `seconds`."""
        try:
            self._bench.run(asyncio.wait_for(self._read(sock, 1), seconds))
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
        return False

    async def _to_client(self, data: bytes) -> bool:
        loop = asyncio.get_running_loop()
        if self._bench.transport is Transport.UDP:
            known = len(self._bench.arrivals)
            await loop.sock_sendto(self.outer, data, self._to)
            # After a silence the relay may speak from another port.
            sock, self.seen = await self._bench.arrival_of(data, known)
            return sock is self.inner
        _, got = await asyncio.gather(
            loop.sock_sendall(self.outer, data), self._read(self.inner, len(data))
        )
        return got == data

    async def _to_peer(self, data: bytes) -> bool:
        loop = asyncio.get_running_loop()
        if self._bench.transport is Transport.UDP:
            await loop.sock_sendto(self.inner, data, (str(self.seen.address), self.seen.port))
            got, source = await loop.sock_recvfrom(self.outer, len(data) + 1)
            return got == data and source[:2] == self._to
        _, got = await asyncio.gather(
            loop.sock_sendall(self.inner, data), self._read(self.outer, len(data))
        )
        return got == data

    @staticmethod
    async def _read(sock: socket.socket, size: int) -> bytes:
        """Read `size` bytes, or what comes before the end."""
        loop, got = asyncio.get_running_loop(), bytearray()
        while len(got) < size and (piece := await loop.sock_recv(sock, size - len(got))):
            got += piece
        return bytes(got)
