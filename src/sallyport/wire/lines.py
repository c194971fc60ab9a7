"""A stream cut into bounded lines; the same lines come out wherever segments cut the stream."""

import re
from typing import NamedTuple

LINE_TOO_LONG = "line-too-long"

# RFC 959 section 5.3.1 ends a command at the Telnet end-of-line, CRLF, and nowhere else. RFC 2640
# would let CR NUL into paths; some reader behind us would take it for an end of line (attack F16).
_FAULTS = {b"\r\0": "cr-nul", b"\r": "bare-cr", b"\0": "nul", b"\n": "bare-lf"}
_FAULT = re.compile(b"\r\0|\r|\0|\n")
_PROPER = re.compile(b"[^\r\0\n]*\r\n")


class Line(NamedTuple):
    """One line as it came, terminator included; a tuple because lines are the hot path.

    `fault` is None for a proper line, else a stable word: `bare-lf`, `bare-cr`, `cr-nul`, `nul`
    (the first found) or `line-too-long`, for which `raw` holds only the bytes within the limit.
    """

    raw: bytes
    fault: str | None = None

    @property
    def text(self) -> bytes:
        """The line without its terminator: one LF, and one CR before it."""
        return self.raw.removesuffix(b"\n").removesuffix(b"\r")


class LineSplitter:
    """Cuts a stream at each LF into lines of at most `limit` bytes, terminator included.

    Strict, as for commands, it reports what is not a CRLF line; the next line is read afresh.
    Tolerant, as for replies, it takes LF with or without CR and leaves other bytes alone.
    """

    def __init__(self, limit: int, *, is_strict: bool = True) -> None:
        self._limit = limit
        self._is_strict = is_strict
        self.pending = b""
        """The bytes of the unfinished line; empty while an overlong line is being discarded."""
        self._is_discarding = False

    def clear(self) -> None:
        """Forget the unfinished line: the next byte begins a new one."""
        self.pending = b""
        self._is_discarding = False

    def feed(self, data: bytes) -> list[Line]:
        """Take the next bytes and give the lines they complete; never raises.

        An overlong line is reported once, as soon as it is too long; its rest is discarded.
        """
        lines: list[Line] = []
        *ended, rest = (self.pending + data).split(b"\n")
        for text in ended:
            if not self._is_discarding:
                lines.append(self._line(text + b"\n"))
            self._is_discarding = False
        if len(rest) >= self._limit and not self._is_discarding:
            # Reported from the same bytes whether or not the end is already here.
            lines.append(Line(rest[: self._limit], LINE_TOO_LONG))
            self._is_discarding = True
        self.pending = b"" if self._is_discarding else rest
        return lines

    def _line(self, raw: bytes) -> Line:
        if len(raw) > self._limit:
            return Line(raw[: self._limit], LINE_TOO_LONG)
        if not self._is_strict or _PROPER.fullmatch(raw):
            return Line(raw)
        found = _FAULT.search(raw.removesuffix(b"\r\n"))
        return Line(raw, _FAULTS[found[0]] if found else None)
