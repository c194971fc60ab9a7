"""Transparent interception of TCP control connections (SecureNAT clients).

The kernel hands us, by TPROXY, connections that clients open to servers outside; the accepted
socket's own name is the server the client meant. We dial that server ourselves: as the gateway on
a NAT relation, in the client's name on a routed one.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from ipaddress import ip_address

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.connection import PrimaryConnection
from sallyport.core.gateway import Gateway
from sallyport.core.policy import Relation
from sallyport.core.protocols import ProtocolDefinition
from sallyport.core.strand import Strand, Work
from sallyport.errors import BindError, StartupError

# Not in the socket module of Python 3.11 (linux/in6.h).
IPV6_TRANSPARENT = 75
# Loopback only: the kernel delivers intercepted connections there, nobody else can reach it.
_LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
# A burst of clients, such as 200 machines at nine in the morning, must not meet a full queue.
_BACKLOG = 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def _tcp_socket(family: socket.AddressFamily) -> socket.socket:
    # The protocol is named, because asyncio turns Nagle's algorithm off only where it reads TCP;
    # accepted sockets inherit it.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setblocking(False)
    return made


def transparent_socket(family: socket.AddressFamily) -> socket.socket:
    """Make a TCP socket that may use foreign addresses; raises PermissionError."""
    made = _tcp_socket(family)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
        else:
            made.setsockopt(socket.IPPROTO_IP, socket.IP_TRANSPARENT, 1)
    except BaseException:
        made.close()
        raise
    return made


def listening_socket(family: socket.AddressFamily) -> socket.socket:
    """Make the socket TPROXY delivers to, on a loopback port of the kernel's choice.

    Raises StartupError when the capability is missing.
    """
    try:
        made = transparent_socket(family)
    except PermissionError:
        raise StartupError(
            "CAP_NET_ADMIN is missing: run as root, or inside `unshare -Urnm`"
        ) from None
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Clients send the Telnet "data mark" before ABOR as urgent data; out of line it would tear the
    # sequence apart (RFC 1123 section 4.1.2.10). Accepted sockets inherit this too.
    made.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    made.bind((_LOOPBACK[family], 0))
    return made


def endpoint_of(name: tuple[object, ...]) -> Endpoint:
    """Read a socket name as Python gives it."""
    return Endpoint(ip_address(str(name[0])), int(str(name[1])))


class Interceptor:
    """Accepts intercepted connections and makes a relay of each."""

    def __init__(
        self,
        gateway: Gateway,
        protocols: dict[int, ProtocolDefinition],
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._gateway = gateway
        self._protocols = protocols
        self._tasks = tasks
        self._servers: list[asyncio.Server] = []

    async def serve(self, listener: socket.socket) -> None:
        """Start to accept on a socket made by `listening_socket`."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: _ClientSide(self.accepted), sock=listener, backlog=_BACKLOG
        )
        self._servers.append(server)

    def close(self) -> None:
        """Accept nothing more; idempotent."""
        for server in self._servers:
            server.close()

    def accepted(self, side: "_ClientSide") -> None:
        """Ask policy about a new connection, and dial its server."""
        transport = side.transport
        client = endpoint_of(transport.get_extra_info("peername"))
        server = endpoint_of(transport.get_extra_info("sockname"))
        protocol = self._protocols.get(server.port)
        if protocol is None:
            _reset(transport)
            return
        try:
            primary = self._gateway.admit_primary(protocol, client, server)
        except BindError:
            _reset(transport)
            return
        relay = Relay(primary, side)
        primary.link = relay
        self._tasks.create_task(self._dial(relay))

    async def _dial(self, relay: "Relay") -> None:
        primary = relay.primary
        try:
            gateway_address = await _connect(relay)
        except (OSError, TimeoutError) as error:
            primary.note("connect.failed", level="warning", server=primary.server, error=str(error))
            primary.kill("server-unreachable")
        except Exception as error:  # noqa: BLE001 - a fence: our fault ends one connection only
            primary.note("connect.failed", level="error", server=primary.server, error=repr(error))
            primary.kill("internal-error")
        else:
            self._start(relay, gateway_address)

    def _start(self, relay: "Relay", gateway_address: Endpoint) -> None:
        if not relay.primary.is_open:  # killed meanwhile
            relay.abort()
            return
        strand = self._gateway.start_primary(
            relay.primary,
            gateway_address=gateway_address,
            link=relay,
            client=relay.client,
            server=relay.server,
        )
        relay.start(strand)


async def _connect(relay: "Relay") -> Endpoint:
    """Dial the server; give our own address on its side. Raises OSError or TimeoutError."""
    loop = asyncio.get_running_loop()
    server = relay.primary.server
    made = _dialling_socket(relay.primary)
    try:
        async with asyncio.timeout(limits.CONNECT_TIMEOUT_SECONDS):
            await loop.sock_connect(made, (str(server.address), server.port))
        gateway_address = endpoint_of(made.getsockname())
        await loop.create_connection(lambda: relay.server, sock=made)
    except BaseException:
        made.close()
        raise
    return gateway_address


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


class _ClientSide(_Side):
    def __init__(self, accepted: Callable[["_ClientSide"], None]) -> None:
        super().__init__()
        self._accepted = accepted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._accepted(self)


class Relay:
    """The two sockets of one control connection, feeding its data filter (`core.Link`).

    Backpressure: a side is read only while the other side's buffer is small and the filter is
    not waiting for anything.
    """

    def __init__(self, primary: PrimaryConnection, client: _ClientSide) -> None:
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
                _reset(side.transport)

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


def _reset(transport: asyncio.Transport) -> None:
    """Close so that the other end sees a reset, whatever was still queued."""
    if (raw := transport.get_extra_info("socket")) is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()


def _dialling_socket(primary: PrimaryConnection) -> socket.socket:
    """Make the socket for the server's side; raises OSError."""
    family = socket.AF_INET if primary.server.version == 4 else socket.AF_INET6
    if primary.relation is Relation.NAT:
        return _tcp_socket(family)
    # In the client's name, but from another port: with the client's own port both legs would be
    # one conntrack entry, and accounting and kills would mix.
    made = transparent_socket(family)
    made.bind((str(primary.client.address), 0))
    return made
