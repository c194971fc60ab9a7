"""TFTP, by a client that asks again for what does not come."""

import socket
import struct
from contextlib import suppress
from itertools import count
from time import monotonic

from tests.soak.network import ASK_AGAIN_SECONDS, ASK_TIMES, BLOCK, FAMILIES, Network
from tests.soak.visits import Visit, compare, endpoint


def tftp(network: Network, visit: Visit) -> None:
    """Fetch a file by TFTP, asking again for what does not come."""
    name = visit.random.choice(("none", "tiny", "block", "some"))
    content = network.content[name]
    with visit.client.entered(), socket.socket(FAMILIES[visit.family], socket.SOCK_DGRAM) as sock:
        sock.bind((str(visit.client.address(visit.family)), 0))
        sock.settimeout(ASK_AGAIN_SECONDS)
        visit.is_named(sock.getsockname())
        said = b"\0\1" + name.encode() + b"\0octet\0"
        at = str(network.tftp.host.address(visit.family)), 69
        block, at = _next_block(sock, said, at, 1)
        with visit.transfer(endpoint(at), len(content)):
            got = block
            for number in count(1):
                said = b"\0\4" + struct.pack("!H", number)
                if len(block) < BLOCK:
                    sock.sendto(said, at[:2])
                    break
                block, at = _next_block(sock, said, at, number + 1)
                got += block
            compare(got, content)


def _next_block(
    sock: socket.socket, said: bytes, at: tuple[str, int], number: int
) -> tuple[bytes, tuple[str, int]]:
    """Say something until the block of this number comes; return it, and from where."""
    wanted = b"\0\3" + struct.pack("!H", number)
    for _ in range(ASK_TIMES):
        sock.sendto(said, at[:2])
        until = monotonic() + ASK_AGAIN_SECONDS
        with suppress(TimeoutError):
            while monotonic() < until:
                data, source = sock.recvfrom(4 + BLOCK)
                if data.startswith(wanted) and (number == 1 or source[:2] == at[:2]):
                    return data[4:], (source[0], source[1])
                assert data[:2] != b"\0\5", data
    raise TimeoutError(f"no block {number}")
