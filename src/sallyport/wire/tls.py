"""TLS records, by their headers only (RFC 8446 section 5.1): where a ciphered stream ends.

After AUTH TLS the control stream is opaque, until CCC or REIN returns it to plain text. Record
headers stay readable in every TLS version, so the return is seen without any key (attack F31).

A client of the years of SSL 2 says its first message in a record of that version, to offer both
(RFC 5246 appendix E.2: Java 6 and OpenSSL 0.9 do). What follows it is TLS as ever.
"""

# change_cipher_spec, alert, handshake, application_data, heartbeat (RFC 6520)
_CONTENT_TYPES = range(0x14, 0x19)
_MAJOR_VERSION = b"\x03"
_HEADER_LENGTH = 5

# The upper bit says that there is no padding, the others begin the length: below 512, since no
# client offers a hundred ciphers. Then client_hello, in the version that is offered.
_OLD_HELLO = range(0x80, 0x82)
_OLD_HEADER_LENGTH = 2
_CLIENT_HELLO = b"\x01"

HANDSHAKE_STARTS = frozenset({b"\x16", *(bytes([first]) for first in _OLD_HELLO)})
"""The first byte of a client that begins a handshake."""


class RecordTracker:
    """Follows one direction of a stream that has just switched to TLS."""

    def __init__(self) -> None:
        # A header that was begun waits for its rest: cut anywhere, the stream reads the same.
        self._begun = b""
        self._left = 0
        self._records = 0

    @property
    def has_begun(self) -> bool:
        """Whether at least one record header was seen."""
        return self._records > 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Cut `data` into what is TLS and what is plain text again.

        Plain text begins at a record boundary with bytes that cannot begin a record; from then on
        the tracker is of no more use. At most four bytes are kept back for the next call.
        """
        data, self._begun = self._begun + data, b""
        position = min(self._left, len(data))
        self._left -= position
        while position < len(data):
            header = data[position : position + _HEADER_LENGTH]
            if not (_can_begin_record(header) or (not self._records and _can_be_old(header))):
                return data[:position], data[position:]
            if len(header) < _HEADER_LENGTH:
                self._begun = header
                return data[:position], b""
            end = position + _length(header)
            position = min(end, len(data))
            self._left = end - position
            self._records += 1
        return data, b""


def _can_begin_record(header: bytes) -> bool:
    return header[0] in _CONTENT_TYPES and header[1:2] in {b"", _MAJOR_VERSION}


def _can_be_old(header: bytes) -> bool:
    kind, version = header[2:3], header[3:4]
    return (
        header[0] in _OLD_HELLO
        and kind in {b"", _CLIENT_HELLO}
        and version in {b"", _MAJOR_VERSION}
    )


def _length(header: bytes) -> int:
    if header[0] in _OLD_HELLO:
        return _OLD_HEADER_LENGTH + (int.from_bytes(header[:2]) & 0x7FFF)
    return _HEADER_LENGTH + int.from_bytes(header[3:])
