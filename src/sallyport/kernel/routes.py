"""Ask the kernel's routing, without running a program."""

import socket
from ipaddress import IPv4Address, IPv6Address

from sallyport.addresses import IpAddress
from sallyport.kernel import netlink_socket
from sallyport.wire import netlink, rtnetlink

# The IPv4 dummy address (RFC 7600) and one of the discard prefix (RFC 6666): no host has them.
_UNUSED: dict[int, IpAddress] = {4: IPv4Address("192.0.0.8"), 6: IPv6Address("100::1")}

_SECONDS = 1.0


def is_delivered(mark: int, version: int) -> bool:
    """Return whether packets with this mark are delivered here, whatever their destination.

    One question shows whether both the rule and the route are there. Raises OSError.
    """
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
    ) as sock:
        sock.settimeout(_SECONDS)
        sock.send(rtnetlink.route_request(_UNUSED[version], mark, 1))
        (answer, *_rest) = netlink.messages(sock.recv(netlink_socket.RECEIVE_SIZE))
    return rtnetlink.is_local_route(answer)
