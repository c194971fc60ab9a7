"""Sockets as every part of the gateway makes them, names them, and explains their failures."""

import contextlib
import ctypes
import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from sallyport.addresses import Endpoint, IpAddress, text_of
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

CLIENT_LEG: Final = 0x0004_0000
"""The packet mark of a socket that speaks to a client in its peer's name where nothing is
translated: the base table has conntrack see it apart from the peer's own packets."""

_GENTLE: Final = struct.pack("ii", 0, 0)

PAUSE_SECONDS: Final = 0.1
"""Between two tries for a descriptor: enough not to spin, too little to be noticed by people."""

# The protocol is named, because asyncio turns Nagle's algorithm off only where it reads TCP;
# accepted sockets inherit it.
_KINDS: Final = {
    Transport.TCP: (socket.SOCK_STREAM | socket.SOCK_NONBLOCK, socket.IPPROTO_TCP),
    Transport.UDP: (socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.IPPROTO_UDP),
}
# Not in the socket module of Python 3.11 (linux/in.h, linux/in6.h).
_IP_FREEBIND: Final = 15
_IPV6_TRANSPARENT: Final = 75
_IPV6_FREEBIND: Final = 78

# Sockets that may share a port are given the same one again, but hardly twice.
_PORTS_TRIED: Final = 4


def make(transport: Transport, version: int) -> socket.socket:
    """Make a socket of one family only that does not block; raises OSError."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    kind, protocol = _KINDS[transport]
    made = socket.socket(family, kind, protocol)
    if version == 6:
        with closed_on_error(made):
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return made


@contextlib.contextmanager
def closed_on_error(made: socket.socket) -> Iterator[socket.socket]:
    """Prepare a new socket; close it when that fails, for no caller has it yet."""
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


def let_bind_absent(made: socket.socket) -> None:
    """Let a socket be bound to an address that is not on this host yet (the one of a pair)."""
    if made.family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
    else:
        made.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)


def name_of(endpoint: Endpoint) -> tuple[str, int]:
    """Write an endpoint as the socket module wants it."""
    return text_of(endpoint.address), endpoint.port


def endpoint_of(name: SocketName) -> Endpoint:
    """Read a socket name; a zone (`fe80::1%eth0`) means nothing to the rest of the gateway."""
    return Endpoint(_address_of(name[0]), name[1])


# The same few hosts connect again and again: to read the text takes longer than to accept them.
@lru_cache(maxsize=1024)
def _address_of(text: str) -> IpAddress:
    return ip_address(text.partition("%")[0])


def bound_beside(port: int, make_bound: Callable[[], socket.socket]) -> socket.socket:
    """Return what `make_bound` makes: a socket at a port of the kernel's choice, and not at `port`.

    A leg that speaks in a host's name for a connection of that host from `port` has the same
    addresses. With the same ports the two would be one connection to conntrack, the leg's SYN a
    repetition that nothing answers. The kernel chooses so once in some ten thousand times. Raises
    what `make_bound` raises.
    """
    with contextlib.ExitStack() as held:
        for _ in range(_PORTS_TRIED):
            made = make_bound()
            if made.getsockname()[1] != port:
                return made
            held.enter_context(made)  # while it is held another one is chosen
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def prepare_leg(sock: socket.socket) -> None:
    """Make a TCP socket one leg of a flow: it is reset when it is closed, however that comes.

    An end of stream means "complete" (RFC 959 section 3.4.1). So it is sent on purpose only, by
    `let_end`: a killed flow, a fault of ours and the death of this process all look like a reset.
    """
    if sock.getblocking():
        sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    # What passes is sent at once: both ends have had their own say about small segments.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # An end that has lost its power is found after RFC 1122's two hours, like any idle connection.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # Urgent data stays in its place among the other bytes.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)


def let_end(sock: socket.socket) -> None:
    """Close a leg whose both directions are complete; what is queued still leaves."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _GENTLE)
    sock.close()


def has_failed(sock: socket.socket) -> bool:
    """Return whether a socket has an error to report; asking clears it."""
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0


def refusal(error: OSError, operation: str) -> BindError:
    """Say in our words why the kernel gave no socket; `operation` is what it was for."""
    if error.errno == errno.EADDRINUSE:
        return AddressInUse("port-held-by-local-program")
    if error.errno == errno.EADDRNOTAVAIL:
        return AddressNotAvailable("address-not-on-this-host")
    if error.errno in EXHAUSTED:
        return OutOfResources("no-descriptor-for-socket")
    return KernelError(operation, error.errno or 0)


def attach_program(sock: socket.socket, option: int, program: bytes) -> None:
    """Attach a classic BPF program, an array of `struct sock_filter`; raises OSError.

    `option` says what it decides, such as SO_ATTACH_FILTER.
    """
    buffer = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: the number of instructions, and where they are.
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, option, header)
