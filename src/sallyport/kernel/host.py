"""What the host must have for us: forwarding, counters, reserved ports, a route for TPROXY.

All of it is set at start, looked after while the gateway runs, and put back at the orderly stop.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sallyport.addresses import PortRange
from sallyport.errors import StartupError
from sallyport.kernel import marks, routes, state_file, sysctls, table
from sallyport.kernel.pins_table import pins_table
from sallyport.kernel.ruleset import Ruleset

# `reset tcp option` is the newest thing our rules need; owned tables came in 5.12.
_MINIMUM_KERNEL = (5, 18)
_CAP_NET_ADMIN = 12

# Table and preference have no registry; this number ("sall") is unlikely to be taken, lies before
# the main table (32766) and after hand-written rules, which start from low numbers.
_ROUTING = 0x5A11

_FORWARD4 = "net/ipv4/ip_forward"
_FORWARD6 = "net/ipv6/conf/all/forwarding"
_DEFAULT6 = "net/ipv6/conf/default/forwarding"
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
    """Check that nothing is `missing`; raises StartupError."""
    lack = missing()
    if lack is not None:
        raise StartupError(lack)
    with Ruleset() as ruleset:
        for name in map(pins_table, range(marks.SERIES_COUNT)):
            owner = ruleset.owner_of(name)
            if owner is not None:
                raise StartupError(
                    f"table {name} exists already (netlink port {owner});"
                    " another instance runs in this network namespace"
                )


def free_series(taken: Iterable[int] = (), node: int | None = None) -> int:
    """Return the lowest series (marks.SERIES) that no pins table has and that is not `taken`.

    `node` is which of a pair this is, None: it is alone. Raises StartupError when all are in use.
    """
    ours = marks.series_of(node)
    with Ruleset() as ruleset:
        for series in sorted(set(ours) - set(taken)):
            if ruleset.owner_of(pins_table(series)) is None:
                return series
    raise StartupError(f"all {len(ours)} pins tables are in use; wait until workers end")


def require_free(port_range: PortRange) -> None:
    """Check that no local program listens in our range; raises StartupError with the first port.

    A single port taken later is stepped around when a binding is made; one taken before the start
    is a service of the host, and the range was chosen over it by mistake.
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
    """Return the ports of listening sockets from the rows of /proc/net/tcp or tcp6 (proc(5))."""
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
    """Our changes to the host: `apply` makes them, `restore` takes them back.

    IPv4 is forwarded for our interfaces alone (`conf/INTERFACE/forwarding`); `ip_forward` stays the
    host's. IPv6 has one switch for the whole host (`conf/all/forwarding`), and setting it sets the
    switches of all interfaces and of `conf/default`. We set these back, so `conf/default` shows
    whether another program has asked for forwarding since.
    """

    def __init__(
        self,
        port_range: PortRange,
        inside: Iterable[str],
        outside: Iterable[str],
        file: Path | None = None,
    ) -> None:
        """Describe the changes, for the interfaces of all networks; raises StartupError."""
        self._port_range = port_range
        self._inside, self._outside = tuple(inside), tuple(outside)
        self._changes = sysctls.SysctlChanges(file or state_file.of_namespace("state"))
        self._seen_on: set[str] = set()

    def apply(self) -> None:
        """Make the changes; install the guard first, or packets pass unguarded.

        Idempotent, also after a crash. Raises StartupError, with some of them made: the caller
        restores them, unless another gateway runs that needs them.
        """
        self._set()
        if not self._is_delivered():
            self._route("add")

    def follow(
        self,
        inside: Iterable[str],
        outside: Iterable[str],
        renamed: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Take other names of the interfaces, and set what they need; raises StartupError.

        `renamed`: interfaces that are there still, by their old and new name. Their sysctls keep
        their values, and what they were before we came.
        """
        self._inside, self._outside = tuple(inside), tuple(outside)
        for old, new in renamed:
            self._changes.rename(f"/conf/{old}/", f"/conf/{new}/")
        self._set()

    def repair(self) -> list[str]:
        """Put in order what others have changed; return what it was. Raises StartupError.

        What an interface needs that came late is set too, and is no change of others.
        """
        changed = {
            name
            for name, (_, ours) in self._changes.made.items()
            if (now := sysctls.find(name)) is not None and not self._is_kept(name, now, ours)
        }
        off = {name for name in self._switches() if sysctls.find(name) == "0"}
        if changed or off:
            self._set()
        lost = sorted(map(sysctls.dotted, changed | off & self._seen_on))
        self._seen_on = set(self._switches())
        if not self._is_delivered():
            self._route("add")
            if not self._is_delivered():
                raise StartupError(
                    f"packets with the mark {marks.DELIVER:#x} are not delivered here although our"
                    f" rule at {_ROUTING} stands; remove the one before it that `ip rule` lists"
                )
            lost.append("ip rule and route")
        return lost

    def _switches(self) -> list[str]:
        """Return the sysctls that forward for our interfaces, of those that are there."""
        return [
            f"net/ipv{version}/conf/{interface}/forwarding"
            for version in self._versions
            for interface in self._there(version)
        ]

    def restore(self) -> None:
        """Put back what is still as we left it; idempotent, never raises."""
        self._route("del")
        made = self._changes.made
        if _RESERVED in made:
            # Others may have added ports of theirs meanwhile.
            now = sysctls.find(_RESERVED) or ""
            if now != made[_RESERVED][1]:
                with suppress(StartupError):
                    sysctls.write(_RESERVED, without_ports(now, self._port_range))
                self._changes.forget(_RESERVED)
        for version in (4, 6):
            if version in self.forwarded:
                # Others want forwarding now, and find it on.
                for name in [n for n in made if n.startswith(f"net/ipv{version}/")]:
                    if name.endswith("/forwarding"):
                        self._changes.forget(name)
        if _FORWARD6 in made:
            with _others_kept():
                self._changes.restore(_FORWARD6)
        for name in list(made):
            self._changes.restore(name)
        self._changes.close()

    @property
    def forwarded(self) -> frozenset[int]:
        """The IP versions that are forwarded for others than us: by the host's own wish."""
        found = set()
        if sysctls.find(_FORWARD4) == "1":
            found.add(4)
        ours = _FORWARD6 in self._changes
        if sysctls.find(_DEFAULT6 if ours else _FORWARD6) == "1":
            found.add(6)
        return frozenset(found)

    def _set(self) -> None:
        make = self._changes.make
        make(_ACCOUNTING, "1")
        before, ours = self._changes.made.get(_RESERVED, ("", None))
        now = sysctls.read(_RESERVED)
        # An earlier instance may have had another range.
        make(_RESERVED, with_ports(before if now == ours else now, self._port_range))
        for interface in self._there(4):
            make(f"net/ipv4/conf/{interface}/forwarding", "1")
        if 6 not in self._versions:
            return
        for interface in self._outside:
            # A forwarding host ignores router advertisements, and with them its own default
            # route, unless it insists (2). Those of inside hosts are never believed: any of them
            # could make itself the way out.
            name = f"net/ipv6/conf/{interface}/accept_ra"
            was_forwarding = sysctls.find(f"net/ipv6/conf/{interface}/forwarding") == "1"
            is_ours = name in self._changes and sysctls.find(name) is not None
            if is_ours or (sysctls.find(name) == "1" and not was_forwarding):
                make(name, "2")
        is_first = _FORWARD6 not in self._changes
        if not is_first or sysctls.read(_FORWARD6) != "1":
            with _others_kept():
                make(_FORWARD6, "1")
            if is_first:
                make(_DEFAULT6, "0")
        for interface in self._there(6):
            make(f"net/ipv6/conf/{interface}/forwarding", "1")

    @property
    def _versions(self) -> tuple[int, ...]:
        return (4, 6) if (sysctls.SYSCTL / "net/ipv6").exists() else (4,)

    def _there(self, version: int) -> list[str]:
        return [
            interface
            for interface in (*self._inside, *self._outside)
            if (sysctls.SYSCTL / f"net/ipv{version}/conf/{interface}").exists()
        ]

    def _is_kept(self, name: str, now: str, ours: str) -> bool:
        if name == _RESERVED:
            return str(self._port_range) in now.split(",")
        # Set by others who want forwarding, which takes nothing from us.
        return now == ours or name == _DEFAULT6

    def _is_delivered(self) -> bool:
        return all(routes.is_delivered(marks.DELIVER, version) for version in self._versions)

    def _route(self, verb: str) -> None:
        mark = f"{marks.DELIVER:#x}/{marks.DELIVER:#x}"
        number = str(_ROUTING)
        families = [f"-{version}" for version in self._versions]
        rule = ["rule", verb, "fwmark", mark, "lookup", number, "pref", number]
        route = ["route", "replace" if verb == "add" else verb]
        route += ["local", "default", "dev", "lo", "table", number]
        for family in families:
            # What a crash left behind is removed first, or rules would pile up.
            _ip(family, ["rule", "del", "pref", number], must=False)
            if verb == "add":
                _ip(family, rule, must=True)
            _ip(family, route, must=verb == "add")


@contextmanager
def _others_kept() -> Iterator[None]:
    """Keep what each interface has, while the switch of all is moved."""
    names = [f"net/ipv6/conf/{path.name}/forwarding" for path in _each_interface()]
    before = {name: sysctls.find(name) for name in names}
    yield
    for name, value in before.items():
        if value is not None:
            with suppress(StartupError):  # an interface that has gone meanwhile
                sysctls.write(name, value)


def _each_interface() -> list[Path]:
    folder = sysctls.SYSCTL / "net/ipv6/conf"
    return [path for path in folder.iterdir() if path.name != "all"]


def with_ports(listed: str, port_range: PortRange) -> str:
    """Add a range to the text of `ip_local_reserved_ports`; what was listed stays."""
    ranges = [text for text in listed.split(",") if text]
    if str(port_range) not in ranges:
        ranges.append(str(port_range))
    return ",".join(ranges)


def without_ports(listed: str, port_range: PortRange) -> str:
    """Take a range out of the text of `ip_local_reserved_ports`; what else is listed stays."""
    return ",".join(text for text in listed.split(",") if text and text != str(port_range))


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
