"""Conversation: what the two sides of a protocol say, and what a filter is to make of it.

Conversation(
    "active mode",
    [
        server_says(b"220 ready\r\n", passes=True),
        client_says(b"PORT 10,0,0,8,6,17\r\n", asks=True, binds=1),
        server_says(b"200 ok\r\n"),
        peer_connects(),
        peer_finishes(),
        client_says(b"QUIT\r\n", passes=True),
        client_closes(),
        server_closes(),
    ],
)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from sallyport.core.policy.rules import PublishingRule


class Side(StrEnum):
    """Who speaks: on the control connection, or through a port that was opened."""

    CLIENT = "client"
    """Opened the control connection."""
    SERVER = "server"
    """Accepted it."""
    PEER = "peer"
    """The far end of a transfer."""
    PROTECTED = "protected host"
    """The near end of a transfer: the client of the session."""

    @property
    def is_of_control(self) -> bool:
        """Whether it is on the control connection."""
        return self in (Side.CLIENT, Side.SERVER)


@dataclass(frozen=True, slots=True)
class Says:
    """One side says `data`: a segment, or of UDP one datagram.

    `asks`: with its last byte a port has been asked for, in words a filter may act upon, now or
    when the other side has agreed. `binds`: how many binds and permissions there are while it is
    said. `passes`: it is none of the filter's business; these very bytes must come out.
    `is_whole`: it is a datagram of a transfer, that nobody cuts.
    """

    side: Side
    data: bytes
    asks: bool = False
    binds: int = 0
    passes: bool = False
    is_whole: bool = False

    def __str__(self) -> str:
        return f"{self.side} says {self.data!r}"


@dataclass(frozen=True, slots=True)
class Closes:
    """One side will say no more (FIN)."""

    side: Side

    def __str__(self) -> str:
        return f"{self.side} closes"


@dataclass(frozen=True, slots=True)
class PeerConnects:
    """Whoever the latest open port is for connects to it, or sends its first datagram."""

    def __str__(self) -> str:
        return "a peer connects"


@dataclass(frozen=True, slots=True)
class PeerFinishes:
    """Everybody who has connected is done: closes, and is closed."""

    def __str__(self) -> str:
        return "the peer finishes"


Step = Says | Closes | PeerConnects | PeerFinishes
Script = tuple[Step, ...]


def client_says(data: bytes, *, asks: bool = False, binds: int = 0, passes: bool = False) -> Says:
    """Make a step of the client (see `Says`)."""
    return Says(Side.CLIENT, data, asks, binds, passes)


def server_says(data: bytes, *, asks: bool = False, binds: int = 0, passes: bool = False) -> Says:
    """Make a step of the server (see `Says`)."""
    return Says(Side.SERVER, data, asks, binds, passes)


def client_closes() -> Closes:
    """Make the step in which the client's stream ends."""
    return Closes(Side.CLIENT)


def server_closes() -> Closes:
    """Make the step in which the server's stream ends."""
    return Closes(Side.SERVER)


def peer_sends(data: bytes, *, passes: bool = False, is_datagram: bool = False) -> Says:
    """Make a step of whoever has connected; heard by data filters on the transfer, if any."""
    return Says(Side.PEER, data, passes=passes, is_whole=is_datagram)


def peer_is_sent(data: bytes, *, passes: bool = False, is_datagram: bool = False) -> Says:
    """Make the same step of the host it has connected with."""
    return Says(Side.PROTECTED, data, passes=passes, is_whole=is_datagram)


def peer_connects() -> PeerConnects:
    """Make the step in which somebody uses what was opened."""
    return PeerConnects()


def peer_finishes() -> PeerFinishes:
    """Make the step in which the transfer is over."""
    return PeerFinishes()


@dataclass(frozen=True)
class Conversation:
    """A good conversation, by whose example a filter is checked (`check_filter`).

    `versions`: the IP versions in which it makes sense; whoever names an address makes sense in one
    only. `published`: the rule of a published server, whose client is then outside. Raises
    ValueError for one that binds without anybody asking: no check could tell that from a bug.
    """

    name: str
    steps: Sequence[Step]
    versions: tuple[int, ...] = (4,)
    published: PublishingRule | None = None

    def __post_init__(self) -> None:
        said = [step for step in self.steps if isinstance(step, Says)]
        if any(step.binds for step in said) and not any(step.asks for step in said):
            raise ValueError(f"{self.name}: it binds, so mark the step that asks")

    @property
    def script(self) -> Script:
        """The steps, as they are."""
        return tuple(self.steps)


def coalesced(script: Iterable[Step]) -> Script:
    """Give the same script with what one side says in a row said at once."""
    merged: list[Step] = []
    for step in script:
        before = merged[-1] if merged else None
        if (
            isinstance(before, Says)
            and isinstance(step, Says)
            and before.side is step.side
            and not step.is_whole
        ):
            merged[-1] = Says(
                step.side,
                before.data + step.data,
                before.asks or step.asks,
                before.binds + step.binds,
            )
        else:
            merged.append(step)
    return tuple(merged)


def cut(script: Script, index: int, at: int) -> Script:
    """Give the script with what is said in step `index` cut in two."""
    step = script[index]
    assert isinstance(step, Says)
    pieces = [replace(step, data=piece) for piece in (step.data[:at], step.data[at:])]
    return (*script[:index], *pieces, *script[index + 1 :])


def cut_to_bytes(script: Script) -> Script:
    """Give the script with everything said byte by byte."""
    cut_small: list[Step] = []
    for step in script:
        if isinstance(step, Says) and not step.is_whole:
            pieces = (step.data[at : at + 1] for at in range(len(step.data)))
            cut_small += [replace(step, data=piece) for piece in pieces]
        else:
            cut_small.append(step)
    return tuple(cut_small)


def unasked(script: Script) -> Script:
    """Give what is left of a script when nobody asks: nothing is bound, nobody can connect."""
    return tuple(
        replace(step, binds=0) if isinstance(step, Says) else step
        for step in script
        if isinstance(step, Closes)
        or (isinstance(step, Says) and step.side.is_of_control and not step.asks)
    )
