"""Noise: bytes that are of no protocol, the same in every run."""

from collections.abc import Iterator
from dataclasses import replace

from sallyport.testing.conversation import Says, Script, Side
from sallyport.testing.world import VirtualWorld

# Enough for each kind of byte to come first, last and twice in a row; a run takes 0.5 ms.
NOISES = 24
MAX_SEGMENTS = 6
MAX_SEGMENT = 48

# Each has a special meaning somewhere: the end of a C string, of a line, Telnet's IAC.
_SPECIAL = b"\0\r\n\xff"


def noise(before: Script, *sides: Side) -> Iterator[Script]:
    """Yield scripts with arbitrary bytes from two sides, in or after `before`.

    The sides are by default those of the control connection."""
    one, other = sides or (Side.CLIENT, Side.SERVER)
    below = VirtualWorld().random_below
    for _ in range(NOISES):
        said = [
            Says(
                one if below(2) else other,
                bytes(below(256) for _ in range(1 + below(MAX_SEGMENT))),
            )
            for _ in range(1 + below(MAX_SEGMENTS))
        ]
        yield (*before[: below(len(before) + 1)], *said)


def mutants(script: Script) -> Iterator[Script]:
    """Yield the script with one change: bits flipped, bytes or a step removed or repeated.

    Or with bytes inserted that are special to some protocol."""
    below = VirtualWorld().random_below
    for index, step in enumerate(script):
        if not isinstance(step, Says):
            continue
        for data in _changed(step.data, below(8 * len(step.data)), below(len(step.data))):
            yield (*script[:index], replace(step, data=data), *script[index + 1 :])
        yield (*script[:index], *script[index + 1 :])
        yield (*script[:index], step, *script[index:])


def _changed(data: bytes, bit: int, at: int) -> Iterator[bytes]:
    flipped = bytearray(data)
    flipped[bit // 8] ^= 1 << bit % 8
    yield bytes(flipped)
    if len(data) > 1:
        yield data[:at] + data[at + 1 :]
    for special in _SPECIAL:
        for where in (0, at, len(data)):
            yield data[:where] + bytes([special]) + data[where:]
