"""The stream under an FTP dialogue: from segments to command lines and reply lines, and back off.

Telnet, line ends, limits, TLS and the question "is this FTP at all?" are settled here; what a
command or a reply means is settled in `sallyport.filters.ftp.dialogue`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

from sallyport import limits
from sallyport.api import ProtocolError
from sallyport.filters.ftp.host import Host
from sallyport.wire.ftp.replies import ReplyLine, ReplyReader
from sallyport.wire.guard import FirstBytes, foreign_protocol, foreign_server
from sallyport.wire.lines import LineSplitter
from sallyport.wire.telnet import TelnetDecoder
from sallyport.wire.tls import RecordTracker


class FtpStream(ABC):
    """Both directions of one control connection, as lines; the idle clock starts at once.

    Its host calls `from_client` and the like as a data filter is called, never two at a time.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self.client, self.server, self.connection = host.client, host.server, host.connection
        host.set_deadline(limits.CONTROL_IDLE_SECONDS)
        self._telnet = TelnetDecoder()
        self._lines = LineSplitter(limits.MAX_FTP_LINE)
        self._replies = ReplyReader()
        # The first bytes of each side until they are known to be FTP, then None.
        self._client_first: bytes | None = b""
        self._server_first: bytes | None = b""
        self._client_tls: RecordTracker | None = None
        self._server_tls: RecordTracker | None = None
        self._is_partial = False
        self._was_active = True

    @abstractmethod
    async def client_line(self, line: bytes) -> None:
        """Take one line of the client as it came, well formed or not."""

    @abstractmethod
    async def reply_line(self, line: ReplyLine) -> None:
        """Take one line of a reply."""

    async def from_client(self, data: bytes) -> None:
        """Take bytes of the client, cut anywhere."""
        self._was_active = True
        if self._client_tls is not None:
            data = self._pass_ciphered(self._client_tls, data, self.server.send)
            if not data:
                return
            self._client_tls = None
        try:
            data = self._telnet.feed(data)
        except ProtocolError as error:
            self.connection.kill(error.reason)
            return
        if self._client_first is not None:
            first, opening = self._client_first + data, foreign_protocol(self._client_first + data)
            if opening is not FirstBytes.OURS:
                self._not_ours_yet("client", opening)
                self._client_first = first
                self._watch_line(is_partial=bool(first), is_new=False)
                return
            data, self._client_first = first, None
        lines = self._lines.feed(data)
        for line in lines:
            await self.client_line(line)
            if not self.connection.is_open:
                return
        if self._is_partial or self._lines.pending:
            self._watch_line(is_partial=bool(self._lines.pending), is_new=bool(lines))

    async def from_server(self, data: bytes) -> None:
        """Take bytes of the server, cut anywhere."""
        self._was_active = True
        if self._server_tls is not None:
            data = self._pass_ciphered(self._server_tls, data, self.client.send)
            if not data:
                return
            self._server_tls = None
        if self._server_first is not None:
            first, opening = self._server_first + data, foreign_server(self._server_first + data)
            if opening is not FirstBytes.OURS:
                self._not_ours_yet("server", opening)
                self._server_first = first
                return
            data, self._server_first = first, None
        try:
            for line in self._replies.feed(data):
                await self.reply_line(line)
                if self._server_tls is not None or not self.connection.is_open:
                    return  # what follows the 234 in plain text is dropped (attack F30)
        except ProtocolError as error:
            self.connection.note("reply.refused", level="warning", reason=error.reason)
            self.connection.close(error.reason)

    async def deadline_passed(self) -> None:
        """End a line that was begun and not finished (attack F17), or a dialogue nobody uses."""
        if self._is_partial:
            self.connection.kill("partial-line")
        elif self._was_active:
            self._was_active = False
            self.host.set_deadline(limits.CONTROL_IDLE_SECONDS)
        else:
            self.connection.kill("idle")

    def drop_unfinished_line(self) -> bool:
        """Forget what the client has begun to say and will not finish; give whether it had."""
        had_begun = bool(self._lines.pending)
        self._lines.clear()
        self._telnet = TelnetDecoder()
        self._watch_line(is_partial=False, is_new=False)
        return had_begun

    def switch_to_tls(self) -> None:
        """Make both directions opaque from here on; what the server has begun to say is dropped."""
        self._replies = ReplyReader()
        self._client_tls, self._server_tls = RecordTracker(), RecordTracker()

    def _pass_ciphered(
        self, tracker: RecordTracker, data: bytes, send: Callable[[bytes], None]
    ) -> bytes:
        """Pass TLS records on; give what is plain text again, after CCC or REIN (attack F31)."""
        ciphered, plain = tracker.feed(data)
        if plain and not tracker.has_begun:
            self.connection.kill("plain-text-after-auth")
            return b""
        send(ciphered)
        if plain:
            self.connection.note("stream.clear_again")
        return plain

    def _not_ours_yet(self, who: str, opening: FirstBytes) -> None:
        """End a stream that does not begin like FTP: it can never bind (attacks H01, H07, V12)."""
        if opening.is_foreign:
            self.connection.note("protocol.foreign", level="warning", who=who, found=opening)
            self.connection.kill(f"not-ftp-{opening}")

    def _watch_line(self, *, is_partial: bool, is_new: bool) -> None:
        """Set the clock for the end of a line that was begun, when that has changed."""
        if is_partial and (is_new or not self._is_partial):
            self.host.set_deadline(limits.PARTIAL_LINE_SECONDS)
        elif self._is_partial and not is_partial:
            self.host.set_deadline(limits.CONTROL_IDLE_SECONDS)
        self._is_partial = is_partial
