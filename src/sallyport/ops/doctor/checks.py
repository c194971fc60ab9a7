"""What else of a host matters: kernel, sysctls, tables, limits, clock, leftovers, its peers.

Each check is a pure function of the facts, so that a test can put any host before it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sallyport.addresses import PortRange
from sallyport.errors import ConfigError
from sallyport.ops.doctor.finding import Finding, doubtful, wrong
from sallyport.ops.doctor.firewalls import check_firewalls
from sallyport.ops.doctor.rulesets import HostRules

# From here on a burst of connections may fill the table; the kernel then drops new ones.
_FULL_SHARE = 0.8

# One control connection takes four descriptors; fewer than this serve less than a thousand clients.
_FEW_DESCRIPTORS = 4096


@dataclass(frozen=True, slots=True)
class DoctorFacts:
    """What was found out about a host; empty where it could not be."""

    lack: str | None = None
    """What the gateway cannot do without and is missing."""
    is_running: bool = False
    """Whether a gateway answers at the control socket."""
    degraded: str | None = None
    """What the running gateway says of itself."""
    rules: HostRules = field(default_factory=lambda: HostRules({}))
    iptables: str = ""
    """What iptables-save and ip6tables-save print."""
    ours: Mapping[str, int] = field(default_factory=dict)
    """The tables of ours, with the netlink port of their owner, 0 for none."""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    """By path below /proc/sys."""
    descriptors: int = _FEW_DESCRIPTORS
    is_clock_right: bool = True
    programs: frozenset[str] = frozenset()
    """Which of keepalived and conntrackd run."""
    flushes_at_reload: bool = False
    """Whether /etc/nftables.conf begins by deleting every table."""
    inside: frozenset[str] = frozenset()
    """The interfaces of inside networks."""
    outside: frozenset[str] = frozenset()
    ports: frozenset[str] = frozenset({"21/tcp", "69/udp"})
    """Where supervised protocols are spoken."""
    port_range: PortRange = field(default_factory=lambda: PortRange.parse("40000-59999"))
    mistakes: tuple[ConfigError, ...] = ()
    """What `check-config` says is wrong in the configuration."""
    warnings: tuple[ConfigError, ...] = ()

    def number(self, sysctl: str) -> int:
        """Return the value of a sysctl; 0 where there is none."""
        text = self.sysctls.get(sysctl, "")
        return int(text) if text.isdigit() else 0


def examine(facts: DoctorFacts) -> list[Finding]:
    """Return everything that the checks find, what does not work first."""
    found = [finding for check in CHECKS.values() for finding in check(facts)]
    return sorted(found, key=lambda one: one.severity, reverse=True)


def _kernel(facts: DoctorFacts) -> Iterator[Finding]:
    if facts.lack is not None:
        yield wrong(
            "host-lacks",
            facts.lack,
            "without it nothing is intercepted and the kernel forwards nothing of ours",
        )


def _running(facts: DoctorFacts) -> Iterator[Finding]:
    if facts.degraded is not None:
        yield wrong(
            "gateway-degraded",
            f"the running gateway is degraded: {facts.degraded}",
            "something that it set up on this host is not as it should be",
            "sallyport status",
        )


def _configuration(facts: DoctorFacts) -> Iterator[Finding]:
    for one in facts.mistakes:
        yield wrong(
            "configuration-mistake",
            f"{one.file}:{one.line}: {one.problem}",
            "a start or reload refuses this file",
            f"sallyport check-config {one.file}",
        )
    for one in facts.warnings:
        yield doubtful(
            "configuration-doubt",
            f"{one.file}:{one.line}: {one.problem}",
            "the gateway runs with it, though hardly as meant",
            f"sallyport check-config {one.file}",
        )


def _firewalls(facts: DoctorFacts) -> Iterator[Finding]:
    yield from check_firewalls(facts.rules, facts.iptables, facts.inside, facts.ports)
    if facts.flushes_at_reload:
        yield doubtful(
            "ruleset-flushed-at-reload",
            "/etc/nftables.conf begins with `flush ruleset`",
            "each reload of nftables removes the base table; the guard stays, and the table is put"
            " back within a second, but the control connections of that second are not intercepted",
            "in /etc/nftables.conf delete the tables of that file alone, instead of all",
        )


def _helpers(facts: DoctorFacts) -> Iterator[Finding]:
    names = sorted(set(facts.rules.helpers) & {"ftp", "tftp", "sip", "irc"})
    if facts.number("net/netfilter/nf_conntrack_helper"):
        names.append("all, by net.netfilter.nf_conntrack_helper")
    if names:
        yield doubtful(
            "kernel-helper",
            f"the kernel's conntrack helpers are assigned on this host: {', '.join(names)}",
            "Sallyport keeps them from its own connections; where they look at others, they open"
            " ports that no rule of Sallyport has granted",
            "sysctl -w net.netfilter.nf_conntrack_helper=0",
            "nft list ruleset | grep -n 'ct helper'",
        )


def _leftovers(facts: DoctorFacts) -> Iterator[Finding]:
    # A worker owns its table for as long as it lives: then a gateway runs, at another socket.
    if facts.ours and not facts.is_running and not any(facts.ours.values()):
        orphans = sorted(facts.ours)
        yield doubtful(
            "leftover-tables",
            f"no gateway answers, and tables of one are left: {', '.join(orphans)}",
            "what a killed gateway left keeps its inside networks closed; the next start cleans up",
            "sallyport run --config FILE",
            *(f"nft delete table inet {name}" for name in orphans),
        )


def _ports(facts: DoctorFacts) -> Iterator[Finding]:
    first, last = facts.port_range.first, facts.port_range.last
    reserved = facts.sysctls.get("net/ipv4/ip_local_reserved_ports", "")
    if facts.is_running and f"{first}-{last}" not in reserved.split(","):
        yield wrong(
            "ports-not-reserved",
            f"the ports {first}-{last} are not reserved: {reserved or 'none is'}",
            "a program of this host may be given a port that a binding needs",
            f"sysctl -w net.ipv4.ip_local_reserved_ports={first}-{last}",
        )


def _reverse_path(facts: DoctorFacts) -> Iterator[Finding]:
    everywhere = facts.number("net/ipv4/conf/all/rp_filter")
    for interface in sorted(facts.inside | facts.outside):
        own = facts.number(f"net/ipv4/conf/{interface}/rp_filter")
        if max(own, everywhere) == 1:
            yield doubtful(
                "reverse-path-strict",
                f"{interface} drops packets whose answer would leave elsewhere (rp_filter = 1)",
                "with two ways to one network, packets of transfers vanish without a trace",
                f"sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{interface}.rp_filter=2",
            )


def _conntrack(facts: DoctorFacts) -> Iterator[Finding]:
    most = facts.number("net/netfilter/nf_conntrack_max")
    used = facts.number("net/netfilter/nf_conntrack_count")
    if most and used > _FULL_SHARE * most:
        yield wrong(
            "conntrack-full",
            f"the connection table has {used} of {most} entries",
            "when it is full the kernel drops every new connection, of Sallyport too",
            f"sysctl -w net.netfilter.nf_conntrack_max={2 * most}",
        )


def _descriptors(facts: DoctorFacts) -> Iterator[Finding]:
    if facts.descriptors < _FEW_DESCRIPTORS:
        yield doubtful(
            "few-descriptors",
            f"the gateway may have {facts.descriptors} open descriptors",
            "that is enough for some hundred clients; the next ones are refused",
            "LimitNOFILE=524288 in the unit, or `ulimit -n 524288` before `sallyport run`",
        )


def _clock(facts: DoctorFacts) -> Iterator[Finding]:
    if not facts.is_clock_right:
        yield doubtful(
            "clock-not-synchronised",
            "the kernel says that the clock is not synchronised",
            "schedules in rules go by it, and the times in the log cannot be compared with those of"
            " other hosts",
            "timedatectl set-ntp true",
        )


def _pair(facts: DoctorFacts) -> Iterator[Finding]:
    if facts.programs == {"keepalived"}:
        yield doubtful(
            "pair-without-conntrackd",
            "keepalived runs here, and conntrackd does not",
            "if this gateway is one of a pair, transfers do not survive a change of the active one",
            "systemctl start conntrackd",
        )


CHECKS = {
    "kernel and programs": _kernel,
    "running gateway": _running,
    "configuration": _configuration,
    "other firewalls": _firewalls,
    "kernel helpers": _helpers,
    "leftovers": _leftovers,
    "reserved ports": _ports,
    "reverse path filter": _reverse_path,
    "connection table": _conntrack,
    "descriptors": _descriptors,
    "clock": _clock,
    "pair": _pair,
}
"""What is looked at, in the words of `sallyport doctor`."""
