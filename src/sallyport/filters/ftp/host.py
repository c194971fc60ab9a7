"""What an FTP dialogue asks of whoever runs it; what a session or a socket is, it does not know."""

from typing import Literal, Protocol

from sallyport.api import Endpoint
from sallyport.filters.ftp.agreement import FtpTransfer, Offer


class End(Protocol):
    """One end of the control stream."""

    def send(self, data: bytes) -> None:
        """Queue bytes towards this end; never blocks, never raises."""

    def shutdown(self) -> None:
        """Say that no more bytes will come; idempotent."""


class Control(Protocol):
    """The control connection; `client` sends the commands, whichever side is protected."""

    @property
    def client(self) -> Endpoint:
        """Whoever sends commands."""

    @property
    def server(self) -> Endpoint:
        """Whoever answers them."""

    @property
    def is_open(self) -> bool:
        """Whether it goes on."""

    def note(
        self, event: str, *, level: Literal["info", "warning"] = "info", **fields: object
    ) -> None:
        """Write one line to the journal."""

    def close(self, reason: str) -> None:
        """End it when everything queued was sent; idempotent."""

    def kill(self, reason: str) -> None:
        """Reset both ends now; idempotent."""


class Host(Protocol):
    """Whoever runs a dialogue.

    Of each `transfer` for which it makes an offer it says `Agreement.established` when somebody has
    connected, and `Agreement.ended`, once, when nothing is left and nothing can come any more.
    """

    @property
    def client(self) -> End:
        """The end that sends commands."""

    @property
    def server(self) -> End:
        """The end that answers them."""

    @property
    def connection(self) -> Control:
        """The connection both are ends of."""

    def set_deadline(self, seconds: float | None) -> None:
        """Have `deadline_passed` called after `seconds`; one at a time; None: never."""

    async def reserve(self, wanted: Endpoint, transfer: FtpTransfer) -> Offer:
        """Reserve, not armed, what PORT or EPRT asks for; raises BindError."""

    async def open_passive(self, server: Endpoint, transfer: FtpTransfer) -> Offer:
        """Let the client connect to where the server listens, from now on; raises BindError."""
