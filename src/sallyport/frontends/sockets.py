"""Sockets of control connections: ordinary ones, and transparent ones with foreign addresses."""

import socket
import struct
from ipaddress import ip_address

from sallyport.addresses import Endpoint

# Not in the socket module of Python 3.11 (linux/in6.h).
IPV6_TRANSPARENT = 75
NO_CAPABILITY = "CAP_NET_ADMIN is missing: run as root, or inside `unshare -Urnm`"
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""The value of SO_LINGER that turns the next close into a reset."""


def family_of(version: int) -> socket.AddressFamily:
    """Give the address family of an IP version."""
    return socket.AF_INET if version == 4 else socket.AF_INET6


def tcp_socket(family: socket.AddressFamily) -> socket.socket:
    """Make a TCP socket that does not block."""
    # The protocol is named, because asyncio turns Nagle's algorithm off only where it reads TCP;
    # accepted sockets inherit it.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setblocking(False)
    return made


def make_transparent(made: socket.socket) -> None:
    """Let a socket that is not bound yet use foreign addresses; raises PermissionError."""
    if made.family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
    else:
        made.setsockopt(socket.IPPROTO_IP, socket.IP_TRANSPARENT, 1)


def transparent_socket(family: socket.AddressFamily) -> socket.socket:
    """Make a TCP socket that may use foreign addresses; raises PermissionError."""
    made = tcp_socket(family)
    try:
        make_transparent(made)
    except BaseException:
        made.close()
        raise
    return made


def control_listener(made: socket.socket, local: Endpoint) -> socket.socket:
    """Bind a new TCP socket to accept control connections at; closed when that fails.

    Raises OSError.
    """
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Clients send the Telnet "data mark" before ABOR as urgent data; out of line it would tear
        # the sequence apart (RFC 1123 section 4.1.2.10). Accepted sockets inherit this.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        made.bind((str(local.address), local.port))
    except BaseException:
        made.close()
        raise
    return made


def endpoint_of(name: tuple[object, ...]) -> Endpoint:
    """Read a socket name as Python gives it."""
    return Endpoint(ip_address(str(name[0])), int(str(name[1])))
