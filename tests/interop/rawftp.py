"""A raw FTP client for what real clients never do: odd segments, pipelines, thousands of cycles."""

import hashlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from sallyport.addresses import Endpoint
from sallyport.lab.host import Host
from sallyport.lab.servers import Account, FtpServer
from sallyport.wire.ftp.formats import format_eprt_argument, format_port_argument, read_epsv_reply

# The lab answers within milliseconds; whatever takes longer than this has failed.
TIMEOUT = 10.0


class RawFtp:
    """One control connection from `host` to vsftpd, logged in, at `account` if one is given."""

    def __init__(
        self,
        host: Host,
        server: FtpServer,
        family: int = 4,
        *,
        account: Account | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        account = account or server.account(family)
        self.connect(host, account, family, timeout)
        with self._closed_on_failure():
            # vsftpd asks anonymous for nothing
            self.ask(b"USER " + account.user.encode(), b"230")
            self.ask(b"TYPE I", b"200")

    def connect(self, host: Host, account: Account, family: int, timeout: float = TIMEOUT) -> None:
        """Connect, and read the greeting."""
        self._host = host
        self._family = family
        self._server = str(account.address)
        with host.entered():
            self.control = socket.create_connection((str(account.address), account.port), timeout)
        self.control.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._replies = self.control.makefile("rb")
        with self._closed_on_failure():
            assert self.reply().startswith(b"220")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @contextmanager
    def _closed_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the control connection without a word."""
        self._replies.close()
        self.control.close()

    def send(self, data: bytes) -> None:
        """Send one segment."""
        self.control.sendall(data)

    def line(self) -> bytes:
        """Read the next line; empty at the end of the connection."""
        return self._replies.readline()

    def reply(self) -> bytes:
        """Read the final line of the next reply; empty at the end of the connection."""
        while line := self._replies.readline():
            if line[3:4] == b" ":
                return line
        return b""

    def ask(self, command: bytes, expected: bytes) -> bytes:
        """Send a command, check the code of its reply, give the reply."""
        self.send(command + b"\r\n")
        answer = self.reply()
        assert answer.startswith(expected), (command, answer)
        return answer

    @contextmanager
    def listening(self) -> Iterator[tuple[socket.socket, bytes]]:
        """Listen for one data connection; give the socket and the command that announces it."""
        family = socket.AF_INET if self._family == 4 else socket.AF_INET6
        with self._host.entered():
            listener = socket.socket(family)
        with listener:
            listener.settimeout(TIMEOUT)
            listener.bind((str(self._host.address(self._family)), 0))
            listener.listen(1)
            endpoint = Endpoint(self._host.address(self._family), listener.getsockname()[1])
            if self._family == 4:
                yield listener, b"PORT " + format_port_argument(endpoint)
            else:
                yield listener, b"EPRT " + format_eprt_argument(endpoint)

    def fetch(self, name: bytes) -> str:
        """Download in active mode; give the SHA-256 of what came."""
        with self.listening() as (listener, command):
            self.ask(command, b"200")
            self.ask(b"RETR " + name, b"150")
            digest = read_all(listener)
        assert self.reply().startswith(b"226")
        return digest

    def fetch_passively(self, name: bytes) -> str:
        """Download in passive mode; give the SHA-256 of what came."""
        port = read_epsv_reply(self.ask(b"EPSV", b"229").rstrip()).port
        with self._host.entered():
            data = socket.create_connection((self._server, port), TIMEOUT)
        self.ask(b"RETR " + name, b"150")
        digest = digest_of(data)
        assert self.reply().startswith(b"226")
        return digest


def read_all(listener: socket.socket) -> str:
    """Accept one data connection and read it to its end; give the SHA-256."""
    data, _peer = listener.accept()
    return digest_of(data)


def digest_of(data: socket.socket) -> str:
    """Read a connection to its end and close it; give the SHA-256."""
    digest = hashlib.sha256()
    with data:
        data.settimeout(TIMEOUT)
        while block := data.recv(1 << 20):
            digest.update(block)
    return digest.hexdigest()
