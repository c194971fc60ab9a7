"""A client of SOCKS that says exactly what it is told, and what a test of it looks at."""

import json
import socket
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from ipaddress import ip_address
from typing import NamedTuple

from sallyport.addresses import Endpoint
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import Host

PROXY = {4: "10.0.0.1", 6: "fd00:a::1"}
PORT = 1080
ANY = {4: "0.0.0.0", 6: "::"}
CONNECT, BIND, ASSOCIATE = 1, 2, 3
GRANTED, DENIED, UNREACHABLE, REFUSED, BAD_COMMAND, BAD_TYPE = 0, 2, 4, 5, 7, 8
PROTOCOLS = ("socks-connect", "socks-bind", "socks-udp", "ftp")


class Asked(NamedTuple):
    """One request."""

    command: int
    host: str
    port: int = 0


def place(host: str, port: int) -> bytes:
    try:
        address = ip_address(host)
    except ValueError:
        return bytes((3, len(host))) + host.encode() + struct.pack("!H", port)
    kind = 1 if address.version == 4 else 4
    return bytes((kind,)) + address.packed + struct.pack("!H", port)


def exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise EOFError(data)
        data += more
    return data


def reply(sock: socket.socket) -> tuple[int, Endpoint]:
    """Read one reply of SOCKS 5."""
    version, code, _, kind = exactly(sock, 4)
    assert version == 5
    address = ip_address(exactly(sock, 4 if kind == 1 else 16))
    (port,) = struct.unpack("!H", exactly(sock, 2))
    return code, Endpoint(address, port)


@contextmanager
def asking(
    client: Host, version: int, asked: Asked, *, timeout: float = 5
) -> Iterator[socket.socket]:
    """Ask by SOCKS 5, the whole request in one segment with the greeting."""
    with client.entered():
        sock = socket.create_connection((PROXY[version], PORT), timeout)
    with closing(sock):
        sock.sendall(b"\5\1\0" + bytes((5, asked.command, 0)) + place(asked.host, asked.port))
        assert exactly(sock, 2) == b"\5\0"
        yield sock


@contextmanager
def listening(host: Host, version: int) -> Iterator[socket.socket]:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with host.entered():
        listener = socket.create_server((str(host.address(version)), 0), family=family)
    listener.settimeout(5)
    with closing(listener):
        yield listener


def rows(gateway: RunningGateway) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(gateway.ask("bindings", "list", "--json").stdout)[
        "bindings"
    ]
    return found


def reaches(host: Host, at: Endpoint) -> bool:
    """Whether a host gets a connection that stays."""
    with host.entered():
        try:
            sock = socket.create_connection((str(at.address), at.port), timeout=1)
        except OSError:
            return False
    with closing(sock):
        sock.settimeout(0.5)
        try:
            return sock.recv(1) != b""
        except TimeoutError:
            return True
        except OSError:
            return False
