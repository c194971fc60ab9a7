"""FTP clients without files: one conversation each, in any of the ways through a gateway."""

import socket
import time

from bench.load.jobs import Route, Way
from bench.load.scheduler import Scheduler, Steps, accept, connect, make, read

_BUFFER = bytearray(256 * 1024)


class Failed(Exception):
    """The conversation did not go as it has to."""


class FtpClient:
    """One control connection."""

    def __init__(self, scheduler: Scheduler, route: Route, source: str) -> None:
        self._scheduler = scheduler
        self._route = route
        self._source = source
        self._control = make(scheduler, source)
        self._lines: list[bytes] = []
        self._pending = b""
        self._listener: socket.socket | None = None
        self._command = b"PASV\r\n"

    def log_in(self) -> Steps[None]:
        """Connect and log in; raises Failed, OSError."""
        route = self._route
        if route.way is Way.SOCKS:
            yield from _ask_proxy(self._control, route, _CONNECT)
        else:
            yield from connect(self._control, (route.server, route.port))
        yield from self._expect(b"220")
        yield from self._ask(b"USER anonymous\r\n", b"331")
        yield from self._ask(b"PASS x\r\n", b"230")
        yield from self._ask(b"TYPE I\r\n", b"200")
        if route.way is Way.ACTIVE:
            self._listener = self._listen()
            self._command = port_command(self._listener.getsockname())

    def fetch(self, size: int, progress: "Progress") -> Steps[None]:
        """Make one transfer of `size` bytes; raises Failed, OSError."""
        begin = time.perf_counter_ns()
        data: socket.socket | None = None
        if self._route.way is Way.SOCKS:
            data = make(self._scheduler, self._source)
            bound = yield from _ask_proxy(data, self._route, _BIND)
            self._command = port_command(bound)
        asked = time.perf_counter_ns()
        answer = yield from self._ask(self._command, b"2")
        answered = time.perf_counter_ns()
        if self._route.way is Way.PASSIVE:
            data = make(self._scheduler, self._source)
            yield from connect(data, _address_in(answer))
        self._control.send(b"RETR %d\r\n" % size)
        if self._listener is not None:
            data = yield from accept(self._listener)
            self._scheduler.watch(data)
        assert data is not None  # noqa: S101 - every way has made one by now
        with data:
            if self._route.way is Way.SOCKS:
                _bound_address((yield from _exactly(data, 10)))
            yield from drain(data, size, progress)
        yield from self._expect(b"150")
        yield from self._expect(b"226")
        now = time.perf_counter_ns()
        progress.made(answered - asked, now - begin)

    def announce(self) -> Steps[None]:
        """Ask for a data connection and do not use it; raises Failed, OSError."""
        if self._route.way is Way.SOCKS:
            with make(self._scheduler, self._source) as unused:
                yield from _ask_proxy(unused, self._route, _BIND)
        else:
            yield from self._ask(self._command, b"2")

    def quit(self) -> Steps[None]:
        """Say good-bye and hear it."""
        yield from self._ask(b"QUIT\r\n", b"221")
        self.close()

    def close(self) -> None:
        """Close everything. Idempotent."""
        self._control.close()
        if self._listener is not None:
            self._listener.close()

    def _listen(self) -> socket.socket:
        listener = socket.socket()
        listener.setblocking(False)
        listener.bind((self._control.getsockname()[0], 0))
        listener.listen(1)
        self._scheduler.watch(listener)
        return listener

    def _ask(self, command: bytes, expected: bytes) -> Steps[bytes]:
        self._control.send(command)
        # Nothing was left unread, so an edge is sure to come.
        yield self._control.fileno()
        return (yield from self._expect(expected))

    def _expect(self, expected: bytes) -> Steps[bytes]:
        while not self._lines:
            block = yield from read(self._control)
            if not block:
                raise Failed(f"connection closed instead of {expected.decode()}")
            *self._lines, self._pending = (self._pending + block).split(b"\r\n")
        line = self._lines.pop(0)
        if not line.startswith(expected):
            raise Failed(line.decode("ascii", "replace"))
        return line


class Progress:
    """What was done since the last reset."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget what was; the clock starts now."""
        self.since = time.perf_counter()
        self.octets = 0
        self.replies: list[int] = []
        self.transfers: list[int] = []
        self.failures: list[str] = []

    def made(self, reply_ns: int, transfer_ns: int) -> None:
        """Count a transfer."""
        self.replies.append(reply_ns)
        self.transfers.append(transfer_ns)


def pull(scheduler: Scheduler, route: Route, size: int, progress: Progress) -> Steps[None]:
    """Fetch `size` bytes without FTP."""
    begin = time.perf_counter_ns()
    with make(scheduler) as data:
        yield from connect(data, (route.server, route.port))
        data.send(b"%d\n" % size)
        yield from drain(data, size, progress)
    progress.made(0, time.perf_counter_ns() - begin)


def drain(data: socket.socket, size: int, progress: Progress) -> Steps[None]:
    """Read a data connection to its end; raises Failed if it is not `size` bytes long."""
    got = 0
    while True:
        try:
            count = data.recv_into(_BUFFER)
        except BlockingIOError:
            yield data.fileno()
            continue
        if not count:
            break
        got += count
        progress.octets += count
    if got != size:
        raise Failed(f"{got} bytes instead of {size}")


def port_command(address: tuple[str, int]) -> bytes:
    """Return the PORT command that names an address."""
    host, port = address
    return f"PORT {host.replace('.', ',')},{port >> 8},{port & 255}\r\n".encode("ascii")


def _address_in(answer: bytes) -> tuple[str, int]:
    numbers = answer[answer.index(b"(") + 1 : answer.index(b")")].split(b",")
    host = b".".join(numbers[:4]).decode("ascii")
    return host, int(numbers[4]) << 8 | int(numbers[5])


# -- SOCKS5, RFC 1928 -----------------------------------------------------------------------------

_CONNECT, _BIND = 1, 2


def _ask_proxy(sock: socket.socket, route: Route, command: int) -> Steps[tuple[str, int]]:
    yield from connect(sock, (route.proxy, route.proxy_port))
    sock.send(b"\x05\x01\x00")  # one method: no authentication
    if (yield from _exactly(sock, 2)) != b"\x05\x00":
        raise Failed("the proxy wants a password")
    where = socket.inet_aton(route.server) + route.port.to_bytes(2, "big")
    sock.send(bytes((5, command, 0, 1)) + where)
    return _bound_address((yield from _exactly(sock, 10)))


def _bound_address(reply: bytes) -> tuple[str, int]:
    if reply[1] != 0:
        raise Failed(f"SOCKS reply {reply[1]}")
    return socket.inet_ntoa(reply[4:8]), int.from_bytes(reply[8:10], "big")


def _exactly(sock: socket.socket, count: int) -> Steps[bytes]:
    got = b""
    while len(got) < count:
        block = yield from read(sock, count - len(got))
        if not block:
            raise Failed("the proxy closed the connection")
        got += block
    return got
