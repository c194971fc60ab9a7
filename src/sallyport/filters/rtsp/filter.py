"""The RTSP filter: what a gateway loads, and what it attaches to each control connection."""

from dataclasses import replace
from typing import Any

from sallyport import api
from sallyport.filters.rtsp.dialogue import RtspDialogue
from sallyport.filters.rtsp.media import MediaOpenings
from sallyport.filters.rtsp.settings import RtspSettings

# RFC 2326 section 11: 403 is a refusal that a password would not change.
_REFUSED = b"RTSP/1.0 403 Forbidden\r\nCSeq: 1\r\nConnection: close\r\n\r\n"

RTSP = api.ProtocolDefinition("rtsp", api.Transport.TCP, 554, refusal=_REFUSED, other_ports=(8554,))
"""Servers outside, as access rules know the protocol."""

RTSP_SERVER = api.ProtocolDefinition(
    "rtsp-server", api.Transport.TCP, 554, api.Direction.INBOUND, _REFUSED
)
"""Cameras and servers of ours, as publishing rules know the protocol."""


class RtspFilter(api.ApplicationFilter):
    """Media of RTSP over UDP, for clients and for published servers (RFC 2326, 7826)."""

    name = "rtsp"
    api_version = 1
    protocols = (RTSP, RTSP_SERVER)
    hooks = api.Hooks.of(api.ConnectTcp)
    settings = RtspSettings

    def __init__(self, settings: RtspSettings | None = None) -> None:
        self._settings = settings or RtspSettings()
        # A source that is no address is told when the configuration is read.
        api.IpFilter.of(*self._settings.media_sources)

    def attach_to_session(self, session: api.Session) -> api.SessionFilter:
        """Implement `ApplicationFilter.attach_to_session`."""
        return RtspSession(self._settings)


class RtspSession(api.SessionFilter):
    """Attaches a dialogue to each control connection of one client."""

    def __init__(self, settings: RtspSettings) -> None:
        self._settings = settings

    async def on_event(self, event: api.Event) -> None:
        """Implement `SessionFilter.on_event`."""
        if isinstance(event, api.ConnectTcp) and isinstance(
            event.connection, api.PrimaryConnection
        ):
            own: dict[str, Any] = dict(event.connection.rule.filters.get("rtsp", {}))
            settings = replace(self._settings, **own)
            openings = MediaOpenings(event.connection, self, settings)
            event.connection.attach_data_filter(RtspDialogue(openings), api.Priority.NAT)
