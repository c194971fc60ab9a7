"""One packet: the bare ACK that makes a TCP end speak (RFC 9293 section 3.10.7.4, RFC 5961).

A receiver answers an ACK outside its window with its own true numbers; that answer is what the
kernel can turn into a valid reset. Nothing about the flow needs to be known to write it.
"""

import struct

from sallyport.addresses import Endpoint, IpAddress

_PROTOCOL = 6
_ACK = 0x10
_HOPS = 64
# Data offset of a header without options: 5 words, in the high half of its byte.
_OFFSET = 5 << 4

_TCP = struct.Struct(">HHIIBBHHH")
_IPV4 = struct.Struct(">BBHHHBBH4s4s")
_IPV6 = struct.Struct(">IHBB16s16s")


def bare_ack(source: Endpoint, destination: Endpoint, sequence: int, acknowledged: int) -> bytes:
    """Write a whole IP packet with a TCP ACK and no data; both ends are of one IP version.

    `sequence` and `acknowledged` are 32-bit numbers; random ones are out of window nearly always.
    """
    segment = _segment(source.port, destination.port, sequence, acknowledged, 0)
    checksum = _checksum(_pseudo_header(source.address, destination.address) + segment)
    segment = _segment(source.port, destination.port, sequence, acknowledged, checksum)
    return _ip_header(source.address, destination.address) + segment


def _segment(
    source: int, destination: int, sequence: int, acknowledged: int, checksum: int
) -> bytes:
    # The window says nothing to a receiver that finds the segment unacceptable.
    return _TCP.pack(source, destination, sequence, acknowledged, _OFFSET, _ACK, 0, checksum, 0)


def _pseudo_header(source: IpAddress, destination: IpAddress) -> bytes:
    # RFC 9293 section 3.1; the IPv6 form differs only in zeros, which a checksum does not see.
    return source.packed + destination.packed + struct.pack(">HH", _PROTOCOL, _TCP.size)


def _ip_header(source: IpAddress, destination: IpAddress) -> bytes:
    if source.version == 4:
        # Linux fills in length, identification and checksum of a header it is handed.
        size = _IPV4.size + _TCP.size
        ends = source.packed, destination.packed
        return _IPV4.pack(0x45, 0, size, 0, 0, _HOPS, _PROTOCOL, 0, *ends)
    return _IPV6.pack(6 << 28, _TCP.size, _PROTOCOL, _HOPS, source.packed, destination.packed)


def _checksum(data: bytes) -> int:
    # RFC 1071; the data here is always whole 16-bit words.
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
