"""Answers of ours, in the place of the host a message was for (RFC 3261 section 8.2.6); pure."""

from sallyport import api, limits
from sallyport.wire.messages import TextMessage, read_head
from sallyport.wire.sip.messages import COMPACT, head_of
from sallyport.wire.sip.uri import NameAddress

Refusal = api.BindError | api.ProtocolError

_TEXTS = {
    400: b"Bad Request",
    403: b"Forbidden",
    488: b"Not Acceptable Here",
    503: b"Service Unavailable",
}
_OF_MEDIA = frozenset(
    {
        "media-without-address",
        "media-to-another-host",
        "not-an-even-pair",
        "media-not-over-udp",
        "sdp-among-parts",
        "too-many-media",
    }
)
_COPIED = (b"via", b"from", b"call-id", b"cseq")


def code_of(refusal: Refusal) -> int:
    """Return the status by which a request is refused."""
    if isinstance(refusal, (api.QuotaExceeded, api.OutOfResources)):
        return 503
    if isinstance(refusal, api.BindError):
        return 403
    return 488 if refusal.reason in _OF_MEDIA else 400


def answer(request: TextMessage, code: int) -> bytes | None:
    """Return the answer to a request; None for what has none: an answer, an ACK.

    Nor has a request that lacks what its answer must repeat.
    """
    is_answered = request.start.is_request and request.start.method != b"ACK"
    found = {header.name for header in request.headers}
    if not is_answered or not found.issuperset((*_COPIED, b"to")):
        return None
    lines = [b"SIP/2.0 %d %s\r\n" % (code, _TEXTS[code])]
    for header in request.headers:
        if header.name in _COPIED:
            lines.append(header.raw)
        elif header.name == b"to":
            tag = b"" if _is_tagged(header.value) else b";tag=refused-by-gateway"
            lines.append(b"To: " + header.value + tag + b"\r\n")
    if code == 503:
        lines.append(b"Retry-After: 30\r\n")
    return b"".join((*lines, b"Content-Length: 0\r\n\r\n"))


def answer_to_unread(data: bytes) -> bytes | None:
    """Return the 400 for a message that cannot be read, where enough of it can be (RFC 3261 18.3).

    `data` begins with the message. None for what is no request, or whose head cannot be read.
    """
    try:
        request = read_head(head_of(data), limits.MAX_SIP_HEADERS, COMPACT)
    except api.ProtocolError:
        return None
    return answer(request, 400)


def _is_tagged(to: bytes) -> bool:
    """Return whether a To header has a tag; `tag=` may also stand in its name or its URI."""
    try:
        return NameAddress.read(to).get(b"tag") is not None
    except api.ProtocolError:
        return False
