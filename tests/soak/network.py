"""The servers of a soak, what they have, and what clients of every kind know of them."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from queue import Queue
from random import Random

from sallyport.lab.host import Host
from sallyport.lab.network import Lab
from sallyport.lab.servers import FtpServer
from sallyport.lab.tftp import TftpServer

# What is only slow has not failed: a worker that hangs is replaced within ten seconds.
PATIENCE = 25.0
# TFTP and PCP ask again by themselves, as long as a worker may be away.
ASK_AGAIN_SECONDS = 1.0
ASK_TIMES = 20

BLOCK = 512
"""Of TFTP without options."""
SIZES = {"none": 0, "tiny": 7, "block": BLOCK, "some": 40_000, "more": 900_000, "long": 3_000_000}
TELLER_PORT = 7000

_MEDIA_PORTS = range(20_000, 28_000, 2)

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


class Network:
    """The servers, what they have, and what clients do with them."""

    def __init__(self, lab: Lab) -> None:
        """Start all servers; `close` stops them.

        The first client's host has the published servers. It takes none of our own: the clients of
        inside are the others, and the last of them has another worker than its neighbours.
        """
        self.lab = lab
        self.content = {name: _content(name, size) for name, size in SIZES.items()}
        # Who has gone without a word is given up after this: so nothing of it is left for hours.
        settings = "idle_session_timeout=15\ndata_connection_timeout=15"
        outside, inside = lab.servers[0], lab.clients[0]
        self.outside = FtpServer("vsftpd", outside, lab.folder / "outside", settings=settings)
        self.inside = FtpServer("vsftpd", inside, lab.folder / "inside", settings=settings)
        self.tftp = TftpServer("tftpd-hpa", lab.servers[1], lab.folder / "tftp")
        for server in (self.outside, self.inside, self.tftp):
            for name, content in self.content.items():
                (server.folder / name).write_bytes(content)
        self.insiders = lab.clients[1:]
        self.outsiders = lab.servers[2:]
        self.teller = Answering(lab.servers[1], TELLER_PORT, self._tell)
        self.babbler = lab.servers[1]
        """Where at port 21 anything is said but FTP."""
        self._babbling = Answering(self.babbler, 21, _babble)
        self.screens: dict[int, Queue[Host]] = {4: Queue(), 6: Queue()}
        """Hosts that show one film, or take one call, at a time, by the family."""
        for screens in self.screens.values():
            for host in lab.servers:
                screens.put(host)
        self._names = count(1)
        self._media = count(0)

    def close(self) -> None:
        """Stop the servers."""
        self.teller.close()
        self._babbling.close()
        for server in (self.outside, self.inside, self.tftp):
            server.stop()

    def _tell(self, client: socket.socket) -> None:
        """Say what is in the file whose name the client says."""
        with client.makefile("rb") as words:
            client.sendall(self.content.get(words.readline().strip().decode(), b""))

    def name_of_upload(self) -> str:
        """Return a name that no other upload has."""
        return f"up{next(self._names)}"

    def port_of_media(self) -> int:
        """Return the first of two ports that no other film or call had lately."""
        return _MEDIA_PORTS[next(self._media) % len(_MEDIA_PORTS)]


class Answering:
    """A server that does with each connection what it is told; in threads of its own."""

    def __init__(self, host: Host, port: int, answer: Callable[[socket.socket], None]) -> None:
        self._answer = answer
        with host.entered():
            self._listeners = [
                socket.create_server(
                    (str(host.address(family)), port), family=FAMILIES[family], backlog=64
                )
                for family in (4, 6)
            ]
        for listener in self._listeners:
            threading.Thread(target=self._listen, args=(listener,), daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        for listener in self._listeners:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _listen(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            client.settimeout(PATIENCE)
            self._answer(client)


# -- inside ----------------------------------------------------------------------------------------


def _babble(client: socket.socket) -> None:
    """Say what no FTP server would, and what some do."""
    random = Random()
    while client.recv(4096):
        client.sendall(
            random.choice(
                (
                    random.randbytes(random.randint(1, 3000)),
                    b"220 hello\r\n" * random.randint(1, 9),
                    b"227 (10,0,0,9,0,22)\r\n229 (|||22|)\r\n",
                    b"227 Entering Passive Mode (203,0,113,10,200,1)\r\n",
                    b"200-" + b"x" * 5000,
                    b"226 done\r\n150 now\r\n",
                )
            )
        )


def _content(name: str, size: int) -> bytes:
    """Return bytes that no other file has at the same place."""
    return Random(name).randbytes(size)
