"""The FTP filter: what a gateway loads, and what one client has open."""

from dataclasses import replace
from typing import Any

from sallyport import api
from sallyport.filters.ftp.agreement import Agreement
from sallyport.filters.ftp.dialogue import FtpDialogue
from sallyport.filters.ftp.settings import FtpSettings

# RFC 959 section 5.4: besides 120 and 220 the one reply that a new connection may get.
_REFUSED = b"421 Refused by the gateway; its log says why.\r\n"

FTP = api.ProtocolDefinition("ftp", api.Transport.TCP, 21, refusal=_REFUSED)
"""Servers outside, as access rules know the protocol."""

FTP_SERVER = api.ProtocolDefinition(
    "ftp-server", api.Transport.TCP, 21, api.Direction.INBOUND, _REFUSED
)
"""Servers of ours, as publishing rules know the protocol."""


class FtpFilter(api.ApplicationFilter):
    """FTP data connections of clients and of published servers (RFC 959, 2428)."""

    name = "ftp"
    api_version = 1
    protocols = (FTP, FTP_SERVER)
    hooks = api.Hooks.of(api.ConnectTcp)
    settings = FtpSettings

    def __init__(self, settings: FtpSettings | None = None) -> None:
        self._settings = settings or FtpSettings()

    def attach_to_session(self, session: api.Session) -> api.SessionFilter:
        """Implement `ApplicationFilter.attach_to_session`."""
        return FtpSession(self._settings)


class FtpSession(api.SessionFilter):
    """Attaches a dialogue to each control connection, and tells it how data connections ended."""

    def __init__(self, settings: FtpSettings) -> None:
        self._settings = settings

    async def on_event(self, event: api.Event) -> None:
        """Implement `SessionFilter.on_event`."""
        match event:
            case api.ConnectTcp(connection=api.PrimaryConnection() as connection):
                self._begin(connection)
            case api.EstablishedConnection(context=Agreement() as agreement):
                await agreement.established()
            case api.ConnectionTerminating(context=Agreement() as agreement):
                await agreement.ended(event.explanation)

    def _begin(self, connection: api.PrimaryConnection) -> None:
        settings, is_ciphered = self._settings_of(connection.rule), connection.protocol.is_in_tls
        if is_ciphered and settings.hides_nothing:
            connection.note("connect.refused", **connection.parties(), reason="tls-is-refused")
            connection.deny()
            return
        # Priority.NAT: who edits addresses is the first to see what the client says.
        dialogue = FtpDialogue(self, settings, is_ciphered=is_ciphered)
        connection.attach_data_filter(dialogue, api.Priority.NAT)

    def _settings_of(self, rule: api.Rule) -> FtpSettings:
        own: dict[str, Any] = dict(rule.filters.get("ftp", {}))
        return replace(self._settings, **own) if own else self._settings
