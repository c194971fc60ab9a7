"""Messages about interfaces and routes, as literals."""

from ipaddress import IPv4Address, IPv6Address

import pytest

from sallyport.addresses import IpAddress
from sallyport.errors import ProtocolError
from sallyport.wire import netlink, rtnetlink
from sallyport.wire.netlink import Message
from sallyport.wire.rtnetlink import LinkReport

# struct ifinfomsg of interface 7, then IFLA_MTU and IFLA_IFNAME "ext0".
HEAD = bytes.fromhex("00 00 0100 07000000 43100100 00000000")
LINK = HEAD + bytes.fromhex("08000400 dc050000  09000300 65787430 00000000")


def test_an_interface_that_appears_is_reported_by_number_and_name() -> None:
    assert rtnetlink.read_link(Message(16, 0, 0, LINK)) == LinkReport(7, "ext0", is_gone=False)


def test_an_interface_that_goes_is_reported_gone() -> None:
    assert rtnetlink.read_link(Message(17, 0, 0, LINK)) == LinkReport(7, "ext0", is_gone=True)


def test_a_port_that_leaves_its_bridge_is_no_interface_that_goes() -> None:
    # AF_BRIDGE is 7.
    assert rtnetlink.read_link(Message(17, 0, 0, b"\x07" + LINK[1:])) is None


@pytest.mark.parametrize("message", [Message(24, 0, 0, LINK), Message(16, 0, 0, HEAD)])
def test_what_names_no_interface_is_no_report(message: Message) -> None:
    assert rtnetlink.read_link(message) is None


@pytest.mark.parametrize("payload", [HEAD[:-1], LINK[:-5], HEAD + b"\x01\x00"])
def test_a_report_that_is_cut_off_is_refused(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        rtnetlink.read_link(Message(16, 0, 0, payload))


def test_a_name_that_is_no_utf8_keeps_its_bytes() -> None:
    report = rtnetlink.read_link(Message(16, 0, 0, HEAD + netlink.attribute(3, b"e\xff\0")))

    assert report is not None
    assert report.name.encode("utf-8", "surrogateescape") == b"e\xff"


@pytest.mark.parametrize(
    ("destination", "body"),
    [
        (
            IPv4Address("192.0.0.8"),
            "02 20 00 00 00 00 00 00 00000000  0800 0100 c0000008  0800 1000 40000000",
        ),
        (
            IPv6Address("100::1"),
            "0a 80 00 00 00 00 00 00 00000000"
            "1400 0100 01000000000000000000000000000001  0800 1000 40000000",
        ),
    ],
)
def test_a_route_is_asked_for_by_destination_and_mark(destination: IpAddress, body: str) -> None:
    (request,) = netlink.messages(rtnetlink.route_request(destination, 0x40, 9))

    assert request == Message(26, netlink.FLAG_REQUEST, 9, bytes.fromhex(body))


@pytest.mark.parametrize(
    ("kind", "route", "is_local"),
    [
        # struct rtmsg: RTN_LOCAL is 2, RTN_UNICAST 1; RTM_NEWROUTE is 24, an error 2.
        (24, "02 20 00 00 ff 00 fe 02 00000000", True),
        (24, "02 20 00 00 fe 00 00 01 00000000", False),
        (2, "02 20 00 00 ff 00 fe 02 00000000", False),
        (24, "02 20 00 00 ff 00 fe", False),
    ],
)
def test_only_a_whole_answer_of_type_local_is_local(kind: int, route: str, is_local: bool) -> None:
    assert rtnetlink.is_local_route(Message(kind, 0, 9, bytes.fromhex(route))) is is_local
