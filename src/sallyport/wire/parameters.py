"""Lists with parameters, `head;name=value;name`, as RTSP and SIP headers have them.

Read and written back they are the same bytes: what is replaced is written anew, nothing else. A
separator inside quotes or angle brackets separates nothing (RFC 3261 section 25.1, RFC 7826 section
20.2.3).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from sallyport.errors import ProtocolError

_PIECES = {
    separator: re.compile(rb'(?:[^"<' + separator + rb']|"(?:[^"\\]|\\.)*"|<[^>]*>)*', re.DOTALL)
    for separator in (b",", b";", b"/")
}
_PARAMETER = re.compile(rb"[ \t]*([^\s=]*)([ \t]*(=)[ \t]*|[ \t]*)(.*?)[ \t]*", re.DOTALL)


def split(text: bytes, separator: bytes) -> list[bytes]:
    """Cut at a separator that is not quoted; joined by it again, the pieces are `text`.

    Raises ProtocolError `open-quote` when a quote or an angle bracket is not closed.
    """
    pattern, pieces, at = _PIECES[separator], [], 0
    while True:
        found = pattern.match(text, at)
        end = at if found is None else found.end()
        pieces.append(text[at:end])
        if end == len(text):
            return pieces
        if text[end : end + 1] != separator:
            raise ProtocolError("open-quote", text)
        at = end + 1


@dataclass(frozen=True, slots=True)
class Parameters:
    """`head;name=value;…`; `bytes()` of it is what was read, but for what was replaced."""

    pieces: tuple[bytes, ...]

    @classmethod
    def read(cls, text: bytes) -> Self:
        """Read one element of a list; raises ProtocolError `open-quote`."""
        return cls(tuple(split(text, b";")))

    def __bytes__(self) -> bytes:
        return b";".join(self.pieces)

    @property
    def head(self) -> bytes:
        """What stands before the first parameter, without blanks around it."""
        return self.pieces[0].strip(b" \t")

    def get(self, name: bytes) -> bytes | None:
        """Return the value of a parameter, quotes included; b"" for one without, None for none.

        `name` in small letters. Raises ProtocolError `parameter-twice` when it stands there twice:
        which one counts would depend on who reads it.
        """
        found = [piece for piece in self.pieces[1:] if _name_of(piece) == name]
        if len(found) > 1:
            raise ProtocolError("parameter-twice", name)
        return _PARAMETER.fullmatch(found[0])[4] if found else None  # type: ignore[index]

    def names(self) -> tuple[bytes, ...]:
        """Return the names of all parameters in small letters, in their order."""
        return tuple(_name_of(piece) for piece in self.pieces[1:])

    def saying(self, name: bytes, value: bytes) -> Self:
        """Return it with another value for a parameter that it has."""
        return type(self)((self.pieces[0], *self._saying(name, value)))

    def without(self, name: bytes) -> Self:
        """Return it without a parameter; the same when it has none of this name."""
        kept = (piece for piece in self.pieces[1:] if _name_of(piece) != name)
        return type(self)((self.pieces[0], *kept))

    def _saying(self, name: bytes, value: bytes) -> Iterable[bytes]:
        for piece in self.pieces[1:]:
            found = _PARAMETER.fullmatch(piece)
            if found is None or found[1].lower() != name:
                yield piece
            else:
                is_named = found[3] is not None
                before = piece[: found.start(4)] if is_named else piece[: found.end(1)] + b"="
                yield before + value + piece[found.end(4) :]


def _name_of(piece: bytes) -> bytes:
    found = _PARAMETER.fullmatch(piece)
    return b"" if found is None else found[1].lower()
