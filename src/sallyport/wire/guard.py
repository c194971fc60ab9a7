"""Is this connection really ours? Told from its first bytes (attacks H01, H02, H07, V12).

A browser can be made to send anything to an FTP port, but not to begin with anything: its first
bytes are those of HTTP or TLS. A session that begins so can never bind, whatever follows.
"""

import re
from enum import StrEnum

MAX_FIRST_LINE = 512
"""The longest first line of a client that is waited for: no login is longer, a URL may be."""

# RFC 9112 section 3: method SP target SP version. The method may be any token (`fetch` lets a page
# choose it) and the target has no blank, so the version decides; "PRI * HTTP/2.0" is one of them.
_HTTP_REQUEST = re.compile(rb"\S+ \S+ HTTP/")

# A line protocol begins with text; an empty first line is bad manners, not another protocol.
_TEXT = frozenset((*range(0x20, 0x7F), *b"\t\r\n"))
# Banners are written in any alphabet; SSL 2, which begins with 0x80, was never a server's answer.
_BANNER = _TEXT | frozenset(range(0x80, 0x100))


class FirstBytes(StrEnum):
    """What the first bytes of one direction are the opening of."""

    UNDECIDED = "undecided"
    """More bytes are needed; ask again with all of them."""
    OURS = "ours"
    """A line of text: nothing speaks against the protocol of this port."""
    HTTP = "http"
    TLS = "tls"
    SSH = "ssh"
    UNKNOWN = "unknown"
    """Binary, or a first line without end."""

    @property
    def is_foreign(self) -> bool:
        """Whether this is decided, and not our protocol."""
        return self not in {FirstBytes.UNDECIDED, FirstBytes.OURS}


_CLIENT_PREFIXES = {b"\x16\x03": FirstBytes.TLS, b"SSH-": FirstBytes.SSH}
# A TLS server that is sent plain text answers with an alert (0x15), not with a handshake.
_SERVER_PREFIXES = {
    b"\x16\x03": FirstBytes.TLS,
    b"\x15\x03": FirstBytes.TLS,
    b"SSH-": FirstBytes.SSH,
    b"HTTP/": FirstBytes.HTTP,
}


def foreign_protocol(first: bytes, limit: int = MAX_FIRST_LINE) -> FirstBytes:
    """Return what a client's first bytes, Telnet commands removed, are the beginning of.

    Ask after each segment with everything received so far. The answer is decided when the first
    line is complete, and at the latest at `limit` bytes; once decided it never changes.
    """
    opening = _by_prefix(first, _CLIENT_PREFIXES, _TEXT)
    if opening is not FirstBytes.OURS:
        return opening
    if _HTTP_REQUEST.match(first[:limit]):
        return FirstBytes.HTTP
    if b"\n" in first[:limit]:
        return FirstBytes.OURS
    return FirstBytes.UNKNOWN if len(first) >= limit else FirstBytes.UNDECIDED


def foreign_server(first: bytes) -> FirstBytes:
    """Return what a server's first bytes are the beginning of; decided after five bytes at most.

    Ask after each segment with everything received so far; once decided it never changes.
    """
    return _by_prefix(first, _SERVER_PREFIXES, _BANNER)


def _by_prefix(first: bytes, prefixes: dict[bytes, FirstBytes], text: frozenset[int]) -> FirstBytes:
    for prefix, opening in prefixes.items():
        if first.startswith(prefix):
            return opening
    if any(prefix.startswith(first) for prefix in prefixes):
        return FirstBytes.UNDECIDED
    return FirstBytes.OURS if first[0] in text else FirstBytes.UNKNOWN
