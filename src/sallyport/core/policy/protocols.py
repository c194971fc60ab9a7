"""Protocol definitions: what access rules name and what a filter's connections belong to."""

from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID, uuid5

from sallyport.flags import Transport

# Our own namespace for uuid5: a definition's UUID follows from its name and never changes.
_NAMESPACE = UUID("5a11f0e7-0000-5000-8000-000000000001")


class Direction(StrEnum):
    """Who opens the primary connection, seen from the protected network."""

    OUTBOUND = "outbound"
    INBOUND = "inbound"


@dataclass(frozen=True, slots=True)
class ProtocolDefinition:
    """A protocol as rules know it: name, transport and port of its primary connection.

    `refusal` is what a client is told, in the protocol's own words, when policy refuses its primary
    connection: whole lines before the end of the stream, or one datagram. Empty: a TCP client is
    reset and a datagram is dropped. `other_ports` are more ports at which clients inside find
    servers of it. A filter that speaks it over two transports defines it once for each, by the same
    name, so that one rule names both. `spoken_at` is where it is spoken instead of at `port`,
    because an operator says so; `is_in_tls`: it begins with TLS there. Two definitions that
    differ in nothing else are the same one.
    """

    name: str
    transport: Transport
    port: int
    direction: Direction = Direction.OUTBOUND
    refusal: bytes = field(default=b"", compare=False)
    other_ports: tuple[int, ...] = field(default=(), compare=False)
    spoken_at: int | None = field(default=None, compare=False)
    is_in_tls: bool = field(default=False, compare=False)

    @property
    def dialled_port(self) -> int:
        """The port that clients dial."""
        return self.port if self.spoken_at is None else self.spoken_at

    @property
    def uuid(self) -> UUID:
        """The `ProtocolGuid`; stable, derived from the name."""
        return uuid5(_NAMESPACE, self.name)
