"""FilterSet: the application filters of one configuration, and which of them an event notifies.

A session keeps the set it began with: replacing the filters touches no running session.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from sallyport.core.model.events import Event
from sallyport.core.model.filter import ApplicationFilter, SessionFilter
from sallyport.core.model.hooks import Hooks, Source
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.errors import Terminating

if TYPE_CHECKING:
    from sallyport.core.model.session import Session

_SubscriptionKey = tuple[type[Event], ProtocolDefinition, bool, Source]


class FilterSet:
    """Application filters, with the settings each was made with."""

    def __init__(
        self,
        filters: Sequence[ApplicationFilter],
        parameters: Mapping[str, Mapping[str, object]],
    ) -> None:
        self.filters = tuple(filters)
        self.parameters = {one.name: parameters.get(one.name, {}) for one in self.filters}
        self.sessions = 0
        """How many sessions use it; when none is left, `Roster` retires a replaced set."""
        self.is_retired = False
        """Whether its filters were shut down: none of them is notified any more."""
        self._subscribers: dict[_SubscriptionKey, tuple[ApplicationFilter, ...]] = {}

    def protocols(self) -> list[ProtocolDefinition]:
        """Return every protocol that a filter handles."""
        return [protocol for one in self.filters for protocol in one.protocols]

    def subscribers(
        self,
        session: "Session",
        event: type[Event],
        protocol: ProtocolDefinition,
        *,
        is_secondary: bool,
    ) -> Sequence[ApplicationFilter]:
        """Return the filters that an event notifies in a session, in the configuration's order."""
        if not session.own_hooks:
            if event not in self._hooked:
                return ()
            key = event, protocol, is_secondary, session.source
            # Every bind asks, and without hooks of its own every session gets the same answer.
            if (known := self._subscribers.get(key)) is None:
                known = self._subscribers[key] = self._find_subscribers(
                    session, event, protocol, is_secondary
                )
            return known
        return self._find_subscribers(session, event, protocol, is_secondary)

    @cached_property
    def _hooked(self) -> frozenset[type[Event]]:
        """The events that notify any filter at all; read late, as `start` may still set hooks."""
        return frozenset(event for one in self.filters for event in one.hooks.events)

    def _find_subscribers(
        self,
        session: "Session",
        event: type[Event],
        protocol: ProtocolDefinition,
        is_secondary: bool,
    ) -> tuple[ApplicationFilter, ...]:
        return tuple(
            one
            for one in self.filters
            if session.own_hooks.get(one.name, one.hooks).cover(
                event, protocol, session.source, own=one.protocols, is_secondary=is_secondary
            )
        )


def attached(session: "Session", wanted: ApplicationFilter) -> SessionFilter:
    """Return a filter's session filter; at its first event in the session, attach it.

    Raises Terminating when attaching it has ended the session, and what the filter raises: it runs
    filter code, so call it behind a fence.
    """
    if wanted.name not in session.filters:
        made = wanted.attach_to_session(session)
        if session.is_over:  # the filter has just ended it: no later call would detach the filter
            made.detach()
            raise Terminating("session-is-over")
        session.filters[wanted.name] = made
        hooks: Hooks | None = made.hooks
        if hooks is not None:
            session.own_hooks[wanted.name] = hooks
    return session.filters[wanted.name]
