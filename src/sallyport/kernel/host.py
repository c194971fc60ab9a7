"""What the host must have for us: forwarding, counters, reserved ports, a route for TPROXY.

All of it is set at start and put back at the orderly stop. The originals are kept in a file beside
the control socket, so that the gateway started after a crash knows what to put back.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from sallyport.addresses import PortRange
from sallyport.errors import StartupError
from sallyport.kernel import marks, table
from sallyport.kernel.pins_table import pins_table

# `reset tcp option` is the newest thing our rules need; owned tables came in 5.12.
_MINIMUM_KERNEL = (5, 18)
_CAP_NET_ADMIN = 12

# Table and preference have no registry; this number ("sall") is unlikely to be taken, lies before
# the main table (32766) and after hand-written rules, which start from low numbers.
_ROUTING = 0x5A11

_SYSCTL = Path("/proc/sys")
_FORWARD4 = "net/ipv4/ip_forward"
_FORWARD6 = "net/ipv6/conf/all/forwarding"
_RESERVED = "net/ipv4/ip_local_reserved_ports"
_ACCOUNTING = "net/netfilter/nf_conntrack_acct"


def missing() -> str | None:
    """Say what this machine lacks to guard, translate and intercept; None when it has it all."""
    for program, package in (("nft", "nftables"), ("ip", "iproute2")):
        if shutil.which(program) is None:
            return f"{program} is not installed; install the package {package}"
    release = os.uname().release
    if _kernel_version(release) < _MINIMUM_KERNEL:
        needed = ".".join(map(str, _MINIMUM_KERNEL))
        return f"Linux {release} is too old for our tables; {needed} or newer is needed"
    if not _effective_capabilities() >> _CAP_NET_ADMIN & 1:
        return "CAP_NET_ADMIN is missing; run as root or in unshare -Urnm"
    return None


def require() -> None:
    """Check that nothing is `missing` and no other instance runs here; raises StartupError."""
    lack = missing()
    if lack is not None:
        raise StartupError(lack)
    for name in map(pins_table, range(marks.SERIES_COUNT)):
        owner = table.owner_of(name)
        if owner is not None:
            raise StartupError(
                f"table {name} exists already (netlink port {owner});"
                " another instance runs in this network namespace"
            )


def free_series(taken: Iterable[int] = ()) -> int:
    """Return the lowest series (marks.SERIES) that no pins table has and that is not `taken`.

    Raises StartupError when all are in use.
    """
    for series in sorted(set(range(marks.SERIES_COUNT)) - set(taken)):
        if table.owner_of(pins_table(series)) is None:
            return series
    raise StartupError(f"all {marks.SERIES_COUNT} pins tables are in use; wait until workers end")


def require_free(port_range: PortRange) -> None:
    """Check that no local program listens in our range; raises StartupError with the first port.

    A single port taken later is stepped around when a binding is made; one taken before the start
    is somebody's service, and the range was chosen over it by mistake.
    """
    for table_file in ("tcp", "tcp6"):
        try:
            rows = Path("/proc/net", table_file).read_text(encoding="ascii").splitlines()[1:]
        except FileNotFoundError:  # IPv6 is off
            continue
        for port in listening_ports(rows):
            if port in port_range:
                raise StartupError(
                    f"a local program listens on port {port}, inside port_range {port_range};"
                    " choose another range or stop the program"
                )


def listening_ports(rows: Iterable[str]) -> Iterable[int]:
    """Give the ports of listening sockets from the rows of /proc/net/tcp or tcp6 (proc(5))."""
    for row in rows:
        _, local, _, state, *_rest = row.split()
        if state == "0A":  # TCP_LISTEN
            yield int(local.rpartition(":")[2], 16)


def _kernel_version(release: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _effective_capabilities() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return int(found[1], 16) if found else 0


class HostSettings:
    """Our changes to the host: `apply` makes them, `restore` takes them back."""

    def __init__(self, port_range: PortRange, interfaces: Iterable[str], state_file: Path) -> None:
        """Describe the changes; `interfaces` are those of all networks."""
        self._port_range = port_range
        self._interfaces = tuple(interfaces)
        self._state_file = state_file

    def apply(self) -> None:
        """Make the changes; install the base table first, or packets pass unguarded.

        Idempotent, also after a crash. Raises StartupError, with everything put back.
        """
        originals = self._remembered()
        try:
            for name, value in self._wanted(originals):
                # After a crash the file holds the original and the sysctl our own value.
                originals.setdefault(name, _read(name))
                self._remember(originals)
                _write(name, value)
            self._route("add")
        except BaseException:
            self.restore()
            raise

    def restore(self) -> None:
        """Put everything back as it was found; idempotent, never raises."""
        self._route("del")
        for name, value in self._remembered().items():
            try:
                _write(name, value)
            except StartupError:
                # The interface is gone, or the namespace lost its conntrack: nothing to restore.
                continue
        self._state_file.unlink(missing_ok=True)

    def _wanted(self, originals: dict[str, str]) -> Iterable[tuple[str, str]]:
        yield _FORWARD4, "1"
        yield _ACCOUNTING, "1"
        reserved = originals.get(_RESERVED) or _read(_RESERVED)
        yield _RESERVED, with_ports(reserved, self._port_range)
        if not (_SYSCTL / "net/ipv6").exists():
            return
        for interface in self._interfaces:
            # A forwarding host ignores router advertisements, and with them its own default
            # route, unless it insists (2).
            name = f"net/ipv6/conf/{interface}/accept_ra"
            if (_SYSCTL / name).exists() and _read(name) == "1":
                yield name, "2"
        yield _FORWARD6, "1"

    def _route(self, verb: str) -> None:
        mark = f"{marks.DELIVER:#x}/{marks.DELIVER:#x}"
        number = str(_ROUTING)
        families = ["-4", "-6"] if (_SYSCTL / "net/ipv6").exists() else ["-4"]
        rule = ["rule", verb, "fwmark", mark, "lookup", number, "pref", number]
        route = ["route", "replace" if verb == "add" else verb]
        route += ["local", "default", "dev", "lo", "table", number]
        for family in families:
            # What a crash left behind is removed first, or rules would pile up.
            _ip(family, ["rule", "del", "pref", number], must=False)
            if verb == "add":
                _ip(family, rule, must=True)
            _ip(family, route, must=verb == "add")

    def _remembered(self) -> dict[str, str]:
        try:
            kept = json.loads(self._state_file.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return {}
        return {str(name): str(value) for name, value in kept.items()} if kept else {}

    def _remember(self, originals: dict[str, str]) -> None:
        # Replaced as a whole: a crash in between leaves the old file, not half of the new one.
        draft = self._state_file.with_suffix(".new")
        try:
            draft.write_text(json.dumps(originals), encoding="ascii")
            draft.replace(self._state_file)
        except OSError as error:
            raise StartupError(f"cannot write {self._state_file}: {error.strerror}") from None


def with_ports(listed: str, port_range: PortRange) -> str:
    """Add a range to the text of `ip_local_reserved_ports`; what was listed stays."""
    ranges = [text for text in listed.split(",") if text]
    if str(port_range) not in ranges:
        ranges.append(str(port_range))
    return ",".join(ranges)


def _read(name: str) -> str:
    try:
        return (_SYSCTL / name).read_text(encoding="ascii").strip()
    except OSError as error:
        raise StartupError(f"cannot read sysctl {_dotted(name)}: {error.strerror}") from None


def _write(name: str, value: str) -> None:
    if _read(name) == value:
        return
    try:
        # An empty list of ports is written as an empty line: writing nothing changes nothing.
        (_SYSCTL / name).write_text(f"{value}\n", encoding="ascii")
    except OSError as error:
        reason = error.strerror
        raise StartupError(f"cannot set sysctl {_dotted(name)} = {value}: {reason}") from None


def _dotted(name: str) -> str:
    return name.replace("/", ".")


def _ip(family: str, arguments: list[str], *, must: bool) -> None:
    done = subprocess.run(
        ["ip", family, *arguments],
        capture_output=True,
        text=True,
        timeout=table.NFT_SECONDS,
        check=False,
    )
    if must and done.returncode:
        raise StartupError(f"ip {family} {' '.join(arguments)}: {done.stderr.strip()}")
