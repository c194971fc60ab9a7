"""Which worker serves a client; the kernel's own answers: tests/netns/test_sharding.py."""

import operator
import struct
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.kernel import sharding

ADDRESSES = st.one_of(
    st.ip_addresses(v=4),
    st.ip_addresses(v=6),
)


OPERATIONS: dict[int, Callable[[int, int], int]] = {
    0x04: operator.add,
    0x24: operator.mul,
    0x64: operator.lshift,
    0x74: operator.rshift,
    0x0C: operator.add,
    0x1C: operator.sub,
    0x4C: operator.or_,
    0xAC: operator.xor,
}


def run(program: bytes, packet: bytes) -> int:
    """Run a classic BPF program on a packet that begins with its network header."""
    memory = [0] * 16
    a = x = 0
    for code, _, _, k in struct.iter_unpack("=HBBI", program):
        if code in OPERATIONS:
            a = OPERATIONS[code](a, x if code & 0x08 else k) & 0xFFFFFFFF
        elif code == 0x02:
            memory[k] = a
        elif code == 0x61:
            x = memory[k]
        elif code == 0x16:
            return a
        elif code == 0x30:
            a = packet[k - 0xFFF0_0000]
        else:
            assert code in {0x00, 0x60}, f"instruction {code:#x} is not in the model"
            a = memory[k] if code else k
    raise AssertionError("the program does not end")


@given(ADDRESSES, st.integers(1, 8))
def test_published_servers_follow_the_same_hash(
    client: IPv4Address | IPv6Address, workers: int
) -> None:
    packet = bytes(12 if client.version == 4 else 8) + client.packed

    chosen = run(sharding.selector(client.version, workers), packet)

    assert chosen == sharding.worker_of(client, workers)
    assert 0 <= chosen < workers


@given(st.ip_addresses(v=6), st.binary(min_size=8, max_size=8))
def test_of_an_ipv6_address_the_64_counts(client: IPv6Address, other: bytes) -> None:
    neighbour = ip_address(client.packed[:8] + other)

    assert sharding.bucket_of(neighbour) == sharding.bucket_of(client)


@pytest.mark.parametrize("workers", [2, 3, 5, 8])
def test_many_clients_are_spread_evenly(workers: int) -> None:
    first = int(ip_address("10.0.0.0"))
    spread = Counter(sharding.worker_of(IPv4Address(first + n), workers) for n in range(8192))

    assert len(spread) == workers
    assert max(spread.values()) < 1.3 * 8192 / workers


@pytest.mark.parametrize("workers", [2, 3, 8])
def test_the_chains_have_the_buckets_of_their_workers(workers: int) -> None:
    names = [f"w{n}" for n in range(workers)]
    text = sharding.match(4, names)
    shares = text.partition("{ ")[2].removesuffix(" }").split(", ")

    found = {}
    for share in shares:
        buckets, _, name = share.partition(" : goto ")
        low, high = map(int, buckets.split("-"))
        found.update(dict.fromkeys(range(low, high + 1), name))

    assert found == {b: f"w{b * workers // 64}" for b in range(64)}
