"""Netlink framing (RFC 3549) and the nfnetlink header every netfilter message starts with.

Numbers are in host byte order unless a function says otherwise; attributes are padded to 4 bytes.
"""

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from sallyport.errors import ProtocolError


class Family(IntEnum):
    """Address and table families as netfilter numbers them."""

    UNSPEC = 0
    INET = 1
    IPV4 = 2
    IPV6 = 10


class Subsystem(IntEnum):
    """The parts of nfnetlink we speak to (high byte of the message type)."""

    CTNETLINK = 1
    ULOG = 4
    NFTABLES = 10


# Message types below 16 belong to netlink itself.
TYPE_ERROR = 2
TYPE_DONE = 3

FLAG_REQUEST = 0x1
FLAG_ACK = 0x4
FLAG_DUMP_INTERRUPTED = 0x10
FLAG_DUMP = 0x300
FLAG_EXCL = 0x200
FLAG_CREATE = 0x400

NESTED = 0x8000
_TYPE_MASK = 0x3FFF

HEADER_SIZE = 16
SEQUENCE_AT = 8
GENERIC_SIZE = 4

_HEADER = struct.Struct("=IHHII")
_MESSAGE = struct.Struct("=IHHIIBBH")
_ATTRIBUTE = struct.Struct("=HH")
_INT = struct.Struct("=i")
_VERDICT = struct.Struct("=IHHIIi")

VERDICT_SIZE = _VERDICT.size
"""How much of an answer says whether a request was carried out; after that it is repeated."""


class Message(NamedTuple):
    """One netlink message; `payload` is everything after the 16-byte header."""

    kind: int
    flags: int
    sequence: int
    payload: bytes

    @property
    def errno(self) -> int | None:
        """The positive errno of an error message, 0 for an acknowledgement, None for others."""
        if self.kind != TYPE_ERROR:
            return None
        if len(self.payload) < _INT.size:
            raise ProtocolError("netlink-truncated", self.payload)
        number: int = _INT.unpack_from(self.payload)[0]
        return -number


def attribute(kind: int, payload: bytes) -> bytes:
    """Write one attribute; `payload` may be at most 65531 bytes."""
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + bytes(-len(payload) & 3)


def nested(kind: int, *attributes: bytes) -> bytes:
    """Write an attribute that holds attributes."""
    return attribute(kind | NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    """Write a NUL-terminated string attribute."""
    return attribute(kind, value.encode("ascii") + b"\0")


def message(  # noqa: PLR0917 - the header's fields in their order on the wire
    kind: int, flags: int, sequence: int, family: Family, payload: bytes, resource: int = 0
) -> bytes:
    """Write one nfnetlink message; `resource` is the header's `res_id` as it lies in memory."""
    size = HEADER_SIZE + GENERIC_SIZE + len(payload)
    return _MESSAGE.pack(size, kind, flags, sequence, 0, family, 0, resource) + payload


def plain_message(kind: int, flags: int, sequence: int, payload: bytes) -> bytes:
    """Write one message of another part of netlink, whose own header begins the payload."""
    return _HEADER.pack(HEADER_SIZE + len(payload), kind, flags, sequence, 0) + payload


def message_type(subsystem: Subsystem, operation: int) -> int:
    """Return the message type of one operation of a subsystem."""
    return subsystem << 8 | operation


def messages(data: bytes) -> Iterator[Message]:
    """Read the messages of one datagram; raises ProtocolError when a length is impossible."""
    at = 0
    while at < len(data):
        if len(data) - at < HEADER_SIZE:
            raise ProtocolError("netlink-truncated", data[at:])
        size, kind, flags, sequence, _port = _HEADER.unpack_from(data, at)
        if not HEADER_SIZE <= size <= len(data) - at:
            raise ProtocolError("netlink-bad-length", data[at:])
        yield Message(kind, flags, sequence, data[at + HEADER_SIZE : at + size])
        at += size + (-size & 3)


def sequence_of(answer: bytes) -> int | None:
    """Read which request an answer is about; None when it is too short to say."""
    return _HEADER.unpack_from(answer)[3] if len(answer) >= HEADER_SIZE else None


def verdict(answer: bytes, sequence: int) -> int | None:
    """Read from the first VERDICT_SIZE bytes of an answer what became of the request `sequence`.

    The errno, 0 when it was carried out; None when the answer is about anything else.
    """
    if len(answer) < VERDICT_SIZE:
        return None
    _size, kind, _flags, answered, _port, number = _VERDICT.unpack_from(answer)
    return -number if kind == TYPE_ERROR and answered == sequence else None


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Read attributes as (type, payload); raises ProtocolError when a length is impossible."""
    at = 0
    while at < len(data):
        if len(data) - at < _ATTRIBUTE.size:
            raise ProtocolError("netlink-truncated", data[at:])
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if not _ATTRIBUTE.size <= size <= len(data) - at:
            raise ProtocolError("netlink-bad-length", data[at:])
        yield kind & _TYPE_MASK, data[at + _ATTRIBUTE.size : at + size]
        at += size + (-size & 3)


def value_of(data: bytes, wanted: int) -> bytes:
    """Return the payload of the first attribute of a type; empty when there is none.

    What is behind it is not looked at. Raises ProtocolError as `attributes`.
    """
    for kind, value in attributes(data):
        if kind == wanted:
            return value
    return b""
