"""A stream cut into bounded lines; the same lines come out wherever segments cut the stream."""

import re

LINE_TOO_LONG = "line-too-long"

# RFC 959 section 5.3.1 ends a command at the Telnet end-of-line, CRLF, and nowhere else. RFC 2640
# would let CR NUL into paths; some reader behind us would take it for an end of line (attack F16).
_FAULTS = {b"\r\0": "cr-nul", b"\r": "bare-cr", b"\0": "nul", b"\n": "bare-lf"}
_FAULT = re.compile(b"\r\0|\r|\0|\n")


def is_whole(line: bytes) -> bool:
    """Whether `line` came to its end, rather than to the limit."""
    return line.endswith(b"\n")


def fault_of(line: bytes) -> str | None:
    """Tell what is wrong with a line that has to end in CRLF; None for a proper one.

    A stable word: `bare-lf`, `bare-cr`, `cr-nul`, `nul` (the first found) or `line-too-long`.
    """
    if not is_whole(line):
        return LINE_TOO_LONG
    found = _FAULT.search(line.removesuffix(b"\r\n"))
    return _FAULTS[found[0]] if found else None


def text_of(line: bytes) -> bytes:
    """Give `line` without its terminator: one LF, and one CR before it."""
    return line.removesuffix(b"\n").removesuffix(b"\r")


class LineSplitter:
    """Cuts a stream at each LF into lines of at most `limit` bytes, terminator included.

    Lines come out as they came. Of an overlong one its first `limit` bytes come out, as soon as it
    is too long, and its rest is discarded: what does not end in LF was too long (`is_whole`).
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.pending = b""
        """The bytes of the unfinished line; empty while an overlong line is being discarded."""
        self._is_discarding = False

    def clear(self) -> None:
        """Forget the unfinished line: the next byte begins a new one."""
        self.pending = b""
        self._is_discarding = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes and give the lines they complete; never raises."""
        data = self.pending + data
        if 0 <= data.find(b"\n") == len(data) - 1 < self._limit and not self._is_discarding:
            self.pending = b""
            return [data]  # one line and nothing else, as nearly always
        lines: list[bytes] = []
        *ended, rest = data.split(b"\n")
        for text in ended:
            if not self._is_discarding:
                lines.append((text + b"\n")[: self._limit])
            self._is_discarding = False
        if len(rest) >= self._limit and not self._is_discarding:
            # Reported from the same bytes whether or not the end is already here.
            lines.append(rest[: self._limit])
            self._is_discarding = True
        self.pending = b"" if self._is_discarding else rest
        return lines
