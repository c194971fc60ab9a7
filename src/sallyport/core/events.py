"""Events: what session filters are told (`FwxFirewallEventType`)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sallyport.addresses import Endpoint
from sallyport.core.datapath import FlowCounters

if TYPE_CHECKING:
    from sallyport.core.connection import Connection, PrimaryConnection


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to `connection`."""

    connection: "Connection"


@dataclass(frozen=True, slots=True)
class ConnectTcp(Event):
    """A client's primary connection starts (`fwx_Connect_Tcp`); attach a data filter now."""

    connection: "PrimaryConnection"


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

    `flows` has the final byte counts of every flow that was admitted.
    """

    reason: str
    flows: tuple[FlowCounters, ...]
    context: object
