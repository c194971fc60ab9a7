"""What an operator who traces a conversation may see of its bytes, and where they are taken from.

Credentials and payload are no operator's business. Which bytes are either, only the filter of the
protocol knows; so its data filter offers transcripts, and by default one sees how many bytes.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from sallyport.core.pinholes.datapath import StreamEnd


class Hop(Enum):
    """One of the four ways that bytes of a conversation go; the value says from whom to whom."""

    CLIENT_SAYS = ("client", "gateway")
    SERVER_HEARS = ("gateway", "server")
    SERVER_SAYS = ("server", "gateway")
    CLIENT_HEARS = ("gateway", "client")

    @property
    def is_of_client(self) -> bool:
        """Whether the words are a client's, as it said them or as the server hears them."""
        return self in {Hop.CLIENT_SAYS, Hop.SERVER_HEARS}


class Transcript:
    """Makes lines of text out of the bytes of one hop; the default says how many there are."""

    def lines(self, data: bytes) -> Sequence[str]:
        """Return what may be seen of the next bytes: lines without control characters."""
        return [counted(data)]


def counted(data: bytes) -> str:
    """Return what may be seen of bytes that no operator is to read."""
    return f"({len(data)} bytes)"


class Witness(Protocol):
    """Is told what passes the two ends of a chain, while an operator looks."""

    def passed(self, hop: Hop, data: bytes) -> None:
        """Take bytes that go one way."""


class WatchedEnd:
    """A stream end that tells a witness what is sent to it."""

    def __init__(self, end: StreamEnd, witness: Witness, hop: Hop) -> None:
        self.end = end
        self._witness = witness
        self._hop = hop

    def send(self, data: bytes) -> None:
        """Implement `StreamEnd`."""
        self._witness.passed(self._hop, data)
        self.end.send(data)

    def shutdown(self) -> None:
        """Implement `StreamEnd`."""
        self.end.shutdown()


def watched(end: StreamEnd, witness: Witness | None, hop: Hop) -> StreamEnd:
    """Return an end with this witness, or without one, in the place of any that it has."""
    plain = end.end if isinstance(end, WatchedEnd) else end
    return plain if witness is None else WatchedEnd(plain, witness, hop)
