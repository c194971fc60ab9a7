"""FTP (RFC 959, 2428, 4217): opens the data connection that both sides agreed on, and no other.

One filter for both directions: clients inside that talk to servers outside
(`sallyport.filters.ftp_outbound`), and clients outside that talk to a published server
(`sallyport.filters.ftp_inbound`). What is said and when it counts is the same for both
(`sallyport.filters.ftp_control`).
"""

from sallyport.core.events import ConnectTcp, Event
from sallyport.core.filter import ApplicationFilter, SessionFilter
from sallyport.core.protocols import Direction, ProtocolDefinition
from sallyport.core.session import Session
from sallyport.filters.ftp_control import FtpSettings
from sallyport.filters.ftp_inbound import FtpInbound
from sallyport.filters.ftp_outbound import FtpOutbound
from sallyport.flags import Transport

__all__ = ["FTP", "FTP_SERVER", "FtpFilter", "FtpSession", "FtpSettings"]

FTP = ProtocolDefinition("ftp", Transport.TCP, 21)
"""Servers outside, as access rules know the protocol."""

FTP_SERVER = ProtocolDefinition("ftp-server", Transport.TCP, 21, Direction.INBOUND)
"""Servers of ours, as publishing rules know the protocol."""


class FtpFilter(ApplicationFilter):
    """The filter for FTP servers, outside and published."""

    name = "ftp"
    protocols = (FTP, FTP_SERVER)

    def __init__(self, settings: FtpSettings | None = None) -> None:
        self.settings = settings or FtpSettings()

    def attach_to_session(self, session: Session) -> SessionFilter:
        """See `ApplicationFilter`."""
        return FtpSession(session, self.settings)


class FtpSession(SessionFilter):
    """Gives every FTP control connection of a client its dialogue."""

    def __init__(self, session: Session, settings: FtpSettings) -> None:
        self.session = session
        self.settings = settings

    async def on_event(self, event: Event) -> None:
        """See `SessionFilter`; what becomes of bindings is in the journal already."""
        if isinstance(event, ConnectTcp):
            is_published = event.connection.protocol.direction is Direction.INBOUND
            dialogue = FtpInbound if is_published else FtpOutbound
            event.connection.attach_data_filter(dialogue(self.session, self, self.settings))
