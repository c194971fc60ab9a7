"""Session descriptions (RFC 8866): where each stream of media is sent; read to be written back.

The description is kept as the lines it came in. Only a line that says an address or port of the
client is ever written anew; their order and number, and what is not understood, stay.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from sallyport import limits
from sallyport.addresses import MAX_PORT, IpAddress, parse_address
from sallyport.errors import ProtocolError

_MEDIA = re.compile(rb"m=([^\s]+)[ \t]+([0-9]{1,5})(?:/([0-9]{1,5}))?[ \t]+([^\s]+)(?:[ \t].*)?")
_CONNECTION = re.compile(rb"c=IN[ \t]+IP([46])[ \t]+([^\s/]+)(?:/[0-9/]+)?[ \t]*")
_ORIGIN = re.compile(rb"o=\S+[ \t]+\S+[ \t]+\S+[ \t]+IN[ \t]+IP[46][ \t]+(\S+)[ \t]*")
_RTCP = re.compile(rb"a=rtcp:[ \t]*([0-9]{1,5})(?:[ \t]+IN[ \t]+IP[46][ \t]+(\S+))?[ \t]*")
_STRAY = re.compile(rb"\r(?!\n)|\0")


@dataclass(frozen=True, slots=True)
class MediaSection:
    """One `m=` line and what belongs to it; numbers of lines are those of the description."""

    line: int
    end: int
    """The first line that belongs to it no more."""
    kind: bytes
    """Such as `audio`."""
    port: int
    """0: this stream is not wanted."""
    count: int
    """How many pairs of ports, as in `49170/2`; usually 1."""
    profile: bytes
    """Such as `RTP/AVP`."""
    connection: int | None
    """The `c=` line that says its address, its own before that of the session; None without one."""
    rtcp: int | None
    """Its `a=rtcp:` line (RFC 3605), if it has one."""
    attributes: frozenset[bytes]
    """Its attributes of one word, and those of the session, such as `sendonly`, `rtcp-mux`."""


class SessionDescription:
    """A description that was read; `bytes()` of it is what was read."""

    def __init__(self, text: bytes) -> None:
        """Read `text`.

        Raises ProtocolError: `not-sdp`, `bad-media-line`, `bad-connection-line`,
        `bad-rtcp-attribute`, `stray-line-end`, `too-many-media`.
        """
        if _STRAY.search(text):
            raise ProtocolError("stray-line-end", text)
        pieces = text.split(b"\n")
        self.lines: tuple[bytes, ...] = (*(one + b"\n" for one in pieces[:-1]), pieces[-1])
        if self._text(0).rstrip() != b"v=0":
            raise ProtocolError("not-sdp", text)
        self.media: tuple[MediaSection, ...] = self._sections()

    def __bytes__(self) -> bytes:
        return b"".join(self.lines)

    @property
    def origin(self) -> int | None:
        """The number of the `o=` line; None without one."""
        return next((i for i in range(len(self.lines)) if self._text(i)[:2] == b"o="), None)

    @cached_property
    def is_ice(self) -> bool:
        """Whether it lists candidates, among which both ends choose themselves (RFC 8839)."""
        return any(line.startswith(b"a=candidate:") for line in self.lines)

    def address(self, line: int) -> IpAddress | None:
        """Return the address that a `c=`, `o=` or `a=rtcp:` line says; None for a name, or none."""
        text = self._text(line)
        if found := _CONNECTION.fullmatch(text):
            return _address(found[2])
        found = _ORIGIN.fullmatch(text) or _RTCP.fullmatch(text)
        said = None if found is None else found[found.lastindex or 0]
        return None if said is None or not said.strip(b"0123456789") else _address(said)

    def rtcp_port(self, section: MediaSection) -> int | None:
        """Return the port that an `a=rtcp:` line says; None without one."""
        if section.rtcp is None:
            return None
        found = _RTCP.fullmatch(self._text(section.rtcp))
        return None if found is None else int(found[1])

    def rewritten(self, changes: Mapping[int, bytes]) -> bytes:
        """Return the text with other lines at some numbers; each keeps its end of line."""
        return b"".join(
            line if (new := changes.get(i)) is None else new + line[len(self._text(i)) :]
            for i, line in enumerate(self.lines)
        )

    def with_address(self, line: int, address: IpAddress) -> bytes:
        """Return a `c=`, `o=` or `a=rtcp:` line with another address, without its end."""
        text = self._text(line)
        found = _CONNECTION.fullmatch(text) or _ORIGIN.fullmatch(text) or _RTCP.fullmatch(text)
        if found is None or (text.startswith(b"a=") and found[2] is None):
            raise ProtocolError("bad-connection-line", text)
        place = 1 if text.startswith(b"o=") else 2
        said = text[: found.start(place)] + str(address).encode() + text[found.end(place) :]
        family = b"IP%d" % address.version
        return re.sub(rb"\bIN([ \t]+)IP[46]", rb"IN\1" + family, said, count=1)

    def with_port(self, line: int, port: int) -> bytes:
        """Return an `m=` or `a=rtcp:` line with another port, without its end."""
        text = self._text(line)
        found = _MEDIA.fullmatch(text) or _RTCP.fullmatch(text)
        if found is None:
            raise ProtocolError("bad-media-line", text)
        place = 2 if text.startswith(b"m=") else 1
        return text[: found.start(place)] + b"%d" % port + text[found.end(place) :]

    def _text(self, line: int) -> bytes:
        return self.lines[line].rstrip(b"\r\n")

    def _sections(self) -> tuple[MediaSection, ...]:
        starts = [i for i in range(len(self.lines)) if self._text(i)[:2] == b"m="]
        if len(starts) > limits.MAX_SDP_MEDIA:
            raise ProtocolError("too-many-media", self.lines[starts[-1]])
        ends = (*starts, len(self.lines))[1:]
        head = range(starts[0] if starts else len(self.lines))
        shared, common = self._find(head, b"c="), self._attributes(head)
        return tuple(
            self._section(start, end, shared, common)
            for start, end in zip(starts, ends, strict=True)
        )

    def _section(
        self, start: int, end: int, shared: int | None, common: frozenset[bytes]
    ) -> MediaSection:
        text = self._text(start)
        found = _MEDIA.fullmatch(text)
        if found is None or int(found[2]) > MAX_PORT or found[3] == b"0":
            raise ProtocolError("bad-media-line", text)
        lines = range(start, end)
        own, rtcp = self._find(lines, b"c="), self._find(lines, b"a=rtcp:")
        if rtcp is not None:
            said = _RTCP.fullmatch(self._text(rtcp))
            if said is None or not 1 <= int(said[1]) <= MAX_PORT:
                raise ProtocolError("bad-rtcp-attribute", self._text(rtcp))
        return MediaSection(
            line=start,
            end=end,
            kind=found[1],
            port=int(found[2]),
            count=int(found[3] or 1),
            profile=found[4],
            connection=shared if own is None else own,
            rtcp=rtcp,
            attributes=common | self._attributes(lines),
        )

    def _find(self, lines: range, prefix: bytes) -> int | None:
        """Return the only line that begins so; two of them say two things, or nothing."""
        found = [i for i in lines if self.lines[i].startswith(prefix)]
        if prefix == b"c=":
            for i in found:
                if not _CONNECTION.fullmatch(self._text(i)):
                    raise ProtocolError("bad-connection-line", self._text(i))
        if len(found) > 1:
            raise ProtocolError("bad-connection-line", self.lines[found[1]])
        return found[0] if found else None

    def _attributes(self, lines: range) -> frozenset[bytes]:
        texts = (self._text(i) for i in lines)
        return frozenset(text[2:].strip() for text in texts if text.startswith(b"a="))


def _address(text: bytes) -> IpAddress | None:
    try:
        return parse_address(text.decode("ascii"))
    except ValueError:
        return None
