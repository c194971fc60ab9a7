"""The kernel's packet log: what rules copy to a group of it (`log group N`)."""

from collections.abc import Iterator

from sallyport.errors import KernelError
from sallyport.kernel import netlink_socket
from sallyport.wire import netlink, nflog
from sallyport.wire.netlink import Message


class PacketLog:
    """The reader of one group; never blocks."""

    def __init__(self, group: int, size: int) -> None:
        """Ask the kernel for the first `size` bytes of each packet, headers included.

        Raises KernelError when another program has the group, or the kernel has no packet log.
        """
        self._socket = netlink_socket.connect()
        try:
            self._ask(nflog.bind_request(group, 1), 1)
            self._ask(nflog.copy_request(group, size, 2), 2)
        except BaseException:
            self._socket.close()
            raise
        self._socket.settimeout(0)

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def messages(self) -> Iterator[Message]:
        """Take what waits; some may have been lost in a flood. Raises OSError."""
        for data in netlink_socket.waiting(self._socket):
            yield from netlink.messages(data or b"")

    def _ask(self, request: bytes, sequence: int) -> None:
        self._socket.send(request)
        answer = self._socket.recv(netlink_socket.RECEIVE_SIZE)
        if refused := netlink.verdict(answer, sequence):
            raise KernelError("listen to the packet log", refused)
