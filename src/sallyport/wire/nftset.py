"""Elements of nftables sets and maps as nfnetlink batches (linux/netfilter/nf_tables.h).

Only what changes per pinhole is here. Rules are text and nft's business (kernel/ruleset.py).
"""

import struct
from collections.abc import Iterable, Sequence
from functools import cache

from sallyport.addresses import Endpoint
from sallyport.wire import netlink
from sallyport.wire.netlink import Family, Subsystem

_BATCH_BEGIN = 0x10
_BATCH_END = 0x11
# The batch header's res_id names the subsystem in network byte order.
_BATCH_RESOURCE: int = struct.unpack("=H", struct.pack(">H", Subsystem.NFTABLES))[0]

_GET_TABLE = netlink.message_type(Subsystem.NFTABLES, 1)
_NEW_ELEMENTS = netlink.message_type(Subsystem.NFTABLES, 12)
_DELETE_ELEMENTS = netlink.message_type(Subsystem.NFTABLES, 14)

_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3
_ITEM, _ELEMENT_KEY, _ELEMENT_DATA, _ELEMENT_KEY_END, _VALUE = 1, 1, 2, 10, 1
_TABLE_NAME, _TABLE_OWNER = 1, 7

# An attribute's length has 16 bits. 512 of our widest elements (a range of IPv6 sources: twice 44
# bytes of key, 4 of data, 28 of framing) are 60 KiB, so a list of that many always fits.
_ELEMENTS_PER_MESSAGE = 512

Changes = Sequence[tuple[str, Sequence[bytes]]]
"""Elements per set name, in the order they are to be applied."""


_SERVICE = struct.Struct(">B3xH2x")
_PORT = struct.Struct(">H2x")
_MARK = struct.Struct("=I")


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
def _key_layout(size: int) -> struct.Struct:
    return struct.Struct(f"=HHHHHH{size}s")


@cache
def _pair_layout(key_size: int, data_size: int) -> struct.Struct:
    return struct.Struct(f"=HHHHHH{key_size}sHHHH{data_size}s")


def key_element(key: bytes) -> bytes:
    """Write an element of a set, or name one of a map to delete it.

    `key` must fill whole fields of 4 bytes. One pack call: this is the hot path of every binding.
    """
    size = len(key)
    return _key_layout(size).pack(
        size + 12, _ITEM | netlink.NESTED,
        size + 8, _ELEMENT_KEY | netlink.NESTED,
        size + 4, _VALUE, key,
    )  # fmt: skip


def pair_element(key: bytes, data: bytes) -> bytes:
    """Write an element of a map; `key` and `data` must fill whole fields of 4 bytes."""
    size, extent = len(key), len(data)
    return _pair_layout(size, extent).pack(
        size + extent + 20, _ITEM | netlink.NESTED,
        size + 8, _ELEMENT_KEY | netlink.NESTED,
        size + 4, _VALUE, key,
        extent + 8, _ELEMENT_DATA | netlink.NESTED,
        extent + 4, _VALUE, data,
    )  # fmt: skip


def range_element(first: bytes, last: bytes, data: bytes = b"") -> bytes:
    """Write an element of an interval map, or without `data` name one to delete it.

    `first` and `last` are keys of the same fields, each field of `last` at least that of `first`.
    """
    parts = [
        netlink.nested(_ELEMENT_KEY, netlink.attribute(_VALUE, first)),
        netlink.nested(_ELEMENT_KEY_END, netlink.attribute(_VALUE, last)),
    ]
    if data:
        parts.append(netlink.nested(_ELEMENT_DATA, netlink.attribute(_VALUE, data)))
    return netlink.nested(_ITEM, *parts)


@cache
def _names(table: str, set_name: str) -> bytes:
    return netlink.text(_LIST_TABLE, table) + netlink.text(_LIST_SET, set_name)


def _bodies(table: str, changes: Changes) -> list[bytes]:
    return [
        _names(table, name)
        + netlink.nested(_LIST_ELEMENTS, *elements[start : start + _ELEMENTS_PER_MESSAGE])
        for name, elements in changes
        for start in range(0, len(elements), _ELEMENTS_PER_MESSAGE)
    ]


def _edge(kind: int, sequence: int) -> bytes:
    flags = netlink.FLAG_REQUEST
    return netlink.message(kind, flags, sequence, Family.UNSPEC, b"", _BATCH_RESOURCE)


def batch(table: str, removed: Changes, added: Changes, sequence: int) -> bytes:
    """Write one transaction that deletes and then adds all elements, or changes nothing.

    ENOENT when one to delete is missing, EEXIST when one to add is there already. Everything
    carries `sequence`; the last element message asks for an acknowledgement.
    """
    create = netlink.FLAG_REQUEST | netlink.FLAG_CREATE | netlink.FLAG_EXCL
    orders = [
        *((_DELETE_ELEMENTS, netlink.FLAG_REQUEST, body) for body in _bodies(table, removed)),
        *((_NEW_ELEMENTS, create, body) for body in _bodies(table, added)),
    ]
    last = len(orders) - 1
    parts = [_edge(_BATCH_BEGIN, sequence)]
    for index, (kind, flags, body) in enumerate(orders):
        acknowledge = netlink.FLAG_ACK if index == last else 0
        parts.append(netlink.message(kind, flags | acknowledge, sequence, Family.INET, body))
    parts.append(_edge(_BATCH_END, sequence))
    return b"".join(parts)


def get_table(table: str, sequence: int) -> bytes:
    """Ask for one table of family inet; the answer is ENOENT when there is none."""
    name = netlink.text(_TABLE_NAME, table)
    return netlink.message(_GET_TABLE, netlink.FLAG_REQUEST, sequence, Family.INET, name)


def table_owner(payload: bytes) -> int | None:
    """Read the owner's netlink port from an answer to `get_table`; None when nobody owns it.

    Raises ProtocolError when the payload is not a list of attributes.
    """
    found: Iterable[tuple[int, bytes]] = netlink.attributes(payload[netlink.GENERIC_SIZE :])
    for kind, value in found:
        if kind == _TABLE_OWNER:
            return int.from_bytes(value, "big")
    return None
