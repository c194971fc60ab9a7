"""Elements of nftables sets and maps as nfnetlink batches (linux/netfilter/nf_tables.h).

Only what changes per pinhole is here. Rules are text and nft's business (kernel/base_table.py).
"""

import struct
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

from sallyport.addresses import Endpoint
from sallyport.wire import netlink
from sallyport.wire.netlink import Family, Message, Subsystem

_BATCH_BEGIN = 0x10
_BATCH_END = 0x11
# The batch header's res_id names the subsystem in network byte order.
_BATCH_RESOURCE: int = struct.unpack("=H", struct.pack(">H", Subsystem.NFTABLES))[0]

_CREATE = netlink.message_type(Subsystem.NFTABLES, 12)
_GET = netlink.message_type(Subsystem.NFTABLES, 13)
_DELETE = netlink.message_type(Subsystem.NFTABLES, 14)
_FLAGS = {
    _CREATE: netlink.FLAG_REQUEST | netlink.FLAG_CREATE | netlink.FLAG_EXCL,
    _GET: netlink.FLAG_REQUEST,
    _DELETE: netlink.FLAG_REQUEST,
}

_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3
_ITEM, _ELEMENT_KEY, _ELEMENT_DATA, _ELEMENT_KEY_END, _VALUE = 1, 1, 2, 10, 1
_ELEMENT_EXPIRES, _ELEMENT_EXPRESSION, _EXPRESSION_DATA, _QUOTA_CONSUMED = 5, 7, 2, 4

# An attribute's length has 16 bits. 512 of our widest elements (a range of IPv6 sources: twice 44
# bytes of key, 4 of data, 28 of framing) are 60 KiB, so a list of that many always fits.
_ELEMENTS_PER_MESSAGE = 512

Key = bytes | tuple[bytes, bytes]
"""What names an element; in an interval map the first and the last key of the same fields, each
field of the last at least that of the first."""

Changes = Sequence[tuple[str, Sequence[bytes]]]
"""Elements per set name, in the order they are to be applied."""

SEQUENCES = range(0x5A11_0000, 0x5A12_0000)
"""The sequence numbers of our batches. The kernel's notice of a transaction carries its number, so
the guard tells workers' pinholes, thousands a second, from what others do (wire/ruleset.py)."""

_SERVICE = struct.Struct(">B3xH2x")
_PORT = struct.Struct(">H2x")
_MARK = struct.Struct("=I")
_SEQUENCE = struct.Struct("=I")
_HEAD = struct.Struct("=HHHHHH")
_DATA_HEAD = struct.Struct("=HHHH")


def service_key(protocol: int, port: int) -> bytes:
    """Write `inet_proto . inet_service`; every field of a concatenation fills 4 bytes."""
    return _SERVICE.pack(protocol, port)


def port_key(port: int) -> bytes:
    """Write `inet_service` as a field of a concatenation."""
    return _PORT.pack(port)


def endpoint_data(endpoint: Endpoint) -> bytes:
    """Write `ip_addr . inet_service` as the data of a map."""
    return endpoint.address.packed + port_key(endpoint.port)


def mark_value(mark: int) -> bytes:
    """Write a mark as key or data: host byte order, as packets carry it."""
    return _MARK.pack(mark)


@cache
def _heads(size: int, data_size: int) -> tuple[bytes, bytes]:
    """Write what stands before a key of `size` bytes, and between it and its data."""
    between = b""
    if data_size:
        between = _DATA_HEAD.pack(
            data_size + 8, _ELEMENT_DATA | netlink.NESTED,
            data_size + 4, _VALUE,
        )  # fmt: skip
    before = _HEAD.pack(
        size + 12 + len(between) + data_size, _ITEM | netlink.NESTED,
        size + 8, _ELEMENT_KEY | netlink.NESTED,
        size + 4, _VALUE,
    )  # fmt: skip
    return before, between


def element(key: Key, data: bytes = b"") -> bytes:
    """Write an element of a map with its `data`, or one of a set; without data name it to delete.

    Keys and data must fill whole fields of 4 bytes.
    """
    if isinstance(key, tuple):
        return _range_element(*key, data)
    before, between = _heads(len(key), len(data))
    return before + key + between + data


def _range_element(first: bytes, last: bytes, data: bytes) -> bytes:
    parts = [
        netlink.nested(_ELEMENT_KEY, netlink.attribute(_VALUE, first)),
        netlink.nested(_ELEMENT_KEY_END, netlink.attribute(_VALUE, last)),
    ]
    if data:
        parts.append(netlink.nested(_ELEMENT_DATA, netlink.attribute(_VALUE, data)))
    return netlink.nested(_ITEM, *parts)


def batch(table: str, removed: Changes, added: Changes, sequence: int) -> bytes:
    """Write one transaction that deletes and then adds all elements, or changes nothing.

    ENOENT when one to delete is missing, EEXIST when one to add is there already. Everything
    carries `sequence`; the last element message asks for an acknowledgement.
    """
    number = _SEQUENCE.pack(sequence)
    written = [_BEGIN[0], number, _BEGIN[1]]
    for kind, changes in ((_DELETE, removed), (_CREATE, added)):
        for name, elements in changes:
            for start in range(0, len(elements), _ELEMENTS_PER_MESSAGE):
                body = b"".join(elements[start : start + _ELEMENTS_PER_MESSAGE])
                last = kind, table, name, len(body)
                before, behind = _frame(*last)
                written += before, number, behind, body
    written[-4], _ = _frame(*last, netlink.FLAG_ACK)
    written += _END[0], number, _END[1]
    return b"".join(written)


class ElementState(NamedTuple):
    """What the kernel has noted of one element."""

    octets: int
    """The size of all packets that were looked up and found it; 0 where the set has no quota."""
    milliseconds_left: int | None
    """Until it is removed by itself; None: never."""


def question(table: str, name: str, keys: Sequence[Key], sequence: int) -> bytes:
    """Ask for elements by their keys: an answer each, up to the first that is not there (ENOENT).

    At most 512 of them.
    """
    body = b"".join(map(element, keys))
    before, behind = _frame(_GET, table, name, len(body))
    return b"".join((before, _SEQUENCE.pack(sequence), behind, body))


def read_state(message: Message) -> ElementState | None:
    """Read an answer to `question`; None for any other message.

    Raises ProtocolError when it is no list of attributes.
    """
    if message.kind != _CREATE:
        return None
    value_of = netlink.value_of
    listed = value_of(message.payload[netlink.GENERIC_SIZE :], _LIST_ELEMENTS)
    found = value_of(listed, _ITEM)
    quota = value_of(value_of(found, _ELEMENT_EXPRESSION), _EXPRESSION_DATA)
    left = value_of(found, _ELEMENT_EXPIRES)
    return ElementState(
        octets=int.from_bytes(value_of(quota, _QUOTA_CONSUMED), "big"),
        milliseconds_left=int.from_bytes(left, "big") if left else None,
    )


# Messages differ in little but their elements: the rest is written once for each size of them.
@lru_cache(maxsize=1024)
def _frame(kind: int, table: str, name: str, size: int, more: int = 0) -> tuple[bytes, bytes]:
    """Write what stands in front of `size` bytes of elements, without the sequence number."""
    flags = _FLAGS[kind] | more
    names = netlink.text(_LIST_TABLE, table) + netlink.text(_LIST_SET, name)
    listed = netlink.nested(_LIST_ELEMENTS, bytes(size))
    return _around_sequence(netlink.message(kind, flags, 0, Family.INET, names + listed), size)


def _around_sequence(message: bytes, left_out: int = 0) -> tuple[bytes, bytes]:
    at = netlink.SEQUENCE_AT
    return message[:at], message[at + _SEQUENCE.size : len(message) - left_out]


def _edge(kind: int) -> tuple[bytes, bytes]:
    flags = netlink.FLAG_REQUEST
    return _around_sequence(
        netlink.message(kind, flags, 0, Family.UNSPEC, b"", _BATCH_RESOURCE),
    )


_BEGIN, _END = _edge(_BATCH_BEGIN), _edge(_BATCH_END)
