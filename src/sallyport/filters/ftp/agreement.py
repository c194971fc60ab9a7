"""What client and server agreed on: one data connection, the command it is for, how it ended."""

from collections.abc import Awaitable, Callable

from sallyport import api, limits
from sallyport.wire.ftp.formats import Command

Opening = api.Binding | api.FutureConnection
"""What was opened for a data connection: a port of ours, or the permission to connect outwards."""


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
    """One agreed data connection, as the dialogue sees it.

    `on_change` is called when its first connection was admitted, and when nothing is left of it.
    """

    __slots__ = (
        "_is_filtered",
        "_on_change",
        "_opening",
        "_transfer_wait",
        "explanation",
        "is_established",
        "is_over",
        "is_patient",
    )

    def __init__(self, on_change: Callable[[], Awaitable[None]], transfer_wait: float) -> None:
        """`transfer_wait`: how many seconds a transfer that was asked for may take to begin."""
        super().__init__()
        self._on_change = on_change
        self._transfer_wait = transfer_wait
        self._opening: Opening | None = None
        self._is_filtered = False
        self.is_patient = True
        """Whether the client can wait for a verdict; a client that aborts cannot."""
        self.is_established = False
        self.is_over = False
        self.explanation: str | None = None
        """The verdict of the filter that ended it, for the client; None: there is none."""

    @property
    def is_judged(self) -> bool:
        """Whether a filter may replace the server's word on the transfer."""
        return self.is_patient and self._is_filtered

    @property
    def is_awaited(self) -> bool:
        """Whether its connection may still come."""
        return not (self.is_established or self.is_over)

    @property
    def is_lost(self) -> bool:
        """Whether its time has passed and nothing has connected."""
        return self.is_over and not self.is_established

    def made(self, opening: Opening) -> None:
        """Take what was opened for it."""
        self._opening, self._is_filtered = opening, opening.is_filtered

    def serve(self, command: Command) -> None:
        """Be for `command`, and wait for its connection as long as it may take to come."""
        self.command = command.verb.decode("ascii")
        if command.argument is not None:
            self.argument = command.argument.decode("utf-8", errors="surrogateescape")
        self._wait(self._transfer_wait)

    def free(self) -> None:
        """Be for no command: another one may use what this one could not."""
        self.command = self.argument = None
        self._wait(limits.ACCEPT_TIMEOUT_SECONDS)

    def agreed(self) -> None:
        """The server has agreed: a transfer must follow as soon as after any agreement."""
        if self.command is None:
            self._wait(limits.ACCEPT_TIMEOUT_SECONDS)

    def answered(self) -> None:
        """The server has said its last word on the transfer: no connection takes long any more."""
        self._wait(limits.ACCEPT_TIMEOUT_SECONDS)

    def withdraw(self, reason: str) -> None:
        """Let nothing new connect; a transfer under way may finish."""
        if self._opening is not None:
            self._opening.withdraw(reason)

    def refuse(self, reason: str) -> None:
        """Close what was opened for a command that the server refused, used or not (attack F20)."""
        if self._opening is not None:
            self._opening.kill(reason)

    async def established(self) -> None:
        """Take note that its connection was admitted; what waited for that goes on."""
        self.is_established = True
        await self._on_change()

    async def ended(self, explanation: str | None) -> None:
        """Take note that nothing is left of it; what waited for that goes on."""
        self.is_over, self.explanation = True, explanation
        self._opening = None  # which knows of us: neither shall wait for the garbage collector
        await self._on_change()

    def _wait(self, seconds: float) -> None:
        if self._opening is not None and self.is_awaited:
            self._opening.wait(seconds)
