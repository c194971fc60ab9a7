"""DatagramConversation: what one client port and one server port say to each other over UDP."""

import asyncio
import errno
import socket
from collections import deque
from collections.abc import Callable

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.engine.gateway import Gateway
from sallyport.core.model.connection import PrimaryConnection
from sallyport.core.policy.protocols import Direction
from sallyport.core.runtime.deadlines import Deadline
from sallyport.flags import Transport
from sallyport.frontends.control_connection import appears_as_gateway
from sallyport.frontends.sockets import another_port_of, gateway_socket
from sallyport.frontends.unreachable import end_unreachable
from sallyport.io.sockets import closed_on_error, endpoint_of, name_of

Speak = Callable[[bytes], None]
"""Sends a client one datagram from the address that it spoke to; raises OSError."""


class DatagramConversation:
    """What one client port and one server port say to each other (`datapath.Link`).

    It is over when the client has said nothing for `limits.DATAGRAM_IDLE_SECONDS`, unless its
    filter keeps it (`PrimaryConnection.keep`), or when its filter says so. A few datagrams wait
    while a filter waits for something; what is more than that is lost, as datagrams are.
    """

    def __init__(
        self,
        gateway: Gateway,
        primary: PrimaryConnection,
        dialled: Endpoint,
        speak: Speak,
        over: Callable[["DatagramConversation"], None],
    ) -> None:
        """`dialled` is the address that the client speaks to, `speak` answers it from there."""
        self.primary = primary
        self.dialled = dialled
        self._speak = speak
        self._gateway = gateway
        self._over = over
        self._server = _ServerEnd(primary, self._server_said)
        self._has_started = False
        self._idle: Deadline | None = None
        self._waiting: deque[tuple[Callable[[bytes], None], bytes]] = deque()
        self._waiting_bytes = 0

    def begin(self) -> None:
        """Announce the conversation to the filters; data filters start when all have answered."""
        self.primary.link = self
        self._gateway.announce_primary(self.primary, self._start)

    def client_said(self, data: bytes) -> None:
        """Pass a datagram of the client to the data filter; the conversation is not idle."""
        if not self.primary.is_open:  # its filter ended it at the start
            return
        self._idle_after(limits.DATAGRAM_IDLE_SECONDS)
        self._take(self.primary.chain.from_accepted, data)

    def abort(self) -> None:
        """End the conversation (`datapath.Link`); datagrams know neither reset nor end."""
        self.close()

    def close(self) -> None:
        """End the conversation (`datapath.Link`)."""
        self._stop_idling()
        self._server.close()
        self._over(self)

    def _start(self) -> None:
        primary = self.primary
        try:
            ours = self._server.open()
        except OSError as error:
            end_unreachable(primary, error)
            return
        self._has_started = True
        primary.chain.on_idle = self._go_on
        if primary.direction is Direction.INBOUND:
            # The far end knows us by what it spoke to, the published server by who speaks to it.
            primary.inside_address, ours = ours, self.dialled
        self._gateway.start_primary(
            primary,
            gateway_address=ours,
            link=self,
            client=_ClientEnd(primary, self._speak),
            server=None if primary.is_emulated else self._server,
        )
        self._go_on()

    def _server_said(self, data: bytes) -> None:
        self._take(self.primary.chain.from_dialled, data)

    def _take(self, to: Callable[[bytes], None], data: bytes) -> None:
        """Pass a datagram to the data filters, now or when they wait no more."""
        if self._is_free and not self._waiting:
            to(data)
            return
        is_full = len(self._waiting) >= limits.MAX_WAITING_DATAGRAMS
        if is_full or self._waiting_bytes + len(data) > limits.MAX_WAITING_DATAGRAM_BYTES:
            self.primary.note("datagram.dropped", level="warning", reason="too-many-datagrams-wait")
            return
        self._waiting.append((to, data))
        self._waiting_bytes += len(data)

    def _go_on(self) -> None:
        """Pass on what has waited, in its order."""
        while self._waiting and self._is_free:
            to, data = self._waiting.popleft()
            self._waiting_bytes -= len(data)
            to(data)

    @property
    def _is_free(self) -> bool:
        """Whether the data filters can take a datagram: it is not over, and they do not wait."""
        return self._has_started and self.primary.is_open and not self.primary.chain.is_busy

    def _idle_after(self, seconds: float) -> None:
        self._stop_idling()
        self._idle = self._gateway.call_later(seconds, self._is_idle)

    def _is_idle(self) -> None:
        kept = self.primary.kept_until - self._gateway.clock()
        if kept > 0:
            self._idle_after(kept)
        else:
            self.primary.close("idle")

    def _stop_idling(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None


class _ClientEnd:
    """Where the filter speaks to the client: from the address it had spoken to."""

    def __init__(self, primary: PrimaryConnection, speak: Speak) -> None:
        self._primary = primary
        self._speak = speak

    def send(self, data: bytes) -> None:
        try:
            self._speak(data)
        except OSError as error:
            client = self._primary.client
            self._primary.note("datagram.lost", level="debug", to=client, error=str(error))

    def shutdown(self) -> None:
        """Datagrams have no end."""


class _ServerEnd:
    """Where the filter speaks to the server, which sees the name of this socket and no other."""

    def __init__(self, primary: PrimaryConnection, said: Callable[[bytes], None]) -> None:
        self._primary = primary
        self._said = said
        self._socket: socket.socket | None = None
        self._is_heard = False

    def open(self) -> Endpoint:
        """Make the socket and return its name. Raises OSError."""
        self._socket = _socket_towards_server(self._primary)
        return endpoint_of(self._socket.getsockname())

    def send(self, data: bytes) -> None:
        if self._socket is None:
            return
        if not self._is_heard:
            # Only now: many filters never use this socket, and no answer comes before we send.
            self._is_heard = True
            asyncio.get_running_loop().add_reader(self._socket, self._drain)
        try:
            self._socket.send(data)
        except OSError as error:
            primary = self._primary
            primary.note("datagram.lost", level="debug", to=primary.server, error=str(error))
            # Who is told that a port is closed is told at an address that is here.
            if error.errno != errno.ECONNREFUSED and self._is_homeless():
                # What the client says next begins a conversation from an address that we have.
                primary.kill("external-address-has-gone")

    def _is_homeless(self) -> bool:
        """Whether this host has no longer the address that the server knows us by (attack X05)."""
        if self._socket is None or not appears_as_gateway(self._primary):
            return False
        own = endpoint_of(self._socket.getsockname())
        try:
            with socket.socket(self._socket.family, socket.SOCK_DGRAM) as probe:
                probe.bind(name_of(own.with_port(0)))
        except OSError as error:
            return error.errno == errno.EADDRNOTAVAIL
        return False

    def shutdown(self) -> None:
        """Datagrams have no end."""

    def close(self) -> None:
        if self._socket is not None:
            if self._is_heard:
                asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _drain(self) -> None:
        for _ in range(limits.MAX_DATAGRAMS_PER_TURN):
            try:
                if self._socket is None:  # what the server said made the filter end it
                    return
                data = self._socket.recv(limits.MAX_DATAGRAM_BYTES)
            except OSError:  # nothing more, or the server's host says that its port is closed
                return
            self._said(data)


def _socket_towards_server(primary: PrimaryConnection) -> socket.socket:
    """Make a socket connected to the server, as the gateway or as the client; raises OSError."""
    if appears_as_gateway(primary):
        made = gateway_socket(Transport.UDP, primary.server, primary.source)
    else:
        made = another_port_of(primary.client, Transport.UDP)
    with closed_on_error(made):
        made.connect(name_of(primary.server))
        return made
