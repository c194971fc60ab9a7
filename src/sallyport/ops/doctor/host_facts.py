"""Finds out about this host what the checks of `doctor` want to know; changes nothing."""

import ctypes
import re
import resource
import subprocess
from pathlib import Path
from typing import NamedTuple

from sallyport.addresses import PortRange
from sallyport.errors import ConfigError, ConfigErrors, KernelError, OperatorError
from sallyport.kernel import host, marks
from sallyport.kernel.base_table import BASE_TABLE
from sallyport.kernel.guard import interfaces
from sallyport.kernel.pins_table import pins_table
from sallyport.kernel.ruleset import Ruleset
from sallyport.ops.config.load import Configuration, parse, read_text
from sallyport.ops.config.review import HostFacts, review
from sallyport.ops.config.toml_lines import line_map
from sallyport.ops.control.client import request
from sallyport.ops.control.schema import Status
from sallyport.ops.doctor.checks import DoctorFacts
from sallyport.ops.doctor.rulesets import ChainName, HostRules, NftChain, table_names
from sallyport.ops.interfaces import lasting_addresses, local_addresses, vrfs

# A program that does not answer in this time is as good as not there.
_PROGRAM_SECONDS = 10

_SYSCTLS = (
    "net/ipv4/ip_local_reserved_ports",
    "net/netfilter/nf_conntrack_helper",
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_count",
    "net/ipv4/conf/all/rp_filter",
)
# Debian chooses by the short name; where it is not chosen, the programs are there all the same.
_SAVE = ("iptables-save", "ip6tables-save", "iptables-nft-save", "ip6tables-nft-save")
_PAIR = frozenset({"keepalived", "conntrackd"})
_FLUSH = re.compile(r"^\s*flush\s+ruleset\b", re.MULTILINE)

_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_TIMEX_BYTES = 208  # struct timex of 64-bit Linux; with modes 0 nothing is set


class _Read(NamedTuple):
    """What a configuration file says, as far as it can be read."""

    configuration: Configuration | None = None
    mistakes: tuple[ConfigError, ...] = ()
    warnings: tuple[ConfigError, ...] = ()


def find_out(config: Path | None, control_socket: Path) -> DoctorFacts:
    """Return the facts about this host, for the configuration in the file `config`, if any."""
    read = _read(config)
    inside, outside, ports = frozenset[str](), frozenset[str](), DoctorFacts().ports
    port_range = DoctorFacts().port_range
    if (configuration := read.configuration) is not None:
        policy = configuration.policy
        inside = frozenset(interfaces(policy, external=False))
        outside = frozenset(interfaces(policy, external=True))
        ports = frozenset(
            f"{one.dialled_port}/{one.transport.name.lower()}" for one in configuration.supervised
        )
        port_range = configuration.gateway.port_range
    status = _status(control_socket)
    if status is not None:
        port_range = PortRange.parse(status.port_range)
    return DoctorFacts(
        lack=host.missing(),
        is_running=status is not None,
        degraded=status.degraded if status else None,
        rules=_rules(),
        iptables="".join(map(_said, _SAVE)),
        ours=_tables_of_ours(),
        sysctls=_sysctls(inside | outside),
        descriptors=_descriptors(status),
        is_clock_right=_is_clock_right(),
        programs=_running() & _PAIR,
        flushes_at_reload=bool(_FLUSH.search(_text("/etc/nftables.conf"))),
        inside=inside,
        outside=outside,
        ports=ports,
        port_range=port_range,
        mistakes=read.mistakes,
        warnings=read.warnings,
    )


def _read(config: Path | None) -> _Read:
    if config is None:
        return _Read()
    try:
        text = read_text(config)
        configuration = parse(text, str(config))
        facts = HostFacts(lasting_addresses(), local_addresses(), vrfs())
        errors, warnings = review(configuration, str(config), line_map(text), facts)
    except ConfigErrors as found:
        return _Read(mistakes=tuple(found.errors))
    except OperatorError:  # `ip` is missing: `host.missing` says so.
        return _Read(configuration)
    return _Read(configuration, errors, warnings)


def _status(control_socket: Path) -> Status | None:
    try:
        return request(control_socket, "status", expect=Status)
    except OperatorError:
        return None


def _rules() -> HostRules:
    """Return the rules of other programs; of none without nft or the right to ask.

    One table at a time: at a table with an owner, as ours have, nft 1.0.6 ends its JSON half-way,
    without an error.
    """
    chains: dict[ChainName, NftChain] = {}
    helpers: list[str] = []
    for family, table in table_names(_said("nft", "list", "tables")):
        if table.startswith(BASE_TABLE):
            continue
        try:
            found = HostRules.parse(_said("nft", "--json", "list", "table", family, table))
        except ValueError:  # It has gone meanwhile.
            continue
        chains |= found.chains
        helpers += found.helpers
    return HostRules(chains, tuple(helpers))


def _tables_of_ours() -> dict[str, int]:
    names = [BASE_TABLE, *map(pins_table, range(marks.SERIES_COUNT))]
    try:
        with Ruleset() as ruleset:
            owners = {name: ruleset.owner_of(name) for name in names}
    except (KernelError, OSError):
        return {}
    return {name: owner for name, owner in owners.items() if owner is not None}


def _sysctls(names: frozenset[str]) -> dict[str, str]:
    paths = [*_SYSCTLS, *(f"net/ipv4/conf/{name}/rp_filter" for name in names)]
    return {path: _text(f"/proc/sys/{path}").strip() for path in paths}


def _descriptors(status: Status | None) -> int:
    """Return how many descriptors the running gateway may have, or one that we would start."""
    if status is not None:
        for line in _text(f"/proc/{status.pid}/limits").splitlines():
            if line.startswith("Max open files"):
                return int(line.split()[4])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)  # it raises its own limit to that
    return hard


def _is_clock_right() -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)) != _TIME_ERROR)


def _running() -> frozenset[str]:
    return frozenset(_text(str(path)).strip() for path in Path("/proc").glob("[0-9]*/comm"))


def _said(*command: str) -> str:
    """Return what a program prints; nothing when it is not there or fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PROGRAM_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
