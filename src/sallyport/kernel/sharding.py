"""Which worker serves a client: by a hash of its address, the same in nft, in BPF and here; pure.

The kernel decides with a client's first packet (`jhash … mod 64 vmap`), so nothing is shared
between workers. Of an IPv6 address the /64 counts: a host that changes its address within it
(RFC 8981) stays with its worker. Buckets stand between hash and worker, so that an uneven spread
of a few clients can be mended by moving one.

A server that we publish at an address of ours has an ordinary listener: one socket a worker in a
SO_REUSEPORT group, and the same hash as a classic BPF program that returns the socket's index.
"""

import struct
import sys
from collections.abc import Iterator
from itertools import pairwise

from sallyport.addresses import IpAddress

BUCKETS = 64

# Any number will do, as long as it is the same everywhere.
_SEED = 0x5A11

_WORD = 0xFFFF_FFFF
# linux/jhash.h: JHASH_INITVAL.
_INITIAL = 0xDEAD_BEEF

# linux/jhash.h, __jhash_final: the word that changes, the other, and how far that is rotated.
_FINAL = ((2, 1, 14), (0, 2, 11), (1, 0, 25), (2, 1, 16), (0, 2, 4), (1, 0, 14), (2, 1, 24))


def worker_of(client: IpAddress, workers: int) -> int:
    """Return which of `workers` serves a client, counted from 0."""
    return bucket_of(client) * workers // BUCKETS


def bucket_of(client: IpAddress) -> int:
    """Return the bucket of a client's address, 0 to BUCKETS - 1."""
    key = client.packed[:8]
    state = [_INITIAL + len(key) + _SEED & _WORD] * 3
    for word in range(len(key) // 4):
        # The kernel reads them as its own numbers, whatever the byte order of the network.
        number = int.from_bytes(key[4 * word : 4 * word + 4], sys.byteorder)
        state[word] = state[word] + number & _WORD
    for to, other, turn in _FINAL:
        turned = (state[other] << turn | state[other] >> 32 - turn) & _WORD
        state[to] = (state[to] ^ state[other]) - turned & _WORD
    # The kernel's reciprocal_scale().
    return state[2] * BUCKETS >> 32


def match(version: int, chains: list[str]) -> str:
    """Write what sends each client to the chain of its worker, one for each worker in order."""
    # The first half of the IPv6 source, raw: nft 1.0.6 hashes no address under a mask.
    source = "ip saddr" if version == 4 else "@nh,64,64"
    shares = ", ".join(
        f"{share[0]}-{share[-1]} : goto {name}"
        for share, name in zip(_shares(len(chains)), chains, strict=True)
    )
    return f"jhash {source} mod {BUCKETS} seed {_SEED:#x} vmap {{ {shares} }}"


def _shares(workers: int) -> list[range]:
    """Return the buckets of each worker."""
    firsts = [-(-BUCKETS * worker // workers) for worker in range(workers + 1)]
    return [range(*ends) for ends in pairwise(firsts)]


# -- the same as a program for SO_ATTACH_REUSEPORT_CBPF -------------------------------------------

# Classic BPF (linux/filter.h, linux/bpf_common.h): code, jump if true, jump if false, constant.
_INSTRUCTION = struct.Struct("=HBBI")
_SET, _LOAD_BYTE, _LOAD, _LOAD_X, _STORE = 0x00, 0x30, 0x60, 0x61, 0x02
_SUBTRACT_X, _OR_X, _XOR_X = 0x1C, 0x4C, 0xAC
_ADD, _MULTIPLY, _LEFT, _RIGHT, _RETURN_A = 0x04, 0x24, 0x64, 0x74, 0x16
# SKF_NET_OFF: from the network header on.
_NETWORK_HEADER = 0xFFF0_0000
_SCRATCH = 3


def selector(version: int, workers: int) -> bytes:
    """Write the program that returns the index of a client's worker, from its first packet.

    The bytes are an array of `struct sock_filter`.
    """
    program = list(_selecting(version, workers))
    return b"".join(_INSTRUCTION.pack(code, 0, 0, constant & _WORD) for code, constant in program)


def _selecting(version: int, workers: int) -> Iterator[tuple[int, int]]:
    source, words = (12, 1) if version == 4 else (8, 2)
    initial = _INITIAL + 4 * words + _SEED & _WORD
    for word in range(3):
        yield _SET, 0
        yield _STORE, _SCRATCH
        if word < words:
            yield from _load_word(source + 4 * word)
        yield _ADD, initial
        yield _STORE, word
    for step in _FINAL:
        yield from _change(*step)
    yield _RIGHT, 26  # * BUCKETS >> 32
    yield _MULTIPLY, workers
    yield _RIGHT, 6  # // BUCKETS
    yield _RETURN_A, 0


def _load_word(offset: int) -> Iterator[tuple[int, int]]:
    """Load a word as the host reads it from memory."""
    order = range(4) if sys.byteorder == "little" else range(3, -1, -1)
    for place, byte in enumerate(order):
        yield _LOAD_BYTE, _NETWORK_HEADER + offset + byte
        yield _LEFT, 8 * place
        yield _LOAD_X, _SCRATCH
        yield _OR_X, 0
        yield _STORE, _SCRATCH


def _change(to: int, other: int, turn: int) -> Iterator[tuple[int, int]]:
    """Take one step; the word that changes is left in the accumulator too."""
    yield _LOAD, other
    yield _LEFT, turn
    yield _STORE, _SCRATCH
    yield _LOAD, other
    yield _RIGHT, 32 - turn
    yield _LOAD_X, _SCRATCH
    yield _OR_X, 0
    yield _STORE, _SCRATCH
    yield _LOAD, to
    yield _LOAD_X, other
    yield _XOR_X, 0
    yield _LOAD_X, _SCRATCH
    yield _SUBTRACT_X, 0
    yield _STORE, to
