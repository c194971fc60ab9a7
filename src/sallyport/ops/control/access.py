"""Who may use the admin API: by what the kernel says of the process that asks, or by a token."""

import grp
import hmac
import os
import socket
import stat
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sallyport import limits
from sallyport.errors import StartupError
from sallyport.ops.control.operations import Access

# socket(7), struct ucred: pid, uid, gid.
_CREDENTIALS: Final = struct.Struct("3i")

# asm-generic/socket.h, since Linux 4.13; Python has no name for it.
_SO_PEERGROUPS: Final = 59

# The longest option that Python reads: 256 groups. Linux gives ERANGE for a process that has more.
_GROUPS_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class Rights:
    """Who may do what at the control socket, besides root and the gateway's own user."""

    control_group: int | None = None
    """The group whose members may change; None: no others."""
    monitor_group: int | None = None
    """The group whose members may read."""

    @classmethod
    def named(cls, control_group: str | None, monitor_group: str | None) -> "Rights":
        """Return the rights of groups by their names; raises StartupError for one unknown here."""
        return cls(_number("control_group", control_group), _number("monitor_group", monitor_group))

    def of(self, uid: int, groups: Iterable[int]) -> Access | None:
        """Return what a process of this user and these groups may do; None for nothing."""
        groups = frozenset(groups)
        if uid in {0, os.geteuid()} or self.control_group in groups:
            return Access.CHANGE
        return Access.READ if self.monitor_group in groups else None

    def of_peer(self, sock: socket.socket) -> Access | None:
        """Return what the process may do that connected to this UNIX socket.

        Of one in more than 256 groups only the first group counts.
        """
        _pid, uid, gid = _credentials(sock)
        others = b""
        with suppress(OSError):
            others = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
        return self.of(uid, (gid, *memoryview(others).cast("i")))

    @property
    def mode(self) -> int:
        """The mode of the socket's file: with a group all may connect, and are asked there.

        A file has one group, and here are two.
        """
        return 0o600 if self == Rights() else 0o666


def pid_of_peer(sock: socket.socket) -> int:
    """Return the id of the process at the other end of this UNIX socket: who listened there, or
    connected to us."""
    return _credentials(sock)[0]


def _credentials(sock: socket.socket) -> tuple[int, int, int]:
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(raw)
    return pid, uid, gid


@dataclass(frozen=True, slots=True)
class Tokens:
    """Who is known by a token, over TCP.

    The files are read anew each time: a token can change while the gateway runs.
    """

    control_file: Path | None = None
    monitor_file: Path | None = None

    def require(self) -> None:
        """Check that each file holds a secret; raises StartupError."""
        for file in (self.control_file, self.monitor_file):
            if file is not None:
                _read_token(file)

    def of(self, authorization: str | None) -> Access | None:
        """Return what the header `Authorization: Bearer TOKEN` (RFC 6750) gives access to."""
        scheme, _, told = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        for file, access in (
            (self.control_file, Access.CHANGE),
            (self.monitor_file, Access.READ),
        ):
            with suppress(StartupError):  # a file that was spoilt since gives access to nothing
                if file and hmac.compare_digest(_read_token(file), told.strip().encode()):
                    return access
        return None


def _read_token(file: Path) -> bytes:
    try:
        if stat.S_IMODE(file.stat().st_mode) & stat.S_IRWXO:
            raise StartupError(f"{file}: others may read or change it; run chmod o= {file}")
        token = file.read_bytes().strip()
    except OSError as error:
        raise StartupError(f"{file}: {error.strerror}; [admin] names it for a token") from None
    if len(token) < limits.MIN_TOKEN_BYTES:
        raise StartupError(
            f"{file}: a token has at least {limits.MIN_TOKEN_BYTES} characters; write one with"
            f" `openssl rand -hex 16 >{file}`"
        )
    return token


def _number(key: str, name: str | None) -> int | None:
    if name is None:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise StartupError(
            f"[gateway] {key}: this host has no group {name!r}; create it (`groupadd {name}`), or"
            " name another"
        ) from None
