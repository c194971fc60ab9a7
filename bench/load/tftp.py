"""TFTP without files: a server that answers every request with one short block, and a client.

RFC 1350: the answer comes from a port of its own, and a block of less than 512 bytes is the last.
"""

import select
import socket
import sys
import time

import msgspec
from msgspec import Struct

PORT = 69
READ = b"\x00\x01boot\0octet\0"
_DATA = b"\x00\x03\x00\x01" + bytes(100)
_ACK = b"\x00\x04\x00\x01"

# The lab answers within milliseconds; whatever takes longer is lost.
_TIMEOUT = 1.0

# Conversations whose acknowledgement is lost are forgotten beyond this.
_MOST_OPEN = 1000


class TftpJob(Struct, frozen=True):
    """Fetch `count` files, each from a new port, one after the other."""

    server: str
    count: int


class Fetched(Struct, frozen=True):
    """How long each took, microseconds, ascending; `failures` brought nothing within a second."""

    times_us: list[float]
    seconds: float
    failures: int


def serve(address: str) -> None:
    """Answer until killed."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind((address, PORT))
    poller = select.epoll()
    poller.register(listener, select.EPOLLIN)
    sys.stdout.write('"listening"\n')
    sys.stdout.flush()
    talks: dict[int, socket.socket] = {}
    while True:
        for descriptor, _ in poller.poll():
            if descriptor == listener.fileno():
                _, client = listener.recvfrom(2048)
                talk = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                talk.bind((address, 0))
                talk.connect(client)
                talk.send(_DATA)
                poller.register(talk, select.EPOLLIN)
                talks[talk.fileno()] = talk
                if len(talks) > _MOST_OPEN:
                    talks.pop(next(iter(talks))).close()
            elif talk_ended := talks.pop(descriptor, None):
                talk_ended.close()


def fetch(job: TftpJob) -> Fetched:
    """Do the job."""
    times: list[float] = []
    failures = 0
    start = time.perf_counter()
    for _ in range(job.count):
        begin = time.perf_counter()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(_TIMEOUT)
            sock.sendto(READ, (job.server, PORT))
            try:
                data, source = sock.recvfrom(2048)
            except OSError:
                failures += 1
                continue
            sock.sendto(_ACK, source)
        if data == _DATA:
            times.append((time.perf_counter() - begin) * 1e6)
        if failures > job.count // 10:
            break
    return Fetched(sorted(times), time.perf_counter() - start, failures)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    _fetched = fetch(msgspec.json.decode(sys.argv[1], type=TftpJob))
    sys.stdout.write(msgspec.json.encode(_fetched).decode())
