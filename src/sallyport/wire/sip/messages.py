"""SIP messages: how they are found in datagrams and streams, and what names their transaction."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sallyport import limits
from sallyport.errors import ProtocolError
from sallyport.wire.messages import MessageReader, TextMessage, read_head
from sallyport.wire.sip.uri import NameAddress
from sallyport.wire.sip.via import Via, read_vias

# RFC 3261 section 7.3.3, RFC 6665 (o, u), RFC 3515 (r), RFC 3892 (b), RFC 3841 (a, d, j),
# RFC 4028 (x), RFC 8224 (y).
COMPACT: Mapping[bytes, bytes] = {
    b"a": b"accept-contact",
    b"b": b"referred-by",
    b"c": b"content-type",
    b"d": b"request-disposition",
    b"e": b"content-encoding",
    b"f": b"from",
    b"i": b"call-id",
    b"j": b"reject-contact",
    b"k": b"supported",
    b"l": b"content-length",
    b"m": b"contact",
    b"o": b"event",
    b"r": b"refer-to",
    b"s": b"subject",
    b"t": b"to",
    b"u": b"allow-events",
    b"v": b"via",
    b"x": b"session-expires",
    b"y": b"identity",
}
"""The short names of headers, and what they stand for."""

_CSEQ = re.compile(rb"([0-9]{1,10})[ \t]+([!-~]+)")
# RFC 3261 section 8.1.1.5: a sequence number is below 2 to the 31.
_MAX_CSEQ = 2**31
# RFC 8489 section 5: a header of 20 bytes, two zero bits, the magic cookie.
_STUN_HEAD, _STUN_COOKIE = 20, b"\x21\x12\xa4\x42"
_END_OF_HEAD = re.compile(rb"\n\r?\n")


@dataclass(frozen=True, slots=True)
class MessageNames:
    """What names a message: the same in a request, its repetition, and every answer to it."""

    call_id: bytes
    cseq: int
    method: bytes
    """Of the request; an answer repeats it in CSeq."""
    branch: bytes
    """Of the topmost hop."""
    from_tag: bytes
    to_tag: bytes
    """Empty while the far side has said none."""


def is_sip(data: bytes) -> bool:
    """Whether the first line of a datagram is SIP (attacks H05, trap 8)."""
    first = data.partition(b"\n")[0].rstrip(b"\r ")
    return first.startswith(b"SIP/2.0 ") or first.endswith(b" SIP/2.0")


def is_keep_alive(data: bytes) -> bool:
    """Whether a datagram keeps a way open: blank lines, or STUN (RFC 5626 section 3.5)."""
    is_stun = len(data) >= _STUN_HEAD and data[0] < 4 and data[4:8] == _STUN_COOKIE
    return is_stun or not data.strip(b"\r\n")


def read_datagram(data: bytes) -> TextMessage:
    """Read the one message of a datagram (RFC 3261 section 18.3).

    What follows the body that Content-Length names is cut off; without one the body is the rest.
    Raises ProtocolError what `read_head` raises, `head-too-long`, `bad-content-length`,
    `header-twice`, and `body-cut-off` for a body that is shorter than it says (attack P09).
    """
    head = head_of(data)
    message = read_head(head, limits.MAX_SIP_HEADERS, COMPACT)
    require_sip(message)
    length, body = message.content_length, data[len(head) :]
    if length is not None and length > len(body):
        raise ProtocolError("body-cut-off", message.first)
    return replace(message, body=body if length is None else body[:length])


def head_of(data: bytes) -> bytes:
    """Return start line and headers of the message that `data` begins with, and the empty line.

    Raises ProtocolError `head-too-long` without an end where one must be.
    """
    end = _END_OF_HEAD.search(data, 0, limits.MAX_SIP_HEAD)
    if end is None:
        raise ProtocolError("head-too-long", data)
    return data[: end.end()]


def sip_reader() -> MessageReader:
    """Return a reader of SIP over TCP, where every message says its length (attacks P09, P10)."""
    return MessageReader(
        max_head=limits.MAX_SIP_HEAD,
        max_headers=limits.MAX_SIP_HEADERS,
        max_body=limits.MAX_SIP_BODY,
        compact=COMPACT,
    )


def require_sip(message: TextMessage) -> None:
    """Check version and first line, whose blanks are counted; raises ProtocolError `not-sip`.

    Where the URI ends must not depend on who reads it (RFC 4475 sections 3.1.2.8 to 3.1.2.10).
    """
    start, line = message.start, message.first.rstrip(b"\r\n")
    is_exact = not start.is_request or line.split(b" ") == [*start[1:3], start.version]
    if start.version.upper() != b"SIP/2.0" or not is_exact:
        raise ProtocolError("not-sip", message.first)


def vias_of(message: TextMessage) -> list[Via]:
    """Return every hop, the topmost first; raises ProtocolError as `Via.read`, `too-many-vias`."""
    hops = [hop for value in message.all(b"via") for hop in read_vias(value)]
    if len(hops) > limits.MAX_SIP_VIAS:
        raise ProtocolError("too-many-vias", message.first)
    return hops


def names_of(message: TextMessage) -> MessageNames:
    """Read what names a message.

    Raises ProtocolError: `sip-header-missing`, `header-twice`, `bad-cseq`, `bad-via`,
    `bad-name-address`, `parameter-twice`, `open-quote`, and `no-branch` for a transaction without a
    name of its own, as before RFC 3261.
    """
    hops = vias_of(message)
    said = {name: message.the_only(name) for name in (b"call-id", b"cseq", b"from", b"to")}
    if not hops or None in said.values():
        raise ProtocolError("sip-header-missing", message.first)
    cseq = _CSEQ.fullmatch(said[b"cseq"] or b"")
    if cseq is None or int(cseq[1]) >= _MAX_CSEQ:
        raise ProtocolError("bad-cseq", said[b"cseq"] or b"")
    if message.start.is_request and cseq[2] != message.start.method:
        raise ProtocolError("bad-cseq", said[b"cseq"] or b"")
    if hops[0].branch is None:
        raise ProtocolError("no-branch", bytes(hops[0]))
    return MessageNames(
        call_id=said[b"call-id"] or b"",
        cseq=int(cseq[1]),
        method=cseq[2],
        branch=hops[0].branch,
        from_tag=NameAddress.read(said[b"from"] or b"").get(b"tag") or b"",
        to_tag=NameAddress.read(said[b"to"] or b"").get(b"tag") or b"",
    )
