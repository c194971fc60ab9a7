"""Events: what session filters are notified of (`FwxFirewallEventType`)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from msgspec import Struct

from sallyport.addresses import Endpoint
from sallyport.core.pinholes.registry import Traffic
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rules import Rule

if TYPE_CHECKING:
    from sallyport.core.model.connection import Connection, PrimaryConnection
    from sallyport.core.model.future_connection import FutureConnection
    from sallyport.core.model.secondary import SecondaryConnection

NO_PARAMETERS: Mapping[str, object] = MappingProxyType({})


class Event(Struct, frozen=True, kw_only=True):
    """An event of `connection`; the subclass says which.

    `parameters` are the settings of the filter that is notified.
    """

    connection: "Connection"
    parameters: Mapping[str, object] = NO_PARAMETERS

    @property
    def is_secondary(self) -> bool:
        """Whether a filter made the connection possible, by a bind or a permission."""
        return self.connection.is_secondary

    @property
    def protocol(self) -> ProtocolDefinition:
        """The protocol the connection belongs to (`ProtocolGuid`)."""
        return self.connection.protocol

    @property
    def rule(self) -> Rule:
        """The rule that allows the connection."""
        return self.connection.rule


class ConnectTcp(Event, frozen=True):
    """A connection towards a server starts (`fwx_Connect_Tcp`); no server was dialled yet.

    Attach data filters now; `connection.deny()` refuses the connection. It is a primary
    connection, also when a client outside connected to a published server
    (`connection.protocol.direction` tells which), or, when `is_secondary`, the connection that
    `allow_future_connect` permitted, in user mode.
    """

    connection: "PrimaryConnection | FutureConnection"


class UdpDestination(Event, frozen=True):
    """Datagrams begin between the client and `peer` (`fwx_Udp_Destination`).

    Attach data filters now; they see what this peer and the client send each other.
    `connection.deny()` drops the datagrams. It is a primary connection, or, in user mode, a bound
    port or a port that the client was redirected to (`redirect_connections`).
    """

    connection: "PrimaryConnection | SecondaryConnection | FutureConnection"
    peer: Endpoint


class BindTcp(Event, frozen=True):
    """One port of a bind is held and not open yet (`fwx_Bind_Tcp`); `connection.deny()` vetoes.

    The filter that calls `bind_for_client` is not notified: when another filter denies, its call
    raises AddressInUse.
    """

    connection: "SecondaryConnection"


class BindUdp(Event, frozen=True):
    """One UDP port of a bind is held and not open yet (`fwx_Bind_Udp`); as `BindTcp`."""

    connection: "SecondaryConnection"


class Listen(Event, frozen=True):
    """Every filter let a TCP bind pass (`fwx_Listen`); it cannot be denied any more."""

    connection: "SecondaryConnection"


class AcceptedConnection(Event, frozen=True):
    """`peer` arrived at a bound TCP port in user mode (`fwx_AcceptedConnection`).

    The client was not dialled yet. Attach data filters now; `connection.deny()` resets the peer.
    """

    connection: "SecondaryConnection"
    peer: Endpoint


class EstablishedConnection(Event, frozen=True):
    """A flow was admitted (`fwx_EstablishedConnection`).

    Only the session filter that asked for the bind or permission is notified, with its `context`.
    """

    connection: "Connection"
    peer: Endpoint
    context: object


class ConnectionRefused(Event, frozen=True):
    """An attempt was not completed, for example because the client's port was closed.

    Only the session filter that asked for the bind or permission is notified. The attempt does not
    use up a one-shot binding.
    """

    connection: "Connection"
    peer: Endpoint
    context: object


class ConnectionTerminating(Event, frozen=True):
    """The connection is over (`fwx_ConnectionTerminating`); release what you hold for it.

    `reason` is a stable word. `traffic` is the sum of every admitted flow; for a primary
    connection it holds only what an emulating filter says it sent. `explanation` is the sentence
    for the protocol's user that `kill` or `close` was called with. The filter that asked for the
    bind or permission is notified, with its `context`, and so is each filter that registered for
    this event and is attached to the session already: this event never attaches a filter.
    """

    connection: "Connection"
    reason: str
    traffic: Traffic
    context: object
    explanation: str | None = None


BIND_EVENTS: frozenset[type[Event]] = frozenset({BindTcp, BindUdp, Listen})
"""The events of a bind itself, before a peer has connected."""
