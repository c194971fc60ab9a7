"""The sockets of the user-mode data path, and the few options that make them ours."""

import contextlib
import ctypes
import errno
import socket
import struct
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

_KINDS: Final = {Transport.TCP: socket.SOCK_STREAM, Transport.UDP: socket.SOCK_DGRAM}
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

# Between two tries for a descriptor: long enough not to spin, too short to be noticed by people.
PAUSE_SECONDS: Final = 0.1

# Not in the socket module of Python 3.11 (linux/in6.h, asm-generic/socket.h).
_IPV6_TRANSPARENT: Final = 75
_SO_ATTACH_FILTER: Final = 26
_SO_DETACH_FILTER: Final = 27

_RESET: Final = struct.pack("ii", 1, 0)
_GENTLE: Final = struct.pack("ii", 0, 0)

# A classic BPF program of one instruction, "return 0 bytes": BPF_RET | BPF_K is 6.
_DROP_ALL: Final = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0), 8)
# struct sock_fprog: the number of instructions, and where they are.
_DROP_ALL_PROGRAM: Final = struct.pack("@HP", 1, ctypes.addressof(_DROP_ALL))


def make(transport: Transport, version: int) -> socket.socket:
    """Make a non-blocking socket of one family only; raises OSError."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    made = socket.socket(family, _KINDS[transport] | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    if version == 6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return made


def bound(transport: Transport, address: Endpoint, *, is_foreign: bool = False) -> socket.socket:
    """Make a socket bound to `address`; a foreign one is not this host's. Raises OSError.

    The bind finds every local program that has the port, were it by a wildcard or SO_REUSEADDR.
    A UDP socket is deaf until it is told to `hear`.
    """
    made = make(transport, address.version)
    try:
        if transport is Transport.UDP:
            deafen(made)
        if is_foreign:
            allow_foreign(made)
        made.bind(name_of(address))
    except OSError:
        made.close()
        raise
    return made


def allow_foreign(sock: socket.socket) -> None:
    """Let a socket use addresses that are not this host's; raises PermissionError."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TRANSPARENT, 1)


def speak_as(sock: socket.socket, peer: Endpoint, *, keeps_port: bool) -> None:
    """Give a socket that will be connected the peer's address, and its port where that is free.

    Raises OSError.
    """
    allow_foreign(sock)
    # One peer may have flows to several clients from one port: FTP servers send from port 20.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if keeps_port:
        with contextlib.suppress(OSError):
            sock.bind(name_of(peer))
            return
    sock.bind(name_of(peer.with_port(0)))


def name_of(endpoint: Endpoint) -> tuple[str, int]:
    """Write an endpoint as the socket module wants it."""
    return str(endpoint.address), endpoint.port


def endpoint_of(name: SocketName) -> Endpoint:
    """Read a socket name; a zone (`fe80::1%eth0`) means nothing to the rest of the gateway."""
    return Endpoint(ip_address(name[0].partition("%")[0]), name[1])


def refusal(error: OSError) -> BindError | KernelError:
    """Say in our words why the kernel gave no socket."""
    if error.errno == errno.EADDRINUSE:
        return AddressInUse("port-held-by-local-program")
    if error.errno == errno.EADDRNOTAVAIL:
        return AddressNotAvailable("address-not-on-this-host")
    if error.errno == errno.EPERM:
        return AddressNotAvailable("foreign-address-needs-cap-net-admin")
    if error.errno in EXHAUSTED:
        return OutOfResources("no-descriptor-for-socket")
    return KernelError("open a socket", error.errno or 0)


def deafen(sock: socket.socket) -> None:
    """Drop every datagram before it is queued: nothing waits for us that came uninvited."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _DROP_ALL_PROGRAM)


def hear(sock: socket.socket) -> None:
    """Undo `deafen`."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def widen_receive_buffer(sock: socket.socket, size: int) -> None:
    """Give a socket room for `size` bytes, and never less than it has.

    The host's own default is often more; and a TCP socket that is told stops tuning itself.
    """
    # Linux doubles what it is told, for its own book-keeping, and tells the double (socket(7)).
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < 2 * size:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def prepare_leg(sock: socket.socket) -> None:
    """Make a TCP socket one leg of a flow: it is reset when it is closed, however that comes.

    An end of stream means "complete" (RFC 959 section 3.4.1). So it is sent on purpose only, by
    `let_end`: a killed flow, a fault of ours and the death of this process all look like a reset.
    """
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    # What is spliced is sent at once: both ends have had their own say about small segments.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # An end that has lost its power is found after RFC 1122's two hours, like any idle connection.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # Urgent data stays in its place among the other bytes.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)


def let_end(sock: socket.socket) -> None:
    """Close a leg whose both directions are complete; what is queued still leaves."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _GENTLE)
    sock.close()


def listen(sock: socket.socket, backlog: int) -> None:
    """Accept connections on a bound port from now on; raises OSError."""
    # Connections accepted earlier live on at this port, and must not keep us from listening again.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.listen(backlog)


def stop_listening(sock: socket.socket) -> None:
    """Reset everything in the accept queue and take nothing more; the port stays held.

    Linux takes a listening socket back to a bound one by `shutdown`; closing it would give the
    port away as well.
    """
    sock.shutdown(socket.SHUT_RD)
    # Only while we listen nobody can share the port with us.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)


def has_failed(sock: socket.socket) -> bool:
    """Tell whether a socket has an error to report, which is forgotten by asking."""
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
