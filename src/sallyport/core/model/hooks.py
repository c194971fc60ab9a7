"""Hooks: which events a filter is told of (`FwxFilterHookEvents`).

Register for as few as possible: what nobody registered for stays in the kernel, and an event that
comes unexpected is code nobody tested.
"""

from dataclasses import dataclass
from enum import Flag, auto

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
    """Routed through the gateway; knows nothing of it."""
    FIREWALL_CLIENT = auto()
    """Asks for its binds explicitly."""
    ALL = SECURE_NAT | FIREWALL_CLIENT


class Scope(Flag):
    """Whose connections (`FwxFirewallEventProtocolSource`): by itself, the primary ones of the
    filter's own protocols."""

    PRIMARY = 0
    SECONDARY = auto()
    """Secondary connections too (`fwxAssociatedProtocolsAllConnections`): their bytes then pass
    through user mode."""
    ANY_PROTOCOL = auto()
    """Not only the filter's own protocols (`fwxAnyProtocol`)."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """A set of events with its scope and sources.

    Bind and Listen events are about secondary connections by nature; Scope.SECONDARY says nothing
    about them. Raises InvalidArgument for an event that only the caller of a bind is told.
    """

    events: frozenset[type[Event]]
    scope: Scope = Scope.PRIMARY
    sources: Source = Source.ALL

    def __post_init__(self) -> None:
        if self.events & {EstablishedConnection, ConnectionRefused, Event}:
            raise InvalidArgument("not-an-event-to-register-for")

    @classmethod
    def of(
        cls, *events: type[Event], scope: Scope = Scope.PRIMARY, sources: Source = Source.ALL
    ) -> "Hooks":
        """Build from events given one by one."""
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
        """Whether a filter whose protocols are `own` is told of such an event."""
        return (
            event in self.events
            and source in self.sources
            and (protocol in own or Scope.ANY_PROTOCOL in self.scope)
            and (not is_secondary or Scope.SECONDARY in self.scope or event in BIND_EVENTS)
        )
