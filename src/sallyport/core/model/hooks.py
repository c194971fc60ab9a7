"""Hooks: the events a filter registers for (`FwxFilterHookEvents`).

Register for as few as possible. A flow whose event no filter registered for stays in the kernel,
and an event that a filter does not expect runs code that its author never tested.
"""

from dataclasses import dataclass
from enum import Flag, auto

from sallyport.core.model.arguments import each, require
from sallyport.core.model.events import (
    BIND_EVENTS,
    ConnectionRefused,
    EstablishedConnection,
    Event,
)
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.errors import InvalidArgument


class Source(Flag):
    """How the client of a session arrived (`FwxFirewallEventSource`)."""

    SECURE_NAT = auto()
    """Routed through the gateway, and knows nothing of it."""
    FIREWALL_CLIENT = auto()
    """Asks the gateway for its binds itself, by a front end: PCP, SOCKS, the local API."""
    ALL = SECURE_NAT | FIREWALL_CLIENT


class Scope(Flag):
    """The connections whose events count (`FwxFirewallEventProtocolSource`)."""

    PRIMARY = 0
    """Only primary connections of the filter's own protocols; the other members widen this."""
    SECONDARY = auto()
    """Secondary connections too (`fwxAssociatedProtocolsAllConnections`): their bytes then pass
    through user mode."""
    ANY_PROTOCOL = auto()
    """Connections of every protocol, not only of the filter's own (`fwxAnyProtocol`)."""


# These go to the caller of a bind alone.
_NOT_TO_REGISTER_FOR = {EstablishedConnection, ConnectionRefused, Event}


@dataclass(frozen=True, slots=True)
class Hooks:
    """A set of events with its scope and sources.

    BindTcp, BindUdp and Listen are always about secondary connections; they need no
    Scope.SECONDARY. Raises InvalidArgument for EstablishedConnection and ConnectionRefused, which
    go to the caller of a bind only.
    """

    events: frozenset[type[Event]]
    scope: Scope = Scope.PRIMARY
    sources: Source = Source.ALL

    def __post_init__(self) -> None:
        for event in each("events", self.events, type):
            if not issubclass(event, Event) or event in _NOT_TO_REGISTER_FOR:
                raise InvalidArgument("not-an-event-to-register-for")
        require("scope", self.scope, Scope)
        require("sources", self.sources, Source)

    @classmethod
    def of(
        cls, *events: type[Event], scope: Scope = Scope.PRIMARY, sources: Source = Source.ALL
    ) -> "Hooks":
        """Return hooks for the given events."""
        return cls(frozenset(events), scope, sources)

    def cover(
        self,
        event: type[Event],
        protocol: ProtocolDefinition,
        source: Source,
        *,
        own: tuple[ProtocolDefinition, ...],
        is_secondary: bool,
    ) -> bool:
        """Whether such an event notifies a filter whose own protocols are `own`."""
        return (
            event in self.events
            and source in self.sources
            and (protocol in own or Scope.ANY_PROTOCOL in self.scope)
            and (not is_secondary or Scope.SECONDARY in self.scope or event in BIND_EVENTS)
        )
