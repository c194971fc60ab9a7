"""Conntrack entries over nfnetlink (linux/netfilter/nfnetlink_conntrack.h).

A flow is named by the bytes of its original tuple exactly as the kernel writes them: they are the
key of our tables and go back into requests unread.
"""

import struct
import sys
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any, NamedTuple

from msgspec import Struct

from sallyport.addresses import MAX_PORT, Endpoint
from sallyport.errors import ProtocolError
from sallyport.wire import netlink
from sallyport.wire.netlink import Family, Subsystem

_NEW = netlink.message_type(Subsystem.CTNETLINK, 0)
_GET = netlink.message_type(Subsystem.CTNETLINK, 1)
_DELETE = netlink.message_type(Subsystem.CTNETLINK, 2)
_REPORTS = frozenset({_NEW, _DELETE})

_ORIGINAL, _REPLY, _TIMEOUT, _MARK = 1, 2, 7, 8
_MARK_MASK = 21
_COUNTERS_ORIGINAL, _COUNTERS_REPLY = 9 | netlink.NESTED, 10 | netlink.NESTED
_COUNTER_PACKETS, _COUNTER_BYTES = 1, 2
_PROTOCOL_INFO, _TCP_INFO, _TCP_STATE = 4 | netlink.NESTED, 1 | netlink.NESTED, 1

# LAST_ACK, TIME_WAIT and CLOSE of nf_conntrack_tcp.h.
_TCP_OVER = frozenset({6, 7, 8})

# Where the transport protocol stands, from the end of a tuple.
_PROTOCOL_FROM_END = 20
_UDP = 17

_BIG32 = struct.Struct(">I")
_BIG64 = struct.Struct(">Q")
_ATTRIBUTE = struct.Struct("=HH")
_MESSAGE_START = struct.Struct("=IHHIIB3x")

# A tuple is always written as: nest{ nest{ source, destination }, nest{ protocol, source port,
# destination port } }. Entries in a conntrack zone carry one attribute more and are not ours.
_TUPLE4 = struct.Struct("=HHHHHH4sHH4sHHHHB3xHH2s2xHH2s2x")
_TUPLE6 = struct.Struct("=HHHHHH16sHH16sHHHHB3xHH2s2xHH2s2x")
_TUPLE_SIZE = {Family.IPV4.value: _TUPLE4.size, Family.IPV6.value: _TUPLE6.size}

_N = netlink.NESTED
_ORIGINAL_HEAD, _REPLY_HEAD = (
    {family: _ATTRIBUTE.pack(size, kind | _N) for family, size in _TUPLE_SIZE.items()}
    for kind in (_ORIGINAL, _REPLY)
)

# The kernel counts packets with their headers; users ask for what was in them. Headers of IPv4 and
# IPv6 without options; 8 bytes of UDP; of TCP 20 and the timestamps that Linux sends in every
# packet (RFC 7323: 12 bytes with padding), and 8 more in the first one (maximum segment, window
# scale, SACK permitted). Exact for UDP and for TCP without loss between such hosts; a host without
# timestamps is shown 12 bytes less for each packet. Packets that the host joined count once.
_IP_HEADER = {Family.IPV4.value: 20, Family.IPV6.value: 40}
_UDP_HEADER, _TCP_HEADER, _TCP_FIRST = 8, 32, 8

# Where the first tuple starts in a message.
_BODY = netlink.HEADER_SIZE + netlink.GENERIC_SIZE


class FlowReport(Struct, frozen=True, gc=False):
    """What one event or dump entry says about a flow; a Struct because events are the hot path."""

    is_destroyed: bool
    mark: int
    original: bytes
    reply: bytes
    sent: int = 0
    """Bytes of payload each way, read from the report of its destruction; zero if the kernel does
    not count (nf_conntrack_acct)."""
    received: int = 0


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
        kind, first, rest, end = _bounds(data, start)
        second = first + rest >> 1
        mark = _find(data, rest, end, _MARK)
        number = 0 if mark is None else _BIG32.unpack_from(data, mark[0])[0]
        counts = _read_counters(data, second, rest, end) if kind == _DELETE else (0, 0)
        return FlowReport(kind == _DELETE, number, data[first:second], data[second:rest], *counts)
    except (struct.error, KeyError, ProtocolError):
        return None


def read_counters(answer: bytes) -> tuple[int, int] | None:
    """Read the payload each way from the answer to a `get_request`; None as `read_report`.

    Zero if the kernel does not count (nf_conntrack_acct).
    """
    try:
        _kind, first, rest, end = _bounds(answer, 0)
        return _read_counters(answer, first + rest >> 1, rest, end)
    except (struct.error, KeyError, ProtocolError):
        return None


def read_seconds_left(answer: bytes) -> int | None:
    """Read from the answer to a `get_request` how long the entry stays if no packet comes.

    None as `read_report`, and when it does not say.
    """
    try:
        _kind, _first, rest, end = _bounds(answer, 0)
        extent = _find(answer, rest, end, _TIMEOUT)
        return None if extent is None else _BIG32.unpack_from(answer, extent[0])[0]
    except (struct.error, KeyError, ProtocolError):
        return None


def is_over(data: bytes, start: int = 0) -> bool:
    """Return whether the report at `start` is of a TCP connection that has ended.

    Conntrack keeps those for up to two minutes. False as well for what cannot be read.
    """
    try:
        _kind, _first, at, end = _bounds(data, start)
        for name in (_PROTOCOL_INFO, _TCP_INFO, _TCP_STATE):
            found = _find(data, at, end, name)
            if found is None:
                return False
            at, end = found
        return data[at] in _TCP_OVER
    except (struct.error, KeyError, ProtocolError):
        return False


def _bounds(data: bytes, start: int) -> tuple[int, int, int, int]:
    """Return the type of a message, and where its tuples, what is behind them and its end are."""
    size, kind, _flags, _sequence, _port, family = _MESSAGE_START.unpack_from(data, start)
    extent = _TUPLE_SIZE[family]
    first = start + _BODY
    second, rest, end = first + extent, first + 2 * extent, start + size
    if (
        kind not in _REPORTS
        or not rest <= end <= len(data)
        or not data.startswith(_ORIGINAL_HEAD[family], first)
        or not data.startswith(_REPLY_HEAD[family], second)
    ):
        raise ProtocolError("conntrack-report", data[start:])
    return kind, first, rest, end


def _find(data: bytes, at: int, end: int, wanted: int) -> tuple[int, int] | None:
    """Find an attribute between `at` and `end`: where its value starts and ends."""
    while at < end:
        length, name = _ATTRIBUTE.unpack_from(data, at)
        if not 4 <= length <= end - at:
            raise ProtocolError("netlink-bad-length", data[at:end])
        if name == wanted:
            return at + 4, at + length
        at += length + 3 & ~3
    return None


def _read_counters(data: bytes, second: int, at: int, end: int) -> tuple[int, int]:
    """Read the payload each way; `second` is where the second tuple begins."""
    # The kernel writes them in this order, one behind the other.
    original = _find(data, at, end, _COUNTERS_ORIGINAL)
    if original is None:
        return 0, 0
    reply = _find(data, original[1], end, _COUNTERS_REPLY)
    size, is_udp = at - second, data[second - _PROTOCOL_FROM_END] == _UDP
    header = _IP_HEADER[Family.IPV4 if size == _TUPLE4.size else Family.IPV6]
    header += _UDP_HEADER if is_udp else _TCP_HEADER
    first = 0 if is_udp else _TCP_FIRST
    return (
        _read_payload(data, original, header, first),
        0 if reply is None else _read_payload(data, reply, header, first),
    )


def _read_payload(data: bytes, counters: tuple[int, int], header: int, first: int) -> int:
    begin, end = counters
    packets = _find(data, begin, end, _COUNTER_PACKETS)
    # In this order too.
    count = packets and _find(data, packets[1], end, _COUNTER_BYTES)
    if count is None or packets is None:
        return 0
    size: int = _BIG64.unpack_from(data, count[0])[0]
    headers: int = _BIG64.unpack_from(data, packets[0])[0] * header
    return max(0, size - headers - first)


def read_tuple(raw: bytes) -> FlowTuple:
    """Read the tuple of a FlowReport; raises ProtocolError when it has another shape."""
    fields = _fields(raw)
    destination = Endpoint(_address(fields[9]), int.from_bytes(fields[20], "big"))
    return FlowTuple(fields[14], _source(fields), destination)


def read_source(raw: bytes) -> Endpoint:
    """Read who sends, of the tuple of a FlowReport; raises ProtocolError as `read_tuple`."""
    return _source(_fields(raw))


def _fields(raw: bytes) -> tuple[Any, ...]:
    shape = _SHAPES.get(len(raw))
    # What is the same in all tuples is compared at once: every size and type of the skeleton.
    if shape is None or int.from_bytes(raw, "big") & shape.fixed not in shape.skeletons:
        raise ProtocolError("conntrack-tuple", raw)
    return shape.layout.unpack(raw)


def _source(fields: tuple[Any, ...]) -> Endpoint:
    return Endpoint(_address(fields[6]), int.from_bytes(fields[17], "big"))


# The same few hosts are in every flow.
@lru_cache(maxsize=1024)
def _address(packed: bytes) -> IPv4Address | IPv6Address:
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)


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


class _Shape(NamedTuple):
    """How the tuples of one IP version are written, and which bits are the same in all of them."""

    layout: struct.Struct
    fixed: int
    skeletons: frozenset[int]


def _shape(layout: struct.Struct, lowest: Endpoint, highest: Endpoint) -> _Shape:
    def bits(kind: int, protocol: int, end: Endpoint) -> int:
        return int.from_bytes(_write_tuple(kind, FlowTuple(protocol, end, end)), "big")

    varying = bits(_ORIGINAL, 0, lowest) ^ bits(_ORIGINAL, 255, highest)
    skeletons = frozenset({bits(_ORIGINAL, 0, lowest), bits(_REPLY, 0, lowest)})
    return _Shape(layout, (1 << 8 * layout.size) - 1 ^ varying, skeletons)


_SHAPES = {
    layout.size: _shape(layout, Endpoint(address(0), 0), Endpoint(address(-1 % 2**width), MAX_PORT))
    for layout, address, width in ((_TUPLE4, IPv4Address, 32), (_TUPLE6, IPv6Address, 128))
}


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


def mark_request(
    original: bytes, bits: int, mask: int, sequence: int, *, is_acknowledged: bool = True
) -> bytes:
    """Set the `mask` bits of one entry's mark to `bits`; a refusal is answered in any case."""
    flags = netlink.FLAG_REQUEST | (netlink.FLAG_ACK if is_acknowledged else 0)
    payload = original + _mark_attributes(bits, mask)
    return netlink.message(_NEW, flags, sequence, _family(original), payload)


def dump_request(bits: int, mask: int, sequence: int) -> bytes:
    """Ask for every entry, IPv4 and IPv6, whose mark has `bits` under `mask`."""
    flags = netlink.FLAG_REQUEST | netlink.FLAG_DUMP
    return netlink.message(_GET, flags, sequence, Family.UNSPEC, _mark_attributes(bits, mask))


# Nearly always the bit that says of a flow that its end was told.
@lru_cache(maxsize=16)
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


def event_filter(  # noqa: PLR0917 - the bits of a mark, as marks.py has them
    ours: int, proven: int, ends: int, told: int, identity: int, part: tuple[int, int]
) -> bytes:
    """Write the socket filter that keeps events worth waking up for, before they use buffer.

    Kept: marks with the bit `ours`, something in `identity` and, under the mask `part[0]`, the bits
    `part[1]`, when the flow is destroyed, or when it is `proven` and has none or all of the bits
    `ends` (one FIN alone tells us nothing). Dropped whatever it is: all of `ends` and `told`.
    The bytes are an array of `struct sock_filter`.
    """
    program = [
        (_LOAD_A, 0, 0, _BODY),
        (_LOAD_X, 0, 0, _MARK),
        (_LOAD_WORD, 0, 0, _FIND_ATTRIBUTE),
        (_IF_EQUAL, 16, 0, 0),  # no mark: drop
        (_A_TO_X, 0, 0, 0),
        (_LOAD_AT_X, 0, 0, 4),
        (_IF_ANY_BIT, 0, 13, ours),
        (_IF_ANY_BIT, 0, 12, identity),
        (_AND, 0, 0, part[0]),
        (_IF_EQUAL, 0, 10, part[1]),
        (_LOAD_AT_X, 0, 0, 4),
        (_AND, 0, 0, ends | told),
        (_IF_EQUAL, 7, 0, ends | told),
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
