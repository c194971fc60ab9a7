"""The stream under an FTP dialogue: from segments to command lines and reply lines, and back off.

Telnet, lengths, TLS, time and the question "is this FTP at all?" are settled here; what a command
or a reply means is settled in `sallyport.filters.ftp.dialogue`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

from sallyport import api, limits
from sallyport.wire.ftp.replies import ReplyLine, ReplyReader
from sallyport.wire.telnet import IAC, plain_prefix, without_commands
from sallyport.wire.tls import HANDSHAKE_STARTS, RecordTracker

_IAC = bytes([IAC])

# While something waits the clock is looked at once a second: one deadline is all a filter has, and
# a dialogue in which nothing waits costs none.
_TICK_SECONDS = 1.0


class FtpStream(api.DataFilter, ABC):
    """Both directions of one control connection, as lines.

    The filter that ends a connection says so by `connection.close` or `connection.kill`; nothing is
    read after that.
    """

    connection: api.PrimaryConnection

    def __init__(self, *, is_ciphered: bool = False) -> None:
        """Be a stream at its beginning; `is_ciphered`: TLS comes first, as at port 990."""
        self._lines = api.LineReader(limits.MAX_FTP_LINE)
        self._replies = ReplyReader()
        # The first bytes of each side until they are known to be FTP, then None.
        self._client_first: bytes | None = b""
        self._server_first: bytes | None = b""
        self._client_tls: RecordTracker | None = None
        self._server_tls: RecordTracker | None = None
        if is_ciphered:
            self.switch_to_tls()
        self._is_in_long_line = False
        self._is_partial = False
        self._is_client_ahead = False
        """Whether the client is held back: then it is we who do not read the end of its line."""
        self._was_active = True
        self._is_ticking = False
        self._partial_seconds = 0.0
        self._silent_seconds = 0.0

    @abstractmethod
    async def client_line(self, line: bytes) -> None:
        """Take one line of the client as it came, well formed or not."""

    @abstractmethod
    async def long_line(self) -> None:
        """Take it that the client has said a line that is too long; it is discarded."""

    @abstractmethod
    async def reply_line(self, line: ReplyLine) -> None:
        """Take one line of a server."""

    @abstractmethod
    def may_switch_to_tls(self) -> bool:
        """Whether a client that begins a TLS handshake now has the server's word for it."""

    @property
    @abstractmethod
    def is_waiting(self) -> bool:
        """Whether something is held until the server says more."""

    @abstractmethod
    async def silence(self, seconds: float) -> None:
        """Take it that something waits and the server has said nothing for so long."""

    async def started(self) -> None:
        """Start the idle clock."""
        self.set_deadline(limits.CONTROL_IDLE_SECONDS)

    async def from_client(self, data: bytes) -> None:
        """Take bytes of the client, cut anywhere."""
        self._was_active = True
        if self._client_tls is not None:
            data = self._pass_ciphered(self._client_tls, data, self.server.send)
            if not data:
                return
            self._client_tls = None
        if self._client_first is not None:
            first = self._client_first + data
            # An IAC at the very end waits for the byte after it.
            read = without_commands(first).removesuffix(_IAC)
            found = api.foreign_protocol(read, limits.MAX_FTP_LINE)
            if found is not api.FirstBytes.OURS:
                self._not_ours_yet("client", found)
                self._client_first = first
                self._watch_line(is_partial=bool(first), is_new=False)
                return
            data, self._client_first = first, None
        elif data[:1] in HANDSHAKE_STARTS and self._is_at_line_start and self.may_switch_to_tls():
            await self.accept_tls()
            await self.from_client(data)
            return
        if not (IAC in data or self._is_partial) and len(self._lines.whole_lines(data)) == 1:
            await self.client_line(data)  # as nearly always
            return
        if IAC in data or self._lines.pending == _IAC:
            data = self._pass_signals(data)
        await self._read_lines(data)

    async def from_server(self, data: bytes) -> None:
        """Take bytes of the server, cut anywhere."""
        self._was_active = True
        self._silent_seconds = 0.0
        if self._server_tls is not None:
            data = self._pass_ciphered(self._server_tls, data, self.client.send)
            if not data:
                return
            self._server_tls = None
        if self._server_first is not None:
            first = self._server_first + data
            found = api.foreign_server(first)
            if found is not api.FirstBytes.OURS:
                self._not_ours_yet("server", found)
                self._server_first = first
                return
            data, self._server_first = first, None
        replies = self._replies
        if lines := replies.whole_lines(data):  # as nearly always
            for raw in lines:
                await self.reply_line(replies.read(raw))
                if self._server_tls is not None or not self.connection.is_open:
                    return  # what follows the 234 in plain text is dropped (attack F30)
            return
        replies.feed(data)
        while (line := replies.take()) is not None:
            await self.reply_line(line)
            if self._server_tls is not None or not self.connection.is_open:
                return

    async def deadline_passed(self) -> None:
        """End a line that was begun and not finished (attack F17), and what waits for ever."""
        if self._is_ticking:
            await self._tick()
        elif self._was_active:
            self._was_active = False
            self.set_deadline(limits.CONTROL_IDLE_SECONDS)
        else:
            self.connection.kill("idle")

    def watch_waiting(self) -> None:
        """Start the clock when something waits, and stop it when nothing does any more."""
        is_ticking = self._is_partial or self.is_waiting
        if is_ticking is not self._is_ticking:
            self._is_ticking = is_ticking
            self._silent_seconds = 0.0
            self.set_deadline(_TICK_SECONDS if is_ticking else limits.CONTROL_IDLE_SECONDS)

    def wait_anew(self) -> None:
        """Count the server's silence from now on."""
        self._silent_seconds = 0.0

    def unfinished_line(self) -> bytes:
        """Return, and forget, what the client has begun to say and will not finish."""
        begun = self._client_first or self._lines.take_rest()
        if self._client_first:
            self._client_first = b""
        self._is_in_long_line = False
        self._watch_line(is_partial=False, is_new=False)
        return begun

    def unfinished_reply(self) -> bytes:
        """Return, and forget, what the server has begun to say and will not finish."""
        begun = self._server_first or self._replies.take_rest()
        if self._server_first:
            self._server_first = b""
        return begun

    def switch_to_tls(self) -> None:
        """Make both directions opaque from here on; what the server has begun to say is dropped."""
        self._replies = ReplyReader()
        self._client_tls, self._server_tls = RecordTracker(), RecordTracker()

    @abstractmethod
    async def accept_tls(self) -> None:
        """Switch, because the client did after the server had let it."""

    # -- inside -------------------------------------------------------------------------------

    @property
    def _is_at_line_start(self) -> bool:
        return not (self._is_in_long_line or self._lines.pending)

    async def _read_lines(self, data: bytes) -> None:
        lines, count = self._lines, 0
        lines.feed(data)
        while (line := lines.take()) is not None:
            count += 1
            if line.is_whole:
                await self.client_line(line.raw)
            elif self._is_in_long_line:
                self._is_in_long_line = not line.ends_line
            else:
                self._is_in_long_line = not line.ends_line
                await self.long_line()
            if not self.connection.is_open:
                return
        is_partial = bool(lines.pending) or self._is_in_long_line
        if self._is_partial or is_partial:
            self._watch_line(is_partial=is_partial, is_new=count > 0 and not self._is_in_long_line)

    @property
    def is_ciphered(self) -> bool:
        """Whether what the server says is TLS now."""
        return self._server_tls is not None

    def _pass_signals(self, data: bytes) -> bytes:
        """Pass Telnet commands on that stand between two lines; return what follows them.

        They are no part of a line, and the urgent mark that comes with the last one (RFC 959
        section 4.1.3, ABOR) has to leave with it. What is held is not overtaken.
        """
        if self._lines.pending == _IAC:
            data = self._lines.take_rest() + data
        if not self._is_at_line_start or self.is_waiting:
            return data
        end = plain_prefix(data)
        if end:
            self.server.send(data[:end])
        return data[end:]

    def _pass_ciphered(
        self, tracker: RecordTracker, data: bytes, send: Callable[[bytes], None]
    ) -> bytes:
        """Pass TLS records on; return what is plain text again, after CCC or REIN (attack F31)."""
        ciphered, plain = tracker.feed(data)
        if plain and not tracker.has_begun:
            self.connection.kill("plain-text-after-auth")
            return b""
        send(ciphered)
        if plain:
            self.connection.note("stream.clear_again")
        return plain

    def _not_ours_yet(self, who: str, found: api.FirstBytes) -> None:
        """End a stream that does not begin like FTP: it can never bind (attacks H01, H07, V12)."""
        if found.is_foreign:
            self.connection.note("protocol.foreign", level="warning", who=who, found=found)
            self.connection.kill(f"not-ftp-{found}")

    def _watch_line(self, *, is_partial: bool, is_new: bool) -> None:
        """Set the clock for the end of a line that was begun, when that has changed."""
        if is_new or not is_partial:
            self._partial_seconds = 0.0
        self._is_partial = is_partial
        self.watch_waiting()

    async def _tick(self) -> None:
        self.set_deadline(_TICK_SECONDS)
        if self._is_partial and not self._is_client_ahead:
            self._partial_seconds += _TICK_SECONDS
            if self._partial_seconds >= limits.PARTIAL_LINE_SECONDS:
                self.connection.kill("partial-line")
                return
        if self.is_waiting:
            self._silent_seconds += _TICK_SECONDS
            await self.silence(self._silent_seconds)
        if self.connection.is_open:
            self.watch_waiting()
