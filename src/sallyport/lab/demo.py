"""The demonstration: active FTP through the gateway, seen from both ends of the wire."""

import re
import shutil
from collections.abc import Callable, Iterable
from ftplib import FTP, all_errors

from sallyport.errors import StartupError
from sallyport.lab.clients import Job, Mode, TransferDirection, digest, transfer
from sallyport.lab.gateway import RunningGateway, end_plain_nat, plain_nat
from sallyport.lab.network import Lab
from sallyport.lab.servers import FtpServer

# Big enough to be a transfer, small enough for a demonstration in a virtual machine.
_FILE_BYTES = 16 * 1024 * 1024

_NETWORKS = ("--internal", "int0", "--external", "ext0", "--log-format", "text")

# The command that shows the mode, in a client's transcript and in a server's log.
_DATA_COMMAND = re.compile(r"(?:PORT [\d,]+|EPRT \|[^\"\r\n]+)")

# A permanent or transient refusal, as curl shows it.
_REFUSAL = re.compile(r"^< ([45]\d\d [^\r\n]*)", re.MULTILINE)

Out = Callable[[str], object]


class Demonstration:
    """One run in a lab; every step prints what it did and raises when it went wrong."""

    def __init__(self, lab: Lab, server: FtpServer, out: Out) -> None:
        self._lab = lab
        self._server = server
        self._out = out
        self._step = 0

    def run(self) -> None:
        """Show everything, the refusal included; raises StartupError at what does not work."""
        lab = self._lab
        self._title("A NAT router alone: the server cannot reach the client it is told about")
        plain_nat(lab.gateway)
        self._fail_without_gateway()
        end_plain_nat(lab.gateway)
        self._title("sallyport run --internal int0 --external ext0, on the same router")
        gateway = RunningGateway(lab, _NETWORKS)
        self._journal(gateway, 0)
        self._transfer(gateway, "curl", Mode.PORT, TransferDirection.DOWNLOAD, 4)
        self._transfer(gateway, "lftp", Mode.PORT, TransferDirection.UPLOAD, 4)
        self._transfer(gateway, "curl", Mode.EPRT, TransferDirection.DOWNLOAD, 6)
        self._bounce(gateway)
        self._title("SIGTERM: what is left of it in the kernel")
        gateway.stop()
        left = lab.gateway.run(["nft", "list", "tables"]).stdout.splitlines()
        self._lines("tables", left or ["none"])

    def _job(self, mode: Mode, direction: TransferDirection, family: int) -> Job:
        name = "upload.bin" if direction is TransferDirection.UPLOAD else "download.bin"
        file = self._lab.folder / name
        if direction is TransferDirection.UPLOAD:
            shutil.copy(self._server.folder / "download.bin", file)
        return Job(self._server.account(family), mode, direction, name, file)

    def _fail_without_gateway(self) -> None:
        job = self._job(Mode.PORT, TransferDirection.DOWNLOAD, 4)
        outcome = transfer("curl", self._lab.client, job)
        if not outcome.error:
            raise StartupError("active FTP works through plain NAT: a kernel helper is at work")
        self._lines("client says", _DATA_COMMAND.findall(outcome.transcript))
        self._lines("server says", _REFUSAL.findall(outcome.transcript))

    def _transfer(
        self,
        gateway: RunningGateway,
        client: str,
        mode: Mode,
        direction: TransferDirection,
        family: int,
    ) -> None:
        relation = "translated" if family == 4 else "routed"
        self._title(f"{client}: {direction} in active mode, IPv{family} {relation}")
        journal, heard = len(gateway.journal()), len(self._heard())
        job = self._job(mode, direction, family)
        outcome = transfer(client, self._lab.client, job)
        self._lines("client says", _DATA_COMMAND.findall(outcome.transcript))
        self._lines("server hears", self._heard()[heard:])
        gateway.settle()
        self._journal(gateway, journal)
        if outcome.error:
            raise StartupError(f"the transfer failed: {outcome.error}")
        if digest(job.file) != digest(self._server.folder / job.name):
            raise StartupError("the transfer ended, but the file differs")
        self._lines(client, [f"{_FILE_BYTES // 2**20} MiB, checksum right"])

    def _bounce(self, gateway: RunningGateway) -> None:
        self._title("The bounce attack: the client names the address of another host")
        journal = len(gateway.journal())
        account = self._server.account()
        with self._lab.client.entered(), FTP(timeout=10) as ftp:  # noqa: S321 - FTP is the subject
            ftp.connect(str(account.address), account.port)
            ftp.login(account.user, account.password)
            victim = str(self._lab.stranger.address4).replace(".", ",")
            try:
                answer = ftp.sendcmd(f"PORT {victim},0,25")
            except all_errors as error:
                self._lines("client says", [f"PORT {victim},0,25"])
                self._lines("client hears", [str(error) or "the end of the connection"])
            else:
                raise StartupError(f"the bounce was let through: {answer}")
        gateway.settle()
        self._journal(gateway, journal)

    def _journal(self, gateway: RunningGateway, skip: int) -> None:
        # Without the time of day, which would fill a third of a terminal.
        self._lines("gateway", (line.partition(" ")[2] for line in gateway.journal(skip)))

    def _heard(self) -> list[str]:
        """Find the data commands in the server's own log."""
        text = self._server.log.read_text(encoding="utf-8", errors="replace")
        return _DATA_COMMAND.findall(text)

    def _title(self, text: str) -> None:
        self._step += 1
        self._out(f"\n{self._step}. {text}\n")

    def _lines(self, who: str, lines: Iterable[str]) -> None:
        for line in lines:
            self._out(f"   {who:>12} | {line}\n")


def demonstrate(out: Out) -> None:
    """Build a lab, show the main job on real programs in it, and remove it again.

    `out` is called with each text to print. Raises StartupError, one line about the first failure.
    """
    with Lab.build("demo") as lab:
        server = FtpServer("vsftpd", lab.server, lab.folder / "files")
        (server.folder / "download.bin").write_bytes(bytes(range(256)) * (_FILE_BYTES // 256))
        out(
            "client 10.0.0.8, fd00:a::8 -- gateway 10.0.0.1 | 203.0.113.1 --"
            " server 203.0.113.9, 2001:db8::9 (vsftpd)\n"
        )
        Demonstration(lab, server, out).run()
