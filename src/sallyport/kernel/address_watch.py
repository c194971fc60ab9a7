"""The kernel's notice that the addresses of this host have changed; which, is asked elsewhere."""

import errno
import socket
from contextlib import suppress

from sallyport.kernel import netlink_socket
from sallyport.wire import rtnetlink


class AddressWatch:
    """A socket that is readable after addresses have come or gone; never blocks."""

    def __init__(self) -> None:
        """Begin to listen; raises OSError. It takes no privileges."""
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.settimeout(0)
        self._socket.bind((0, 0))
        for group in rtnetlink.GROUPS_ADDRESS:
            self._socket.setsockopt(
                netlink_socket.SOL_NETLINK, netlink_socket.NETLINK_ADD_MEMBERSHIP, group
            )

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._socket.fileno()

    def drain(self) -> None:
        """Take in everything that has been reported; raises OSError."""
        with suppress(BlockingIOError):
            while True:
                try:
                    self._socket.recv(netlink_socket.RECEIVE_SIZE)
                except OSError as error:
                    # Some reports were lost; the reader asks for all addresses anyway.
                    if error.errno != errno.ENOBUFS:
                        raise

    def close(self) -> None:
        """Close the socket; idempotent."""
        self._socket.close()
