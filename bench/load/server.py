"""An FTP server that does nothing but serve: no files, no accounts, no log.

`RETR 1024` sends 1024 bytes. It takes PORT and PASV in one process, over IPv4. On a second port it
sends the bytes that a line asks for, for gateways that know no FTP.
"""

import re
import socket
import sys

from bench.load.scheduler import Scheduler, Steps, accept, connect, make, read, write

PULL_PORT = 9000

# A write as iperf3 makes it by default, doubled: larger ones bring nothing here.
_BLOCK = memoryview(bytes(256 * 1024))

# Ten thousand idle sessions arrive in one breath.
_BACKLOG = 4096

_NUMBERS = re.compile(rb"\d+")

_SAID = {
    b"USER": b"331 password\r\n",
    b"PASS": b"230 welcome\r\n",
    b"TYPE": b"200 binary\r\n",
    b"NOOP": b"200 here\r\n",
}


class _Session:
    """One control connection."""

    def __init__(self, scheduler: Scheduler, control: socket.socket) -> None:
        self._scheduler = scheduler
        self._control = control
        self._peer: tuple[str, int] | None = None
        self._passive: socket.socket | None = None

    def serve(self) -> Steps[None]:
        """Answer until the client leaves."""
        try:
            self._control.send(b"220 bench\r\n")
            pending = b""
            while block := (yield from read(self._control)):
                *lines, pending = (pending + block).split(b"\r\n")
                for line in lines:
                    yield from self._answer(line[:4].upper(), line[5:])
        except OSError:
            pass
        finally:
            self._control.close()
            if self._passive is not None:
                self._passive.close()

    def _answer(self, verb: bytes, argument: bytes) -> Steps[None]:
        if verb == b"PORT":
            numbers = argument.split(b",")
            host = b".".join(numbers[:4]).decode("ascii")
            self._peer = (host, int(numbers[4]) << 8 | int(numbers[5]))
            self._control.send(b"200 done\r\n")
        elif verb == b"RETR":
            yield from self._send(int(argument))
        elif verb == b"PASV":
            self._control.send(self._listen())
        elif verb == b"QUIT":
            self._control.send(b"221 bye\r\n")
            self._control.shutdown(socket.SHUT_WR)
        else:
            self._control.send(_SAID.get(verb, b"502 what?\r\n"))

    def _listen(self) -> bytes:
        host = self._control.getsockname()[0]
        if self._passive is None:
            # One for the session: a new port each time would only cost this process time.
            self._passive = make(self._scheduler)
            self._passive.bind((host, 0))
            self._passive.listen(1)
        port = self._passive.getsockname()[1]
        text = f"{host.replace('.', ',')},{port >> 8},{port & 255}"
        return f"227 Entering passive mode ({text})\r\n".encode("ascii")

    def _send(self, size: int) -> Steps[None]:
        self._control.send(b"150 coming\r\n")
        if self._passive is not None:
            data = yield from accept(self._passive)
            self._scheduler.watch(data)
        else:
            data = make(self._scheduler)
        with data:
            try:
                if self._passive is None and self._peer is not None:
                    yield from connect(data, self._peer)
                yield from write(data, _BLOCK, size)
            except OSError:
                self._control.send(b"425 no\r\n")
                return
        self._control.send(b"226 sent\r\n")


def _pull(sock: socket.socket) -> Steps[None]:
    with sock:
        try:
            wanted = _NUMBERS.match((yield from read(sock)))
            if wanted is not None:
                yield from write(sock, _BLOCK, int(wanted[0]))
        except OSError:
            pass


def _listener(scheduler: Scheduler, address: str, port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setblocking(False)
    listener.bind((address, port))
    listener.listen(_BACKLOG)
    scheduler.watch(listener)
    return listener


def main(address: str) -> None:
    """Serve at `address` until killed."""
    scheduler = Scheduler()

    def ftp() -> Steps[None]:
        listener = _listener(scheduler, address, 21)
        while True:
            sock = yield from accept(listener)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            scheduler.watch(sock)
            scheduler.start(_Session(scheduler, sock).serve())

    def pull() -> Steps[None]:
        listener = _listener(scheduler, address, PULL_PORT)
        while True:
            sock = yield from accept(listener)
            scheduler.watch(sock)
            scheduler.start(_pull(sock))

    scheduler.start(pull())
    scheduler.start(ftp())
    while True:
        scheduler.turn(60.0)


if __name__ == "__main__":
    main(sys.argv[1])
