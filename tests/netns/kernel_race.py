"""Several sources that rush at the same pinholes at the same moment, from two CPUs."""

import multiprocessing
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from multiprocessing.connection import Connection
from typing import Any

from sallyport.lab.host import Host

GATEWAY = "203.0.113.1"

# Each of two runners has this many sockets in each of two hosts: 8 attempts at a pinhole.
_SOCKETS_PER_HOST = 2

# What a runner uses of them for a thousand ports.
SOURCE_PORTS = 2000

Source = tuple[str, int]
Attempt = Callable[[Sequence[Host], Sequence[int], "Pace"], list[tuple[int, socket.socket]]]
"""Rushes at all ports in turn; gives which socket was for which port."""

_FAR_AHEAD = 2**31 - 1

_fork = multiprocessing.get_context("fork")


class Pace:
    """Keeps two runners in step: neither touches a port before the other has come to it."""

    def __init__(self, steps: Any, mine: int, source_port: int) -> None:  # noqa: ANN401 - ctypes
        self._steps = steps
        self._mine = mine
        self.source_ports = count(source_port)

    def wait_for_the_other(self) -> None:
        # Spinning on purpose: a sleeper would wake microseconds late, and the race is over then.
        self._steps[self._mine] += 1
        while self._steps[1 - self._mine] < self._steps[self._mine]:
            pass

    def run_free(self) -> None:
        """Let the other one go on alone."""
        self._steps[self._mine] = _FAR_AHEAD


class Rush:
    """Two processes at it."""

    def __init__(
        self, attempt: Attempt, hosts: Sequence[Host], ports: Sequence[int], source_port: int
    ) -> None:
        steps = _fork.RawArray("i", 2)
        self._pipes: list[Connection] = []
        self._children = []
        for mine, cpu in enumerate(_two_cpus()):
            ours, theirs = _fork.Pipe()
            pace = Pace(steps, mine, source_port + mine * SOURCE_PORTS)
            arguments = (attempt, hosts, ports, pace, cpu, theirs)
            child = _fork.Process(target=_run, args=arguments, daemon=True)
            child.start()
            # A child that fails is then the end of its pipe.
            theirs.close()
            self._pipes.append(ours)
            self._children.append(child)

    def sources(self) -> dict[Source, int]:
        """Wait until both are through; give which source rushed at which port."""
        return {source: port for pipe in self._pipes for port, source in pipe.recv()}

    def end(self) -> None:
        """Close all their sockets."""
        for pipe, child in zip(self._pipes, self._children, strict=True):
            with suppress(BrokenPipeError):  # it failed, and said so
                pipe.send("end")
            child.join()
            pipe.close()


@contextmanager
def rush(
    attempt: Attempt, hosts: Sequence[Host], ports: Sequence[int], source_port: int
) -> Iterator[Rush]:
    """A rush whose sockets are there until the end of the block.

    Each runner uses at most SOURCE_PORTS source ports, from `source_port` on.
    """
    running = Rush(attempt, hosts, ports, source_port)
    try:
        yield running
    finally:
        running.end()


@contextmanager
def repeated(raw: socket.socket, packet: bytes, to: str) -> Iterator[None]:
    """Send a packet by a raw socket again and again, from a CPU of its own, until the end."""
    ours, theirs = _fork.Pipe()
    child = _fork.Process(target=_repeat, args=(raw, packet, to, theirs), daemon=True)
    child.start()
    theirs.close()
    try:
        # A child that fails is the end of the pipe.
        ours.recv()
        yield
    finally:
        child.terminate()
        child.join()
        ours.close()


def _repeat(raw: socket.socket, packet: bytes, to: str, pipe: Connection) -> None:
    os.sched_setaffinity(0, {_two_cpus()[1]})
    raw.sendto(packet, (to, 0))
    pipe.send("begun")
    while True:
        raw.sendto(packet, (to, 0))


def _run(  # noqa: PLR0917
    attempt: Attempt,
    hosts: Sequence[Host],
    ports: Sequence[int],
    pace: Pace,
    cpu: int,
    pipe: Connection,
) -> None:
    os.sched_setaffinity(0, {cpu})
    try:
        made = attempt(hosts, ports, pace)
    finally:
        pace.run_free()
    pipe.send([(port, sock.getsockname()) for port, sock in made])
    pipe.recv()


def _two_cpus() -> tuple[int, int]:
    first, *others = sorted(os.sched_getaffinity(0))
    return first, others[0] if others else first


def connect(
    hosts: Sequence[Host], ports: Sequence[int], pace: Pace
) -> list[tuple[int, socket.socket]]:
    """Begin TCP connections, all from different source ports."""
    made = []
    for port in ports:
        ready = _sockets(hosts, socket.SOCK_STREAM, pace)
        pace.wait_for_the_other()
        for sock in ready:
            sock.connect_ex((GATEWAY, port))
        made += [(port, sock) for sock in ready]
    return made


def throw(
    hosts: Sequence[Host], ports: Sequence[int], pace: Pace
) -> list[tuple[int, socket.socket]]:
    """Send every port two datagrams from every source; each says which port it is for."""
    ready = _sockets(hosts, socket.SOCK_DGRAM, pace)
    for _ in range(2):
        for port in ports:
            pace.wait_for_the_other()
            for sock in ready:
                sock.sendto(str(port).encode(), (GATEWAY, port))
    return [(0, sock) for sock in ready]


def _sockets(hosts: Sequence[Host], kind: socket.SocketKind, pace: Pace) -> list[socket.socket]:
    # Ports of our own choice: one that the kernel chose it gives away again when the connection is
    # refused.
    ports = [next(pace.source_ports) for _ in range(_SOCKETS_PER_HOST)]
    made = []
    for host in hosts:
        for port in ports:
            with host.entered():
                sock = socket.socket(socket.AF_INET, kind)
            sock.setblocking(False)
            sock.bind((str(host.address4), port))
            made.append(sock)
    return made
