"""How much is measured: everything in a quarter of an hour, or a smoke test of seconds."""

import resource
from dataclasses import dataclass

# What a gateway needs besides its sessions: listeners, pipes, netlink.
_SPARE_DESCRIPTORS = 1000


@dataclass(frozen=True, slots=True)
class Scale:
    """The sizes of one run."""

    name: str
    rounds: int
    """At least five for a median with a spread."""
    seconds: float
    """Of one measurement: hundreds to thousands of transfers, or gigabytes."""
    connections: tuple[int, ...]
    idle: tuple[int, ...]
    """Idle control sessions beside what is measured."""
    live: tuple[int, ...]
    """Live bindings beside the one that is made."""
    blocks: tuple[int, ...]
    """Client addresses in one call."""
    binds: int
    """Binds in one measurement."""
    held: int
    """Sessions whose memory is weighed together: enough that a page does not matter."""
    bulk: int
    """Bytes of one file: larger than all buffers on the way."""
    cycles: int
    """Open and close, again and again."""


FULL = Scale(
    name="full",
    rounds=5,
    seconds=0.6,
    connections=(1, 8, 32, 256),
    idle=(0, 1_000, 5_000, 10_000),
    live=(0, 1_000, 10_000, 60_000),
    blocks=(1, 2, 8, 64),
    binds=3_000,
    held=1_000,
    bulk=1 << 30,
    cycles=1_000_000,
)

QUICK = Scale(
    name="quick",
    rounds=2,
    seconds=0.2,
    connections=(1, 8),
    idle=(0, 100),
    live=(0, 1_000),
    blocks=(1, 8),
    binds=300,
    held=100,
    bulk=1 << 26,
    cycles=5_000,
)


def sessions_possible() -> int:
    """Return how many control sessions a proxy can have here: two descriptors each."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (limit - _SPARE_DESCRIPTORS) // 2
