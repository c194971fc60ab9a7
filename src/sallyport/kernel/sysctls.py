"""The host's sysctls that we change: what they were, what we made of them, and the way back.

What was there before belongs to the network namespace, not to one run of the daemon, so it is kept
in a file that is named after the namespace: whichever instance comes next finds it, also after a
crash, also with another control socket. Put back is only what is still as we left it.
"""

import errno
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from sallyport.errors import StartupError
from sallyport.kernel import state_file

SYSCTL = Path("/proc/sys")

_INTERFACE = r"[^/]{1,15}"

_OURS = re.compile(
    rf"net/ipv4/conf/{_INTERFACE}/forwarding|net/ipv6/conf/{_INTERFACE}/(forwarding|accept_ra)"
    r"|net/ipv4/ip_local_reserved_ports|net/netfilter/nf_conntrack_acct"
)
"""All that a state file may name: it is written back as root."""


def read(name: str) -> str:
    """Return a sysctl's value; raises StartupError."""
    try:
        return (SYSCTL / name).read_text(encoding="ascii").strip()
    except OSError as error:
        raise StartupError(f"cannot read sysctl {dotted(name)}: {error.strerror}") from None


def find(name: str) -> str | None:
    """Return a sysctl's value; None when there is no such sysctl, or no such interface any more."""
    try:
        return read(name)
    except StartupError:
        return None


def write(name: str, value: str) -> None:
    """Set a sysctl; raises StartupError."""
    if read(name) == value:
        return
    try:
        # An empty list of ports is written as an empty line: writing nothing changes nothing.
        (SYSCTL / name).write_text(f"{value}\n", encoding="ascii")
    except OSError as error:
        reason = str(error.strerror)
        if error.errno == errno.EROFS:
            reason += "; tell the engine of a container to leave /proc/sys writable"
        raise StartupError(f"cannot set sysctl {dotted(name)} = {value}: {reason}") from None


def dotted(name: str) -> str:
    """Write a sysctl's name as sysctl(8) does."""
    return name.replace("/", ".")


class SysctlChanges:
    """What we changed: by sysctl, what it was before and what we made of it."""

    def __init__(self, file: Path) -> None:
        """Read what an earlier instance left in this namespace; raises StartupError.

        A file that others than us could have written is refused.
        """
        self._file = file
        self._made: dict[str, tuple[str, str]] = _load(file)

    def __contains__(self, name: str) -> bool:
        return name in self._made

    @property
    def made(self) -> Mapping[str, tuple[str, str]]:
        """What it was before, and what we made of it, by sysctl."""
        return self._made

    def make(self, name: str, value: str) -> None:
        """Set a sysctl and remember what it was; raises StartupError."""
        now = read(name)
        before, ours = self._made.get(name, (now, value))
        # Changed by others since: what they made of it is what we shall put back.
        before = before if now in {ours, value} else now
        if before != value or name in self._made:
            self._made[name] = before, value
            self._save()
        write(name, value)

    def rename(self, old: str, new: str) -> None:
        """Know the sysctls with `old` in their names by `new` instead; raises StartupError."""
        self._made = {name.replace(old, new): values for name, values in self._made.items()}
        self._save()

    def forget(self, name: str) -> None:
        """Do not put this back."""
        self._made.pop(name, None)

    def restore(self, name: str) -> None:
        """Put one sysctl back if it is still as we left it; never raises."""
        before, ours = self._made.pop(name)
        if find(name) == ours:
            # Else the interface has gone, or the namespace lost its conntrack.
            with suppress(StartupError):
                write(name, before)

    def close(self) -> None:
        """Remove the file; never raises."""
        # Not its folder: another gateway may just be about to write there, and a folder that is
        # removed takes with it what is mounted on it in other mount namespaces.
        with suppress(OSError):
            self._file.unlink(missing_ok=True)

    def _save(self) -> None:
        state_file.write(self._file, json.dumps(self._made).encode())


def _load(file: Path) -> dict[str, tuple[str, str]]:
    kept = state_file.read(file)
    if kept is None:
        return {}
    try:
        return {
            name: (str(before), str(ours))
            for name, (before, ours) in json.loads(kept).items()
            if _OURS.fullmatch(name)
        }
    except (ValueError, AttributeError, TypeError):
        return {}
