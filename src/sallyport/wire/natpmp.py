"""NAT-PMP messages (RFC 6886): bytes ⇄ values. PCP's predecessor, on the same port, version 0."""

import struct
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address
from typing import Final

VERSION: Final = 0

_RESPONSE_BIT: Final = 128
_ADDRESS_REQUEST_BYTES: Final = 2
_MAP: Final = struct.Struct("!BBHHHI")
_HEAD: Final = struct.Struct("!BBHI")


class NatPmpOpcode(IntEnum):
    """What a request asks for (sections 3.2 and 3.3)."""

    ADDRESS = 0
    MAP_UDP = 1
    MAP_TCP = 2


class NatPmpResult(IntEnum):
    """Result codes (section 3.5)."""

    SUCCESS = 0
    UNSUPP_VERSION = 1
    NOT_AUTHORIZED = 2
    NETWORK_FAILURE = 3
    NO_RESOURCES = 4
    UNSUPP_OPCODE = 5


@dataclass(frozen=True, slots=True)
class NatPmpMapping:
    """A mapping that is asked for: of a TCP or UDP port, for `lifetime` seconds; 0 deletes."""

    is_tcp: bool
    internal_port: int
    external_port: int
    lifetime: int


def parse(data: bytes) -> NatPmpMapping | NatPmpOpcode | None:
    """Read a request of version 0: a mapping, or ADDRESS.

    None for what must not be answered: it is too short to be either. An unknown opcode raises
    ValueError, and is answered with UNSUPP_OPCODE (section 3.5).
    """
    opcode = data[1]
    if opcode == NatPmpOpcode.ADDRESS:
        return NatPmpOpcode.ADDRESS if len(data) >= _ADDRESS_REQUEST_BYTES else None
    if opcode not in (NatPmpOpcode.MAP_UDP, NatPmpOpcode.MAP_TCP):
        raise ValueError("unknown opcode")
    if len(data) < _MAP.size:
        return None
    _, _, _, internal, external, lifetime = _MAP.unpack_from(data)
    return NatPmpMapping(opcode == NatPmpOpcode.MAP_TCP, internal, external, lifetime)


def refuse(request: bytes, result: NatPmpResult, epoch: int) -> bytes:
    """Write the answer to a request that failed: as long as a success of that opcode."""
    opcode = request[1]
    head = _HEAD.pack(VERSION, opcode | _RESPONSE_BIT, result, epoch)
    if opcode == NatPmpOpcode.ADDRESS:
        return head + bytes(4)
    if opcode in (NatPmpOpcode.MAP_UDP, NatPmpOpcode.MAP_TCP) and len(request) >= _MAP.size:
        return head + request[4:8] + bytes(4)
    return head


def address(external: IPv4Address, epoch: int) -> bytes:
    """Write the external address (section 3.2), which is also what is sent unasked."""
    return (
        _HEAD.pack(VERSION, NatPmpOpcode.ADDRESS | _RESPONSE_BIT, NatPmpResult.SUCCESS, epoch)
        + external.packed
    )


def grant(mapping: NatPmpMapping, port: int, lifetime: int, epoch: int) -> bytes:
    """Write the answer to a mapping (section 3.3); after a deletion port and lifetime are 0."""
    opcode = NatPmpOpcode.MAP_TCP if mapping.is_tcp else NatPmpOpcode.MAP_UDP
    head = _HEAD.pack(VERSION, opcode | _RESPONSE_BIT, NatPmpResult.SUCCESS, epoch)
    return head + struct.pack("!HHI", mapping.internal_port, port, lifetime)
