"""An RTSP client and server of the lab that say what a test tells them, with media over UDP."""

import re
import socket
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from sallyport.lab.host import Host

PORT = 554
SERVER_PORTS = (6970, 6971)

# The lab delivers within a millisecond; what has not come by then is not let through.
PATIENCE = 20.0
SILENCE = 0.3

_SETUP = (
    b"SETUP rtsp://server/film RTSP/1.0\r\nCSeq: %d\r\n"
    b"Transport: RTP/AVP;unicast;client_port=%d-%d\r\n\r\n"
)
_TEARDOWN = b"TEARDOWN rtsp://server/film RTSP/1.0\r\nCSeq: %d\r\nSession: 7\r\n\r\n"
_PORTS = re.compile(rb"client_port=(\d+)-(\d+)")


class Film:
    """One control connection through the gateway, and the sockets for the media at both ends."""

    def __init__(
        self,
        client: Host,
        server: Host,
        family: int,
        ports: tuple[int, int],
        *,
        patience: float = PATIENCE,
    ) -> None:
        self._stack = ExitStack()
        self._family = socket.AF_INET if family == 4 else socket.AF_INET6
        self.client_address, self.server_address = client.address(family), server.address(family)
        self.ports = ports
        self._number = 0
        try:
            self._connect(client, server, patience)
        except BaseException:
            self._stack.close()
            raise

    def _connect(self, client: Host, server: Host, patience: float) -> None:
        with server.entered():
            listener = self._kept(
                socket.create_server(
                    (str(self.server_address), PORT), family=self._family, reuse_port=True
                )
            )
            self.media = [self._bound(str(self.server_address), port) for port in SERVER_PORTS]
        with client.entered():
            self.player = [self._bound(str(self.client_address), port) for port in self.ports]
            self.control = self._kept(
                socket.create_connection((str(self.server_address), PORT), timeout=patience)
            )
        listener.settimeout(patience)
        connection, peer = listener.accept()
        self.served = self._kept(connection)
        self.served.settimeout(patience)
        self.peer = peer[0]
        """Where the server sends media: whoever the control connection comes from."""

    def ask(self) -> tuple[int, int]:
        """Ask for the film; return the ports that the server was told."""
        self._number += 1
        self.control.sendall(_SETUP % (self._number, *self.ports))
        found = _PORTS.search(self.served.recv(4096))
        assert found is not None
        return int(found[1]), int(found[2])

    def set_up(self, *, refusal: bytes = b"") -> tuple[int, int]:
        """Ask for the film, and have the server agree; return the ports that it was told."""
        told = self.ask()
        answer = (
            refusal
            or b"RTSP/1.0 200 OK\r\nSession: 7\r\nTransport: RTP/AVP;unicast;%s;%s\r\n"
            % (b"client_port=%d-%d" % told, b"server_port=%d-%d" % SERVER_PORTS)
        )
        self.served.sendall(answer + b"CSeq: %d\r\n\r\n" % self._number)
        heard = self.control.recv(4096)
        if not refusal:
            assert b"client_port=%d-%d" % self.ports in heard
        return told

    def tear_down(self) -> None:
        """End the film; the server agrees."""
        self._number += 1
        self.control.sendall(_TEARDOWN % self._number)
        assert b"TEARDOWN" in self.served.recv(4096)
        self.served.sendall(b"RTSP/1.0 200 OK\r\nCSeq: %d\r\n\r\n" % self._number)
        assert b"200 OK" in self.control.recv(4096)

    def shows(
        self,
        count: int,
        to: tuple[str, int],
        *,
        source: socket.socket | None = None,
        silence: float = SILENCE,
    ) -> int:
        """Send `count` datagrams of media; return how many arrive at the player.

        `silence`: how many seconds after the one before it the next arrives at the latest.
        """
        for number in range(count):
            (source or self.media[0]).sendto(b"picture %d" % number, to)
        return heard(self.player[0], count, silence)

    def _bound(self, address: str, port: int) -> socket.socket:
        made = self._kept(socket.socket(self._family, socket.SOCK_DGRAM))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((address, port))
        return made

    def _kept(self, made: socket.socket) -> socket.socket:
        return self._stack.enter_context(made)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()


def heard(sock: socket.socket, count: int, silence: float = SILENCE) -> int:
    """Return how many datagrams come, of `count`; wait a moment for the first that does not."""
    sock.settimeout(silence)
    for number in range(count):
        try:
            sock.recvfrom(2000)
        except TimeoutError:
            return number
    return count
