"""Messages about interfaces and routes: written as the kernel reads them, read as it writes."""

import struct
from ipaddress import ip_address

import pytest

from sallyport.errors import ProtocolError
from sallyport.wire import netlink, rtnetlink
from sallyport.wire.netlink import Message
from sallyport.wire.rtnetlink import LinkReport

# struct ifinfomsg of interface 7, and IFLA_IFNAME.
LINK = struct.pack("=BxHiII", 0, 1, 7, 0, 0) + netlink.text(3, "wan0")


def test_an_interface_is_read_with_its_name_and_whether_it_has_gone() -> None:
    assert rtnetlink.read_link(Message(16, 0, 0, LINK)) == LinkReport(7, "wan0", is_gone=False)
    assert rtnetlink.read_link(Message(17, 0, 0, LINK)) == LinkReport(7, "wan0", is_gone=True)


def test_what_a_bridge_says_of_its_ports_is_not_about_the_interface() -> None:
    of_bridge = bytes([7]) + LINK[1:]

    assert rtnetlink.read_link(Message(17, 0, 0, of_bridge)) is None


def test_other_messages_and_nameless_ones_are_passed_over() -> None:
    assert rtnetlink.read_link(Message(24, 0, 0, LINK)) is None
    assert rtnetlink.read_link(Message(16, 0, 0, LINK[:16])) is None


def test_a_name_is_found_behind_other_attributes() -> None:
    mtu = netlink.attribute(4, struct.pack("=I", 1500))  # IFLA_MTU

    report = rtnetlink.read_link(Message(16, 0, 0, LINK[:16] + mtu + LINK[16:]))

    assert report == LinkReport(7, "wan0", is_gone=False)


def test_a_message_that_is_cut_off_is_refused() -> None:
    with pytest.raises(ProtocolError, match="truncated"):
        rtnetlink.read_link(Message(16, 0, 0, LINK[:15]))


@pytest.mark.parametrize(("address", "family", "bits"), [("192.0.0.8", 2, 32), ("100::1", 10, 128)])
def test_a_route_is_asked_for_with_destination_and_mark(
    address: str, family: int, bits: int
) -> None:
    request = rtnetlink.route_request(ip_address(address), 0x10000, 9)

    [message] = netlink.messages(request)
    assert (message.kind, message.sequence) == (26, 9)
    assert message.payload[:2] == bytes([family, bits])
    assert dict(netlink.attributes(message.payload[12:])) == {
        1: ip_address(address).packed,
        16: struct.pack("=I", 0x10000),
    }


@pytest.mark.parametrize(("kind", "is_local"), [(2, True), (1, False), (7, False)])
def test_only_a_local_route_delivers_here(kind: int, is_local: bool) -> None:
    answer = Message(24, 0, 1, bytes(7) + bytes([kind]) + bytes(4))

    assert rtnetlink.is_local_route(answer) is is_local
    assert not rtnetlink.is_local_route(answer._replace(kind=netlink.TYPE_ERROR))
