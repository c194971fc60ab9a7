import socket
import struct
from ipaddress import ip_address

import pytest

from sallyport.addresses import Endpoint
from sallyport.errors import StartupError
from sallyport.io import interception
from sallyport.io.interception import (
    INTERCEPTION,
    intercepting_datagram_socket,
    interface_name,
    original_destination,
)


def test_the_kernel_tells_where_an_ipv4_datagram_was_going() -> None:
    name = struct.pack("=H", socket.AF_INET) + bytes([0, 69, 203, 0, 113, 9]) + bytes(8)

    found = original_destination([(socket.IPPROTO_IP, 20, name)])

    assert found == Endpoint.parse("203.0.113.9:69")


def test_the_kernel_tells_where_an_ipv6_datagram_was_going() -> None:
    address = ip_address("2001:db8::9").packed
    name = struct.pack("=H", socket.AF_INET6) + bytes([0, 69, 1, 2, 3, 4]) + address + bytes(4)

    found = original_destination([(socket.IPPROTO_IPV6, 74, name)])

    assert found == Endpoint.parse("[2001:db8::9]:69")


def test_other_ancillary_data_tells_nothing() -> None:
    assert original_destination([(socket.SOL_SOCKET, 20, bytes(16))]) is None
    assert original_destination([]) is None


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_an_interface_is_named_by_a_socket_that_is_there(family: int) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as asked:
        for number, name in socket.if_nameindex():
            assert interface_name(asked, number) == name
        with pytest.raises(OSError, match="No such device"):
            interface_name(asked, 2**31 - 1)
    with pytest.raises(OSError, match="Bad file descriptor"):
        interface_name(asked, 1)


class Refused:
    """What makes a socket transparent, where that is not allowed."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []

    def __call__(self, made: socket.socket) -> None:
        self.sockets.append(made)
        raise PermissionError(1, "Operation not permitted")


@pytest.mark.parametrize("version", [4, 6])
def test_without_the_capability_nothing_is_intercepted_and_the_operator_told_why(
    monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    refused = Refused()
    monkeypatch.setattr(interception, "make_transparent", refused)

    with pytest.raises(StartupError, match="CAP_NET_ADMIN is missing"):
        intercepting_datagram_socket(version)

    assert [made.fileno() for made in refused.sockets] == [-1]


@pytest.mark.parametrize("version", [4, 6])
def test_what_is_intercepted_is_delivered_on_loopback(version: int) -> None:
    assert INTERCEPTION[version].version == version
    assert INTERCEPTION[version].address.is_loopback
