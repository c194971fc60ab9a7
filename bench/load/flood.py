"""A process that attacks until it is killed: a FloodJob in, the word `flooding`, then the flood."""

import random
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from itertools import cycle

import msgspec
from msgspec import Struct

from bench.load import tftp
from bench.load.client import Failed, FtpClient
from bench.load.jobs import Route, Way
from bench.load.scheduler import Scheduler, Steps, connect, make


class Attack(StrEnum):
    """What is flooded."""

    BINDS = "binds"
    CONNECTIONS = "connections"
    HALF_OPEN = "half-open controls"
    SYNS = "SYNs at pinholes"
    DATAGRAMS = "TFTP requests"


class FloodJob(Struct, frozen=True):
    """Whom to flood with what."""

    attack: Attack
    route: Route
    outside: str
    """The gateway's external address."""


# As fast as answers come, on so many connections; each also takes one control connection.
_BINDERS = 8

# So many control connections at a time that each end as soon as the server has said hello.
_CONNECTING = 8

# Requests a millisecond, each from another port and never acknowledged: a tenth of what our flooder
# can send, for the same reason as below.
_REQUESTS_PER_MILLISECOND = 5

# Below the 512 that Sallyport grants one client: so that none is refused, and all are kept.
_HALF_OPEN = 400

# So many a millisecond: a quarter of what one processor of ours can send, so that the flooder does
# not simply take the processor away from everybody.
_SYNS_PER_MILLISECOND = 20

# Where pinholes are, unless configured otherwise.
_FIRST_PORT, _LAST_PORT = 40000, 59999

# Made before they are sent; enough that no source and port repeat soon.
_PREPARED = 20_000


def _flood_binds(scheduler: Scheduler, route: Route) -> Steps[None]:
    """Ask for one port after the other and use none."""
    while True:
        client = FtpClient(scheduler, route, "")
        try:
            yield from client.log_in()
            while True:
                yield from client.announce()
        except (Failed, OSError):
            client.close()


def _flood_connections(scheduler: Scheduler, route: Route) -> Steps[None]:
    """Connect, wait for the greeting, reset; again and again."""
    to = (route.proxy, route.proxy_port) if route.way is Way.SOCKS else (route.server, route.port)
    while True:
        with make(scheduler) as sock, suppress(OSError):
            # A reset leaves no port behind that waits for a minute.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            yield from connect(sock, to)
            if route.way is not Way.SOCKS:
                yield sock.fileno()


def _hold_half_open(scheduler: Scheduler, route: Route) -> Steps[None]:
    """Begin a line, never end it; begin again when thrown out."""
    to = (route.proxy, route.proxy_port) if route.way is Way.SOCKS else (route.server, route.port)
    while True:
        with make(scheduler) as sock:
            try:
                yield from connect(sock, to)
                sock.send(b"\x05" if route.way is Way.SOCKS else b"US")
                while True:
                    yield sock.fileno()
                    try:
                        if not sock.recv(4096):
                            break
                    except BlockingIOError:
                        continue
            except OSError:
                continue


def _syn(server: str, to: str, port: int) -> bytes:
    """Return one SYN, in the server's name or a neighbour's that does not exist."""
    host = random.choice((server, f"203.0.113.{random.randrange(100, 250)}"))
    source = socket.inet_aton(host)
    target = socket.inet_aton(to)
    ports = random.randrange(1024, 65536), port
    head = struct.pack(">HHIIBBHHH", *ports, random.getrandbits(32), 0, 0x50, 2, 8192, 0, 0)
    pseudo = source + target + struct.pack(">HH", 6, len(head))
    total = sum(struct.unpack(">16H", pseudo + head))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    segment = head[:16] + struct.pack(">H", ~total & 0xFFFF) + head[18:]
    return struct.pack(">BBHHHBBH", 0x45, 0, 40, 0, 0, 64, 6, 0) + source + target + segment


def _flood_syns(server: str, outside: str) -> None:
    ports = [random.randint(_FIRST_PORT, _LAST_PORT) for _ in range(_PREPARED)]
    packets = cycle([_syn(server, outside, port) for port in ports])
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    _pace(_SYNS_PER_MILLISECOND, lambda: raw.sendto(next(packets), (outside, 0)))


def _flood_requests(server: str) -> None:
    def ask() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, suppress(OSError):
            sock.sendto(tftp.READ, (server, tftp.PORT))

    _pace(_REQUESTS_PER_MILLISECOND, ask)


def _pace(per_millisecond: int, send: Callable[[], object]) -> None:
    """Send so often until killed."""
    _say()
    due = time.perf_counter()
    while True:
        for _ in range(per_millisecond):
            send()
        due += 0.001
        time.sleep(max(0.0, due - time.perf_counter()))


def _say() -> None:
    sys.stdout.write('"flooding"\n')
    sys.stdout.flush()


def flood(job: FloodJob) -> None:
    """Attack until killed."""
    if job.attack is Attack.SYNS:
        _flood_syns(job.route.server, job.outside)
    if job.attack is Attack.DATAGRAMS:
        _flood_requests(job.route.server)
    scheduler = Scheduler()
    count, conversation = {
        Attack.BINDS: (_BINDERS, _flood_binds),
        Attack.CONNECTIONS: (_CONNECTING, _flood_connections),
        Attack.HALF_OPEN: (_HALF_OPEN, _hold_half_open),
    }[job.attack]
    for _ in range(count):
        scheduler.start(conversation(scheduler, job.route))
    begin = time.monotonic()
    while time.monotonic() < begin + 0.5:  # until the flood is at its height
        scheduler.turn(0.1)
    _say()
    while True:
        scheduler.turn(60.0)


if __name__ == "__main__":
    flood(msgspec.json.decode(sys.argv[1], type=FloodJob))
