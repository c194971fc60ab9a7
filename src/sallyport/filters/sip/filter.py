"""The SIP filter: what a gateway loads, and what it attaches to each conversation."""

from dataclasses import replace
from typing import Any

from sallyport import api
from sallyport.filters.sip.dialogue import SipDialogue
from sallyport.filters.sip.settings import SipSettings

SIP = api.ProtocolDefinition("sip", api.Transport.UDP, 5060)
"""Registrars and proxies outside, as access rules know the protocol."""


class SipFilter(api.ApplicationFilter):
    """Calls and registrations of telephones inside, by SIP over UDP (RFC 3261)."""

    name = "sip"
    api_version = 1
    protocols = (SIP,)
    hooks = api.Hooks.of(api.UdpDestination)
    settings = SipSettings

    def __init__(self, settings: SipSettings | None = None) -> None:
        self._settings = settings or SipSettings()

    def attach_to_session(self, session: api.Session) -> api.SessionFilter:
        """Implement `ApplicationFilter.attach_to_session`."""
        return SipSession(self._settings)


class SipSession(api.SessionFilter):
    """Attaches a dialogue to each conversation of one telephone."""

    def __init__(self, settings: SipSettings) -> None:
        self._settings = settings

    async def on_event(self, event: api.Event) -> None:
        """Implement `SessionFilter.on_event`."""
        if isinstance(event, api.UdpDestination) and isinstance(
            event.connection, api.PrimaryConnection
        ):
            own: dict[str, Any] = dict(event.connection.rule.filters.get("sip", {}))
            dialogue = SipDialogue(self, replace(self._settings, **own))
            event.connection.attach_data_filter(dialogue, api.Priority.NAT)
