"""A stream cut into bounded lines; the same lines come out wherever segments cut the stream."""

import re
from dataclasses import dataclass

LINE_TOO_LONG = "line-too-long"

# RFC 959 section 5.3.1 ends a command at the Telnet end-of-line, CRLF, and nowhere else. RFC 2640
# would let CR NUL into paths; some reader behind us would take it for an end of line (attack F16).
_FAULTS = {b"\r\0": "cr-nul", b"\r": "bare-cr", b"\0": "nul", b"\n": "bare-lf"}
_FAULT = re.compile(b"\r\0|\r|\0|\n")


@dataclass(frozen=True, slots=True)
class Line:
    """One line as it came, terminator included.

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
        self._held = bytearray()
        self._is_discarding = False

    @property
    def pending(self) -> bytes:
        """The bytes of the unfinished line; empty while an overlong line is being discarded."""
        return bytes(self._held)

    def clear(self) -> None:
        """Forget the unfinished line: the next byte begins a new one."""
        self._held.clear()
        self._is_discarding = False

    def feed(self, data: bytes) -> list[Line]:
        """Take the next bytes and give the lines they complete; never raises.

        An overlong line is reported once, as soon as it is too long; its rest is discarded.
        """
        held = self._held
        held += data
        lines: list[Line] = []
        while True:
            end = held.find(b"\n") + 1
            if self._is_discarding:
                del held[: end or len(held)]
                if not end:
                    return lines
                self._is_discarding = False
            elif 0 < end <= self._limit:
                lines.append(self._line(bytes(held[:end])))
                del held[:end]
            elif end or len(held) >= self._limit:
                # Reported from the same bytes whether or not the end is already here.
                lines.append(Line(bytes(held[: self._limit]), LINE_TOO_LONG))
                self._is_discarding = True
            else:
                return lines

    def _line(self, raw: bytes) -> Line:
        found = _FAULT.search(raw.removesuffix(b"\r\n")) if self._is_strict else None
        return Line(raw, _FAULTS[found[0]] if found else None)
