"""What a wrapped program needs of a gateway, by whatever protocol it is asked."""

from dataclasses import dataclass
from typing import Protocol

from sallyport.addresses import IpAddress


class Refused(Exception):
    """The gateway refuses, or does not answer; the message is for a person."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """A port that a gateway holds for us: `external` and `port` are what peers dial."""

    protocol: int
    internal_port: int
    external: IpAddress
    port: int
    lifetime: int
    nonce: bytes = b""
    """PCP: by which the gateway knows whose it is."""


class Mapper(Protocol):
    """One gateway that can be asked for ports."""

    def map(self, protocol: int, port: int) -> Mapped:
        """Ask for an external port; raises Refused."""

    def renew(self, known: Mapped) -> Mapped:
        """Ask for another lifetime of the same port; raises Refused."""

    def delete(self, known: Mapped) -> None:
        """Return the port to the gateway; raises Refused."""

    def close(self) -> None:
        """Let go of the gateway."""

    @property
    def news(self) -> int | None:
        """The descriptor that is readable when there is something to `heed`; None: it has none."""

    def heed(self) -> bool:
        """Take in what the gateway says unasked; False when a port has gone, or the gateway has.

        `renew` brings it back.
        """
