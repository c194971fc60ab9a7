"""Clients and servers that do not behave, all the time: nobody else may notice them.

What becomes of themselves is no matter. What they open counts, though: nothing of it may be left.
"""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.soak.kinds.ftp import connected, data_connection
from tests.soak.network import PATIENCE, Network
from tests.soak.visits import Kind, Visit

# linux/tcp.h: closing a socket in this mode tells the other end nothing.
_TCP_REPAIR = 19
_RESET = struct.pack("ii", 1, 0)

# A gateway or server that has enough of garbage says so, or closes, at once.
_PATIENCE = 2.0
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


class Rogue(Exception):
    """How a visit that does not behave ends."""


def vanish(network: Network, visit: Visit) -> None:
    """The client's host is switched off in a transfer, and comes back with nothing."""
    with _in_a_transfer(network, visit) as sockets:
        for sock in sockets:
            sock.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)
            sock.close()


def reset(network: Network, visit: Visit) -> None:
    """The client resets its data connection, its control connection, or both."""
    with _in_a_transfer(network, visit) as sockets:
        for sock in visit.random.sample(sockets, visit.random.randint(1, 2)):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            sock.close()


def leave_ports(network: Network, visit: Visit) -> None:
    """The client asks for ports, uses none, and goes."""
    with connected(network.outside, network, visit) as control:
        for _ in range(visit.random.randint(1, 5)):
            if visit.random.random() < 0.5:
                control.ask(b"EPSV", b"229")
            else:
                with control.listening() as (_, announcement):
                    control.ask(announcement, b"200")
    raise Rogue


def babble(network: Network, visit: Visit) -> None:
    """The client says anything on its control connection."""
    with connected(network.outside, network, visit) as control:
        control.control.settimeout(_PATIENCE)
        for _ in range(visit.random.randint(1, 20)):
            control.send(_garbage(visit))
        with suppress(OSError):
            while control.control.recv(65536):
                pass
    raise Rogue


def knock(network: Network, visit: Visit) -> None:
    """A stranger says anything to any port of the gateway, and to a client behind it."""
    lab = network.lab
    there = str(lab.gateway.address4 if visit.family == 4 else lab.clients[1].address6)
    ports = [69, 1080, 5351, *(visit.random.randint(40_000, 59_999) for _ in range(20))]
    for port in ports:
        with lab.stranger.entered():
            datagram = socket.socket(_FAMILIES[visit.family], socket.SOCK_DGRAM)
            stream = socket.socket(_FAMILIES[visit.family])
        with datagram, stream, suppress(OSError):
            datagram.sendto(_garbage(visit)[:1200], (there, port))
            stream.setblocking(False)
            stream.connect((there, port))
    raise Rogue


def ask_nonsense(network: Network, visit: Visit) -> None:
    """The client says anything to SOCKS, PCP and TFTP."""
    inside = "10.0.0.1" if visit.family == 4 else "fd00:a::1"
    tftp = str(network.tftp.host.address(visit.family))
    with visit.client.entered():
        stream = socket.create_connection((inside, 1080), PATIENCE)
        datagram = socket.socket(_FAMILIES[visit.family], socket.SOCK_DGRAM)
    with datagram, stream:
        stream.settimeout(_PATIENCE)
        for at in ((inside, 5351), (tftp, 69)):
            datagram.sendto(_garbage(visit)[:1200], at)
        stream.sendall(visit.random.choice((b"", b"\5\1\0", b"\5\1\0\5\1\0\3")) + _garbage(visit))
        stream.recv(65536)
    raise Rogue


def meet_a_babbler(network: Network, visit: Visit) -> None:
    """The server says anything."""
    there = str(network.babbler.address(visit.family)), 21
    with visit.client.entered():
        sock = socket.create_connection(there, PATIENCE)
    with sock, suppress(OSError):
        sock.settimeout(_PATIENCE)
        for word in (b"USER x", b"PASV", b"EPSV", b"PORT 10,0,0,9,200,1", b"RETR x", b"LIST"):
            sock.sendall(word + b"\r\n")
            sock.recv(65536)
    raise Rogue


ROGUES = (
    Kind("a client vanishes", 3, vanish, is_rogue=True),
    Kind("a client resets", 3, reset, is_rogue=True),
    Kind("ports that nobody uses", 3, leave_ports, is_rogue=True),
    Kind("garbage of a client", 2, babble, is_rogue=True),
    Kind("garbage of a stranger", 1, knock, is_rogue=True),
    Kind("garbage for front ends", 1, ask_nonsense, is_rogue=True),
    Kind("garbage of a server", 2, meet_a_babbler, is_rogue=True),
)


# -- inside ----------------------------------------------------------------------------------------


@contextmanager
def _in_a_transfer(network: Network, visit: Visit) -> Iterator[list[socket.socket]]:
    """Begin to fetch something long; give the data and the control connection."""
    with connected(network.outside, network, visit) as control:
        is_active = visit.random.random() < 0.5
        with (
            data_connection(control, visit, b"RETR long", is_active=is_active) as (data, outside),
            visit.transfer(outside, len(network.content["long"])),
        ):
            data.recv(1 << 16)
            yield [data, control.control]
            raise Rogue


def _garbage(visit: Visit) -> bytes:
    random = visit.random
    words = (
        random.randbytes(random.randint(1, 2000)),
        b"\xff\xf4\xff\xf2ABOR\r\n",
        b"PORT 1,2,3,4,5,6\r\nEPRT |2|::1|80|\r\n",
        b"A" * random.choice((600, 9000)),
        b"\r\n" * random.randint(1, 50),
        b"PASV\r\n" * random.randint(1, 30),
        b"227 Entering (10,0,0,1,1,1)\r\n",
    )
    return random.choice(words)
