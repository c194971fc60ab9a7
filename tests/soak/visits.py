"""A visit is one session of one client: how far it came, and what it moved.

Of each transfer it notes the end outside and the bytes: so a failure can be blamed on something,
and each transfer found in the log.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from time import monotonic

from tests.soak.network import Network

from sallyport.addresses import Endpoint
from sallyport.kernel.sharding import worker_of
from sallyport.lab.host import Host

# A long transfer takes about three seconds.
_SLOW_BLOCK = 48_000
_SLOW_PAUSE = 0.05

Name = tuple[str, int] | tuple[str, int, int, int]
"""What Python calls an end of a socket."""


class Phase(StrEnum):
    """How far a visit came."""

    DIAL = "dial"
    """The first words: a connection that is made, a greeting, an answer to a request."""
    TALK = "talk"
    """What is said on a control connection."""
    OPEN = "open"
    """A data connection is agreed on and made."""
    MOVE = "move"
    """Its bytes are under way."""


class Way(StrEnum):
    """Who carries the bytes."""

    KERNEL = "kernel"
    USER = "user"


class CutShort(Exception):
    """A transfer ended in order before all of it had come."""


class OtherBytes(Exception):
    """Bytes came that were never sent: nothing excuses that."""


@dataclass(slots=True)
class Transfer:
    """One transfer: its end outside, how many bytes, whether all came."""

    outside: Endpoint
    size: int
    is_complete: bool = False
    ended: float = 0.0
    began: float = field(default_factory=monotonic)
    lingers: bool = False
    """Whether it is over for the gateway only when it has been silent: datagrams have no end."""


@dataclass(slots=True)
class Visit:
    """One session of one client."""

    kind: str
    client: Host
    family: int
    way: Way
    random: Random
    over: threading.Event
    is_inside: bool = True
    phase: Phase = Phase.DIAL
    began: float = field(default_factory=monotonic)
    ended: float = 0.0
    failure: BaseException | None = None
    transfers: list[Transfer] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    """What records call this client: its end of a control connection or of a transfer, its port."""

    @property
    def worker(self) -> int:
        """The index of the worker that serves this client, of two."""
        return worker_of(self.client.address(self.family), 2)

    def is_named(self, end: Name) -> None:
        """Take note of an end of its own, by which records may call it."""
        self.names.add(str(endpoint(end)))

    @contextmanager
    def transfer(self, outside: Endpoint, size: int) -> Iterator[None]:
        """Note a transfer that has begun, and whether it came to its end."""
        noted = Transfer(outside, size, lingers=self.kind in {"tftp", "film", "call"})
        self.transfers.append(noted)
        self.phase = Phase.MOVE
        try:
            yield
        finally:
            noted.ended = monotonic()
        noted.is_complete = True
        self.phase = Phase.TALK

    def known_at(self, transfer: Transfer) -> float:
        """Return when the gateway had heard of the end of one of its transfers, at the latest.

        Clients hear of it first. Afterwards they are told on their control connection, unless that
        is lost before: a last packet may have been lost with a cable, and was not yet sent again.
        """
        is_told = self.failure is None or transfer is not self.transfers[-1]
        return transfer.ended if is_told else self.ended

    def __str__(self) -> str:
        return (
            f"{self.kind} IPv{self.family} from {self.client.name} at {self.ended:.1f}"
            f" ({self.ended - self.began:.1f} s), in {self.phase}: {self.failure!r}"
        )


@dataclass(frozen=True, slots=True)
class Kind:
    """What clients do, and how often, beside the others."""

    name: str
    share: int
    do: Callable[[Network, Visit], None]
    way: Way = Way.KERNEL
    is_inside: bool = True
    is_rogue: bool = False
    """It does not behave, so whether it fails says nothing."""


# -- what the kinds have in common -----------------------------------------------------------------


def endpoint(name: Name) -> Endpoint:
    return Endpoint.parse(f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}")


def read(sock: socket.socket, visit: Visit, *, is_slow: bool = False) -> bytes:
    """Read a connection to its end."""
    got = bytearray()
    while block := sock.recv(_SLOW_BLOCK):
        got += block
        if is_slow:
            visit.over.wait(_SLOW_PAUSE)
    return bytes(got)


def compare(got: bytes, content: bytes) -> None:
    if got == content:
        return
    if content.startswith(got):
        raise CutShort(f"{len(got)} of {len(content)} bytes")
    raise OtherBytes(f"{len(got)} bytes for {len(content)}, of which not all are the same")
