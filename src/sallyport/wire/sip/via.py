"""The Via header of SIP (RFC 3261 section 20.42): where an answer goes, hop by hop."""

import re
from dataclasses import dataclass
from typing import Self

from sallyport.addresses import MAX_PORT, Endpoint
from sallyport.errors import ProtocolError
from sallyport.wire.parameters import Parameters, split
from sallyport.wire.sip.uri import DEFAULT_PORT, read_host

_SENT = re.compile(
    rb"([ \t]*SIP[ \t]*/[ \t]*2\.0[ \t]*/[ \t]*([A-Za-z0-9-]+)[ \t]+)"
    rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?:[ \t]*:[ \t]*([0-9]{1,5}))?([ \t]*)",
    re.IGNORECASE,
)

MAGIC_COOKIE = b"z9hG4bK"
"""How a branch begins that names a transaction by itself (RFC 3261 section 8.1.1.7)."""


@dataclass(frozen=True, slots=True)
class Via:
    """One hop; `bytes()` of it is what was read, but for what was replaced."""

    parameters: Parameters
    transport: bytes
    """In capitals, such as `UDP`."""
    host: bytes
    port: int | None

    @classmethod
    def read(cls, text: bytes) -> Self:
        """Read one hop; raises ProtocolError `bad-via`, `open-quote`."""
        parameters = Parameters.read(text)
        found = _SENT.fullmatch(parameters.pieces[0])
        port = 0 if found is None else int(found[4] or DEFAULT_PORT)
        if found is None or not 1 <= port <= MAX_PORT:
            raise ProtocolError("bad-via", text)
        return cls(parameters, found[2].upper(), found[3], port if found[4] else None)

    def __bytes__(self) -> bytes:
        return bytes(self.parameters)

    @property
    def branch(self) -> bytes | None:
        """The name of the transaction; None without one, or with one of RFC 2543, which is none.

        Raises ProtocolError `parameter-twice`.
        """
        said = self.parameters.get(b"branch")
        return said if said is not None and said.startswith(MAGIC_COOKIE) else None

    @property
    def has_rport(self) -> bool:
        """Whether its sender asks for the answer where the request came from (RFC 3581)."""
        return b"rport" in self.parameters.names()

    @property
    def endpoint(self) -> Endpoint | None:
        """What it names; None when its host is a name."""
        address = read_host(self.host)
        return None if address is None else Endpoint(address, self.port or DEFAULT_PORT)

    def at(self, endpoint: Endpoint) -> Self:
        """Return it naming another host and port."""
        piece = self.parameters.pieces[0]
        found = _SENT.fullmatch(piece)
        if found is None:  # pragma: no cover - it was read
            raise ProtocolError("bad-via", piece)
        sent = found[1] + str(endpoint).encode() + found[5]
        return type(self).read(b";".join((sent, *self.parameters.pieces[1:])))


def read_vias(value: bytes) -> list[Via]:
    """Read a Via header, which may list several hops; raises ProtocolError as `Via.read`."""
    return [Via.read(one) for one in split(value, b",")]


def write_vias(hops: list[Via]) -> bytes:
    """Write a Via header; what was read comes out as it was."""
    return b",".join(map(bytes, hops))
