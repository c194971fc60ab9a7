"""Netlink sockets for netfilter, and the numbers Python does not name."""

import errno
import socket
from collections.abc import Iterator

NETLINK_NETFILTER = 12
SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP = 1
NETLINK_BROADCAST_ERROR = 4
SO_ATTACH_FILTER = 26

ENOENT = errno.ENOENT

# The kernel fills dump answers up to 32 KiB when the reader offers that much (netlink(7)).
RECEIVE_SIZE = 32 * 1024


def connect() -> socket.socket:
    """Open a blocking netlink socket to netfilter; raises OSError."""
    sock = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER
    )
    sock.bind((0, 0))
    return sock


def waiting(sock: socket.socket) -> Iterator[bytes | None]:
    """Yield each datagram that waits on a socket that never blocks; None where some were lost.

    Raises OSError.
    """
    while True:
        try:
            yield sock.recv(RECEIVE_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            yield None
