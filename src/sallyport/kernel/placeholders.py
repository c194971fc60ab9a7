"""Reserved ports, each held by a bound socket that never listens.

The bind finds every local program that has the port (wildcard, dual stack, SO_REUSEADDR), and no
local program can take it while we hold it. Pinhole traffic never reaches the socket.
"""

import errno
import socket

from sallyport.addresses import Endpoint
from sallyport.errors import AddressInUse, AddressNotAvailable, KernelError, OutOfResources
from sallyport.flags import Transport

_KINDS = {Transport.TCP: socket.SOCK_STREAM, Transport.UDP: socket.SOCK_DGRAM}
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Placeholders:
    """The sockets, by transport and address; one descriptor and about 4 KiB of kernel each."""

    def __init__(self) -> None:
        self._held: dict[tuple[Transport, Endpoint], socket.socket] = {}

    def reserve(self, transport: Transport, address: Endpoint) -> None:
        """Hold a port.

        Raises AddressInUse, AddressNotAvailable, OutOfResources, or KernelError for the unforeseen.
        """
        if (transport, address) in self._held:
            raise AddressInUse("port-already-reserved")
        try:
            self._held[transport, address] = _bound(transport, address)
        except OSError as error:
            raise _refusal(error) from error

    def release(self, transport: Transport, address: Endpoint) -> None:
        """Give a port back; idempotent, never raises."""
        held = self._held.pop((transport, address), None)
        if held is not None:
            held.close()

    def close(self) -> None:
        """Give every port back."""
        for held in self._held.values():
            held.close()
        self._held.clear()


def _bound(transport: Transport, address: Endpoint) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    sock = socket.socket(family, _KINDS[transport] | socket.SOCK_CLOEXEC)
    try:
        if address.version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((str(address.address), address.port))
    except OSError:
        sock.close()
        raise
    return sock


def _refusal(error: OSError) -> AddressInUse | AddressNotAvailable | OutOfResources | KernelError:
    if error.errno == errno.EADDRINUSE:
        return AddressInUse("port-held-by-local-program")
    if error.errno == errno.EADDRNOTAVAIL:
        return AddressNotAvailable("address-not-on-this-host")
    if error.errno in _EXHAUSTED:
        return OutOfResources("no-descriptor-for-port")
    return KernelError("reserve a port", error.errno or 0)
