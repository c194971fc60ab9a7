"""What client and server agreed on: one data connection, the command it is for, how it ended."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from sallyport.api import Endpoint
from sallyport.wire.ftp.formats import Command


class Offer(Protocol):
    """What was reserved for one data connection: a binding, or a permission."""

    @property
    def proxy_address(self) -> Endpoint:
        """Where to connect, as whoever connects must hear it."""

    @property
    def is_filtered(self) -> bool:
        """Whether somebody looks at what it will carry, and may end it with a verdict."""

    async def arm(self) -> None:
        """Open it; raises BindError."""

    def withdraw(self, reason: str) -> None:
        """Let nothing new in. Idempotent, never raises."""


class FtpTransfer:
    """What a data connection is for; its `connection.context`.

    A data filter on it reads here which command it carries out. A client may connect before it says
    so, but no file moves before; and a command the server refused at once no longer counts.
    """

    __slots__ = ("argument", "command")

    def __init__(self) -> None:
        self.command: str | None = None
        """`RETR`, `STOR`, `LIST` …, in upper case; None while none was passed to the server."""
        self.argument: str | None = None
        """What follows the command, a path as a rule; None when nothing does. UTF-8 (RFC 2640);
        other bytes as `os.fsdecode` gives them."""


class Agreement(FtpTransfer):
    """One agreed data connection, as the dialogue sees it."""

    __slots__ = (
        "_is_filtered",
        "_offer",
        "_on_end",
        "explanation",
        "is_established",
        "is_over",
        "is_patient",
    )

    def __init__(self, on_end: Callable[[], Awaitable[None]]) -> None:
        super().__init__()
        self._on_end = on_end
        self._offer: Offer | None = None
        self._is_filtered = False
        self.is_patient = True
        """Whether the client can wait for a verdict; who aborts cannot."""
        self.is_established = False
        self.is_over = False
        self.explanation: str | None = None
        """The verdict of whoever ended it, for the client; None: there is none."""

    @property
    def is_judged(self) -> bool:
        """Whether the server's word on the transfer is not the last one."""
        return self.is_patient and self._is_filtered

    def made(self, offer: Offer) -> None:
        """Take what was reserved for it, or opened."""
        self._offer, self._is_filtered = offer, offer.is_filtered

    def serve(self, command: Command) -> None:
        """Take it that the data connection is for `command`."""
        self.command = command.verb.decode("ascii")
        if command.argument is not None:
            self.argument = command.argument.decode("utf-8", errors="surrogateescape")

    def free(self) -> None:
        """Take it that the data connection is for no command so far."""
        self.command = self.argument = None

    def withdraw(self, reason: str) -> None:
        """Let nobody connect any more; a transfer under way may finish."""
        if self._offer is not None:
            self._offer.withdraw(reason)

    def established(self) -> None:
        """Hear that somebody has connected."""
        self.is_established = True

    async def ended(self, explanation: str | None) -> None:
        """Hear that nothing is left of it; what waited for that goes on."""
        self.is_over, self.explanation = True, explanation
        self._offer = None  # which knows of us: neither shall wait for the garbage collector
        await self._on_end()
