"""The kernel's notice that the addresses of this host have changed; which, is asked elsewhere."""

import socket

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
        for _report in netlink_socket.waiting(self._socket):
            pass  # The reader asks for all addresses anyway, also when some reports were lost.

    def close(self) -> None:
        """Close the socket; idempotent."""
        self._socket.close()
