"""The SIP filter: what a gateway loads, and what it attaches to each conversation."""

from dataclasses import replace
from typing import Any

from sallyport import api
from sallyport.filters.sip.dialogue import SipDialogue
from sallyport.filters.sip.settings import SipSettings
from sallyport.filters.sip.telephone import SipTelephone

_UDP, _TCP, _INBOUND = api.Transport.UDP, api.Transport.TCP, api.Direction.INBOUND

SIP = api.ProtocolDefinition("sip", _UDP, 5060)
SIP_OVER_TCP = api.ProtocolDefinition("sip", _TCP, 5060)
"""Registrars and proxies outside, as access rules know the protocol: over both transports."""

SIP_SERVER = api.ProtocolDefinition("sip-server", _UDP, 5060, _INBOUND)
SIP_SERVER_OVER_TCP = api.ProtocolDefinition("sip-server-tcp", _TCP, 5060, _INBOUND)
"""PBXs of ours, as publishing rules know the protocol."""


class SipFilter(api.ApplicationFilter):
    """Calls and registrations of telephones and PBXs inside (RFC 3261)."""

    name = "sip"
    api_version = 1
    protocols = (SIP, SIP_OVER_TCP, SIP_SERVER, SIP_SERVER_OVER_TCP)
    hooks = api.Hooks.of(api.UdpDestination, api.ConnectTcp)
    settings = SipSettings

    def __init__(self, settings: SipSettings | None = None) -> None:
        self._settings = settings or SipSettings()

    def attach_to_session(self, session: api.Session) -> api.SessionFilter:
        """Implement `ApplicationFilter.attach_to_session`."""
        return SipSession(session, self._settings)


class SipSession(api.SessionFilter):
    """Attaches a dialogue to each conversation of one telephone."""

    def __init__(self, session: api.Session, settings: SipSettings) -> None:
        self._settings = settings
        self._telephone = SipTelephone(session, self, self._dialogue)

    async def on_event(self, event: api.Event) -> None:
        """Implement `SessionFilter.on_event`."""
        if isinstance(event, (api.UdpDestination, api.ConnectTcp)) and isinstance(
            event.connection, api.PrimaryConnection
        ):
            own: dict[str, Any] = dict(event.connection.rule.filters.get("sip", {}))
            dialogue = self._dialogue(replace(self._settings, **own))
            event.connection.attach_data_filter(dialogue, api.Priority.NAT)

    def _dialogue(self, settings: SipSettings) -> SipDialogue:
        return SipDialogue(self._telephone, settings)
