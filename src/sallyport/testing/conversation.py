"""Conversation: what the two sides of a protocol say, and what a filter must make of it.

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
    """The speaker of a step, on the control connection or through an opened port."""

    CLIENT = "client"
    """The host that opened the control connection."""
    SERVER = "server"
    """The host that accepted it."""
    PEER = "peer"
    """The far end of a transfer."""
    PROTECTED = "protected host"
    """The near end of a transfer: the client of the session."""

    @property
    def is_of_control(self) -> bool:
        """Whether this side speaks on the control connection."""
        return self in (Side.CLIENT, Side.SERVER)


@dataclass(frozen=True, slots=True)
class Says:
    """One side says `data`: a segment, or of UDP one datagram.

    `asks`: the last byte completes a request for a port, on which a filter may act now or when the
    other side has agreed. `binds`: how many binds and permissions the filter makes during the step.
    `passes`: the filter must pass these bytes unchanged. `is_whole`: `data` is one datagram of a
    transfer, which no network cuts.
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
    """One side ends its stream (FIN)."""

    side: Side

    def __str__(self) -> str:
        return f"{self.side} closes"


@dataclass(frozen=True, slots=True)
class PeerConnects:
    """The peer of the latest open port connects to it, or sends its first datagram."""

    def __str__(self) -> str:
        return "a peer connects"


@dataclass(frozen=True, slots=True)
class PeerFinishes:
    """Every peer that has connected closes, and the other end closes too."""

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
    """Make a step of the connected peer; data filters on the transfer, if any, receive it."""
    return Says(Side.PEER, data, passes=passes, is_whole=is_datagram)


def peer_is_sent(data: bytes, *, passes: bool = False, is_datagram: bool = False) -> Says:
    """Make a step of the host that the peer is connected with."""
    return Says(Side.PROTECTED, data, passes=passes, is_whole=is_datagram)


def peer_connects() -> PeerConnects:
    """Make the step in which the peer uses what was opened."""
    return PeerConnects()


def peer_finishes() -> PeerFinishes:
    """Make the step in which the transfer is over."""
    return PeerFinishes()


@dataclass(frozen=True)
class Conversation:
    """A correct conversation, with which `check_filter` checks a filter.

    `versions`: the IP versions in which it makes sense; a conversation that names an address makes
    sense in one version only. `published`: the rule of a published server; the client is then
    outside. Raises ValueError for a conversation that binds although no step asks: no check could
    tell that from a bug.
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
    """Return the script with consecutive steps of one side joined into one."""
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
    """Return the script with the bytes of step `index` cut in two."""
    step = script[index]
    assert isinstance(step, Says)
    pieces = [replace(step, data=piece) for piece in (step.data[:at], step.data[at:])]
    return (*script[:index], *pieces, *script[index + 1 :])


def cut_to_bytes(script: Script) -> Script:
    """Return the script with all bytes sent one by one."""
    cut_small: list[Step] = []
    for step in script:
        if isinstance(step, Says) and not step.is_whole:
            pieces = (step.data[at : at + 1] for at in range(len(step.data)))
            cut_small += [replace(step, data=piece) for piece in pieces]
        else:
            cut_small.append(step)
    return tuple(cut_small)


def unasked(script: Script) -> Script:
    """Return the script without its requests: nothing is bound then, and no peer can connect."""
    return tuple(
        replace(step, binds=0) if isinstance(step, Says) else step
        for step in script
        if isinstance(step, Closes)
        or (isinstance(step, Says) and step.side.is_of_control and not step.asks)
    )
