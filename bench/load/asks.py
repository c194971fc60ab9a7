"""A process that asks a gateway for ports, one after the other: an AskJob in, Asked out, as JSON.

Each protocol asks in its own words: FTP's PORT, SOCKS5's BIND, PCP's MAP, TURN's Allocate.
"""

import secrets
import socket
import sys
import time
from abc import ABC, abstractmethod
from enum import StrEnum

import msgspec
from msgspec import Struct

from bench.load.client import port_command
from bench.load.server import PULL_PORT

_TIMEOUT = 10.0


class Words(StrEnum):
    """The protocol in which is asked."""

    PORT = "PORT"
    BIND = "BIND"
    MAP = "MAP"
    ALLOCATE = "Allocate"
    CONNECT = "CONNECT"
    ASSOCIATE = "UDP ASSOCIATE"


class AskJob(Struct, frozen=True):
    """Ask for `seconds`, with `live` ports held that were asked for before."""

    words: Words
    gateway: str
    server: str
    source: str
    """The client's address: another one in every job, because coturn remembers for a while who had
    an allocation."""
    seconds: float
    live: int
    first: int = 10_000
    """The first internal port of mappings."""
    is_kept: bool = False
    """Whether what is live stays when the job is done."""


class Asked(Struct, frozen=True):
    """How long each answer took, microseconds, ascending."""

    times_us: list[float]


class _Asker(ABC):
    """One protocol; every port is asked for from the same client."""

    def __init__(self, job: AskJob) -> None:
        self.job = job
        self.prepare()

    def prepare(self) -> None:
        """Make what is not timed."""

    @abstractmethod
    def ask(self) -> None:
        """Ask for one port and take the answer."""

    @abstractmethod
    def keep(self) -> None:
        """Keep the last port; the next one is another."""

    @abstractmethod
    def give_back(self) -> None:
        """Return the last port back, untimed."""

    def finish(self) -> None:
        """Return back whatever outlives this process."""

    def dial(self, port: int, host: str) -> socket.socket:
        """Connect from the client's address."""
        sock = socket.create_connection((host, port), _TIMEOUT, (self.job.source, 0))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def datagrams(self, port: int) -> socket.socket:
        """Make a socket that talks to the gateway from the client's address."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(_TIMEOUT)
        sock.bind((self.job.source, 0))
        sock.connect((self.job.gateway, port))
        return sock


class _Port(_Asker):
    """A new PORT replaces the old one: a port that is kept keeps its control connection."""

    def prepare(self) -> None:
        self._kept: list[socket.socket] = []
        self._log_in()

    def _log_in(self) -> None:
        self._control = self.dial(21, self.job.server)
        self._reply()
        for command in (b"USER anonymous\r\n", b"PASS x\r\n"):
            self._control.send(command)
            self._reply()
        self._command = port_command((self.job.source, 40001))

    def _reply(self) -> bytes:
        return _require(self._control.recv(4096)[:1], b"2", b"3")

    def ask(self) -> None:
        self._control.send(self._command)
        self._reply()

    def keep(self) -> None:
        self._kept.append(self._control)
        self._log_in()

    def give_back(self) -> None:
        """The next one replaces it."""


class _Bind(_Asker):
    """RFC 1928: a connection to the proxy for every request."""

    command = b"\x02"
    port = b"\x00\x15"

    def prepare(self) -> None:
        self._kept: list[socket.socket] = []

    def ask(self) -> None:
        self._sock = self.dial(1080, self.job.gateway)
        self._sock.send(b"\x05\x01\x00")
        _require(self._sock.recv(2), b"\x05\x00")
        server = socket.inet_aton(self.job.server)
        self._sock.send(b"\x05" + self.command + b"\x00\x01" + server + self.port)
        _require(self._sock.recv(10)[1:2], b"\x00")

    def keep(self) -> None:
        self._kept.append(self._sock)

    def give_back(self) -> None:
        self._sock.close()


class _Connect(_Bind):
    """To the load server's second port, where no filter has anything to look at."""

    command = b"\x01"
    port = PULL_PORT.to_bytes(2, "big")


class _Associate(_Bind):
    """Without a datagram: what it costs to be ready for one."""

    command = b"\x03"
    port = b"\x00\x00"


class _Map(_Asker):
    """RFC 6887: a MAP of TCP; another internal port is another mapping."""

    def prepare(self) -> None:
        self._sock = self.datagrams(5351)
        self._client = b"\0" * 10 + b"\xff\xff" + socket.inet_aton(self.job.source)
        self._nonce = secrets.token_bytes(12)
        self._first = self._port = self.job.first

    def _request(self, lifetime: int) -> None:
        head = b"\x02\x01\0\0" + lifetime.to_bytes(4, "big") + self._client
        anywhere = b"\0" * 10 + b"\xff\xff" + b"\0" * 4
        port = self._port.to_bytes(2, "big")
        self._sock.send(head + self._nonce + b"\x06\0\0\0" + port + port + anywhere)
        _require(self._sock.recv(1100)[3:4], b"\x00")

    def ask(self) -> None:
        self._request(3600)

    def keep(self) -> None:
        self._port += 1

    def give_back(self) -> None:
        self._request(0)

    def finish(self) -> None:
        while self._port > self._first:
            self._port -= 1
            self._request(0)


class _Allocate(_Asker):
    """RFC 8656: one allocation for each address and port of the client's."""

    def prepare(self) -> None:
        self._kept: list[socket.socket] = []
        # They stay open when given back: so no port comes twice.
        self._used: list[socket.socket] = []

    def ask(self) -> None:
        self._sock = self.datagrams(3478)
        self._used.append(self._sock)
        # REQUESTED-TRANSPORT: UDP.
        _talk(self._sock, b"\x00\x03", b"\x00\x19\x00\x04\x11\0\0\0", b"\x01\x03")

    def keep(self) -> None:
        self._kept.append(self._sock)

    def finish(self) -> None:
        while self._kept:
            self._sock = self._kept.pop()
            self.give_back()

    def give_back(self) -> None:
        # Refresh with LIFETIME 0.
        _talk(self._sock, b"\x00\x04", b"\x00\x0d\x00\x04\0\0\0\0", b"\x01\x04")


def _talk(sock: socket.socket, kind: bytes, attribute: bytes, expected: bytes) -> None:
    """Make one STUN transaction."""
    length = len(attribute).to_bytes(2, "big")
    sock.send(kind + length + b"\x21\x12\xa4\x42" + secrets.token_bytes(12) + attribute)
    _require(sock.recv(2048)[:2], expected)


def _require(got: bytes, *expected: bytes) -> bytes:
    if got not in expected:
        sys.exit(f"the answer is {got!r} instead of {expected[0]!r}")
    return got


_ASKERS: dict[Words, type[_Asker]] = {
    Words.PORT: _Port,
    Words.BIND: _Bind,
    Words.MAP: _Map,
    Words.ALLOCATE: _Allocate,
    Words.CONNECT: _Connect,
    Words.ASSOCIATE: _Associate,
}


def ask(job: AskJob) -> Asked:
    """Do the job, and give everything back that a gateway would keep beyond this process."""
    asker = _ASKERS[job.words](job)
    for _ in range(job.live):
        asker.ask()
        asker.keep()
    times: list[float] = []
    end = time.perf_counter() + job.seconds
    while (begin := time.perf_counter()) < end:
        asker.ask()
        times.append((time.perf_counter() - begin) * 1e6)
        asker.give_back()
    if not job.is_kept:
        asker.finish()
    return Asked(sorted(times))


if __name__ == "__main__":
    try:
        _asked = ask(msgspec.json.decode(sys.argv[1], type=AskJob))
    except OSError as error:
        sys.exit(f"no answer: {error}")
    sys.stdout.write(msgspec.json.encode(_asked).decode())
