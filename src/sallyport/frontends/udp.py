"""Transparent interception of datagrams (SecureNAT clients).

The kernel hands us, by TPROXY, datagrams that clients send to servers outside, and tells where each
was going. What one client port says to one server port is a conversation: a primary connection for
the core, without a handshake at its beginning and without an end of its own.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Address, IPv6Address

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.engine.gateway import Gateway
from sallyport.core.model.connection import PrimaryConnection
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rules import Relation
from sallyport.core.runtime.deadlines import Deadline
from sallyport.errors import BindError
from sallyport.flags import Transport
from sallyport.frontends.sockets import (
    INTERCEPTION,
    foreign_socket,
    gateway_socket,
    interception_socket,
)
from sallyport.frontends.unreachable import end_unreachable
from sallyport.io.sockets import closed_on_error, endpoint_of, name_of

# Not in the socket module of Python 3.11 (linux/in.h, linux/in6.h); an answer has the same number.
IP_RECVORIGDSTADDR = 20
IPV6_RECVORIGDSTADDR = 74
_IP_PKTINFO = 8
_IPV6_RECVPKTINFO, _IPV6_PKTINFO = 49, 50

# struct sockaddr_in6 is the longest address that comes: 28 bytes; struct in6_pktinfo has 20.
_ANCILLARY_SPACE = socket.CMSG_SPACE(28) + socket.CMSG_SPACE(20)


def intercepting_datagram_socket(version: int) -> socket.socket:
    """Make the socket TPROXY delivers to, on a loopback port of the kernel's choice.

    Raises StartupError when the capability is missing.
    """
    with closed_on_error(interception_socket(Transport.UDP, version)) as made:
        if version == 6:
            made.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, 1)
            made.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
        else:
            made.setsockopt(socket.IPPROTO_IP, IP_RECVORIGDSTADDR, 1)
            made.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        made.bind(name_of(INTERCEPTION[version]))
        return made


def original_destination(ancillary: list[tuple[int, int, bytes]]) -> Endpoint | None:
    """Find where a datagram was going in what recvmsg gives beside it; None if it does not say."""
    for level, kind, name in ancillary:
        # Both structures begin with family and port; flow information comes before an IPv6 address.
        if (level, kind) == (socket.IPPROTO_IP, IP_RECVORIGDSTADDR):
            (port,) = struct.unpack_from("!H", name, 2)
            return Endpoint(IPv4Address(name[4:8]), port)
        if (level, kind) == (socket.IPPROTO_IPV6, IPV6_RECVORIGDSTADDR):
            (port,) = struct.unpack_from("!H", name, 2)
            return Endpoint(IPv6Address(name[8:24]), port)
    return None


def arriving_interface(ancillary: list[tuple[int, int, bytes]]) -> int:
    """Return the index of the interface at which a datagram came in; 0 if recvmsg does not say."""
    for level, kind, info in ancillary:
        # struct in_pktinfo begins with the index, struct in6_pktinfo has it behind the address.
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            return int(struct.unpack_from("=I", info)[0])
        if (level, kind) == (socket.IPPROTO_IPV6, _IPV6_PKTINFO):
            return int(struct.unpack_from("=I", info, 16)[0])
    return 0


OwnService = Callable[[bytes, Endpoint, Callable[[bytes], None]], None]
"""Answers a datagram to the gateway itself: (what was said, by whom, how to answer)."""


class DatagramInterceptor:
    """Takes intercepted datagrams and keeps the conversations they belong to.

    A client has as many conversations as `Gateway.admit_primary` lets it; all clients together
    have `limits.MAX_DATAGRAM_CONVERSATIONS`. What is over a bound is dropped, with a record.
    """

    def __init__(self, gateway: Gateway, protocols: Mapping[int, ProtocolDefinition]) -> None:
        self._gateway = gateway
        self._protocols = protocols
        self._listeners: list[socket.socket] = []
        self._services: Mapping[int, OwnService] = {}
        self.conversations: dict[tuple[Endpoint, Endpoint], DatagramConversation] = {}

    def serve(self, listener: socket.socket) -> None:
        """Start to read from such a socket as the function above makes; it stays the caller's."""
        asyncio.get_running_loop().add_reader(listener, self._drain, listener)
        self._listeners.append(listener)

    def speak(self, protocols: Mapping[int, ProtocolDefinition]) -> None:
        """Replace what clients inside may speak; conversations under way go on."""
        self._protocols = protocols

    def answer_ourselves(self, services: Mapping[int, OwnService]) -> None:
        """Replace what the gateway itself answers, by the port at an own address that is asked."""
        self._services = services

    def leave(self, listener: socket.socket) -> None:
        """Read there no more."""
        self._listeners.remove(listener)
        asyncio.get_running_loop().remove_reader(listener)

    def close(self) -> None:
        """Take nothing more; idempotent."""
        for listener in tuple(self._listeners):
            self.leave(listener)

    def _drain(self, listener: socket.socket) -> None:
        for _ in range(limits.MAX_DATAGRAMS_PER_TURN):
            try:
                data, ancillary, _flags, sender = listener.recvmsg(
                    limits.MAX_DATAGRAM_BYTES, _ANCILLARY_SPACE
                )
            except BlockingIOError:
                return
            server = original_destination(ancillary)
            if server is not None:
                interface = arriving_interface(ancillary)
                self.received(endpoint_of(sender), server, data, interface)

    def received(self, client: Endpoint, server: Endpoint, data: bytes, interface: int = 0) -> None:
        """Pass a datagram to its conversation, a new one if need be.

        `interface` is the index of the one where it arrived; 0 when that is not known.
        """
        conversation = self.conversations.get((client, server))
        if conversation is None:
            conversation = self._begin(client, server, data, interface)
        if conversation is not None:
            conversation.client_said(data)

    def _begin(
        self, client: Endpoint, server: Endpoint, data: bytes, interface: int
    ) -> "DatagramConversation | None":
        service = self._services.get(server.port)
        if service is not None and self._gateway.policy.is_own(server.address):
            if not self._is_forged(client, interface):
                service(data, client, partial(_speak_as, server, client))
            return None
        protocol = self._protocols.get(server.port)
        if protocol is None:
            return None
        if self._is_forged(client, interface):
            # Without an answer: it would go to a host that asked for nothing.
            self._refused(protocol, client, server, "source-not-of-its-interface")
            return None
        if len(self.conversations) >= limits.MAX_DATAGRAM_CONVERSATIONS:
            self._refused(protocol, client, server, "too-many-conversations")
            return None
        try:
            primary = self._gateway.admit_primary(protocol, client, server)
        except BindError:  # it is in the journal already
            if protocol.refusal:
                with suppress(OSError):
                    _speak_as(server, client, protocol.refusal)
            return None
        conversation = DatagramConversation(self._gateway, primary, self._forget)
        self.conversations[client, server] = conversation
        conversation.begin()
        return conversation

    def _is_forged(self, client: Endpoint, interface: int) -> bool:
        """Whether the source is our own, or of a network that is not at this interface (X08).

        A datagram proves nothing about its source: a binding for it would open a port of a host
        that did not ask. Within one network only the link itself could tell two hosts apart.
        """
        policy = self._gateway.policy
        if policy.is_own(client.address):
            return True
        network = policy.network_of(client.address)
        if network is None or self._gateway.policy.is_outside(network) or not interface:
            return False  # policy has no rule for such a source
        try:
            return socket.if_indextoname(interface) not in network.interfaces
        except OSError:  # it is gone by now
            return True

    def _refused(
        self, protocol: ProtocolDefinition, client: Endpoint, server: Endpoint, reason: str
    ) -> None:
        self._gateway.journal.record(
            "connect.refused",
            level="warning",
            client=client,
            server=server,
            protocol=protocol.name,
            reason=reason,
        )

    def _forget(self, primary: PrimaryConnection) -> None:
        self.conversations.pop((primary.client, primary.server), None)


class DatagramConversation:
    """What one client port and one server port say to each other (`datapath.Link`).

    It is over when the client has said nothing for `limits.DATAGRAM_IDLE_SECONDS`, or when its
    filter says so; what comes while a filter waits for something is lost, as datagrams are.
    """

    def __init__(
        self,
        gateway: Gateway,
        primary: PrimaryConnection,
        over: Callable[[PrimaryConnection], None],
    ) -> None:
        self.primary = primary
        self._gateway = gateway
        self._over = over
        self._server = _ServerEnd(primary, self._server_said)
        self._has_started = False
        self._idle: Deadline | None = None

    def begin(self) -> None:
        """Announce the conversation to the filters; data filters start when all have answered."""
        self.primary.link = self
        self._gateway.announce_primary(self.primary, self._start)

    def client_said(self, data: bytes) -> None:
        """Pass a datagram of the client to the data filter; the conversation is not idle."""
        if not self.primary.is_open:  # its filter ended it at the start
            return
        self._stop_idling()
        self._idle = self._gateway.call_later(
            limits.DATAGRAM_IDLE_SECONDS, partial(self.primary.close, "idle")
        )
        if self._is_free:
            self.primary.chain.from_accepted(data)

    def abort(self) -> None:
        """End the conversation (`datapath.Link`); datagrams know neither reset nor end."""
        self.close()

    def close(self) -> None:
        """End the conversation (`datapath.Link`)."""
        self._stop_idling()
        self._server.close()
        self._over(self.primary)

    def _start(self) -> None:
        primary = self.primary
        try:
            gateway_address = self._server.open()
        except OSError as error:
            end_unreachable(primary, error)
            return
        self._has_started = True
        self._gateway.start_primary(
            primary,
            gateway_address=gateway_address,
            link=self,
            client=_ClientEnd(primary),
            server=None if primary.is_emulated else self._server,
        )

    def _server_said(self, data: bytes) -> None:
        if self._is_free:
            self.primary.chain.from_dialled(data)

    @property
    def _is_free(self) -> bool:
        """Whether the data filters can take a datagram: it is not over, and they do not wait."""
        return self._has_started and self.primary.is_open and not self.primary.chain.is_busy

    def _stop_idling(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None


class _ClientEnd:
    """Where the filter speaks to the client: in the name of the server it had spoken to."""

    def __init__(self, primary: PrimaryConnection) -> None:
        self._primary = primary

    def send(self, data: bytes) -> None:
        client, server = self._primary.client, self._primary.server
        try:
            _speak_as(server, client, data)
        except OSError as error:
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
            self._primary.note(
                "datagram.lost", level="debug", to=self._primary.server, error=str(error)
            )

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


def _speak_as(server: Endpoint, client: Endpoint, data: bytes) -> None:
    """Send one datagram to the client in the name of its server. Raises OSError."""
    # One socket for one datagram; kept, a thousand of them would be a thousand descriptors.
    # While it lives it takes nothing from the listener: TPROXY comes before every other rule,
    # and of sockets in use it looks for connected ones only.
    with foreign_socket(Transport.UDP, server) as made:
        made.sendto(data, name_of(client))


def _socket_towards_server(primary: PrimaryConnection) -> socket.socket:
    """Make a socket connected to the server: as the gateway, or on a routed relation as the client.

    Raises OSError.
    """
    if primary.relation is Relation.ROUTE:
        made = foreign_socket(Transport.UDP, primary.client.with_port(0))
    else:
        made = gateway_socket(Transport.UDP, primary.server, primary.source)
    with closed_on_error(made):
        made.connect(name_of(primary.server))
        return made
