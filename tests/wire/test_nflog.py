"""What the kernel copies of a packet: read as it writes, and asked for as it reads."""

import struct
from ipaddress import ip_address

import pytest

from sallyport.addresses import Endpoint
from sallyport.errors import ProtocolError
from sallyport.wire import netlink, nflog
from sallyport.wire.netlink import Message
from sallyport.wire.nflog import CopiedDatagram, DroppedPacket

PACKET = 4 << 8
PORTS = struct.pack(">HH", 40001, 22)


def ip4(protocol: int = 6, fragment: int = 0, rest: bytes = PORTS) -> bytes:
    head = struct.pack(">BBHHHBBH", 0x45, 0, 24, 0, fragment, 64, protocol, 0)
    return head + ip_address("203.0.113.66").packed + ip_address("203.0.113.1").packed + rest


def ip6(next_header: int = 17) -> bytes:
    head = struct.pack(">IHBB", 6 << 28, 4, next_header, 64)
    return head + ip_address("2001:db8::66").packed + ip_address("2001:db8::1").packed + PORTS


def message(payload: bytes, *more: bytes) -> Message:
    interface = netlink.attribute(4, struct.pack(">I", 7))
    parts = (netlink.text(10, "strangers"), interface, netlink.attribute(9, payload), *more)
    return Message(PACKET, 0, 0, bytes(4) + b"".join(parts))


def test_a_packet_is_read_with_the_rule_that_copied_it() -> None:
    assert nflog.read_packet(message(ip4())) == DroppedPacket(
        "strangers", 7, 6, Endpoint.parse("203.0.113.66:40001"), Endpoint.parse("203.0.113.1:22")
    )
    assert nflog.read_packet(message(ip6())) == DroppedPacket(
        "strangers",
        7,
        17,
        Endpoint.parse("[2001:db8::66]:40001"),
        Endpoint.parse("[2001:db8::1]:22"),
    )


@pytest.mark.parametrize("packet", [ip4(1), ip4(6, 0x0001), ip4(6, 0, b"\0\0"), ip6(0)])
def test_what_has_no_ports_to_be_seen_is_told_by_its_addresses(packet: bytes) -> None:
    found = nflog.read_packet(message(packet))

    assert found is not None
    assert found.source in {ip_address("203.0.113.66"), ip_address("2001:db8::66")}


@pytest.mark.parametrize("packet", [b"", b"\x45", ip6()[:39], b"\x95" + bytes(60)])
def test_what_is_no_ip_packet_is_passed_over(packet: bytes) -> None:
    assert nflog.read_packet(message(packet)) is None


def test_other_messages_are_passed_over_and_cut_off_ones_are_an_error() -> None:
    assert nflog.read_packet(Message(PACKET + 1, 0, 0, b"")) is None
    with pytest.raises(ProtocolError):
        nflog.read_packet(message(ip4(), b"\xff\xff\x00\x00"))


@pytest.mark.parametrize("number", [b"", b"\0\0\7", bytes(8)])
def test_the_number_of_an_interface_has_four_bytes(number: bytes) -> None:
    with pytest.raises(ProtocolError, match="netlink-bad-length"):
        nflog.read_packet(message(ip4(), netlink.attribute(4, number)))


def test_requests_name_the_group_in_network_order() -> None:
    (asked,) = netlink.messages(nflog.bind_request(0x5A11, 3))
    assert (asked.kind, asked.flags, asked.sequence) == (0x0401, 5, 3)
    assert asked.payload == bytes([0, 0, 0x5A, 0x11]) + netlink.attribute(1, b"\x01")

    (asked,) = netlink.messages(nflog.copy_request(0x5A11, 128, 4))
    assert asked.payload[4:] == netlink.attribute(2, bytes([0, 0, 0, 128, 2, 0]))


DATAGRAM = struct.pack(">HHHH", 40001, 22, 8 + 5, 0) + b"hello"


def test_a_datagram_is_read_with_its_ends() -> None:
    assert nflog.read_datagram(message(ip4(17, rest=DATAGRAM))) == CopiedDatagram(
        Endpoint.parse("203.0.113.66:40001"), Endpoint.parse("203.0.113.1:22"), b"hello"
    )
    packet = ip6()[:-4] + DATAGRAM
    assert nflog.read_datagram(message(packet)) == CopiedDatagram(
        Endpoint.parse("[2001:db8::66]:40001"), Endpoint.parse("[2001:db8::1]:22"), b"hello"
    )


@pytest.mark.parametrize("packet", [b"", ip4(), ip4(17, 0x0001), ip4(17, 0, b"\0\0"), ip6(0)])
def test_what_is_no_datagram_of_udp_with_ports_is_passed_over(packet: bytes) -> None:
    assert nflog.read_datagram(message(packet)) is None
    assert nflog.read_datagram(Message(PACKET + 1, 0, 0, b"")) is None


def test_a_copy_without_room_for_what_was_said_says_nothing() -> None:
    found = nflog.read_datagram(message(ip4(17, rest=DATAGRAM[:6])))

    assert found is not None
    assert found.data == b""
