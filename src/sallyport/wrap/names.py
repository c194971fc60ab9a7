"""The structs sockaddr_in and sockaddr_in6: bytes ⇄ endpoints; pure."""

import socket
import struct
from ipaddress import IPv4Address, IPv6Address

from sallyport.addresses import Endpoint, IpAddress

MAX_BYTES = 28
"""The size of struct sockaddr_in6, the longer of the two."""


def parse(raw: bytes) -> Endpoint | None:
    """Read a name; None for another family, or a name that is too short."""
    if len(raw) >= 8 and raw[:2] == struct.pack("=H", socket.AF_INET):
        return Endpoint(IPv4Address(raw[4:8]), int.from_bytes(raw[2:4], "big"))
    if len(raw) >= 24 and raw[:2] == struct.pack("=H", socket.AF_INET6):
        address = IPv6Address(raw[8:24])
        plain: IpAddress = address if address.ipv4_mapped is None else address.ipv4_mapped
        return Endpoint(plain, int.from_bytes(raw[2:4], "big"))
    return None


def write(endpoint: Endpoint, family: int) -> bytes:
    """Write a name for a socket of `family`; an IPv4 address in IPv6 form where that is AF_INET6.

    Raises ValueError for an IPv6 address in a socket of IPv4.
    """
    port = endpoint.port.to_bytes(2, "big")
    if family == socket.AF_INET6:
        packed = endpoint.address.packed
        if endpoint.version == 4:
            packed = bytes(10) + b"\xff\xff" + packed
        return struct.pack("=H", family) + port + bytes(4) + packed + bytes(4)
    if endpoint.version != 4:
        raise ValueError("an IPv6 address in an IPv4 socket")
    return struct.pack("=H", family) + port + endpoint.address.packed + bytes(8)
