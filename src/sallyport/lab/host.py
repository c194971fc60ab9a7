"""One host of the lab: a named network namespace, and everything that runs in it."""

import ctypes
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from sallyport.addresses import IpAddress
from sallyport.errors import StartupError

# Where iproute2 keeps named namespaces; fixed by its own source, not configurable.
NAMESPACES = Path("/run/netns")

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

# A daemon starts within a second, and took more than ten where five programs wanted each processor;
# after thirty it hangs.
READY_SECONDS = 30.0
# No FTP server says when it listens, so we ask, and rarely enough to leave it the CPU.
_POLL_SECONDS = 0.02

# A daemon that has not ended this long after SIGTERM hangs; the lab must still come down.
_TERM_SECONDS = 3.0


def _setns(descriptor: int) -> None:
    # os.setns arrives in Python 3.12; 3.11 is what Debian 12 has.
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def wait_until(
    process: "subprocess.Popen[bytes]",
    condition: Callable[[], bool],
    log: Path,
    otherwise: str,
    seconds: float = READY_SECONDS,
) -> None:
    """Return once `condition` holds; ask again and again while the process lives.

    Raises StartupError, with `otherwise` and the end of `log`, when the process ends first or the
    condition takes longer than `seconds`.
    """
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        if condition():
            return
        time.sleep(_POLL_SECONDS)
    tail = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
    raise StartupError(f"{otherwise}: {' '.join(tail) or 'it says nothing'}")


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process by SIGTERM, then by SIGKILL; idempotent."""
    process.terminate()
    try:
        process.wait(_TERM_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Host:
    """A host of the lab, known by its namespace; `address4` and `address6` are its first ones."""

    def __init__(
        self, name: str, namespace: str, address4: IPv4Address, address6: IPv6Address
    ) -> None:
        self.name = name
        self.namespace = namespace
        self.address4 = address4
        self.address6 = address6
        self._processes: list[subprocess.Popen[bytes]] = []

    def address(self, family: int) -> IpAddress:
        """Return the host's first address of IP version 4 or 6."""
        return self.address4 if family == 4 else self.address6

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Move the calling thread into this host while the block runs.

        Sockets made inside belong to the host for good; so do processes started inside, because a
        child inherits the namespace of the thread that started it. Other threads stay where they
        are. Nests.
        """
        with (
            open("/proc/thread-self/ns/net", "rb") as home,
            open(NAMESPACES / self.namespace, "rb") as there,
        ):
            _setns(there.fileno())
            try:
                yield
            finally:
                _setns(home.fileno())

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        timeout: float = 30.0,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        """Run a program here to its end; `env` is added to our own environment.

        Raises CalledProcessError when the program fails and `check` is true, TimeoutExpired after
        `timeout` seconds (the program has been killed then).
        """
        with self.entered():
            return subprocess.run(
                argv,
                check=check,
                timeout=timeout,
                input=stdin,
                capture_output=True,
                text=True,
                errors="replace",
                env={**os.environ, **(env or {})},
            )

    def popen(
        self,
        argv: Sequence[str],
        *,
        log: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> "subprocess.Popen[bytes]":
        """Start a program here; it ends when the lab does, at the latest.

        Its output is appended to `log`, or dropped. `env` is added to our own environment.
        """
        with open(log or os.devnull, "ab") as output, self.entered():
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
            )
        self._processes.append(process)
        return process

    def sysctl(self, name: str, value: int | str) -> None:
        """Set a network sysctl of this host, such as `net.ipv4.ip_forward`."""
        # /proc/sys/net shows the namespace of the thread that opens the file.
        with self.entered():
            Path("/proc/sys", *name.split(".")).write_text(str(value), encoding="ascii")

    def end_processes(self) -> None:
        """End all programs that `popen` started here, the newest first; idempotent."""
        while self._processes:
            end(self._processes.pop())

    def __repr__(self) -> str:
        return f"Host({self.name}, {self.address4}, {self.address6})"
