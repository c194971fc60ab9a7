"""What nftables holds, and who changed it (linux/netfilter/nf_tables.h).

Questions about tables, chains and rules; and the notice that the kernel gives of each transaction,
which names the process that made it.
"""

import struct
from collections.abc import Iterable
from typing import NamedTuple

from sallyport.wire import netlink, nftset
from sallyport.wire.netlink import Family, Message, Subsystem

GROUP = 7
"""NFNLGRP_NFTABLES: tells of every transaction."""

_GET_TABLE = netlink.message_type(Subsystem.NFTABLES, 1)
_GET_CHAIN = netlink.message_type(Subsystem.NFTABLES, 4)
_GET_RULE = netlink.message_type(Subsystem.NFTABLES, 7)
_NEW_GENERATION = netlink.message_type(Subsystem.NFTABLES, 15)

_TABLE_NAME, _TABLE_OWNER = 1, 7
_PROCESS_ID, _PROCESS_NAME = 2, 3


def get_table(table: str, sequence: int) -> bytes:
    """Ask for one table of family inet; the answer is ENOENT when there is none."""
    name = netlink.text(_TABLE_NAME, table)
    return netlink.message(_GET_TABLE, netlink.FLAG_REQUEST, sequence, Family.INET, name)


def list_chains(sequence: int) -> bytes:
    """Ask for the chains of all tables of family inet."""
    flags = netlink.FLAG_REQUEST | netlink.FLAG_DUMP
    return netlink.message(_GET_CHAIN, flags, sequence, Family.INET, b"")


def list_rules(table: str, sequence: int) -> bytes:
    """Ask for the rules of one table of family inet."""
    flags = netlink.FLAG_REQUEST | netlink.FLAG_DUMP
    name = netlink.text(_TABLE_NAME, table)
    return netlink.message(_GET_RULE, flags, sequence, Family.INET, name)


def body_in(table: str, payload: bytes) -> bytes:
    """Return what a table, chain or rule of this table is made of; empty when it is of another.

    The header in front of it changes with every transaction on the host.
    """
    body = payload[netlink.GENERIC_SIZE :]
    return body if body.startswith(netlink.text(_TABLE_NAME, table)) else b""


def table_owner(payload: bytes) -> int | None:
    """Read the owner's netlink port from an answer to `get_table`; None when no process owns it.

    Raises ProtocolError when the payload is not a list of attributes.
    """
    found: Iterable[tuple[int, bytes]] = netlink.attributes(payload[netlink.GENERIC_SIZE :])
    for kind, value in found:
        if kind == _TABLE_OWNER:
            return int.from_bytes(value, "big")
    return None


class RulesetChange(NamedTuple):
    """One transaction, by the process that made it."""

    process: str
    """Its name, of at most 15 characters (comm, proc(5))."""
    pid: int
    """Its number as the host counts; in a container another one than `ps` shows there."""

    def __str__(self) -> str:
        return f"{self.process} (pid {self.pid})"


def read_change(message: Message) -> RulesetChange | None:
    """Read the notice of a transaction; None for any other message.

    Raises ProtocolError when it is cut off.
    """
    if message.kind != _NEW_GENERATION:
        return None
    found = dict(netlink.attributes(message.payload[netlink.GENERIC_SIZE :]))
    name = found.get(_PROCESS_NAME, b"").rstrip(b"\0").decode("utf-8", "backslashreplace")
    return RulesetChange(name, int.from_bytes(found.get(_PROCESS_ID, b""), "big"))


# Classic BPF (linux/filter.h): code, jump if true, jump if false, constant.
_INSTRUCTION = struct.Struct("=HBBI")
_LOAD_WORD, _LOAD_HALF, _AND, _IF_EQUAL, _RETURN = 0x20, 0x28, 0x54, 0x15, 0x06
_WHOLE = 0xFFFF_FFFF
_TYPE_AT = 4


def foreign_changes() -> bytes:
    """Write the socket filter that keeps the notice of each transaction that no worker made.

    The bytes are an array of `struct sock_filter`.
    """
    # BPF reads numbers in the order of the network, and netlink writes them in the host's.
    kind, number, upper = (
        int.from_bytes(struct.pack(layout, value), "big")
        for layout, value in (
            ("=H", _NEW_GENERATION),
            ("=I", nftset.SEQUENCES.start),
            ("=I", _WHOLE ^ len(nftset.SEQUENCES) - 1),
        )
    )
    program = [
        (_LOAD_HALF, 0, 0, _TYPE_AT),
        (_IF_EQUAL, 0, 4, kind),
        (_LOAD_WORD, 0, 0, netlink.SEQUENCE_AT),
        (_AND, 0, 0, upper),
        (_IF_EQUAL, 1, 0, number),
        (_RETURN, 0, 0, _WHOLE),
        (_RETURN, 0, 0, 0),
    ]
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)
