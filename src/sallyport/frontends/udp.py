"""How the first datagrams reach us: intercepted on their way, or at a port of our own.

Of clients inside (SecureNAT) and of clients of a published server on a routed relation, the kernel
hands us by TPROXY what they send, and tells where each datagram was going. A server published
behind NAT has a plain socket at an address of the gateway. What one client port says to one server
port is a conversation: a primary connection for the core, without a handshake at its beginning and
without an end of its own.
"""

import asyncio
import socket
from collections.abc import Callable, Collection, Hashable, Mapping
from contextlib import suppress
from functools import partial

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.engine.gateway import Gateway
from sallyport.core.policy.protocols import Direction, ProtocolDefinition
from sallyport.errors import BindError
from sallyport.flags import Transport
from sallyport.frontends.datagram_conversation import DatagramConversation, Speak
from sallyport.frontends.sockets import explained, foreign_socket, publishing
from sallyport.frontends.turn_queue import TurnQueue, rest_beside_others
from sallyport.io.interception import (
    ANCILLARY_SPACE,
    arriving_interface,
    ask_for_destination,
    interface_name,
    original_destination,
)
from sallyport.io.sockets import closed_on_error, endpoint_of, name_of


def publishing_datagram_socket(
    listen: Endpoint, owner: str, *, may_be_absent: bool = False, is_shared: bool = False
) -> socket.socket:
    """Make the socket at which the clients of a server published behind NAT arrive.

    `owner` says what of the configuration wants it; `sockets.publishing` explains the rest. Raises
    StartupError.
    """
    with explained(listen, owner):
        made = publishing(
            Transport.UDP, listen.version, may_be_absent=may_be_absent, is_shared=is_shared
        )
        with closed_on_error(made):
            ask_for_destination(made)
            made.bind(name_of(listen))
            return made


OwnService = Callable[[bytes, Endpoint, Callable[[bytes], None]], None]
"""Answers a datagram to the gateway itself: (what was said, by whom, how to answer)."""


InterfaceName = Callable[[], str]
"""Returns the name of an interface, asked only where it matters; raises OSError when it is gone."""


class DatagramInterceptor:
    """Takes first datagrams, intercepted and published, and keeps their conversations.

    A client has as many conversations as `Gateway.admit_primary` and `admit_published` let it; all
    clients together have `limits.MAX_DATAGRAM_CONVERSATIONS`, those outside a part of them. What is
    over a bound is dropped, with a record. A client outside hears nothing of a refusal: its address
    is not proven, and two gateways that refuse each other's refusals would never end.
    """

    def __init__(
        self,
        gateway: Gateway,
        protocols: Mapping[int, ProtocolDefinition],
        has_others: Callable[[Collection[Hashable]], bool] = lambda _hosts: False,
    ) -> None:
        """Serve `gateway`; `has_others`: whether others than these hosts have streams to serve."""
        self._gateway = gateway
        self._protocols = protocols
        self._listeners: list[socket.socket] = []
        self._services: Mapping[int, OwnService] = {}
        self.conversations: dict[tuple[Endpoint, Endpoint], DatagramConversation] = {}
        """By the client, and where it sends what it says."""
        self._published = 0
        self._queue = TurnQueue(
            of_one=limits.MAX_QUEUED_DATAGRAMS,
            of_all=limits.MAX_QUEUED_DATAGRAM_BYTES,
            # Sources can be forged, so many clients may be one: half of the time at most is theirs.
            rest=rest_beside_others(has_others, at_least=1.0),
        )

    def serve(self, listener: socket.socket) -> None:
        """Start to read from such a socket as the functions above make; it stays the caller's."""
        own = endpoint_of(listener.getsockname())
        asyncio.get_running_loop().add_reader(listener, self._drain, listener, own)
        self._listeners.append(listener)

    def speak(self, protocols: Mapping[int, ProtocolDefinition]) -> None:
        """Replace what clients inside may speak; conversations under way go on."""
        self._protocols = protocols

    def answer_ourselves(self, services: Mapping[int, OwnService]) -> None:
        """Replace what the gateway itself answers, by the port at an own address that is asked."""
        self._services = services

    def leave(self, listener: socket.socket) -> None:
        """Read there no more; what was read and has not had its turn is lost."""
        self._queue.clear()
        self._listeners.remove(listener)
        asyncio.get_running_loop().remove_reader(listener)

    def close(self) -> None:
        """Take nothing more; idempotent."""
        for listener in tuple(self._listeners):
            self.leave(listener)

    def _drain(self, listener: socket.socket, own: Endpoint) -> None:
        for _ in range(limits.MAX_DATAGRAMS_PER_TURN):
            try:
                data, ancillary, _flags, sender = listener.recvmsg(
                    limits.MAX_DATAGRAM_BYTES, ANCILLARY_SPACE
                )
            except BlockingIOError:
                break
            host = self._host_of(sender)
            if self._queue.is_full_for(host):
                # Of a flood, the most by far: nothing more is done about them.
                continue
            dialled = original_destination(ancillary)
            if dialled is not None:
                client, number = endpoint_of(sender), arriving_interface(ancillary)
                interface = partial(interface_name, listener, number) if number else None
                speak = partial(_speak_at, listener, client) if dialled == own else None
                serve = partial(self.received, client, dialled, data, interface, speak)
                size = limits.QUEUED_DATAGRAM_COST + len(data)
                if self._queue.put(host, size, serve) and self._queue.is_full_for(host):
                    self._full(client, dialled)
        self._queue.serve()

    def _host_of(self, sender: tuple[str, int]) -> str:
        # Of IPv4 it is the address as the socket writes it.
        if ":" not in sender[0]:
            return sender[0]
        return self._gateway.policy.host_of(endpoint_of(sender).address)

    def _full(self, client: Endpoint, dialled: Endpoint) -> None:
        protocol = self._protocols.get(dialled.port)
        self._gateway.journal.record(
            "datagram.dropped",
            level="warning",
            client=client,
            server=dialled,
            protocol=None if protocol is None else protocol.name,
            reason="too-many-datagrams-wait",
        )

    def received(
        self,
        client: Endpoint,
        dialled: Endpoint,
        data: bytes,
        interface: InterfaceName | None = None,
        speak: Speak | None = None,
    ) -> None:
        """Pass a datagram to its conversation, a new one if need be.

        `interface` says where it arrived; None: that is not known. `speak`
        answers the client; None: no socket of ours is at the address that it spoke to.
        """
        conversation = self.conversations.get((client, dialled))
        if conversation is None:
            speak = speak or partial(_speak_as, dialled, client)
            conversation = self._begin(client, dialled, data, interface, speak)
        if conversation is not None:
            conversation.client_said(data)

    def _begin(
        self,
        client: Endpoint,
        dialled: Endpoint,
        data: bytes,
        interface: InterfaceName | None,
        speak: Speak,
    ) -> DatagramConversation | None:
        policy = self._gateway.policy
        service = self._services.get(dialled.port)
        if service is not None and policy.is_own(dialled.address):
            if not self._is_forged(client, interface):
                service(data, client, speak)
            return None
        published = policy.published_at(client.address, dialled, Transport.UDP)
        protocol = self._protocols.get(dialled.port)
        if protocol is None:
            # A client inside that comes to the published address is refused, with a record.
            protocol = self._gateway.published_protocol(dialled, Transport.UDP)
        if published is None and protocol is None:
            return None
        name = published.protocol if published else protocol.name if protocol else ""
        if reason := self._excess(client, interface, is_published=published is not None):
            # Without an answer: it would go to a host that asked for nothing.
            self._refused(name, client, dialled, reason)
            return None
        try:
            if published is not None:
                primary = self._gateway.admit_published(published, client)
            elif protocol is not None:
                primary = self._gateway.admit_primary(protocol, client, dialled)
        except BindError:  # it is in the journal already
            if published is None and protocol is not None and protocol.refusal:
                with suppress(OSError):
                    speak(protocol.refusal)
            return None
        conversation = DatagramConversation(self._gateway, primary, dialled, speak, self._forget)
        self.conversations[client, dialled] = conversation
        self._published += published is not None
        conversation.begin()
        return conversation

    def _excess(
        self, client: Endpoint, interface: InterfaceName | None, *, is_published: bool
    ) -> str | None:
        """Return why nothing may begin, whatever policy says; None when something may."""
        if self._is_forged(client, interface):
            return "source-not-of-its-interface"
        if len(self.conversations) >= limits.MAX_DATAGRAM_CONVERSATIONS:
            return "too-many-conversations"
        if is_published and self._published >= limits.MAX_PUBLISHED_CONVERSATIONS:
            return "too-many-conversations"
        return None

    def _is_forged(self, client: Endpoint, interface: InterfaceName | None) -> bool:
        """Whether the source is our own, or of a network that is not at this interface (X08).

        A datagram proves nothing about its source: a binding for it would open a port of a host
        that did not ask. Within one network only the link itself could tell two hosts apart.
        """
        policy = self._gateway.policy
        if policy.is_own(client.address):
            return True
        network = policy.network_of(client.address)
        if network is None or interface is None:
            return False  # policy has no rule for such a source
        try:
            return interface() not in network.interfaces
        except OSError:  # it is gone by now
            return True

    def _refused(self, protocol: str, client: Endpoint, server: Endpoint, reason: str) -> None:
        self._gateway.journal.record(
            "connect.refused",
            level="warning",
            client=client,
            server=server,
            protocol=protocol,
            reason=reason,
        )

    def _forget(self, conversation: DatagramConversation) -> None:
        primary = conversation.primary
        if self.conversations.pop((primary.client, conversation.dialled), None) is not None:
            self._published -= primary.direction is Direction.INBOUND


def _speak_at(listener: socket.socket, client: Endpoint, data: bytes) -> None:
    """Send one datagram to the client from the socket that it spoke to. Raises OSError."""
    listener.sendto(data, name_of(client))


def _speak_as(server: Endpoint, client: Endpoint, data: bytes) -> None:
    """Send one datagram to the client in the name of its server. Raises OSError."""
    # One socket for one datagram; kept, a thousand of them would be a thousand descriptors.
    # While it lives it takes nothing from the listener: TPROXY comes before every other rule,
    # and of sockets in use it looks for connected ones only.
    with foreign_socket(Transport.UDP, server) as made:
        made.sendto(data, name_of(client))
