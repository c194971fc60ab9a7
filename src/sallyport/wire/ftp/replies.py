"""FTP replies as a stream of lines (RFC 959 section 4.2), and replies of our own."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sallyport import limits
from sallyport.errors import ProtocolError
from sallyport.wire.lines import Line, LineSplitter

# 6yz are the protected replies of RFC 2228; the blank may be missing when there is no text.
_FIRST_LINE = re.compile(rb"([1-6][0-9]{2})(?:(-)| |\r?\n|\Z)")


class ReplyLine(NamedTuple):
    """One line of a reply as it came; `code` is that of the reply it belongs to."""

    raw: bytes
    code: int
    is_first: bool
    is_final: bool

    @property
    def text(self) -> bytes:
        """The line without its terminator, code included: spans in it are spans in `raw`."""
        return Line(self.raw).text

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
        self._splitter = LineSplitter(line_limit, is_strict=False)
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
        return self._read(self._splitter.feed(data))

    def _read(self, lines: Iterable[Line]) -> Iterator[ReplyLine]:
        for line in lines:
            if line.fault is not None:
                raise ProtocolError("reply-line-too-long", line.raw)
            yield self._first(line) if self._open is None else self._next(line, self._open)

    def _first(self, line: Line) -> ReplyLine:
        found = _FIRST_LINE.match(line.raw)
        if found is None:
            raise ProtocolError("not-a-reply", line.raw)
        is_final = found[2] is None
        if not is_final:
            self._open, self._lines = found[1], 1
        return ReplyLine(line.raw, int(found[1]), is_first=True, is_final=is_final)

    def _next(self, line: Line, code: bytes) -> ReplyLine:
        self._lines += 1
        if self._lines > self._lines_limit:
            raise ProtocolError("reply-too-many-lines", line.raw)
        # Without a blank too: "a code alone" is how some servers end a reply without text.
        is_final = line.text == code or line.text.startswith(code + b" ")
        if is_final:
            self._open = None
        return ReplyLine(line.raw, int(code), is_first=False, is_final=is_final)
