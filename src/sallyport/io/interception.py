"""The sockets that TPROXY delivers to, and what the kernel tells of each datagram there."""

import errno
import fcntl
import os
import socket
import struct
from ipaddress import IPv4Address, IPv6Address

from sallyport.addresses import Endpoint
from sallyport.errors import StartupError
from sallyport.flags import Transport
from sallyport.io.sockets import closed_on_error, make, make_transparent, name_of

# Not in the socket module of Python 3.11 (linux/in.h, linux/in6.h); an answer has the same number.
IP_RECVORIGDSTADDR = 20
IPV6_RECVORIGDSTADDR = 74
_IP_PKTINFO = 8
_IPV6_RECVPKTINFO, _IPV6_PKTINFO = 49, 50

# asm-generic/sockios.h; a struct ifreq is a name and, here, the number.
_SIOCGIFNAME = 0x8910
_IFREQ = struct.Struct("=16si20x")

# struct sockaddr_in6 is the longest address that comes: 28 bytes; struct in6_pktinfo has 20.
ANCILLARY_SPACE = socket.CMSG_SPACE(28) + socket.CMSG_SPACE(20)

# Loopback only: the kernel delivers there what it intercepts, no host can reach it. The port is
# of the kernel's choice.
INTERCEPTION = {4: Endpoint.parse("127.0.0.1:0"), 6: Endpoint.parse("[::1]:0")}


def interception_socket(transport: Transport, version: int) -> socket.socket:
    """Make a socket, not bound yet, that TPROXY may deliver to.

    Raises StartupError when the capability is missing.
    """
    with closed_on_error(make(transport, version)) as made:
        try:
            make_transparent(made)
        except PermissionError:
            raise StartupError(
                "CAP_NET_ADMIN is missing: run as root, or inside `unshare -Urnm`"
            ) from None
        return made


def intercepting_datagram_socket(version: int) -> socket.socket:
    """Make the socket TPROXY delivers to, on a loopback port of the kernel's choice.

    Raises StartupError when the capability is missing.
    """
    with closed_on_error(interception_socket(Transport.UDP, version)) as made:
        ask_for_destination(made)
        made.bind(name_of(INTERCEPTION[version]))
        return made


def ask_for_destination(made: socket.socket) -> None:
    """Ask the kernel to say of each datagram where it was going and where it came in."""
    if made.family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, 1)
        made.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
    else:
        made.setsockopt(socket.IPPROTO_IP, IP_RECVORIGDSTADDR, 1)
        made.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)


def original_destination(ancillary: list[tuple[int, int, bytes]]) -> Endpoint | None:
    """Find where a datagram was going in what recvmsg gives beside it; None if it does not say."""
    for level, kind, name in ancillary:
        # Both structures begin with family and port; flow information comes before an IPv6 address.
        if (level, kind) == (socket.IPPROTO_IP, IP_RECVORIGDSTADDR):
            (port,) = struct.unpack_from("!H", name, 2)
            return Endpoint(IPv4Address(name[4:8]), port)
        if (level, kind) == (socket.IPPROTO_IPV6, IPV6_RECVORIGDSTADDR):
            (port,) = struct.unpack_from("!H", name, 2)
            return Endpoint(IPv6Address(name[8:24]), port)
    return None


def interface_name(asked: socket.socket, number: int) -> str:
    """Return what an interface is called now, asked by a socket that is there.

    `socket.if_indextoname` makes one for each question. Raises OSError when there is no such
    interface, or the socket was closed meanwhile.
    """
    if asked.fileno() < 0:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    answer = fcntl.ioctl(asked, _SIOCGIFNAME, _IFREQ.pack(b"", number))
    return os.fsdecode(_IFREQ.unpack(answer)[0].partition(b"\0")[0])


def arriving_interface(ancillary: list[tuple[int, int, bytes]]) -> int:
    """Return the index of the interface at which a datagram came in; 0 if recvmsg does not say."""
    for level, kind, info in ancillary:
        # struct in_pktinfo begins with the index, struct in6_pktinfo has it behind the address.
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            return int(struct.unpack_from("=I", info)[0])
        if (level, kind) == (socket.IPPROTO_IPV6, _IPV6_PKTINFO):
            return int(struct.unpack_from("=I", info, 16)[0])
    return 0
