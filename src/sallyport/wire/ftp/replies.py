"""FTP replies as a stream of lines (RFC 959 section 4.2), and replies of our own."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sallyport import limits
from sallyport.errors import ProtocolError
from sallyport.wire.lines import LineSplitter, is_whole, text_of

# 6yz are the protected replies of RFC 2228; the blank may be missing when there is no text.
_FIRST_LINE = re.compile(rb"([1-6][0-9]{2})(?:(-)| |\r?\n|\Z)")


@dataclass(slots=True)
class ReplyLine:
    """One line of a reply as it came; `code` is that of the reply it belongs to."""

    raw: bytes
    code: int
    is_final: bool

    @property
    def text(self) -> bytes:
        """The line without its terminator, code included: spans in it are spans in `raw`."""
        return text_of(self.raw)

    @property
    def is_preliminary(self) -> bool:
        """Whether another reply to the same command will follow (1yz, RFC 959 section 4.2)."""
        return self.code < 200

    @property
    def is_success(self) -> bool:
        """Whether the command was carried out (2yz)."""
        return 200 <= self.code < 300


def reply(code: int, text: str) -> bytes:
    """Build a one-line reply of our own; raises ValueError when it would not be exactly that."""
    line = f"{code} {text}"
    if _FIRST_LINE.match(line.encode("ascii")) is None or not line.isprintable():
        raise ValueError(f"{line!r} is not one line of a reply")
    return line.encode("ascii") + b"\r\n"


def foreign_reply(code: int, text: str) -> bytes:
    """Build a one-line reply around somebody else's `text`.

    Whatever does not belong into one line of ASCII becomes `?`; what exceeds a line is cut off.
    """
    room = limits.MAX_FTP_LINE - len(b"451 \r\n")
    harmless = (c if c.isascii() and c.isprintable() else "?" for c in text[:room])
    return reply(code, "".join(harmless))


class ReplyReader:
    """Reads a server's bytes as replies, line by line, as RFC 959 section 4.2 groups them.

    Between `ddd-` and `ddd ` of the same code every line is text, whatever it begins with:
    that is where echoed lines and unpadded codes live (attacks V03, V07).
    """

    def __init__(
        self,
        line_limit: int = limits.MAX_FTP_REPLY_LINE,
        lines_limit: int = limits.MAX_FTP_REPLY_LINES,
    ) -> None:
        self._splitter = LineSplitter(line_limit)
        self._lines_limit = lines_limit
        # The code of the multi-line reply that is open, and how many lines it has had.
        self._open: bytes | None = None
        self._lines = 0

    @property
    def pending(self) -> bytes:
        """The bytes of the unfinished line."""
        return self._splitter.pending

    def feed(self, data: bytes) -> Iterator[ReplyLine]:
        """Take the next bytes and give the lines they complete.

        An iterator, so that lines before a fault are seen wherever segments cut the stream; who
        stops early drops the rest, as the switch to TLS wants it (attack F30). While iterating it
        raises ProtocolError `not-a-reply`, `reply-line-too-long` or `reply-too-many-lines`
        (attacks V11, V12); the stream has no meaning after that.
        """
        for line in self._splitter.feed(data):
            if not is_whole(line):
                raise ProtocolError("reply-line-too-long", line)
            yield self._first(line) if self._open is None else self._next(line, self._open)

    def _first(self, line: bytes) -> ReplyLine:
        found = _FIRST_LINE.match(line)
        if found is None:
            raise ProtocolError("not-a-reply", line)
        code, dash = found.groups()
        if dash:
            self._open, self._lines = code, 1
        return ReplyLine(line, int(code), not dash)

    def _next(self, line: bytes, code: bytes) -> ReplyLine:
        self._lines += 1
        if self._lines > self._lines_limit:
            raise ProtocolError("reply-too-many-lines", line)
        # Without a blank too: "a code alone" is how some servers end a reply without text.
        is_final = line.startswith(code + b" ") or text_of(line) == code
        if is_final:
            self._open = None
        return ReplyLine(line, int(code), is_final)
