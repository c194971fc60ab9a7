"""Which peers a listening socket answers at all, as a classic BPF program; pure.

A socket filter of a listener sees every packet for it, the SYN first. What it drops is not
answered: a stranger learns as little as on the kernel's path, where no pinhole matches.
"""

import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache
from ipaddress import summarize_address_range
from typing import Final

from sallyport.addresses import IpNetwork
from sallyport.core.pinholes.datapath import Pinhole
from sallyport.ipfilter import IpFilter

# linux/filter.h, linux/bpf_common.h: code, jump if true, jump if false, constant.
_INSTRUCTION: Final = struct.Struct("=HBBI")
_LOAD, _LOAD_HALF, _AND, _RETURN = 0x20, 0x28, 0x54, 0x06
_IF_EQUAL = 0x15
# SKF_NET_OFF: from the network header on. Without it, from the TCP header on: the source port.
_NETWORK_HEADER: Final = 0xFFF0_0000
_SOURCE: Final = {4: _NETWORK_HEADER + 12, 6: _NETWORK_HEADER + 8}
_WORD: Final = 32
_KEEP: Final = 0xFFFF_FFFF

# BPF_MAXINSNS in linux/bpf_common.h; a longer program is not taken.
_MOST: Final = 4096

_Instruction = tuple[int, int]
"""Code and constant; a condition that does not hold leaves the block it is in."""


def program(pinholes: Iterable[Pinhole], version: int) -> bytes | None:
    """Return the program that keeps what the peers of these pinholes send, and drops the rest.

    None: anyone may come, or the peers are too many to list. The bytes are an array of
    `struct sock_filter`.
    """
    written = b""
    for pinhole in pinholes:
        part = _keeping(pinhole.sources, pinhole.source_ports, version)
        if part is None or len(written) + len(part) >= _MOST * _INSTRUCTION.size:
            return None
        written += part
    return written + _INSTRUCTION.pack(_RETURN, 0, 0, 0)


# The same server is met again with every transfer.
@lru_cache(maxsize=256)
def _keeping(sources: IpFilter | None, ports: frozenset[int] | None, version: int) -> bytes | None:
    """Return what keeps the packets of one pinhole; None: of anyone, or it is too long."""
    if sources is None and ports is None:
        return None
    written: list[bytes] = []
    for block in _blocks(sources, ports, version):
        written += _assembled([*block, (_RETURN, _KEEP)])
        if len(written) >= _MOST:
            return None
    return b"".join(written)


def _blocks(
    sources: IpFilter | None, ports: frozenset[int] | None, version: int
) -> Iterator[list[_Instruction]]:
    for prefix in _prefixes(sources, version):
        source = list(_from_prefix(prefix))
        if ports is None:
            yield source
        for port in sorted(ports or ()):
            yield [*source, (_LOAD_HALF, 0), (_IF_EQUAL, port)]


def _prefixes(sources: IpFilter | None, version: int) -> Iterator[IpNetwork | None]:
    if sources is None:
        yield None
        return
    for first, last in sources.ranges:
        if first.version == version == 4 or first.version == version == 6:
            yield from summarize_address_range(first, last)


def _from_prefix(prefix: IpNetwork | None) -> Iterator[_Instruction]:
    """Compare the source with a prefix, word by word; None is any source."""
    if prefix is None:
        return
    for begin in range(0, prefix.prefixlen, _WORD):
        bits = min(_WORD, prefix.prefixlen - begin)
        offset = _SOURCE[prefix.version] + begin // 8
        wanted = prefix.network_address.packed[begin // 8 : begin // 8 + 4]
        yield _LOAD, offset
        if bits < _WORD:
            yield _AND, _KEEP << (_WORD - bits) & _KEEP
        yield _IF_EQUAL, int.from_bytes(wanted, "big")


def _assembled(block: list[_Instruction]) -> Iterator[bytes]:
    for place, (code, constant) in enumerate(block):
        leave = len(block) - 1 - place if code == _IF_EQUAL else 0
        yield _INSTRUCTION.pack(code, 0, leave, constant)
