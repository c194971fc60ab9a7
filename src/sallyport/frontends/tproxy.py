"""How TCP control connections reach us: intercepted on their way, or at a port of our own.

Of clients inside (SecureNAT) and of clients of a published server on a routed relation, the kernel
hands us connections by TPROXY: the accepted socket's own name is the server that the client meant.
A server published behind NAT has a plain listening socket at an address of the gateway.
"""

import socket
from collections.abc import Mapping
from contextlib import suppress

from sallyport.addresses import Endpoint
from sallyport.core.engine.gateway import Gateway
from sallyport.core.model.connection import PrimaryConnection
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.errors import BindError, PolicyDenied
from sallyport.flags import Transport
from sallyport.frontends.control_connection import ControlConnection
from sallyport.frontends.entrance import Entrance
from sallyport.frontends.sockets import control_listener, explained, publishing
from sallyport.io.fair_poller import FairPoller
from sallyport.io.interception import INTERCEPTION, interception_socket
from sallyport.io.sockets import endpoint_of, let_end

# More than any client says before it has heard something: one segment.
_FIRST_WORDS = 2048


def intercepting_socket(version: int) -> socket.socket:
    """Make the socket TPROXY delivers to, on a loopback port of the kernel's choice.

    Raises StartupError when the capability is missing.
    """
    return control_listener(interception_socket(Transport.TCP, version), INTERCEPTION[version])


def publishing_socket(
    listen: Endpoint, owner: str, *, may_be_absent: bool = False, is_shared: bool = False
) -> socket.socket:
    """Make the socket at which the clients of a server published behind NAT arrive.

    `owner` says what of the configuration wants it; `sockets.publishing` explains the rest. Raises
    StartupError.
    """
    with explained(listen, owner):
        made = publishing(
            Transport.TCP, listen.version, may_be_absent=may_be_absent, is_shared=is_shared
        )
        return control_listener(made, listen)


class Interceptor:
    """Begins control connections, intercepted and published."""

    def __init__(
        self,
        gateway: Gateway,
        protocols: Mapping[int, ProtocolDefinition],
        poller: FairPoller,
        entrance: Entrance,
    ) -> None:
        """Serve `gateway`; `protocols` are those of clients inside, by the port they dial."""
        self._gateway = gateway
        self._protocols = protocols
        self._poller = poller
        self._entrance = entrance

    def speak(self, protocols: Mapping[int, ProtocolDefinition]) -> None:
        """Replace what clients inside may speak; connections under way go on."""
        self._protocols = protocols

    def serve(self, listener: socket.socket) -> None:
        """Start to accept on a socket made by one of the functions above; it stays the caller's."""
        self._entrance.open(listener, self._begin, self._refuse)

    def leave(self, listener: socket.socket) -> None:
        """Accept there no more; what was accepted goes on."""
        self._entrance.shut(listener)

    def _protocol_at(self, dialled: Endpoint) -> ProtocolDefinition | None:
        # A client inside that comes to the published address is refused, in words.
        known = self._protocols.get(dialled.port)
        return known or self._gateway.published_protocol(dialled, Transport.TCP)

    def _refuse(self, leg: socket.socket, client: Endpoint) -> None:
        """Turn away a client of whom as many wait as one may hold, without a decision."""
        dialled = endpoint_of(leg.getsockname())
        protocol = self._protocol_at(dialled)
        self._gateway.journal.record(
            "connect.refused",
            level="warning",
            client=client,
            server=dialled,
            protocol=None if protocol is None else protocol.name,
            reason="too-many-controls",
        )
        _turn_away(leg, protocol)

    def _begin(self, leg: socket.socket, client: Endpoint) -> None:
        """Ask policy about a new connection; a refused client is told so by its protocol."""
        dialled = endpoint_of(leg.getsockname())
        protocol = self._protocol_at(dialled)
        try:
            primary = self._admit(client, dialled, protocol)
        except BindError:
            _turn_away(leg, protocol)
            return
        ControlConnection(self._gateway, self._poller, primary, accepted=leg).begin()

    def _admit(
        self, client: Endpoint, dialled: Endpoint, protocol: ProtocolDefinition | None
    ) -> PrimaryConnection:
        """Admit a connection as what it is; raises BindError."""
        policy = self._gateway.policy
        if rule := policy.published_at(client.address, dialled, Transport.TCP):
            return self._gateway.admit_published(rule, client)
        if protocol is None:
            raise PolicyDenied("no-protocol-at-this-port")
        return self._gateway.admit_primary(protocol, client, dialled)


def _turn_away(leg: socket.socket, protocol: ProtocolDefinition | None) -> None:
    """Close the leg of a refused client, behind the protocol's words for it, else with a reset."""
    if protocol is None or not protocol.refusal:
        leg.close()
        return
    with suppress(OSError):
        # What a client said first is read: closing over it would be a reset, and lose the words.
        leg.recv(_FIRST_WORDS)
    with suppress(OSError):
        leg.send(protocol.refusal)
    let_end(leg)
