"""The relay of one control connection: two sockets, and the data filter between them."""

import asyncio
import socket
from collections.abc import Callable

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.connection import PrimaryConnection
from sallyport.core.policy import Relation
from sallyport.core.protocols import Direction
from sallyport.core.strand import Strand, Work
from sallyport.flags import ConnectionFlags, Transport
from sallyport.frontends.sockets import foreign_socket
from sallyport.sockets import RESET_ON_CLOSE, closed_on_error, endpoint_of, make, name_of


class _Side(asyncio.Protocol):
    """One socket of a relay, and the stream end its data filter sends to."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.relay: Relay | None = None
        self.is_lost = True  # until it is connected
        self._is_shut = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a stream socket
        self.transport = transport
        self._socket: socket.socket = transport.get_extra_info("socket")
        self.is_lost = False
        transport.pause_reading()
        transport.set_write_buffer_limits(high=limits.CONTROL_BUFFER_BYTES)

    def data_received(self, data: bytes) -> None:
        # Servers send "150" and "226" as two small writes; with Nagle's algorithm the second waits
        # for the acknowledgement of the first, which Linux would hold back for 40 ms.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        if self.relay is not None:
            self.relay.received(self, data)

    def eof_received(self) -> bool:
        if self.relay is not None:
            self.relay.ended(self)
        return True  # half-closed: the other direction goes on until the filter says otherwise

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        if self.relay is not None:
            self.relay.lost(self, exc)

    def pause_writing(self) -> None:
        if self.relay is not None:
            self.relay.choked(self)

    def resume_writing(self) -> None:
        if self.relay is not None:
            self.relay.update_reading()

    def send(self, data: bytes) -> None:
        if data and not (self.is_lost or self._is_shut):
            self.transport.write(data)

    def shutdown(self) -> None:
        if not (self.is_lost or self._is_shut or self.transport.is_closing()):
            self._is_shut = True
            self.transport.write_eof()


class ClientSide(_Side):
    """The accepted socket; tells `accepted` about itself."""

    def __init__(self, accepted: Callable[["ClientSide"], None]) -> None:
        super().__init__()
        self._accepted = accepted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BaseProtocol`."""
        super().connection_made(transport)
        self._accepted(self)


class Relay:
    """The two sockets of one control connection, feeding its data filter (`core.Link`).

    Backpressure: a side is read only while the other side's buffer is small and the filter is
    not waiting for anything.
    """

    def __init__(self, primary: PrimaryConnection, client: ClientSide) -> None:
        self.primary = primary
        self.client = client
        self.server = _Side()
        self._strand: Strand | None = None
        self._choked: set[_Side] = set()
        client.relay = self
        self.server.relay = self

    def start(self, strand: Strand) -> None:
        """Begin to read: the server has answered and the filter is in place."""
        if not self.primary.is_open:
            return
        self._strand = strand
        strand.on_idle = self.update_reading
        self.update_reading()

    def received(self, side: _Side, data: bytes) -> None:
        """Give a segment to the data filter."""
        data_filter = self.primary.data_filter
        if data_filter is None or self._strand is None:
            return
        if side is self.client:
            self._run(data_filter.from_client(data))
        else:
            self._run(data_filter.from_server(data))

    def ended(self, side: _Side) -> None:
        """Tell the data filter that one side will say no more."""
        data_filter = self.primary.data_filter
        if data_filter is None or self._strand is None:
            self.primary.close("client-closed")
        elif side is self.client:
            self._run(data_filter.client_closed())
        else:
            self._run(data_filter.server_closed())

    def lost(self, side: _Side, error: Exception | None) -> None:
        """One socket is gone: so is the conversation. A reset is passed on as a reset."""
        who = "client" if side is self.client else "server"
        if error is not None:
            self.primary.kill(f"{who}-reset")
        else:
            self.primary.close(f"{who}-closed")

    def choked(self, side: _Side) -> None:
        """`side` reads too slowly: stop reading what would be sent there."""
        self._choked.add(side)
        self.update_reading()

    def update_reading(self) -> None:
        """Read what can be dealt with, and nothing else."""
        self._choked = {
            side
            for side in self._choked
            if side.transport.get_write_buffer_size() > limits.CONTROL_BUFFER_BYTES
        }
        is_waiting = self._strand is None or self._strand.is_busy
        _set_reading(self.client, is_on=not is_waiting and self.server not in self._choked)
        _set_reading(self.server, is_on=not is_waiting and self.client not in self._choked)

    def abort(self) -> None:
        """See `core.connection.Link`."""
        for side in (self.client, self.server):
            if not side.is_lost:
                reset(side.transport)

    def close(self) -> None:
        """See `core.connection.Link`."""
        has_queued = False
        for side in (self.client, self.server):
            if not side.is_lost:
                has_queued |= side.transport.get_write_buffer_size() > 0
                side.transport.close()
        if has_queued:
            asyncio.get_running_loop().call_later(limits.CLOSE_FLUSH_SECONDS, self.abort)

    def _run(self, work: Work) -> None:
        assert self._strand is not None  # noqa: S101 - callers have looked
        self._strand.run(work)
        if self._strand.is_busy:
            self.update_reading()


def _set_reading(side: _Side, *, is_on: bool) -> None:
    if side.is_lost or side.transport.is_closing():
        return
    if is_on:
        side.transport.resume_reading()
    else:
        side.transport.pause_reading()


def reset(transport: asyncio.Transport) -> None:
    """Close so that the other end sees a reset, whatever was still queued."""
    if (raw := transport.get_extra_info("socket")) is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    transport.abort()


def _appears_as_gateway(primary: PrimaryConnection) -> bool:
    """Whether the server sees us, and not the client's own address."""
    if primary.direction is Direction.INBOUND:
        return ConnectionFlags.INTERNAL_ADDRESS_TRANSLATION in primary.flags
    return primary.relation is Relation.NAT


def _dialling_socket(primary: PrimaryConnection) -> socket.socket:
    """Make the socket for the server's side; raises OSError."""
    if _appears_as_gateway(primary):
        return make(Transport.TCP, primary.server.version)
    # In the client's name, but from another port: with the client's own port both legs would be
    # one conntrack entry, and accounting and kills would mix.
    return foreign_socket(Transport.TCP, primary.client.with_port(0))


async def connect(relay: "Relay") -> Endpoint:
    """Dial the server; give our own address on its side. Raises OSError or TimeoutError."""
    loop = asyncio.get_running_loop()
    with closed_on_error(_dialling_socket(relay.primary)) as made:
        async with asyncio.timeout(limits.CONNECT_TIMEOUT_SECONDS):
            await loop.sock_connect(made, name_of(relay.primary.server))
        gateway_address = endpoint_of(made.getsockname())
        await loop.create_connection(lambda: relay.server, sock=made)
        return gateway_address
