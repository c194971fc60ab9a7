"""The FTP filter: what a gateway loads, and what one client has open."""

from dataclasses import replace
from typing import Any

from sallyport import api
from sallyport.filters.ftp import consequences
from sallyport.filters.ftp.agreement import Agreement
from sallyport.filters.ftp.dialogue import FtpDialogue
from sallyport.filters.ftp.passive_range import PassiveRanges
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
    hooks = api.Hooks.of(api.ConnectTcp, api.ConnectionTerminating)
    settings = FtpSettings

    def __init__(self, settings: FtpSettings | None = None) -> None:
        self._settings = settings or FtpSettings()

    def attach_to_session(self, session: api.Session) -> api.SessionFilter:
        """Implement `ApplicationFilter.attach_to_session`."""
        return FtpSession(self._settings)

    def remarks(
        self, rule: api.Rule, direction: api.Direction, *, is_translated: bool
    ) -> list[str]:
        """Implement `ApplicationFilter.remarks`."""
        return consequences.of_settings(
            settings_of(self._settings, rule),
            is_published=direction is api.Direction.INBOUND,
            is_translated=is_translated,
        )


class FtpSession(api.SessionFilter):
    """Attaches a dialogue to each control connection, and tells it how data connections ended."""

    def __init__(self, settings: FtpSettings) -> None:
        self._settings = settings
        self._ranges = PassiveRanges(self)

    async def on_event(self, event: api.Event) -> None:
        """Implement `SessionFilter.on_event`."""
        match event:
            case api.ConnectTcp(connection=api.PrimaryConnection() as connection):
                self._begin(connection)
            case api.EstablishedConnection(context=Agreement() as agreement):
                await agreement.established()
            case api.ConnectionTerminating(context=Agreement() as agreement):
                await agreement.ended(event.explanation)
            case api.ConnectionTerminating(connection=api.PrimaryConnection() as connection):
                await self._ranges.leave(connection)

    def _begin(self, connection: api.PrimaryConnection) -> None:
        settings = settings_of(self._settings, connection.rule)
        is_ciphered = connection.protocol.is_in_tls
        if is_ciphered and settings.hides_nothing:
            connection.note("connect.refused", **connection.parties(), reason="tls-is-refused")
            connection.deny()
            return
        # Priority.NAT: who edits addresses is the first to see what the client says.
        dialogue = FtpDialogue(self, settings, self._ranges, is_ciphered=is_ciphered)
        connection.attach_data_filter(dialogue, api.Priority.NAT)


def settings_of(settings: FtpSettings, rule: api.Rule) -> FtpSettings:
    """Return the settings for what a rule allows: its own, and `settings` for the rest."""
    own: dict[str, Any] = dict(rule.filters.get("ftp", {}))
    return replace(settings, **own) if own else settings
