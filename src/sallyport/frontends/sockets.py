"""Sockets of control connections: ordinary ones, and transparent ones with foreign addresses."""

import socket

from sallyport.addresses import Endpoint
from sallyport.flags import Transport
from sallyport.sockets import closed_on_error, make, make_transparent, name_of

NO_CAPABILITY = "CAP_NET_ADMIN is missing: run as root, or inside `unshare -Urnm`"


def transparent_socket(transport: Transport, version: int) -> socket.socket:
    """Make a socket that may use foreign addresses; raises PermissionError."""
    with closed_on_error(make(transport, version)) as made:
        make_transparent(made)
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
