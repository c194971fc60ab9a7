"""Real FTP servers, run as a lab needs them: no service manager, no accounts, any single uid.

Every server lets one account read, write and overwrite in one folder, over IPv4 and IPv6, and
takes PORT, EPRT, PASV and EPSV. They are the work of others and come with Debian.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from socket import create_connection

from sallyport.addresses import IpAddress
from sallyport.lab.host import Host
from sallyport.lab.service import Service


@dataclass(frozen=True, slots=True)
class Account:
    """The server, user and password of an FTP client."""

    address: IpAddress
    port: int
    user: str
    password: str


class FtpServer(Service):
    """A running FTP server; `folder` is what its account sees as the root directory."""

    def __init__(
        self, software: str, host: Host, folder: Path, port: int = 21, *, settings: str = ""
    ) -> None:
        """Start `software`, one of SOFTWARE, on a host; it listens when this returns.

        `settings` are more lines of its configuration, or more options of pure-ftpd. Configuration
        and log lie beside `folder`. Raises StartupError when the program is not installed, or, with
        the end of its log, when it does not come up.
        """
        self.port = port
        self.settings = settings
        self.user, self.password = ("lab", "lab") if software == "pure-ftpd" else ("anonymous", "x")
        super().__init__(software, host, folder, missing=why_not(software))

    def account(self, family: int = 4) -> Account:
        """Return the account by the host's own address of IP version 4 or 6."""
        return Account(self.host.address(family), self.port, self.user, self.password)

    def _command(self) -> list[str]:
        return SOFTWARE[self.software](self)

    def _answers(self) -> bool:
        # Some bind one address after the other.
        try:
            with self.host.entered():
                for address in (self.host.address4, self.host.address6):
                    create_connection((str(address), self.port)).close()
        except ConnectionRefusedError:
            return False
        return True

    def file_beside(self, ending: str, text: str = "") -> Path:
        """Write a file of the server's own, outside the folder that clients see."""
        path = self.folder.with_name(f"{self.folder.name}.{self.software}.{ending}")
        path.write_text(text, encoding="utf-8")
        return path


def why_not(software: str) -> str | None:
    """Return why a server cannot run here; None when it can."""
    if software == "pyftpdlib":
        is_there = find_spec("pyftpdlib") is not None
        return None if is_there else "pyftpdlib: not installed (scripts/bootstrap does it)"
    programs = {
        "inetutils-ftpd": ["ftpd", "unshare"],
        "proftpd": ["proftpd"],
        "vsftpd": ["vsftpd"],
        "pure-ftpd": ["pure-ftpd", "pure-pw"],
    }
    missing = [program for program in programs[software] if shutil.which(program) is None]
    return f"{', '.join(missing)}: not installed (scripts/bootstrap does it)" if missing else None


def _vsftpd(server: FtpServer) -> list[str]:
    # run_as_launching_user: vsftpd changes neither user nor root directory, so it works where
    # uid 0 is the only one. It then leaves port 20 alone too: data comes from any port, while the
    # other two servers use 20; a gateway has to take both. max_per_ip is 50 if nothing is said, and
    # behind NAT everybody has one address.
    configuration = f"""\
listen=NO
listen_ipv6=YES
listen_port={server.port}
background=NO
run_as_launching_user=YES
seccomp_sandbox=NO
secure_chroot_dir={server.folder}
anonymous_enable=YES
no_anon_password=YES
ftp_username=root
anon_root={server.folder}
anon_world_readable_only=NO
anon_umask=022
write_enable=YES
anon_upload_enable=YES
anon_mkdir_write_enable=YES
anon_other_write_enable=YES
connect_from_port_20=NO
connect_timeout=10
max_clients=0
max_per_ip=0
vsftpd_log_file={server.log}
log_ftp_protocol=YES
xferlog_enable=YES
{server.settings}
"""
    return ["vsftpd", str(server.file_beside("conf", configuration))]


def _proftpd(server: FtpServer) -> list[str]:
    # "User root" and RootLogin: as above, there may be no other user. Modules lie where the program
    # does, which may be unpacked anywhere.
    modules = Path(shutil.which("proftpd") or "").parents[1] / "lib/proftpd"
    configuration = f"""\
ModulePath {modules}
ServerType standalone
DefaultServer on
UseIPv6 on
DefaultAddress {server.host.address4} {server.host.address6}
Port {server.port}
User root
Group root
RootLogin on
RequireValidShell off
AuthOrder mod_auth_unix.c
UseReverseDNS off
WtmpLog off
TransferLog none
DelayEngine off
TimesGMT on
PidFile {server.file_beside("pid")}
ScoreboardFile {server.file_beside("scores")}
SystemLog {server.log}
<Anonymous {server.folder}>
  User root
  Group root
  UserAlias anonymous root
  RequireValidShell off
  AllowOverwrite on
</Anonymous>
{server.settings}
"""
    path = server.file_beside("conf", configuration)
    return ["proftpd", "--nodaemon", "--quiet", "--config", str(path)]


# "lab" by crypt(3)'s MD5 method: no secret, and quick: 200 logins at once must not queue.
_LAB_PASSWORD = "$1$lab$bDlM5Aw73tO3LLjFMmbmm1"  # noqa: S105 - see above


def _pure_ftpd(server: FtpServer) -> list[str]:
    # It never serves as uid 0, hence a uid that need not exist and `oneuid`.
    users = server.file_beside(
        "users", f"lab:{_LAB_PASSWORD}:1000:1000::{server.folder}/./::::::::::::\n"
    )
    database = users.with_suffix(".pdb")
    subprocess.run(["pure-pw", "mkdb", str(database), "-f", str(users)], check=True)
    pid_file = server.file_beside("pid")
    options = ["-S", str(server.port), "-l", f"puredb:{database}", "-u", "1", "-g", str(pid_file)]
    # At most 1000 clients (50 if not said), no names looked up, no anonymous users.
    options += ["-c", "1000", "-H", "-E", *server.settings.split()]
    return [sys.executable, "-m", "sallyport.lab.oneuid", "pure-ftpd", *options]


def _pyftpdlib(server: FtpServer) -> list[str]:
    addresses = [str(server.host.address4), str(server.host.address6)]
    program = str(Path(__file__).with_name("pyftpd.py"))
    return [sys.executable, program, str(server.port), str(server.folder), *addresses]


def _inetutils(server: FtpServer) -> list[str]:
    # Anonymous users are the account "ftp" and see its home. Debian has no such account, so this
    # program alone sees a list of accounts in which there is one. It asks for the names of clients,
    # and waits for an answer that never comes here: so it is also told that only files have names.
    accounts = server.file_beside(
        "passwd", f"root:x:0:0::/root:/bin/sh\nftp:x:0:0::{server.folder}:/bin/sh\n"
    )
    names = server.file_beside("nsswitch", "passwd: files\ngroup: files\nhosts: files\n")
    addresses = [str(server.host.address4), str(server.host.address6)]
    program = str(Path(__file__).with_name("inetd.py"))
    inetd = [sys.executable, program, str(server.port), *addresses]
    ftpd = [sys.executable, "-m", "sallyport.lab.oneuid", "ftpd", "-A", "-a", "default", "-q"]
    seen = {accounts: "/etc/passwd", names: "/etc/nsswitch.conf"}
    mounts = "".join(f"mount --bind {ours} {theirs} && " for ours, theirs in seen.items())
    script = f'{mounts}exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, "sh", *inetd, "--", *ftpd]


# How each server is configured: writes its files and returns its command line.
SOFTWARE: dict[str, Callable[[FtpServer], list[str]]] = {
    "vsftpd": _vsftpd,
    "proftpd": _proftpd,
    "pure-ftpd": _pure_ftpd,
    "pyftpdlib": _pyftpdlib,
    "inetutils-ftpd": _inetutils,
}
