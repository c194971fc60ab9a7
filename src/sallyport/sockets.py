"""Sockets as every part of the gateway makes them, names them, and explains their failures."""

import contextlib
import errno
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final

from sallyport.addresses import Endpoint
from sallyport.errors import (
    AddressInUse,
    AddressNotAvailable,
    BindError,
    KernelError,
    OutOfResources,
)
from sallyport.flags import Transport

# What accept and recvfrom give; asyncio would call it `_RetAddress`.
SocketName = tuple[str, int] | tuple[str, int, int, int]

EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Error numbers that say "not now": the same call may succeed later."""

RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""The value of SO_LINGER that turns the next close into a reset."""

# The protocol is named, because asyncio turns Nagle's algorithm off only where it reads TCP;
# accepted sockets inherit it.
_KINDS: Final = {
    Transport.TCP: (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    Transport.UDP: (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
}
# Not in the socket module of Python 3.11 (linux/in6.h).
_IPV6_TRANSPARENT: Final = 75


def make(transport: Transport, version: int) -> socket.socket:
    """Make a socket of one family only that does not block; raises OSError."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    kind, protocol = _KINDS[transport]
    with closed_on_error(socket.socket(family, kind, protocol)) as made:
        made.setblocking(False)
        if version == 6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        return made


@contextlib.contextmanager
def closed_on_error(made: socket.socket) -> Iterator[socket.socket]:
    """Make a new socket ready; when that fails nobody would close it, so this does."""
    try:
        yield made
    except BaseException:
        made.close()
        raise


def make_transparent(made: socket.socket) -> None:
    """Let a socket use addresses that are not this host's; raises PermissionError."""
    if made.family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
    else:
        made.setsockopt(socket.IPPROTO_IP, socket.IP_TRANSPARENT, 1)


def name_of(endpoint: Endpoint) -> tuple[str, int]:
    """Write an endpoint as the socket module wants it."""
    return str(endpoint.address), endpoint.port


def endpoint_of(name: SocketName) -> Endpoint:
    """Read a socket name; a zone (`fe80::1%eth0`) means nothing to the rest of the gateway."""
    return Endpoint(ip_address(name[0].partition("%")[0]), name[1])


def refusal(error: OSError, operation: str) -> BindError | KernelError:
    """Say in our words why the kernel gave no socket; `operation` is what it was for."""
    if error.errno == errno.EADDRINUSE:
        return AddressInUse("port-held-by-local-program")
    if error.errno == errno.EADDRNOTAVAIL:
        return AddressNotAvailable("address-not-on-this-host")
    if error.errno in EXHAUSTED:
        return OutOfResources("no-descriptor-for-socket")
    return KernelError(operation, error.errno or 0)
