"""Real TFTP servers and clients, as Debian has them, in the lab."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from socket import AF_INET, SOCK_DGRAM, socket

from sallyport.addresses import IpAddress
from sallyport.lab.clients import TransferDirection, TransferOutcome, digest
from sallyport.lab.host import Host, wait_until
from sallyport.lab.service import Service
from sallyport.wire.tftp import Opcode, Request

_PORT = 69


class TftpServer(Service):
    """A running TFTP server; all clients may read and write every file in `folder`."""

    def __init__(self, software: str, host: Host, folder: Path) -> None:
        """Start `software`, one of SERVERS, on a host; it answers when this returns.

        Raises StartupError when the program is not installed, or, with the end of its log, when it
        does not come up.
        """
        super().__init__(software, host, folder, missing=why_not(software))

    def wait_for(self, name: str, content: str) -> None:
        """Return once the file `name` has this digest.

        atftpd closes what it was sent after it has acknowledged the last block. Raises
        StartupError when the file does not come.
        """
        path = self.folder / name
        wait_until(self._process, lambda: digest(path) == content, self.log, f"no {name} came")

    def _command(self) -> list[str]:
        return SERVERS[self.software](self)

    def _answers(self) -> bool:
        # There is no handshake to try: only a request, if need be for a file that is not there.
        with self.host.entered(), socket(AF_INET, SOCK_DGRAM) as probe:
            probe.settimeout(0.1)
            request = Request(Opcode.RRQ, b"no-such-file", b"octet")
            try:
                probe.sendto(request.packet(), (str(self.host.address4), _PORT))
                probe.recv(512)
            except OSError:
                return False
        return True


_PROGRAMS = {"tftpd-hpa": "in.tftpd", "atftpd": "atftpd", "tftp-hpa": "tftp"}


def why_not(software: str) -> str | None:
    """Return why a server or client cannot run here; None when it can."""
    program = _PROGRAMS.get(software, software)
    if shutil.which(program) is None:
        return f"{program}: not installed (scripts/bootstrap does it)"
    return None


# Both change to another user unless told not to, and there may be no other user; tftpd-hpa also
# gives up its groups, whatever its user is.
SERVERS: dict[str, Callable[[TftpServer], list[str]]] = {
    "tftpd-hpa": lambda server: [
        *(sys.executable, "-m", "sallyport.lab.oneuid"),
        *("in.tftpd", "--foreground", "--user", "root", "--create", "--secure"),
        str(server.folder),
    ],
    "atftpd": lambda server: [
        *("atftpd", "--daemon", "--no-fork", "--user", "root.root", "--logfile", "-"),
        str(server.folder),
    ],
    # It answers from port 69 itself, as boot servers behind a firewall often do.
    "dnsmasq": lambda server: [
        *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root"),
        *("--port=0", "--enable-tftp", "--tftp-single-port", "--log-facility=-"),
        f"--tftp-root={server.folder}",
    ],
}

# dnsmasq has nothing to store.
DIRECTIONS: dict[str, tuple[TransferDirection, ...]] = {
    "tftpd-hpa": tuple(TransferDirection),
    "atftpd": tuple(TransferDirection),
    "dnsmasq": (TransferDirection.DOWNLOAD,),
}

# Without inetd, atftpd 0.8 listens on IPv4 whatever --bind-address says.
FAMILIES: dict[str, tuple[int, ...]] = {"tftpd-hpa": (4, 6), "atftpd": (4,), "dnsmasq": (4, 6)}


@dataclass(frozen=True, slots=True)
class TftpJob:
    """One file to move between `file` here and `name` there, with the options of the client."""

    address: IpAddress
    direction: TransferDirection
    name: str
    file: Path
    options: Mapping[str, int] = field(default_factory=dict)
    timeout: float = 15.0
    """Seconds until the client is given up; long enough for two retransmissions of any of them."""

    @property
    def is_upload(self) -> bool:
        """Whether the client sends the file."""
        return self.direction is TransferDirection.UPLOAD


def _tftp_hpa(job: TftpJob) -> list[str]:
    verb = ["put", str(job.file), job.name] if job.is_upload else ["get", job.name, str(job.file)]
    return ["tftp", "-v", "-m", "binary", str(job.address), "-c", *verb]


def _atftp(job: TftpJob) -> list[str]:
    argv = ["atftp", "--trace", "--put" if job.is_upload else "--get"]
    for name, value in job.options.items():
        argv += ["--option", f"{name} {value}"]
    return [*argv, "--local-file", str(job.file), "--remote-file", job.name, str(job.address)]


def _curl(job: TftpJob) -> list[str]:
    # curl always asks for tsize, blksize and timeout; of these only the block size can be chosen.
    host = f"[{job.address}]" if job.address.version == 6 else str(job.address)
    argv = ["curl", "--silent", "--show-error", "--verbose"]
    if "blksize" in job.options:
        argv += ["--tftp-blksize", str(job.options["blksize"])]
    argv += ["--upload-file" if job.is_upload else "--output", str(job.file)]
    return [*argv, f"tftp://{host}/{job.name}"]


CLIENTS: dict[str, Callable[[TftpJob], list[str]]] = {
    "tftp-hpa": _tftp_hpa,
    "atftp": _atftp,
    "curl": _curl,
}

# Which options a client can be told to ask for.
OPTIONS: dict[str, frozenset[str]] = {
    "tftp-hpa": frozenset(),
    "atftp": frozenset({"blksize", "tsize", "timeout", "windowsize"}),
    "curl": frozenset({"blksize"}),
}


def transfer(client: str, host: Host, job: TftpJob) -> TransferOutcome:
    """Run one of CLIENTS on a host to make a transfer; a failed transfer raises nothing.

    tftp-hpa and atftp exit with 0 even when nothing came: compare digests.
    """
    argv = CLIENTS[client](job)
    try:
        result = host.run(argv, check=False, timeout=job.timeout)
    except subprocess.TimeoutExpired:
        return TransferOutcome(f"{client}: no end after {job.timeout:g} s", "")
    said = result.stdout + result.stderr
    return TransferOutcome(
        "" if result.returncode == 0 else f"exit {result.returncode}: {said}", said
    )
