"""Netlink sockets; anybody may open one, what may be asked over it is the kernel's to say."""

import socket

from sallyport.kernel import netlink_socket


def test_a_socket_has_a_port_of_its_own() -> None:
    with netlink_socket.connect() as one, netlink_socket.connect() as other:
        assert one.family == socket.AF_NETLINK
        assert 0 < one.getsockname()[0] != other.getsockname()[0]
