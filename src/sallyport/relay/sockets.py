"""The sockets of the user-mode data path, and the few options that make them ours."""

import ctypes
import errno
import socket
import struct
from collections.abc import Callable
from typing import Final

from sallyport.addresses import Endpoint
from sallyport.errors import AddressNotAvailable, BindError
from sallyport.flags import Transport
from sallyport.io.sockets import (
    CLIENT_LEG,
    attach_program,
    closed_on_error,
    let_bind_absent,
    make,
    make_transparent,
    name_of,
)
from sallyport.io.sockets import refusal as plain_refusal

# Not in the socket module of Python 3.11 (asm-generic/socket.h).
_SO_ATTACH_FILTER: Final = 26
_SO_DETACH_FILTER: Final = 27
_SO_RCVBUFFORCE: Final = 33
_SO_MEMINFO: Final = 55
# struct sk_meminfo is nine numbers; the last one counts what the socket has dropped
# (linux/sock_diag.h, SK_MEMINFO_DROPS).
_MEMINFO: Final = struct.Struct("=9I")

# A classic BPF program of one instruction, "return 0 bytes": BPF_RET | BPF_K is 6.
_DROP_ALL: Final = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0), 8)
# struct sock_fprog: the number of instructions, and where they are.
_DROP_ALL_PROGRAM: Final = struct.pack("@HP", 1, ctypes.addressof(_DROP_ALL))


def bound(
    transport: Transport,
    address: Endpoint,
    *,
    is_foreign: bool = False,
    is_bound_again: bool = False,
    may_be_absent: bool = False,
) -> socket.socket:
    """Make a socket bound to `address`; a foreign one is not this host's. Raises OSError.

    An own address that may be absent need not be on this host yet.

    The bind finds every local program that has the port, were it by a wildcard or SO_REUSEADDR;
    a port that is `is_bound_again` and again, those that listen there: connections of the last time
    may go on, or be in TIME_WAIT. A UDP socket is deaf until it is told to `hear`.
    """
    with closed_on_error(make(transport, address.version)) as made:
        if transport is Transport.UDP:
            deafen(made)
        if may_be_absent:
            let_bind_absent(made)
        if is_foreign:
            make_transparent(made)
        if transport is Transport.TCP and (is_foreign or is_bound_again):
            # At a foreign address is no service of this host; what may be in the way is a leg of
            # ours that speaks in that host's name, or the TIME_WAIT of one.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(name_of(address))
        return made


def speaking_as(
    new: Callable[[], socket.socket], peer: Endpoint, *, is_tracked_apart: bool = False
) -> socket.socket:
    """Make a socket at the peer's address, and at its port where that is free.

    `new` makes one that is not bound. `is_tracked_apart`: the peer's own packets have the same
    addresses and ports, and conntrack must not take ours for them. Raises OSError.
    """
    with closed_on_error(new()) as made:
        make_transparent(made)
        if is_tracked_apart:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, CLIENT_LEG)
        # One peer may have flows to several clients from one port: FTP servers send from port 20.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind(name_of(peer))
        except OSError:
            made.bind(name_of(peer.with_port(0)))
        return made


def dropped(sock: socket.socket) -> int:
    """Return how many packets the filter of a socket has dropped, or its full queue."""
    return int(_MEMINFO.unpack(sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))[-1])


def refusal(error: OSError) -> BindError:
    """Say in our words why the kernel gave no socket."""
    if error.errno == errno.EPERM:
        return AddressNotAvailable("foreign-address-needs-cap-net-admin")
    return plain_refusal(error, "open a socket")


def deafen(sock: socket.socket) -> None:
    """Drop every datagram before it is queued: nothing waits for us that came uninvited."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _DROP_ALL_PROGRAM)


def answer_only(sock: socket.socket, peers: bytes | None) -> None:
    """Drop what the program `peers` does not keep; None: keep everything. Raises OSError.

    Accepted sockets inherit it: their peers are those it keeps.
    """
    if peers is None:
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
    else:
        attach_program(sock, _SO_ATTACH_FILTER, peers)


def undeafen(sock: socket.socket) -> None:
    """Undo `deafen`."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def widen_receive_buffer(sock: socket.socket, size: int) -> None:
    """Make room for `size` bytes in a socket, and never less than it has.

    Without CAP_NET_ADMIN the host's net.core.rmem_max is the most. A TCP socket is left alone: its
    sender waits for room, and one that is told a size stops tuning itself.
    """
    # Linux doubles what it is told, for its own book-keeping, and tells the double (socket(7)).
    if (
        sock.type == socket.SOCK_DGRAM
        and sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < 2 * size
    ):
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


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
    # Only while we listen can no other socket share the port with us.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
