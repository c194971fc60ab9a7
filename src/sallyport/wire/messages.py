"""Messages of RTSP and SIP: a start line, headers, a body; what is written back is what was read.

Both protocols took this grammar from HTTP (RFC 2326 section 4, RFC 7826 section 5, RFC 3261 section
7). A message is kept as the lines it came in, and only a header that is replaced is ever written
anew: folded lines, odd blanks and compact names stay as their sender wrote them.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

from sallyport.errors import ProtocolError

# RFC 2326 section 10.12: a frame begins with this byte, its channel, and two bytes of length.
_FRAME, _FRAME_HEAD = b"$", 4

# RFC 3261 section 25.1: a token; a method is one, and so is the name of a header.
_TOKEN = rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
# Between method, target and version stands one blank; senders of RTSP put more, and servers read
# it. A target has no blank, but cameras are asked for files whose names have some.
_REQUEST = re.compile(rb"(" + _TOKEN + rb") +(\S(?:[^\r\n]*\S)?) +((?:RTSP|SIP)/[0-9]+\.[0-9]+) *")
_STATUS = re.compile(rb"((?:RTSP|SIP)/[0-9]+\.[0-9]+) +([1-6][0-9]{2})(?: ([^\r\n]*))?")
_HEADER = re.compile(rb"(" + _TOKEN + rb")[ \t]*:")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_NUMBER = re.compile(rb"[0-9]{1,10}")

# Some reader behind us could take one of them for the end of a line (attacks F16, P10).
_STRAY = re.compile(rb"\r(?!\n)|\0")


class HeaderLine(NamedTuple):
    """One header, with the lines that continue it and the end of the last one."""

    raw: bytes
    name: bytes
    """In small letters; of a compact form the long one."""

    @property
    def value(self) -> bytes:
        """What it says, unfolded, without blanks around it."""
        return _FOLD.sub(b" ", self.raw.partition(b":")[2].rstrip(b"\r\n")).strip(b" \t")

    def saying(self, value: bytes) -> "HeaderLine":
        """Return the header with another value: its name, blanks and end of line stay."""
        head, colon, rest = self.raw.partition(b":")
        blanks = rest[: len(rest) - len(rest.lstrip(b" \t"))]
        end = b"\r\n" if rest.endswith(b"\r\n") else b"\n"
        return HeaderLine(head + colon + blanks + value + end, self.name)


class StartLine(NamedTuple):
    """The first line of a message, read."""

    version: bytes
    """Such as `RTSP/1.0`."""
    method: bytes = b""
    """Empty in a response."""
    target: bytes = b""
    """The URI of a request."""
    code: int = 0
    """The status of a response, 100 to 699; 0 in a request."""

    @property
    def is_request(self) -> bool:
        """Whether it begins a request."""
        return not self.code


def read_start_line(line: bytes) -> StartLine:
    """Read a first line without its end; raises ProtocolError `not-a-start-line`."""
    if found := _STATUS.fullmatch(line):
        return StartLine(found[1], code=int(found[2]))
    if found := _REQUEST.fullmatch(line):
        return StartLine(found[3], found[1], found[2])
    raise ProtocolError("not-a-start-line", line)


@dataclass(frozen=True, slots=True)
class TextMessage:
    """A request or a response; `bytes()` of it is what was read, but for what was replaced."""

    start: StartLine
    first: bytes
    """The first line with its end."""
    headers: tuple[HeaderLine, ...]
    blank: bytes
    """The empty line after the headers."""
    body: bytes = b""

    def __bytes__(self) -> bytes:
        return self.head + self.body

    @property
    def head(self) -> bytes:
        """Everything before the body."""
        return b"".join((self.first, *(header.raw for header in self.headers), self.blank))

    def all(self, name: bytes) -> list[bytes]:
        """Return the values of every header of this name, in small letters, in their order."""
        return [header.value for header in self.headers if header.name == name]

    def get(self, name: bytes) -> bytes | None:
        """Return the value of the first header of this name; None without one."""
        return next((header.value for header in self.headers if header.name == name), None)

    def the_only(self, name: bytes) -> bytes | None:
        """Return the value of the one header of this name; None without one.

        Raises ProtocolError `header-twice` when two say different things: which one counts would
        depend on who reads it.
        """
        values = set(self.all(name))
        if len(values) > 1:
            raise ProtocolError("header-twice", name)
        return values.pop() if values else None

    @property
    def content_length(self) -> int | None:
        """The length of the body that it names; None when it names none.

        Raises ProtocolError `bad-content-length`, `header-twice` (attack P09).
        """
        said = self.the_only(b"content-length")
        if said is None:
            return None
        if not _NUMBER.fullmatch(said):
            raise ProtocolError("bad-content-length", said)
        return int(said)

    def with_header(self, index: int, value: bytes) -> Self:
        """Return it with another value in the header at `index`."""
        changed = (*self.headers[:index], self.headers[index].saying(value))
        return replace(self, headers=changed + self.headers[index + 1 :])

    def with_target(self, target: bytes) -> Self:
        """Return a request with another URI; everything around it stays."""
        at = self.first.index(self.start.target, len(self.start.method))
        first = self.first[:at] + target + self.first[at + len(self.start.target) :]
        return replace(self, first=first, start=self.start._replace(target=target))

    def with_body(self, body: bytes) -> Self:
        """Return it with another body, and the length of that where a length was said."""
        if body == self.body:
            return self
        changed = replace(self, body=body)
        for i, header in enumerate(self.headers):
            if header.name == b"content-length":
                changed = changed.with_header(i, b"%d" % len(body))
        return changed


NO_COMPACT_FORMS: Mapping[bytes, bytes] = {}


def read_head(
    head: bytes, max_headers: int, compact: Mapping[bytes, bytes] = NO_COMPACT_FORMS
) -> TextMessage:
    """Read everything up to the empty line, which ends `head`; the body is still empty.

    `compact` are the short names that headers may go by. Raises ProtocolError: `not-a-start-line`,
    `not-a-header`, `too-many-headers`, `stray-line-end`, and `header-of-no-message` for a line that
    continues nothing.
    """
    if _STRAY.search(head):
        raise ProtocolError("stray-line-end", head)
    first, *lines = head.splitlines(keepends=True)
    start = read_start_line(first.rstrip(b"\r\n"))
    blank = lines.pop()
    raws: list[bytes] = []
    for line in lines:
        if line[:1] not in (b" ", b"\t"):
            raws.append(line)
        elif raws:
            raws[-1] += line
        else:
            raise ProtocolError("header-of-no-message", line)
    if len(raws) > max_headers:
        raise ProtocolError("too-many-headers", first)
    return TextMessage(start, first, tuple(_headers(raws, compact)), blank)


def _headers(raws: list[bytes], compact: Mapping[bytes, bytes]) -> Iterator[HeaderLine]:
    for raw in raws:
        found = _HEADER.match(raw)
        if found is None:
            raise ProtocolError("not-a-header", raw)
        name = found[1].lower()
        yield HeaderLine(raw, compact.get(name, name))


_END_OF_HEAD = re.compile(rb"\n\r?\n")
_BLANK_LINES = re.compile(rb"(?:\r?\n)+")


class MessageReader:
    """Cuts a stream into messages and what stands between them; no byte is lost or changed.

    `take` returns a message, or bytes that are to be passed on as they are: blank lines (the
    keep-alives of RFC 5626), frames of interleaved data, and the body of a message when bodies are
    not held (`max_body` None). The same messages come out wherever segments cut the stream.
    """

    def __init__(
        self,
        *,
        max_head: int,
        max_headers: int,
        max_body: int | None = None,
        is_interleaved: bool = False,
        compact: Mapping[bytes, bytes] = NO_COMPACT_FORMS,
    ) -> None:
        """Be at the beginning of a stream.

        `max_head`: bytes of start line and headers. `max_body`: the longest body that is held with
        its message. `is_interleaved`: whether frames (RFC 2326 section 10.12) may stand between
        messages, with whatever they hold (attack R04).
        """
        self._max_head = max_head
        self._max_headers = max_headers
        self._max_body = max_body
        self._is_interleaved = is_interleaved
        self._compact = compact
        self._held = bytearray()
        self._to_pass = 0
        """Bytes of a body or a frame that are still to come."""
        self._head: TextMessage | None = None
        """A message whose body has not come yet."""
        self._body_length = 0

    @property
    def pending(self) -> bytes:
        """What was fed and not taken."""
        return bytes(self._held)

    @property
    def is_between_messages(self) -> bool:
        """Whether all that was taken are whole messages, bodies and frames."""
        return not self._to_pass and self._head is None

    def feed(self, data: bytes) -> None:
        """Add the next bytes."""
        self._held += data

    def take(self) -> TextMessage | bytes | None:
        """Return what comes next; None when more bytes are needed.

        Raises ProtocolError what `read_head` raises, `head-too-long`, `body-too-long`,
        `bad-content-length`, `header-twice`, and `no-content-length` for a message whose body is to
        be held. The stream cannot be read any further then.
        """
        held = self._held
        if self._to_pass and held:
            return self._cut(min(self._to_pass, len(held)), is_passed=True)
        if self._head is not None:
            return self._with_body(self._head)
        if self._is_interleaved and held.startswith(_FRAME):
            return self._frame()
        if found := _BLANK_LINES.match(held):
            return self._cut(found.end())
        return self._message() if held.strip(b"\r") else None

    def take_rest(self) -> bytes:
        """Return everything that is left."""
        unread = b"" if self._head is None else bytes(self._head)
        rest, self._head = unread + bytes(self._held), None
        self._held.clear()
        return rest

    def _cut(self, length: int, *, is_passed: bool = False) -> bytes:
        cut = bytes(self._held[:length])
        del self._held[:length]
        if is_passed:
            self._to_pass -= length
        return cut

    def _frame(self) -> bytes | None:
        if len(self._held) < _FRAME_HEAD:
            return None
        self._to_pass = _FRAME_HEAD + int.from_bytes(self._held[2:_FRAME_HEAD], "big")
        return self._cut(min(self._to_pass, len(self._held)), is_passed=True)

    def _message(self) -> TextMessage | None:
        end = _END_OF_HEAD.search(self._held, 0, self._max_head)
        if end is None:
            if len(self._held) >= self._max_head:
                raise ProtocolError("head-too-long", bytes(self._held[:64]))
            return None
        message = read_head(bytes(self._held[: end.end()]), self._max_headers, self._compact)
        length = message.content_length
        if self._max_body is None:
            self._to_pass = length or 0
        elif length is None:
            raise ProtocolError("no-content-length", message.first)
        elif length > self._max_body:
            raise ProtocolError("body-too-long", message.first)
        del self._held[: end.end()]
        if self._max_body is None or not length:
            return message
        self._head, self._body_length = message, length
        return self._with_body(message)

    def _with_body(self, message: TextMessage) -> TextMessage | None:
        if len(self._held) < self._body_length:
            return None
        self._head = None
        return replace(message, body=self._cut(self._body_length))
