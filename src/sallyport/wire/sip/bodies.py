"""Bodies of SIP messages: where the session description stands, alone or among other parts."""

import re

from sallyport.errors import ProtocolError
from sallyport.wire.messages import TextMessage
from sallyport.wire.parameters import Parameters

_SDP = b"application/sdp"
_KIND = re.compile(rb"^content-type[ \t]*:[ \t]*([^;\s]+)", re.IGNORECASE | re.MULTILINE)
# RFC 2045 section 6: these leave the bytes as they are. A part with a length of its own would have
# to be counted anew as well; no telephone writes one.
_ENCODED = re.compile(
    rb"^content-(?:length[ \t]*:|(?:transfer-)?encoding[ \t]*:[ \t]*(?!(?:7bit|8bit|binary)\b))",
    re.IGNORECASE | re.MULTILINE,
)
_BLANK_LINE = re.compile(rb"\r?\n\r?\n|\A\r?\n")
# RFC 2046 section 5.1.1: a boundary has at most 70 characters.
_MAX_BOUNDARY = 70


def place_of_description(message: TextMessage) -> slice | None:
    """Return which bytes of the body are the session description; None without one.

    Raises ProtocolError `sdp-among-parts` for parts among which it cannot be found, or of which
    several are one: which one counts would depend on who reads it.
    """
    said = message.get(b"content-type")
    if said is None or not message.body:
        return None
    kind = Parameters.read(said)
    if kind.head.lower() == _SDP:
        return slice(0, len(message.body))
    if not kind.head.lower().startswith(b"multipart/") or _SDP not in message.body.lower():
        return None
    found = [one for one in _parts(message.body, _boundary(kind)) if _is_sdp(message.body[one])]
    if len(found) != 1:
        raise ProtocolError("sdp-among-parts", said)
    part = message.body[found[0]]
    blank = _BLANK_LINE.search(part)
    if blank is None or _ENCODED.search(part[: blank.start() + 1]):
        raise ProtocolError("sdp-among-parts", said)
    return slice(found[0].start + blank.end(), found[0].stop)


def _boundary(kind: Parameters) -> bytes:
    said = (kind.get(b"boundary") or b"").strip(b'"')
    if not 0 < len(said) <= _MAX_BOUNDARY:
        raise ProtocolError("sdp-among-parts", bytes(kind))
    return said


def _parts(body: bytes, boundary: bytes) -> list[slice]:
    """Return where each part stands; raises ProtocolError for a body that does not end."""
    delimiter = re.compile(rb"(?:\A|\r?\n)--" + re.escape(boundary) + rb"(--)?[ \t]*(?=\r?\n|\Z)")
    found = list(delimiter.finditer(body))
    closing = next((i for i, one in enumerate(found) if one[1]), None)
    if not closing:
        raise ProtocolError("sdp-among-parts", boundary)
    found = found[: closing + 1]
    # The end of the delimiter's line belongs to it.
    starts = [one.end() + (2 if body[one.end() : one.end() + 2] == b"\r\n" else 1) for one in found]
    return [
        slice(start, max(start, after.start()))
        for start, after in zip(starts, found[1:], strict=False)
    ]


def _is_sdp(part: bytes) -> bool:
    """Whether a part is a description, or may hold one in parts of its own."""
    blank = _BLANK_LINE.search(part)
    kind = _KIND.search(part if blank is None else part[: blank.start() + 1])
    return kind is not None and kind[1].lower() == _SDP
