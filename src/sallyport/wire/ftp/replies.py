"""FTP replies as a stream of lines (RFC 959 section 4.2), and replies of our own.

Reading is tolerant, because nothing is lost when a line means nothing to us: it passes. What may
count is marked strictly.
"""

import re
from collections.abc import Sequence

from msgspec import Struct

from sallyport import limits
from sallyport.wire.lines import LineReader
from sallyport.wire.telnet import IAC, without_commands

# 6yz are the protected replies of RFC 2228. The blank may be missing: some servers send a code
# alone, or a code and text in one word.
_FIRST_LINE = re.compile(rb"([1-6][0-9]{2})(?![0-9])(-)?")


class ReplyLine(Struct, frozen=True, gc=False):
    """One line from a server, or a part of one that is too long, as it came."""

    raw: bytes
    code: int | None
    """The code of the reply that the line belongs to; None for text outside any reply."""
    is_first: bool
    """Whether it begins a reply."""
    is_final: bool
    """Whether it ends a reply, though not always what there is to say about a command: see
    `is_preliminary`."""
    is_whole: bool = True
    """Whether it is a line, not the beginning or another part of one that is too long."""
    is_certain: bool = True
    """Whether it cannot be text of a reply that has not ended."""

    @property
    def text(self) -> bytes:
        """The line without its terminator, code included: spans in it are spans in `raw`."""
        return self.raw.removesuffix(b"\n").removesuffix(b"\r")

    @property
    def is_preliminary(self) -> bool:
        """Whether another reply to the same command will follow (1yz, RFC 959 section 4.2)."""
        return self.code is not None and self.code < 200

    @property
    def is_success(self) -> bool:
        """Whether the command was carried out (2yz)."""
        return self.code is not None and 200 <= self.code < 300

    @property
    def is_refusal(self) -> bool:
        """Whether the command was not carried out (4yz, 5yz)."""
        return self.code is not None and self.code >= 400


# No RFC sets a limit to a reply. 512 bytes is what old clients have room for.
_OWN_REPLY_BYTES = 512


def reply(code: int, text: str) -> bytes:
    """Write a one-line reply of our own; raises ValueError when it would not be exactly that."""
    line = f"{code} {text}"
    if _FIRST_LINE.match(line.encode("ascii")) is None or not line.isprintable():
        raise ValueError(f"{line!r} is not one line of a reply")
    return line.encode("ascii") + b"\r\n"


def foreign_reply(code: int, text: str) -> bytes:
    """Write a one-line reply with a text that is not ours.

    What does not belong into one line of ASCII becomes `?`; what exceeds the 512 bytes that every
    client reads is cut off.
    """
    room = _OWN_REPLY_BYTES - len(b"451 \r\n")
    harmless = (c if c.isascii() and c.isprintable() else "?" for c in text[:room])
    return reply(code, "".join(harmless))


class ReplyReader:
    """Reads a server's bytes as lines of replies, as RFC 959 section 4.2 groups them.

    Between `ddd-` and `ddd ` of the same code every line is text, whatever it begins with: that is
    where echoed lines and unpadded codes live (attacks V03, V07). Some servers end such a reply
    with another code all the same. Which of the two a line `eee ` is cannot be read from it, so a
    reply with such a line is *doubtful*; when the client goes on after it (`client_goes_on`), the
    next line with a code begins a reply, but no line is certain until the first code has come back.
    """

    def __init__(self, line_limit: int = limits.MAX_FTP_REPLY_LINE) -> None:
        self._lines = LineReader(line_limit)
        self._open: bytes | None = None
        """The code of the multi-line reply that has not ended."""
        self._is_doubtful = False
        self._has_client_gone_on = False
        self._distrusted: bytes | None = None
        """The code of a reply that was taken to have ended and perhaps has not."""
        self._is_in_long_line = False

    @property
    def is_inside_reply(self) -> bool:
        """Whether a multi-line reply has begun and not ended."""
        return self._open is not None

    @property
    def may_have_ended(self) -> bool:
        """Whether the reply that has begun and not ended has a line that may be its end."""
        return self._is_doubtful

    def client_goes_on(self) -> None:
        """Take note that the client has sent another command."""
        self._has_client_gone_on = self._is_doubtful

    def whole_lines(self, data: bytes) -> Sequence[bytes]:
        """Return the lines that `data`, fed now, would be, for `read`; none: it has to be fed."""
        return self._lines.whole_lines(data)

    def feed(self, data: bytes) -> None:
        """Add the next bytes."""
        self._lines.feed(data)

    def take(self) -> ReplyLine | None:
        """Return the next line; None while there is no whole one."""
        line = self._lines.take()
        if line is None:
            return None
        raw, is_whole = line
        was_in_long_line, self._is_in_long_line = self._is_in_long_line, not line.ends_line
        if was_in_long_line:
            code = None if self._open is None else int(self._open)
            return ReplyLine(raw, code, False, False, False)
        return self.read(raw, is_whole=is_whole)

    def read(self, raw: bytes, *, is_whole: bool = True) -> ReplyLine:
        """Read a line that was not fed, or the first part of a long one."""
        # Telnet commands pass, and hide no code.
        read = without_commands(raw) if IAC in raw else raw
        if self._open is None:
            return self._first(raw, read, is_whole)
        return self._next(raw, read, is_whole)

    def take_rest(self) -> bytes:
        """Return the bytes of the unfinished line; afterwards a new line begins."""
        self._is_in_long_line = False
        return self._lines.take_rest()

    def _first(self, raw: bytes, read: bytes, is_whole: bool) -> ReplyLine:
        found = _FIRST_LINE.match(read)
        if found is None:
            return ReplyLine(raw, None, False, False, is_whole)
        digits, dash = found.groups()
        if digits == self._distrusted and not dash:
            self._distrusted = None
        if dash:
            self._open = digits
        return ReplyLine(raw, int(digits), True, not dash, is_whole, self._distrusted is None)

    def _next(self, raw: bytes, read: bytes, is_whole: bool) -> ReplyLine:
        code = self._open
        assert code is not None  # noqa: S101 - asked by the caller
        # Without a blank too: a code alone is how some servers end a reply without text.
        if read.startswith(code) and (read[3:4] == b" " or not read[3:].strip(b"\r\n")):
            self._leave()
            return ReplyLine(raw, int(code), False, True, is_whole, self._distrusted is None)
        if read[3:4] in (b" ", b"-") and (found := _FIRST_LINE.match(read)) and found[1] != code:
            if self._has_client_gone_on:
                self._leave()
                self._distrusted = self._distrusted or code
                return self._first(raw, read, is_whole)
            self._is_doubtful = self._is_doubtful or read[3:4] == b" "
        return ReplyLine(raw, int(code), False, False, is_whole, self._distrusted is None)

    def _leave(self) -> None:
        self._open = None
        self._is_doubtful = self._has_client_gone_on = False
