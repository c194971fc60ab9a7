"""Events: what session filters are told (`FwxFirewallEventType`)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sallyport.addresses import Endpoint
from sallyport.core.openings import Traffic

if TYPE_CHECKING:
    from sallyport.core.connection import Connection, PrimaryConnection, SecondaryConnection


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to `connection`."""

    connection: "Connection"


@dataclass(frozen=True, slots=True)
class ConnectTcp(Event):
    """A primary connection starts (`fwx_Connect_Tcp`); attach a data filter now.

    Also when a client outside connected to a published server: `connection.direction` tells.
    """

    connection: "PrimaryConnection"


@dataclass(frozen=True, slots=True)
class UdpDestination(Event):
    """A client sends to a new destination (`fwx_Udp_Destination`); attach a data filter now."""

    connection: "PrimaryConnection"


@dataclass(frozen=True, slots=True)
class BindTcp(Event):
    """One port of a bind is held and not open yet (`fwx_Bind_Tcp`); `connection.deny()` vetoes.

    Goes to filters with `watches_binds`, except the caller of the bind.
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
class EstablishedConnection(Event):
    """A flow was admitted (`fwx_EstablishedConnection`); goes to the caller of the bind only."""

    peer: Endpoint
    context: object


@dataclass(frozen=True, slots=True)
class ConnectionRefused(Event):
    """An attempt was not completed, for example because the client's port was closed.

    A one-shot binding is not used up by it.
    """

    peer: Endpoint
    context: object


@dataclass(frozen=True, slots=True)
class ConnectionTerminating(Event):
    """The connection is over (`fwx_ConnectionTerminating`); release what you hold of it.

    `traffic` sums up every flow that was admitted.
    """

    reason: str
    traffic: Traffic
    context: object
