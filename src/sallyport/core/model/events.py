"""Events: what session filters are told (`FwxFirewallEventType`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from sallyport.addresses import Endpoint
from sallyport.core.pinholes.registry import Traffic
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rules import Rule

if TYPE_CHECKING:
    from sallyport.core.model.connection import Connection, PrimaryConnection
    from sallyport.core.model.future_connection import FutureConnection
    from sallyport.core.model.secondary import SecondaryConnection

NO_PARAMETERS: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to `connection`.

    `parameters` are the settings of the filter that is told.
    """

    connection: "Connection"
    parameters: Mapping[str, object] = field(default_factory=lambda: NO_PARAMETERS, kw_only=True)

    @property
    def is_secondary(self) -> bool:
        """Whether a filter made the connection possible: by a bind, or by a permission."""
        return self.connection.is_secondary

    @property
    def protocol(self) -> ProtocolDefinition:
        """The protocol the connection belongs to (`ProtocolGuid`)."""
        return self.connection.protocol

    @property
    def rule(self) -> Rule:
        """The rule that lets it be."""
        return self.connection.rule


@dataclass(frozen=True, slots=True)
class ConnectTcp(Event):
    """A connection towards a server starts (`fwx_Connect_Tcp`); nobody was dialled yet.

    Attach data filters now; `connection.deny()` refuses it. A primary connection, also when a
    client outside connected to a published server (`connection.protocol.direction` tells); or, as
    `is_secondary`, the one that `allow_future_connect` permitted, in user mode.
    """

    connection: "PrimaryConnection | FutureConnection"


@dataclass(frozen=True, slots=True)
class UdpDestination(Event):
    """Datagrams begin between the client and `peer` (`fwx_Udp_Destination`).

    Attach data filters now, they see what this peer and the client send each other;
    `connection.deny()` discards it. A primary connection, or in user mode a bound port, or one the
    client was redirected to (`redirect_connections`).
    """

    connection: "PrimaryConnection | SecondaryConnection | FutureConnection"
    peer: Endpoint


@dataclass(frozen=True, slots=True)
class BindTcp(Event):
    """One port of a bind is held and not open yet (`fwx_Bind_Tcp`); `connection.deny()` vetoes.

    The caller of the bind is not told: it knows, and gets AddressInUse when somebody denies.
    """

    connection: "SecondaryConnection"


@dataclass(frozen=True, slots=True)
class BindUdp(Event):
    """The same for UDP (`fwx_Bind_Udp`)."""

    connection: "SecondaryConnection"


@dataclass(frozen=True, slots=True)
class Listen(Event):
    """A TCP bind was let pass by everybody (`fwx_Listen`); it cannot be refused any more."""

    connection: "SecondaryConnection"


@dataclass(frozen=True, slots=True)
class AcceptedConnection(Event):
    """`peer` arrived at a bound TCP port in user mode (`fwx_AcceptedConnection`).

    The client was not dialled yet. Attach data filters now; `connection.deny()` resets the peer.
    """

    connection: "SecondaryConnection"
    peer: Endpoint


@dataclass(frozen=True, slots=True)
class EstablishedConnection(Event):
    """A flow was admitted (`fwx_EstablishedConnection`).

    Goes only to the session filter that asked for the bind or permission, with its context.
    """

    peer: Endpoint
    context: object


@dataclass(frozen=True, slots=True)
class ConnectionRefused(Event):
    """An attempt was not completed, for example because the client's port was closed.

    Told as EstablishedConnection is. A one-shot binding is not used up by it.
    """

    peer: Endpoint
    context: object


@dataclass(frozen=True, slots=True)
class ConnectionTerminating(Event):
    """The connection is over (`fwx_ConnectionTerminating`); release what you hold of it.

    `traffic` sums up every flow that was admitted (of a primary one only what an emulating filter
    says it sent); `explanation` is what `kill` was given for the protocol's user. Goes to the
    caller of the bind or permission, with its context, and to whoever registered for it in a
    session where it is attached already: it never attaches a filter.
    """

    reason: str
    traffic: Traffic
    context: object
    explanation: str | None = None


BIND_EVENTS: frozenset[type[Event]] = frozenset({BindTcp, BindUdp, Listen})
"""Events about what a bind does, before anybody has connected."""
