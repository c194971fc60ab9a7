"""FTP (RFC 959, 2428, 4217): opens the data connection that both sides agreed on, and no other.

Active mode: PORT or EPRT reserves a port; the server hears of that one; its 2xx to that very
command opens the pinhole before the client hears the 2xx. Passive mode: only the reply to the
client's own PASV or EPSV lets the client connect, and to no other host than the server.
"""

from sallyport.core.events import ConnectTcp, Event
from sallyport.core.filter import ApplicationFilter, SessionFilter
from sallyport.core.session import Session
from sallyport.filters.ftp_control import FTP, FtpControl, FtpSettings

__all__ = ["FTP", "FtpFilter", "FtpSession", "FtpSettings"]


class FtpFilter(ApplicationFilter):
    """The filter for FTP servers outside."""

    name = "ftp"
    protocols = (FTP,)

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
            event.connection.attach_data_filter(FtpControl(self.session, self, self.settings))
