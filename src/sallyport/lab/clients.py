"""FTP clients that people use; each makes one transfer in one way."""

import hashlib
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sallyport.lab import pythonftp
from sallyport.lab.host import Host
from sallyport.lab.servers import Account


class Mode(StrEnum):
    """How client and server agree on the data connection, named after the command."""

    PORT = "PORT"
    EPRT = "EPRT"
    PASV = "PASV"
    EPSV = "EPSV"

    @property
    def is_active(self) -> bool:
        """Whether the server opens the data connection."""
        return self in {Mode.PORT, Mode.EPRT}


class TransferDirection(StrEnum):
    """Which way the file goes, as the client sees it."""

    DOWNLOAD = "download"
    UPLOAD = "upload"


@dataclass(frozen=True, slots=True)
class Job:
    """One file to move between `file` here and `name` in the account's folder."""

    account: Account
    mode: Mode
    direction: TransferDirection
    name: str
    file: Path
    timeout: float = 20.0
    """Seconds until the client is given up (and killed)."""

    @property
    def host_text(self) -> str:
        """The server's address as URLs want it."""
        address = self.account.address
        return f"[{address}]" if address.version == 6 else str(address)

    @property
    def url(self) -> str:
        """The remote file with everything a client must know."""
        a = self.account
        return f"ftp://{a.user}:{a.password}@{self.host_text}:{a.port}/{self.name}"

    @property
    def is_upload(self) -> bool:
        """Whether the client sends the file."""
        return self.direction is TransferDirection.UPLOAD


@dataclass(frozen=True, slots=True)
class TransferOutcome:
    """What a client reports: `transcript` is its dialogue with the server; no `error` is success.

    Some clients report success after a failed transfer: compare `digest`s to know.
    """

    error: str
    transcript: str

    def used(self, mode: Mode) -> bool:
        """Whether the client really sent the command of that mode."""
        # curl shows commands after ">", lftp and tnftp after "--->", ftplib after "*cmd*".
        return re.search(rf"^(?:-*> |\*cmd\* '){mode}\b", self.transcript, re.MULTILINE) is not None


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or a word that equals no digest when there is no file."""
    if not path.exists():
        return "absent"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _curl(host: Host, job: Job) -> TransferOutcome:
    argv = ["curl", "--silent", "--show-error", "--verbose", "--ftp-pasv"]
    if job.mode.is_active:
        argv[-1:] = ["--ftp-port", "-"]
    # curl tries the extended commands first, in both families.
    if job.mode is Mode.PORT:
        argv.append("--disable-eprt")
    elif job.mode is Mode.PASV:
        argv.append("--disable-epsv")
    argv += ["--upload-file" if job.is_upload else "--output", str(job.file), job.url]
    return _run(host, argv, job)


def _lftp(host: Host, job: Job) -> TransferOutcome:
    a = job.account
    settings = {
        "ftp:ssl-allow": False,
        "ftp:passive-mode": not job.mode.is_active,
        "ftp:auto-passive-mode": False,  # Falling back would hide that active mode failed.
        "ftp:prefer-epsv": job.mode is Mode.EPSV,
        "ftp:fix-pasv-address": False,
        "net:timeout": 5,
        "net:max-retries": 1,
        "net:persist-retries": 0,
        "xfer:clobber": True,
        "cmd:fail-exit": True,
    }
    script = "".join(f"set {k} {str(v).lower()}; " for k, v in settings.items())
    script += f"open -u {a.user},{a.password} -p {a.port} ftp://{job.host_text}; "
    script += f"put {job.file} -o {job.name}" if job.is_upload else f"get {job.name} -o {job.file}"
    # LFTP_HOME: no configuration, history or cache of the person who runs this.
    env = {"LFTP_HOME": "/nonexistent", "HOME": "/nonexistent"}
    return _run(host, ["lftp", "--norc", "-d", "-c", script], job, env=env)


def _tnftp(host: Host, job: Job) -> TransferOutcome:
    a = job.account
    argv = ["tnftp", "-n", "-i", "-v", "-d", "-A" if job.mode.is_active else "-p"]
    argv += [str(a.address), str(a.port)]
    commands = [f"user {a.user} {a.password}", "binary"]
    if a.address.version == 4 and job.mode in {Mode.PORT, Mode.PASV}:
        commands.append("epsv4")  # a switch, on at first: the extended commands over IPv4
    move = f"put {job.file} {job.name}" if job.is_upload else f"get {job.name} {job.file}"
    outcome = _run(host, argv, job, stdin="\n".join([*commands, move, "quit", ""]))
    # Fed by a pipe, tnftp ends with 0 whatever happened: the server's last word counts.
    if not outcome.error and "\n226" not in outcome.transcript:
        return TransferOutcome("tnftp: no 226 from the server", outcome.transcript)
    return outcome


def _ftplib(host: Host, job: Job) -> TransferOutcome:
    a = job.account
    way = "active" if job.mode.is_active else "passive"
    # A process like the others: ftplib leaves a socket open when a server refuses PORT.
    argv = [sys.executable, "-I", pythonftp.__file__, way, job.direction]
    argv += [str(a.address), str(a.port), a.user, a.password, job.name, str(job.file)]
    return _run(host, argv, job)


def _run(
    host: Host, argv: list[str], job: Job, *, stdin: str = "", env: dict[str, str] | None = None
) -> TransferOutcome:
    try:
        result = host.run(argv, check=False, timeout=job.timeout, stdin=stdin, env=env)
    except subprocess.TimeoutExpired as error:
        said = error.stdout.decode(errors="replace") if isinstance(error.stdout, bytes) else ""
        return TransferOutcome(f"{argv[0]}: no end after {job.timeout:g} s", said)
    said = result.stdout + result.stderr
    if result.returncode == 0:
        return TransferOutcome("", said)
    last = said.strip().splitlines()[-1:] or ["it says nothing"]
    return TransferOutcome(f"{argv[0]}: exit {result.returncode}: {last[0]}", said)


CLIENTS: dict[str, Callable[[Host, Job], TransferOutcome]] = {
    "curl": _curl,
    "lftp": _lftp,
    "tnftp": _tnftp,
    "ftplib": _ftplib,
}

_ALL = frozenset(Mode)
_CLASSIC = frozenset({Mode.PORT, Mode.PASV})
EXTENDED = frozenset({Mode.EPRT, Mode.EPSV})

# The modes of each client over IPv4; over IPv6 every client has only the extended commands.
MODES4: dict[str, frozenset[Mode]] = {
    "curl": _ALL,
    "lftp": _CLASSIC | {Mode.EPSV},
    "tnftp": _ALL,
    "ftplib": _CLASSIC,
}


def transfer(client: str, host: Host, job: Job) -> TransferOutcome:
    """Run one of CLIENTS on a host to make a transfer; a failed transfer raises nothing."""
    return CLIENTS[client](host, job)
