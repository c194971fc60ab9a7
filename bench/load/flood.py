"""A process that attacks until it is killed: a FloodJob in, the word `flooding`, then the flood."""

import random
import socket
import struct
import sys
import time
from enum import StrEnum

import msgspec
from msgspec import Struct

from bench.load.client import Failed, FtpClient
from bench.load.jobs import Route, Way
from bench.load.scheduler import Scheduler, Steps, connect, make


class Attack(StrEnum):
    """What is flooded."""

    BINDS = "binds"
    HALF_OPEN = "half-open controls"
    SYNS = "SYNs at pinholes"


class FloodJob(Struct, frozen=True):
    """Whom to flood with what."""

    attack: Attack
    route: Route
    outside: str
    """The gateway's external address."""


# As fast as answers come, on so many connections; each also takes one control connection.
_BINDERS = 8

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
    packets = [_syn(server, outside, port) for port in ports]
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    _say()
    at = 0
    due = time.perf_counter()
    while True:
        for packet in packets[at : at + _SYNS_PER_MILLISECOND]:
            raw.sendto(packet, (outside, 0))
        at = (at + _SYNS_PER_MILLISECOND) % _PREPARED
        due += 0.001
        time.sleep(max(0.0, due - time.perf_counter()))


def _say() -> None:
    sys.stdout.write('"flooding"\n')
    sys.stdout.flush()


def flood(job: FloodJob) -> None:
    """Attack until killed."""
    if job.attack is Attack.SYNS:
        _flood_syns(job.route.server, job.outside)
    scheduler = Scheduler()
    is_binds = job.attack is Attack.BINDS
    for _ in range(_BINDERS if is_binds else _HALF_OPEN):
        scheduler.start((_flood_binds if is_binds else _hold_half_open)(scheduler, job.route))
    begin = time.monotonic()
    while time.monotonic() < begin + 0.5:  # until the flood is at its height
        scheduler.turn(0.1)
    _say()
    while True:
        scheduler.turn(60.0)


if __name__ == "__main__":
    flood(msgspec.json.decode(sys.argv[1], type=FloodJob))
