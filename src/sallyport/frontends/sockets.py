"""The sockets at which control traffic arrives, and those that speak for another host."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from sallyport.addresses import Endpoint, IpAddress
from sallyport.errors import StartupError
from sallyport.flags import Transport
from sallyport.io.sockets import (
    bound_beside,
    closed_on_error,
    let_bind_absent,
    make,
    make_transparent,
    name_of,
)

# Not in the socket module of Python 3.11 (linux/in.h); IPv6 sockets take it too.
_IP_BIND_ADDRESS_NO_PORT = 24


def foreign_socket(transport: Transport, local: Endpoint) -> socket.socket:
    """Make a socket bound to an address that need not be this host's.

    Raises OSError, without the capability PermissionError.
    """
    with closed_on_error(make(transport, local.version)) as made:
        make_transparent(made)
        made.bind(name_of(local))
        if transport is Transport.TCP:
            # Set only now, so that the kernel chose a free port; from here on a pinhole of
            # the host we speak for may share it.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return made


def another_port_of(client: Endpoint, transport: Transport) -> socket.socket:
    """Make a socket that speaks in a client's name, from another port than the client; raises as
    `foreign_socket` does.

    With the client's own port both legs would be one conntrack entry.
    """
    return bound_beside(client.port, lambda: foreign_socket(transport, client.with_port(0)))


def gateway_socket(transport: Transport, peer: Endpoint, source: IpAddress | None) -> socket.socket:
    """Make a socket that will dial `peer` as the gateway; raises OSError.

    It has the port of the kernel's choice at `source`, which need not be on this host yet; without
    a source, routing chooses the address as well.
    """
    made = make(transport, peer.version)
    if source is not None:
        with closed_on_error(made):
            let_bind_absent(made)
            # The port is chosen when the peer is known: by then two peers may share one.
            made.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            made.bind(name_of(Endpoint(source, 0)))
    return made


@contextmanager
def explained(listen: Endpoint, owner: str) -> Iterator[None]:
    """Say what to do when a socket for a published server fails; raises StartupError for OSError.

    `owner` says what of the configuration wants it.
    """
    try:
        yield
    except OSError as error:
        raise StartupError(
            f"{owner}: cannot listen at {listen}: {error.strerror}; free the port, or write another"
        ) from None


def publishing(
    transport: Transport, version: int, *, may_be_absent: bool, is_shared: bool
) -> socket.socket:
    """Make a socket, not bound yet, for the clients of a server published behind NAT.

    An address that may be absent need not be on this host yet; one that is shared may have several
    sockets of ours. Raises OSError.
    """
    with closed_on_error(make(transport, version)) as made:
        if may_be_absent:
            let_bind_absent(made)
        if is_shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        return made


def control_listener(made: socket.socket, local: Endpoint) -> socket.socket:
    """Bind a new TCP socket to accept control connections at; closed when that fails.

    Raises OSError.
    """
    with closed_on_error(made):
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Clients send the Telnet "data mark" before ABOR as urgent data; out of line it would tear
        # the sequence apart (RFC 1123 section 4.1.2.10). Accepted sockets inherit this.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        made.bind(name_of(local))
        return made
