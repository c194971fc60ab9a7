"""The bare ACK: literal packets, and checksums that verify."""

import struct
from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from sallyport.addresses import Endpoint
from sallyport.wire.tcp import bare_ack


def ones_complement_sum(data: bytes) -> int:
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total >> 16) + (total & 0xFFFF)
    return total


def test_an_ipv4_packet_has_both_headers_and_no_data() -> None:
    packet = bare_ack(
        Endpoint.parse("203.0.113.9:37670"), Endpoint.parse("10.0.0.8:1553"), 1, 0x01020304
    )

    assert packet[:20] == bytes.fromhex("4500 0028 0000 0000 40 06 0000 cb007109 0a000008")
    assert packet[20:36] == bytes.fromhex("9326 0611 00000001 01020304 50 10 0000")
    assert packet[38:] == b"\0\0"


def test_an_ipv6_packet_has_both_headers_and_no_data() -> None:
    packet = bare_ack(Endpoint.parse("[2001:db8::9]:1"), Endpoint.parse("[fd00:a::8]:2"), 0, 0)

    assert packet[:8] == bytes.fromhex("60000000 0014 06 40")
    assert packet[8:40] == IPv6Address("2001:db8::9").packed + IPv6Address("fd00:a::8").packed
    assert len(packet) == 60


_NUMBER = st.integers(0, 2**32 - 1)
_V4 = st.builds(Endpoint, st.builds(IPv4Address, _NUMBER), st.integers(0, 65535))
_V6 = st.builds(Endpoint, st.builds(IPv6Address, st.integers(0, 2**128 - 1)), st.integers(0, 65535))


@given(st.tuples(_V4, _V4) | st.tuples(_V6, _V6), _NUMBER, _NUMBER)
def test_the_checksum_verifies_at_the_receiver(
    ends: tuple[Endpoint, Endpoint], sequence: int, acknowledged: int
) -> None:
    source, destination = ends

    segment = bare_ack(source, destination, sequence, acknowledged)[-20:]

    pseudo = source.address.packed + destination.address.packed + bytes([0, 6, 0, 20])
    assert ones_complement_sum(pseudo + segment) == 0xFFFF
