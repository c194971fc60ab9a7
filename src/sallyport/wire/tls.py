"""TLS records, by their headers only (RFC 8446 section 5.1): where a ciphered stream ends.

After AUTH TLS the control stream is opaque, until CCC or REIN returns it to plain text. Record
headers stay readable in every TLS version, so the return is seen without any key (attack F31).
"""

# change_cipher_spec, alert, handshake, application_data
_CONTENT_TYPES = range(0x14, 0x18)
_MAJOR_VERSION = 3
_HEADER_LENGTH = 5


class RecordTracker:
    """Follows one direction of a stream that has just switched to TLS."""

    def __init__(self) -> None:
        self._header = bytearray()
        self._left = 0
        self._records = 0

    @property
    def has_begun(self) -> bool:
        """Whether at least one record header was seen."""
        return self._records > 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Cut `data` into what is TLS and what is plain text again.

        Plain text begins at a record boundary with a byte that cannot begin a record; from then
        on the tracker is of no more use.
        """
        position = 0
        while position < len(data):
            if self._left:
                taken = min(self._left, len(data) - position)
                self._left -= taken
                position += taken
                continue
            self._header.append(data[position])
            if not self._is_possible_header():
                start = max(0, position + 1 - len(self._header))
                return data[:start], bytes(self._header)[-(position + 1 - start) :] + data[
                    position + 1 :
                ]
            position += 1
            if len(self._header) == _HEADER_LENGTH:
                self._left = int.from_bytes(self._header[3:5], "big")
                self._records += 1
                self._header.clear()
        return data, b""

    def _is_possible_header(self) -> bool:
        if len(self._header) == 1:
            return self._header[0] in _CONTENT_TYPES
        return len(self._header) != 2 or self._header[1] == _MAJOR_VERSION
