"""Messages about interfaces and routes (rtnetlink(7), linux/rtnetlink.h)."""

import struct
from typing import NamedTuple

from sallyport.addresses import IpAddress
from sallyport.errors import ProtocolError
from sallyport.wire import netlink
from sallyport.wire.netlink import Family, Message

GROUP_LINK = 1
"""RTNLGRP_LINK: tells of interfaces that appear, change or go."""

GROUPS_ADDRESS = (5, 9)
"""RTNLGRP_IPV4_IFADDR and RTNLGRP_IPV6_IFADDR: tell of addresses that come, change or go."""

_NEW_LINK, _DELETE_LINK = 16, 17
_NEW_ROUTE, _GET_ROUTE = 24, 26

_LINK = struct.Struct("=BxHiII")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NAME = 3
_DESTINATION, _MARK = 1, 16
_LOCAL = 2


class LinkReport(NamedTuple):
    """An interface is there under this name, or it has gone."""

    number: int
    """The interface's index, which no renaming changes."""
    name: str
    is_gone: bool


def read_link(message: Message) -> LinkReport | None:
    """Read what a notification says of an interface; None for any other message.

    Raises ProtocolError for a message that is cut off.
    """
    if message.kind not in {_NEW_LINK, _DELETE_LINK}:
        return None
    if len(message.payload) < _LINK.size:
        raise ProtocolError("netlink-truncated", message.payload)
    family, _kind, index, _flags, _change = _LINK.unpack_from(message.payload)
    if family != Family.UNSPEC:
        # A bridge speaks of its ports in the same words: that a port leaves the bridge is no end.
        return None
    for kind, value in netlink.attributes(message.payload[_LINK.size :]):
        if kind == _NAME:
            name = value.rstrip(b"\0").decode("utf-8", "surrogateescape")
            return LinkReport(index, name, message.kind == _DELETE_LINK)
    return None


def route_request(destination: IpAddress, mark: int, sequence: int) -> bytes:
    """Ask where a packet to `destination` with this packet mark would go."""
    version = destination.version
    family = Family.IPV4 if version == 4 else Family.IPV6
    body = _ROUTE.pack(family, destination.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    body += netlink.attribute(_DESTINATION, destination.packed)
    body += netlink.attribute(_MARK, struct.pack("=I", mark))
    return netlink.plain_message(_GET_ROUTE, netlink.FLAG_REQUEST, sequence, body)


def is_local_route(message: Message) -> bool:
    """Return whether an answer to `route_request` says that the packet is delivered here."""
    if message.kind != _NEW_ROUTE or len(message.payload) < _ROUTE.size:
        return False
    return bool(_ROUTE.unpack_from(message.payload)[7] == _LOCAL)
