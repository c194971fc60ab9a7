"""Forged ACKs that make both ends of a killed flow speak, so that the reset reaches them at once.

An idle end never learns that its flow was killed. It answers an ACK out of the blue with one of its
own, and the KILL rule turns that answer into a reset with the right numbers.
"""

import random
import socket

from sallyport.addresses import Endpoint
from sallyport.kernel import marks
from sallyport.wire import tcp
from sallyport.wire.conntrack import FlowTuple


class ForgedAcks:
    """Raw sockets for both IP versions; without CAP_NET_RAW nothing is sent, quietly."""

    def __init__(self) -> None:
        self._sockets = {4: _open(socket.AF_INET), 6: _open(socket.AF_INET6)}

    def close(self) -> None:
        """Close the sockets."""
        for sock in self._sockets.values():
            if sock is not None:
                sock.close()

    def send(self, original: FlowTuple, reply: FlowTuple) -> None:
        """Send one to each end in the other's name; never raises.

        A lost one only delays the reset.
        """
        # Each end is sent what it would see: untranslated packets, in the address it knows.
        self._send(original.destination, original.source)
        self._send(reply.destination, reply.source)

    def _send(self, source: Endpoint, destination: Endpoint) -> None:
        sock = self._sockets[destination.version]
        if sock is None:
            return
        packet = tcp.bare_ack(source, destination, random.getrandbits(32), random.getrandbits(32))
        try:
            sock.sendto(packet, (str(destination.address), 0))
        except OSError:
            # No route, or the interface is gone: then the flow cannot go on either.
            return


def _open(family: socket.AddressFamily) -> socket.socket | None:
    try:
        # IPPROTO_RAW: we write the IP header too, the source is not ours.
        sock = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW)
        sock.settimeout(0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, marks.UNTRACKED)
    except OSError:
        return None
    return sock
