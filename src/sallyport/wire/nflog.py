"""Packets that the kernel's rules copy to user space (linux/netfilter/nfnetlink_log.h)."""

import struct
import sys
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from sallyport.addresses import Endpoint, IpAddress
from sallyport.errors import ProtocolError
from sallyport.wire import netlink
from sallyport.wire.netlink import Family, Message, Subsystem

_PACKET, _CONFIG = (netlink.message_type(Subsystem.ULOG, number) for number in (0, 1))

# Of a packet.
_INTERFACE, _PAYLOAD, _PREFIX = 4, 9, 10
# Of a request: struct nfulnl_msg_config_cmd and _mode.
_COMMAND, _MODE = 1, 2
_BIND, _COPY_PACKET = 1, 2

_FRAGMENTED = 0x1FFF
_TCP, _UDP = 6, 17
_IP6_HEADER, _UDP_HEADER = 40, 8


class DroppedPacket(NamedTuple):
    """What a rule says of a packet that it is about to drop."""

    prefix: str
    """The word of the rule."""
    interface: int
    """The number of the interface that it came by; 0 for none."""
    protocol: int
    """The number of its transport protocol (IANA)."""
    source: Endpoint | IpAddress
    destination: Endpoint | IpAddress
    """With the port, where there is one."""


class CopiedDatagram(NamedTuple):
    """A datagram of UDP, or as much of it as was asked for."""

    source: Endpoint
    destination: Endpoint
    data: bytes


def bind_request(group: int, sequence: int) -> bytes:
    """Ask for the packets of a group; answered with 0, or EBUSY when another program has it."""
    return _configure(group, sequence, netlink.attribute(_COMMAND, bytes([_BIND])))


def copy_request(group: int, size: int, sequence: int) -> bytes:
    """Ask for the first `size` bytes of each packet."""
    return _configure(
        group, sequence, netlink.attribute(_MODE, struct.pack(">IBx", size, _COPY_PACKET))
    )


def _configure(group: int, sequence: int, attribute: bytes) -> bytes:
    flags = netlink.FLAG_REQUEST | netlink.FLAG_ACK
    # `netlink.message` writes it in the order of this machine, the kernel reads network order.
    resource = int.from_bytes(group.to_bytes(2), sys.byteorder)
    return netlink.message(_CONFIG, flags, sequence, Family.UNSPEC, attribute, resource)


def read_packet(message: Message) -> DroppedPacket | None:
    """Read a packet; None for any other message, and for what is no IP.

    Raises ProtocolError for a message that is cut off.
    """
    if message.kind != _PACKET:
        return None
    found = dict(netlink.attributes(message.payload[netlink.GENERIC_SIZE :]))
    ends = _ends(found.get(_PAYLOAD, b""))
    if ends is None:
        return None
    interface = found.get(_INTERFACE, bytes(4))
    if len(interface) != 4:
        raise ProtocolError("netlink-bad-length", message.payload)
    prefix = found.get(_PREFIX, b"").rstrip(b"\0").decode("ascii", "replace")
    return DroppedPacket(prefix, int.from_bytes(interface), *ends)


def read_datagram(message: Message) -> CopiedDatagram | None:
    """Read a datagram of UDP; None for anything else.

    Raises ProtocolError for a message that is cut off.
    """
    if message.kind != _PACKET:
        return None
    packet = dict(netlink.attributes(message.payload[netlink.GENERIC_SIZE :])).get(_PAYLOAD, b"")
    protocol, source, destination = _ends(packet) or (0, None, None)
    if protocol != _UDP or not isinstance(source, Endpoint):
        return None
    assert isinstance(destination, Endpoint)  # noqa: S101 - ports stand side by side
    begin = (packet[0] & 0xF) * 4 if source.version == 4 else _IP6_HEADER
    return CopiedDatagram(source, destination, packet[begin + _UDP_HEADER :])


def _ends(packet: bytes) -> tuple[int, Endpoint | IpAddress, Endpoint | IpAddress] | None:
    """Read protocol, source and destination of an IP packet of which the beginning is there."""
    version = packet[0] >> 4 if packet else 0
    source: IpAddress
    destination: IpAddress
    if version == 4 and len(packet) >= 20:
        protocol, begin = packet[9], (packet[0] & 0xF) * 4
        source, destination = IPv4Address(packet[12:16]), IPv4Address(packet[16:20])
        is_first = not int.from_bytes(packet[6:8]) & _FRAGMENTED
    elif version == 6 and len(packet) >= _IP6_HEADER:
        # An extension header hides the ports; such packets are few, and their addresses are told.
        protocol, begin, is_first = packet[6], _IP6_HEADER, True
        source, destination = IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
    else:
        return None
    ports = packet[begin : begin + 4]
    if protocol not in (_TCP, _UDP) or not is_first or len(ports) < 4:
        return protocol, source, destination
    return (
        protocol,
        Endpoint(source, int.from_bytes(ports[:2])),
        Endpoint(destination, int.from_bytes(ports[2:])),
    )
