"""Conntrack entries over nfnetlink (linux/netfilter/nfnetlink_conntrack.h).

A flow is named by the bytes of its original tuple exactly as the kernel writes them: they are the
key of our tables and go back into requests unread.
"""

import struct
import sys
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from sallyport.addresses import Endpoint
from sallyport.errors import ProtocolError
from sallyport.wire import netlink
from sallyport.wire.netlink import Family, Subsystem

_NEW = netlink.message_type(Subsystem.CTNETLINK, 0)
_GET = netlink.message_type(Subsystem.CTNETLINK, 1)
_DELETE = netlink.message_type(Subsystem.CTNETLINK, 2)
_REPORTS = frozenset({_NEW, _DELETE})

_ORIGINAL, _REPLY, _TIMEOUT, _MARK = 1, 2, 7, 8
_COUNTERS_ORIGINAL, _COUNTERS_REPLY, _MARK_MASK = 9, 10, 21
_COUNTER_BYTES = 2

_BIG32 = struct.Struct(">I")
_ATTRIBUTE = struct.Struct("=HH")
_MESSAGE_START = struct.Struct("=IHHIIB3x")

# A tuple is always written as: nest{ nest{ source, destination }, nest{ protocol, source port,
# destination port } }. Entries in a conntrack zone carry one attribute more and are not ours.
_TUPLE4 = struct.Struct("=HHHHHH4sHH4sHHHHB3xHH2s2xHH2s2x")
_TUPLE6 = struct.Struct("=HHHHHH16sHH16sHHHHB3xHH2s2xHH2s2x")
_TUPLE_SIZE = {Family.IPV4.value: _TUPLE4.size, Family.IPV6.value: _TUPLE6.size}

# Where the first tuple starts in a message.
_BODY = netlink.HEADER_SIZE + netlink.GENERIC_SIZE
_N = netlink.NESTED


class FlowReport(NamedTuple):
    """What one event or dump entry says about a flow; a tuple because events are the hot path."""

    is_destroyed: bool
    mark: int
    original: bytes
    reply: bytes
    original_bytes: int | None
    reply_bytes: int | None
    seconds_left: int | None = None
    """How long the entry stays if no packet comes."""


@dataclass(frozen=True, slots=True)
class FlowTuple:
    """One direction of a flow: who sends to whom."""

    transport: int
    source: Endpoint
    destination: Endpoint


def read_report(data: bytes, start: int = 0) -> FlowReport | None:
    """Read the message at `start`; None when it does not describe a flow as we know them.

    Never raises: what cannot be read is not one of ours.
    """
    try:
        size, kind, _flags, _sequence, _port, family = _MESSAGE_START.unpack_from(data, start)
        extent = _TUPLE_SIZE[family]
        first = start + _BODY
        second, rest, end = first + extent, first + 2 * extent, start + size
        if (
            kind not in _REPORTS
            or not rest <= end <= len(data)
            or _ATTRIBUTE.unpack_from(data, first) != (extent, _ORIGINAL | _N)
            or _ATTRIBUTE.unpack_from(data, second) != (extent, _REPLY | _N)
        ):
            return None
        details = _read_details(data, rest, end)
    except (struct.error, KeyError, ProtocolError):
        return None
    mark, *counts = details
    return FlowReport(kind == _DELETE, mark, data[first:second], data[second:rest], *counts)


def _read_details(data: bytes, at: int, end: int) -> tuple[int, int | None, int | None, int | None]:
    mark = 0
    original_bytes = reply_bytes = seconds_left = None
    while at < end:
        length, name = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size or at + length > end:
            raise ProtocolError("netlink-bad-length", data[at:end])
        if name == _MARK:
            mark = _BIG32.unpack_from(data, at + 4)[0]
        elif name == _TIMEOUT:
            seconds_left = _BIG32.unpack_from(data, at + 4)[0]
        elif name == _COUNTERS_ORIGINAL | _N:
            original_bytes = _counter(data[at + 4 : at + length])
        elif name == _COUNTERS_REPLY | _N:
            reply_bytes = _counter(data[at + 4 : at + length])
        at += length + (-length & 3)
    return mark, original_bytes, reply_bytes, seconds_left


def _counter(data: bytes) -> int | None:
    for kind, value in netlink.attributes(data):
        if kind == _COUNTER_BYTES:
            return int.from_bytes(value, "big")
    return None


def read_tuple(raw: bytes) -> FlowTuple:
    """Read the tuple of a FlowReport; raises ProtocolError when it has another shape."""
    is_ipv4 = len(raw) == _TUPLE4.size
    if not is_ipv4 and len(raw) != _TUPLE6.size:
        raise ProtocolError("conntrack-tuple", raw)
    fields = (_TUPLE4 if is_ipv4 else _TUPLE6).unpack(raw)
    source, destination, protocol = fields[6], fields[9], fields[14]
    source_port, destination_port = fields[17], fields[20]
    address: type[IPv4Address | IPv6Address] = IPv4Address if is_ipv4 else IPv6Address
    parsed = FlowTuple(
        protocol,
        Endpoint(address(source), int.from_bytes(source_port, "big")),
        Endpoint(address(destination), int.from_bytes(destination_port, "big")),
    )
    # Writing it again compares every size and type in the skeleton at once.
    kind = fields[1] & ~_N
    if kind not in {_ORIGINAL, _REPLY} or _write_tuple(kind, parsed) != raw:
        raise ProtocolError("conntrack-tuple", raw)
    return parsed


def write_tuple(flow: FlowTuple) -> bytes:
    """Write the original tuple of a flow, as the kernel names it in its reports."""
    return _write_tuple(_ORIGINAL, flow)


def _write_tuple(kind: int, flow: FlowTuple) -> bytes:
    is_ipv4 = flow.source.version == 4
    layout, width = (_TUPLE4, 4) if is_ipv4 else (_TUPLE6, 16)
    # CTA_IP_V4_SRC and _DST are 1 and 2, CTA_IP_V6_SRC and _DST are 3 and 4.
    first = 1 if is_ipv4 else 3
    return layout.pack(
        layout.size, kind | _N,
        2 * width + 12, 1 | _N,
        width + 4, first, flow.source.address.packed,
        width + 4, first + 1, flow.destination.address.packed,
        28, 2 | _N,
        5, 1, flow.transport,
        6, 2, flow.source.port.to_bytes(2, "big"),
        6, 3, flow.destination.port.to_bytes(2, "big"),
    )  # fmt: skip


def _family(original: bytes) -> Family:
    return Family.IPV4 if len(original) == _TUPLE4.size else Family.IPV6


def get_request(original: bytes, sequence: int) -> bytes:
    """Ask for one entry; the answer is a report, or ENOENT."""
    flags = netlink.FLAG_REQUEST
    return netlink.message(_GET, flags, sequence, _family(original), original)


def delete_request(original: bytes, sequence: int) -> bytes:
    """Delete one entry; acknowledged."""
    flags = netlink.FLAG_REQUEST | netlink.FLAG_ACK
    return netlink.message(_DELETE, flags, sequence, _family(original), original)


def mark_request(original: bytes, bits: int, mask: int, sequence: int) -> bytes:
    """Set the `mask` bits of one entry's mark to `bits`; acknowledged."""
    flags = netlink.FLAG_REQUEST | netlink.FLAG_ACK
    payload = original + _mark_attributes(bits, mask)
    return netlink.message(_NEW, flags, sequence, _family(original), payload)


def dump_request(bits: int, mask: int, sequence: int) -> bytes:
    """Ask for every entry, IPv4 and IPv6, whose mark has `bits` under `mask`."""
    flags = netlink.FLAG_REQUEST | netlink.FLAG_DUMP
    return netlink.message(_GET, flags, sequence, Family.UNSPEC, _mark_attributes(bits, mask))


def _mark_attributes(bits: int, mask: int) -> bytes:
    return netlink.attribute(_MARK, _BIG32.pack(bits)) + netlink.attribute(
        _MARK_MASK, _BIG32.pack(mask)
    )


# -- the filter in the event socket -------------------------------------------------------------

# Classic BPF (linux/filter.h): code, jump if true, jump if false, constant.
_INSTRUCTION = struct.Struct("=HBBI")
_LOAD_WORD, _LOAD_BYTE, _LOAD_AT_X = 0x20, 0x30, 0x40
_LOAD_A, _LOAD_X, _A_TO_X, _AND = 0x00, 0x01, 0x07, 0x54
_IF_EQUAL, _IF_ANY_BIT, _RETURN = 0x15, 0x45, 0x06
# SKF_AD_OFF + SKF_AD_NLATTR: find attribute X from offset A; A becomes its offset or 0.
_FIND_ATTRIBUTE = 0xFFFFF000 + 12
_WHOLE = 0xFFFFFFFF
# Where the operation lies within the message type, which is in host byte order.
_TYPE_LOW_BYTE = 4 if sys.byteorder == "little" else 5


def event_filter(ours: int, proven: int, ends: int, identity: int) -> bytes:
    """Write the socket filter that keeps events worth waking up for, before they use buffer.

    Kept: marks with the bit `ours` and something in `identity`, when the flow is destroyed, or
    when it is `proven` and has none or all of the bits `ends` (one FIN alone tells us nothing).
    The bytes are an array of `struct sock_filter`.
    """
    program = [
        (_LOAD_A, 0, 0, _BODY),
        (_LOAD_X, 0, 0, _MARK),
        (_LOAD_WORD, 0, 0, _FIND_ATTRIBUTE),
        (_IF_EQUAL, 11, 0, 0),  # no mark: drop
        (_A_TO_X, 0, 0, 0),
        (_LOAD_AT_X, 0, 0, 4),
        (_IF_ANY_BIT, 0, 8, ours),
        (_IF_ANY_BIT, 0, 7, identity),
        (_LOAD_BYTE, 0, 0, _TYPE_LOW_BYTE),
        (_IF_EQUAL, 6, 0, _DELETE & 0xFF),
        (_LOAD_AT_X, 0, 0, 4),
        (_IF_ANY_BIT, 0, 3, proven),
        (_AND, 0, 0, ends),
        (_IF_EQUAL, 2, 0, 0),
        (_IF_EQUAL, 1, 0, ends),
        (_RETURN, 0, 0, 0),
        (_RETURN, 0, 0, _WHOLE),
    ]
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)
