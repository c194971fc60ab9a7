"""A stream cut into bounded lines; the same lines come out wherever segments cut the stream."""

import re
from collections.abc import Sequence
from typing import NamedTuple

LINE_TOO_LONG = "line-too-long"

# RFC 959 section 5.3.1 ends a command at the Telnet end-of-line, CRLF. RFC 2640 would let CR NUL
# into paths; some reader behind us would take it for an end of line (attack F16).
_FAULTS = {b"\r\0": "cr-nul", b"\r": "bare-cr", b"\0": "nul"}
_FAULT = re.compile(b"\r\0|\r|\0")


def is_whole(line: bytes) -> bool:
    """Whether `line` came to its end, rather than to the limit."""
    return line.endswith(b"\n")


def fault_of(line: bytes) -> str | None:
    """Return what is wrong with a line that must end in CRLF, or LF; None when it is correct.

    A stable word: `bare-cr`, `cr-nul`, `nul` (the first found) or `line-too-long`.
    """
    if not is_whole(line):
        return LINE_TOO_LONG
    found = _FAULT.search(line.removesuffix(b"\n").removesuffix(b"\r"))
    return _FAULTS[found[0]] if found else None


class Line(NamedTuple):
    """What `LineReader` cuts a stream into: a line, or a part of one that is too long."""

    raw: bytes
    """The bytes as they came; all of a stream's in a row are the stream."""
    is_whole: bool
    """Whether this is a line from its first byte to its LF, rather than a part of one."""

    @property
    def text(self) -> bytes | None:
        """The line without LF or CRLF; None when it is not whole or has CR or NUL inside.

        Some readers take CR or NUL for the end of a line (attack F16): where a line ends must not
        depend on who reads it.
        """
        text = self.raw.removesuffix(b"\n").removesuffix(b"\r")
        return None if not self.is_whole or b"\r" in text or b"\0" in text else text

    @property
    def ends_line(self) -> bool:
        """Whether the next byte begins a line."""
        return self.raw.endswith(b"\n")


class LineReader:
    """Cuts a stream at each LF into lines of at most `limit` bytes, terminator included.

    No byte is lost or changed: all that `take` and `take_rest` return is the stream. The same lines
    come out wherever segments cut the stream. At most `limit` bytes wait for their LF.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = bytearray()
        self._is_in_long_line = False

    @property
    def pending(self) -> bytes:
        """What was fed and not taken."""
        return bytes(self._held)

    def whole_lines(self, data: bytes) -> Sequence[bytes]:
        """Return the lines that `data`, fed now, would be; none when it would leave something, or
        may have a line that is too long.

        What is returned need not be fed. A segment of a dialogue is nearly always one line.
        """
        if self._held or self._is_in_long_line or not 0 < len(data) <= self._limit:
            return ()
        first = data.find(b"\n") + 1
        if first == len(data):
            return (data,)
        if not data.endswith(b"\n"):
            return ()
        return [line + b"\n" for line in data[:-1].split(b"\n")]

    def feed(self, data: bytes) -> None:
        """Add the next bytes."""
        self._held += data

    def take(self) -> Line | None:
        """Return the next line, or part of a long one; None while the rest may become a line."""
        held, was_in_long_line = self._held, self._is_in_long_line
        end = held.find(b"\n", 0, None if was_in_long_line else self._limit) + 1
        if not end and not (held if was_in_long_line else len(held) >= self._limit):
            return None
        self._is_in_long_line = not end
        taken = bytes(held[: end or (len(held) if was_in_long_line else self._limit)])
        del held[: len(taken)]
        return Line(taken, bool(end) and not was_in_long_line)

    def take_rest(self) -> bytes:
        """Return everything that is left; afterwards a new line begins."""
        rest = bytes(self._held)
        self._held.clear()
        self._is_in_long_line = False
        return rest
