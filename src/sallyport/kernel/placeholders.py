"""Reserved ports, each held by a bound socket that never listens.

The bind finds every local program that has the port (wildcard, dual stack, SO_REUSEADDR), and no
local program can take it while we hold it. Pinhole traffic never reaches the socket; what a client
sends from a UDP port of ours leaves by it.
"""

import resource
import socket
import struct
from collections.abc import Sequence
from typing import Final

from sallyport.addresses import Endpoint, IpAddress
from sallyport.errors import AddressInUse
from sallyport.flags import Transport
from sallyport.io.sockets import (
    SocketName,
    let_bind_absent,
    make,
    make_transparent,
    name_of,
    refusal,
)
from sallyport.kernel import marks

# Of all descriptors the process may have, the part that placeholders may hold: 5 000 of 20 000.
# The rest is for conversations, which need two each. Beyond it ports are only probed, and
# `ip_local_reserved_ports` alone keeps local programs away from them.
DESCRIPTOR_SHARE = 4

# ip(7); Python 3.11 does not name it.
_IP_PKTINFO = 8

# Loopback's last address, and one that RFC 6666 gives to no host. Not 127.0.0.1 and ::1: there our
# own listeners have ports that the kernel chose, and clients may have the same ones.
_NOWHERE: Final = {4: "127.255.255.254", 6: "100::"}

_Ancillary = tuple[int, int, bytes]

# The mark of one datagram, instead of its socket's: a system call less for each.
_UNSEEN: Final[_Ancillary] = (
    socket.SOL_SOCKET,
    socket.SO_MARK,
    struct.pack("=I", marks.UNTRACKED),
)


def raise_descriptor_limit() -> int:
    """Take all the descriptors the host allows this process; gives how many that is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Placeholders:
    """The sockets, by transport and address; one descriptor and about 4 KiB of kernel each."""

    def __init__(self, limit: int, absent: frozenset[IpAddress] = frozenset()) -> None:
        """Hold at most `limit` ports by a socket, and the others by a note.

        Ports of an address in `absent` are held although it may not be on this host yet.
        """
        self._limit = limit
        self._absent = absent
        self._sockets = 0
        # By the socket's name: that is hashed in less than half the time of an Endpoint.
        self._held: dict[Transport, dict[tuple[str, int], socket.socket | None]] = {
            transport: {} for transport in Transport
        }

    def reserve(self, transport: Transport, address: Endpoint, *, is_shared: bool = False) -> None:
        """Hold a port; `is_shared`: our other processes may hold it too.

        Raises AddressInUse, AddressNotAvailable, OutOfResources, or KernelError for the unforeseen.
        """
        held, name = self._held[transport], name_of(address)
        if name in held:
            raise AddressInUse("port-already-reserved")
        try:
            sock = _bound(
                transport,
                address.version,
                name,
                may_be_absent=bool(self._absent) and address.address in self._absent,
                is_shared=is_shared,
            )
        except OSError as error:
            raise refusal(error, "reserve a port") from error
        if self._sockets < self._limit:
            self._sockets += 1
            held[name] = sock
        else:
            sock.close()
            held[name] = None

    def release(self, transport: Transport, address: Endpoint) -> None:
        """Release a port; idempotent, never raises."""
        held = self._held[transport].pop(name_of(address), None)
        if held is not None:
            self._sockets -= 1
            held.close()

    def send(self, source: Endpoint, destination: Endpoint, data: bytes) -> None:
        """Send a datagram from a held port, or in the name of another host; never raises.

        What cannot be sent at once is lost, as datagrams are.
        """
        try:
            held = self._held[Transport.UDP].get(name_of(source))
            if held is not None:
                _send(held, destination, data)
                return
            # Kept for the next datagram, such sockets would need a bound and an end.
            with make(Transport.UDP, source.version) as sock:
                _send_in_the_name(sock, source, destination, data)
        except OSError:
            return

    def close(self) -> None:
        """Release every port."""
        for held in self._held.values():
            for sock in filter(None, held.values()):
                sock.close()
            held.clear()
        self._sockets = 0


def _send(
    sock: socket.socket, destination: Endpoint, data: bytes, ancillary: Sequence[_Ancillary] = ()
) -> None:
    # Seen by conntrack, this would be a flow of the gateway's own, and the answer would end here
    # instead of at the client.
    sock.sendmsg([data], (*ancillary, _UNSEEN), socket.MSG_DONTWAIT, name_of(destination))


def _send_in_the_name(
    sock: socket.socket, source: Endpoint, destination: Endpoint, data: bytes
) -> None:
    # Bound to the address itself it would catch the answer, should we be slow to close it; so it
    # has the port at an address of no host, and the address for this one datagram.
    make_transparent(sock)
    packed = source.address.packed
    sock.bind((_NOWHERE[source.version], source.port))
    if source.version == 4:
        # struct in_pktinfo: interface, source, and an address that is not for sending
        ancillary = socket.IPPROTO_IP, _IP_PKTINFO, bytes(4) + packed + bytes(4)
    else:
        # struct in6_pktinfo: source, interface
        ancillary = socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, packed + bytes(4)
    _send(sock, destination, data, [ancillary])


def _bound(
    transport: Transport, version: int, name: SocketName, *, may_be_absent: bool, is_shared: bool
) -> socket.socket:
    made = make(transport, version)
    try:
        if is_shared:  # with sockets of the same user that say so as well, and no other
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if transport is Transport.UDP:
            # It is never read: a datagram that strays here must not take 200 KiB of memory a port.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
        if may_be_absent:
            let_bind_absent(made)
        made.bind(name)
    except OSError:
        made.close()
        raise
    return made
