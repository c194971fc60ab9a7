"""A real IRC server in the lab, and clients that do as they are told."""

import re
import shutil
import socket
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from sallyport.addresses import IpAddress
from sallyport.lab.host import Host
from sallyport.lab.service import Service

PORT = 6667

# As whoever runs the lab; names, identities and passwords would be asked for outside of it.
_CONFIGURATION = """\
[Global]
Name = irc.example.test
Info = lab
MotdPhrase = hello
Listen = ::,0.0.0.0
Ports = {port}
ServerUID = 0
ServerGID = 0
[Limits]
MaxConnectionsIP = 0
[Options]
DNS = no
Ident = no
PAM = no
"""

# The lab answers within milliseconds; what has not come by then is not let through.
PATIENCE = 10.0


def why_no_ircd() -> str | None:
    """Say why no IRC server can be run here; None when one can."""
    return None if shutil.which("ngircd") else "ngircd is not installed"


class IrcServer(Service):
    """A running ngircd."""

    def __init__(self, host: Host, folder: Path) -> None:
        super().__init__("ngircd", host, folder, missing=why_no_ircd())

    def _command(self) -> list[str]:
        file = self.folder / "ngircd.conf"
        file.write_text(_CONFIGURATION.format(port=PORT), encoding="ascii")
        # Started as root it insists on becoming somebody else.
        ngircd = ["ngircd", "--nodaemon", "--config", str(file)]
        return [sys.executable, "-m", "sallyport.lab.oneuid", *ngircd]

    def _answers(self) -> bool:
        try:
            with self.host.entered():
                socket.create_connection((str(self.host.address4), PORT), timeout=1).close()
        except OSError:
            return False
        return True


class IrcClient:
    """A client that has logged in."""

    def __init__(self, host: Host, server: IpAddress, nick: str) -> None:
        self.nick = nick
        with host.entered():
            self._socket = socket.create_connection((str(server), PORT), timeout=PATIENCE)
        self._lines = self._socket.makefile("rb")
        self.say(b"NICK %s" % nick.encode())
        self.say(b"USER %s 0 * :%s" % (nick.encode(), nick.encode()))
        self.hears(rb":\S+ 001 ")

    def say(self, line: bytes) -> None:
        """Send one line."""
        self._socket.sendall(line + b"\r\n")

    def hears(self, pattern: bytes) -> "re.Match[bytes]":
        """Read until a line matches, keep-alives answered on the way."""
        for line in self._lines:
            if line.startswith(b"PING"):
                self.say(b"PONG" + line[4:].rstrip())
            elif found := re.match(pattern, line):
                return found
        raise AssertionError(f"{self.nick}: the connection ended before {pattern!r} came")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lines.close()
        self._socket.close()
