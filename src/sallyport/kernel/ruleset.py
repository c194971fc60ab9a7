"""The base table as text; pure: policy values in, an nft script out.

`inet sallyport` guards and translates. It outlives the daemon, so that a crash fails closed and
transfers under way go on. Admission is the pins table's part (kernel/pins.py); since an accept in
one table does not override a drop in another, it only marks, and the mark is accepted here.

Closing braces stand on lines of their own: nft 1.0.6 wants it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from sallyport.addresses import MAX_PORT, PortRange
from sallyport.core.policy import Network, NetworkRule, Policy, Relation
from sallyport.kernel import marks

BASE_TABLE = "sallyport"

# Ports below 1024 are where services live (RFC 6335 section 6): no flow is given one as a source.
_FIRST_UNPRIVILEGED = 1024


@dataclass(frozen=True, slots=True)
class Interception:
    """Connections of one IP version to TCP `port` reach our loopback listener `listener_port`."""

    version: int
    port: int
    listener_port: int


@dataclass(frozen=True, slots=True)
class GatewayRules:
    """What the base table must know besides the policy; raises ValueError when contradictory.

    `masquerade` False leaves translating ordinary traffic to the host.
    """

    port_range: PortRange
    masquerade: bool = True
    interceptions: tuple[Interception, ...] = ()

    def __post_init__(self) -> None:
        wanted = {(item.version, item.port) for item in self.interceptions}
        if len(wanted) != len(self.interceptions):
            raise ValueError("two listeners intercept the same port")
        if self.masquerade and len(self.masquerade_ports) < 1:
            raise ValueError(f"port range {self.port_range} leaves no port to masquerade to")

    @property
    def masquerade_ports(self) -> range:
        """The larger side of the unprivileged ports beside our range; nothing may share a port."""
        below = range(_FIRST_UNPRIVILEGED, self.port_range.first)
        above = range(self.port_range.last + 1, MAX_PORT + 1)
        return max(below, above, key=len)


def chain(name: str, rules: Iterable[str]) -> str:
    """Write one chain."""
    body = "".join(f"        {rule}\n" for rule in rules)
    return f"    chain {name} {{\n{body}    }}\n"


def render_removal(table: str) -> str:
    """Write the script that removes a table, whether it is there or not."""
    return f"table inet {table} {{\n}}\ndelete table inet {table}\n"


def render_base(policy: Policy, rules: GatewayRules) -> str:
    """Write the script that replaces the base table in one transaction."""
    chains = [
        _forward(policy),
        _OURS,
        chain("managed", _managed(policy, rules)),
        chain("input", _input(policy, rules)),
        chain("intercept", _intercept(policy, rules)),
        chain("postrouting", _postrouting(policy, rules)),
        _POKES,
    ]
    body = "\n".join([_counters(), *chains])
    return f"{render_removal(BASE_TABLE)}table inet {BASE_TABLE} {{\n{body}}}\n"


# -- what happens to packets ------------------------------------------------------------


def _counters() -> str:
    names = ("strangers", "invalid")
    return "".join(f"    counter {name} {{\n    }}\n" for name in names)


def _forward(policy: Policy) -> str:
    managed = _names(policy.networks)
    return chain(
        "forward",
        [
            "type filter hook forward priority filter; policy accept;",
            f"ct mark & {marks.PIN:#x} != 0 goto ours",
            # Traffic from or to any other interface is the business of the host's firewall.
            f"iifname {managed} oifname {managed} goto managed",
        ],
    )


_ACCEPT_ENDS = [
    "tcp flags & (fin | rst) == 0 accept",
    # One event, when both sides are done, instead of waiting 120 s for the entry to vanish.
    f"tcp flags & rst != 0 ct mark set ct mark | {marks.ENDS:#x} accept",
    f"ct direction original ct mark set ct mark | {marks.END_ORIGINAL:#x} accept",
    f"ct mark set ct mark | {marks.END_REPLY:#x} accept",
]

_OURS = "\n".join(
    [
        chain(
            "ours",
            [
                f"ct mark & {marks.KILL:#x} != 0 goto killed",
                "ct state related accept",
                # Untranslatable packets would leave with inside addresses.
                "ct state invalid counter name invalid drop",
                f"ct mark & {marks.WON:#x} == 0 goto unproven",
                *_ACCEPT_ENDS,
            ],
        ),
        chain(
            # The pins table proves a flow before we see it; what comes here did not get the
            # pinhole's one place, or the pins table is gone. The handshake itself may go on.
            "unproven",
            [
                "tcp flags & (syn | rst) != 0 accept",
                "ct direction reply accept",
                "meta l4proto 6 reject with tcp reset",
                "drop",
            ],
        ),
        chain(
            "killed",
            [
                "tcp flags & rst != 0 accept",
                "meta l4proto 6 reject with tcp reset",
                "drop",
            ],
        ),
    ]
)

_POKES = chain(
    "pokes",
    [
        "type filter hook output priority raw; policy accept;",
        f"meta mark & {marks.UNTRACKED:#x} != 0 notrack",
    ],
)


def _managed(policy: Policy, rules: GatewayRules) -> Iterator[str]:
    yield "ct state established accept"
    yield "ct state related meta l4proto { 1, 58 } accept"
    yield "ct state invalid counter name invalid drop"
    inside = _inside(policy)
    for version, ports in _intercepted_ports(rules) if inside else ():
        # Reached only while nobody listens: a protocol of ours passes through us or not at all.
        yield f"iifname {inside} meta nfproto ipv{version} tcp dport {ports} reject with tcp reset"
    for network in policy.networks:
        yield f"iifname {_names([network])} oifname {_names([network])} accept"
    for rule in policy.network_rules:
        yield from _relation_rules(policy, rule)
    yield "counter name strangers drop"


def _relation_rules(policy: Policy, rule: NetworkRule) -> Iterator[str]:
    source, destination = _ends(policy, rule)
    for version in (4, 6):
        relation = rule.relation(version)
        if relation is None:
            continue
        there = _between(source, destination, version)
        if there is not None:
            yield f"{there} accept"
        # Routed inside networks see each other; nobody outside ever begins.
        back = _between(destination, source, version)
        if relation is Relation.ROUTE and not destination.is_external and back is not None:
            yield f"{back} accept"


def _input(policy: Policy, rules: GatewayRules) -> Iterator[str]:
    yield "type filter hook input priority filter; policy accept;"
    outside = [network for network in policy.networks if network.is_external]
    if outside:
        # No pinhole matched. A drop tells a stranger nothing (attack F24), the counter tells us.
        yield (
            f"iifname {_names(outside)} ct state new ct mark & {marks.PIN:#x} == 0"
            f" tcp dport {rules.port_range} counter name strangers drop"
        )


def _intercept(policy: Policy, rules: GatewayRules) -> Iterator[str]:
    yield "type filter hook prerouting priority mangle; policy accept;"
    inside = _inside(policy)
    if not rules.interceptions or not inside:
        return
    deliver = f"meta mark set meta mark | {marks.DELIVER:#x}"
    ports = ", ".join(str(port) for port in sorted({item.port for item in rules.interceptions}))
    # Answers to connections we opened from the client's own address (routed relation).
    yield f"tcp sport {{ {ports} }} socket transparent 1 {deliver} accept"
    for item in rules.interceptions:
        to = "ip to 127.0.0.1" if item.version == 4 else "ip6 to [::1]"
        # tproxy comes first: without a listener it ends the rule and nothing is marked.
        yield (
            f"iifname {inside} meta nfproto ipv{item.version} tcp dport {item.port}"
            f" fib daddr type != local tproxy {to}:{item.listener_port}"
            f" {deliver} ct mark set {marks.PIN:#x} accept"
        )


def _postrouting(policy: Policy, rules: GatewayRules) -> Iterator[str]:
    # Even without rules this chain keeps the kernel translating flows when the pins table dies.
    yield "type nat hook postrouting priority srcnat; policy accept;"
    if not rules.masquerade:
        return
    ports = rules.masquerade_ports
    for rule in policy.network_rules:
        source, destination = _ends(policy, rule)
        for version in (4, 6):
            match = _between(source, destination, version)
            if rule.relation(version) is Relation.NAT and match is not None:
                # masquerade does not look at local sockets or pinholes: keep it off our range.
                spread = f"masquerade to :{ports[0]}-{ports[-1]}"
                yield f"{match} meta l4proto {{ 6, 17 }} {spread}"
                yield f"{match} masquerade"


# -- matches ----------------------------------------------------------------------------


def _inside(policy: Policy) -> str:
    """Match the interfaces that clients are behind; empty when there are none."""
    inside = [network for network in policy.networks if not network.is_external]
    return _names(inside) if inside else ""


def _intercepted_ports(rules: GatewayRules) -> Iterator[tuple[int, str]]:
    for version in (4, 6):
        ports = sorted(item.port for item in rules.interceptions if item.version == version)
        if ports:
            yield version, f"{{ {', '.join(map(str, ports))} }}"


def _ends(policy: Policy, rule: NetworkRule) -> tuple[Network, Network]:
    by_name = {network.name: network for network in policy.networks}
    return by_name[rule.source], by_name[rule.destination]


def _names(networks: Iterable[Network]) -> str:
    names = sorted({name for network in networks for name in network.interfaces})
    if not names:
        raise ValueError("a network without interfaces cannot be guarded")
    for name in names:
        # Linux allows a quote in a name; nft's strings know no way to write one.
        if '"' in name or not name.isprintable():
            raise ValueError(f"interface name {name!r} cannot be written in an nft script")
    return "{ " + ", ".join(f'"{name}"' for name in names) + " }"


def _between(source: Network, destination: Network, version: int) -> str | None:
    here = _addresses(source, "saddr", version)
    there = _addresses(destination, "daddr", version)
    if here is None or there is None:
        return None
    names = f"iifname {_names([source])} oifname {_names([destination])}"
    return f"{names} meta nfproto ipv{version}{here}{there}"


def _addresses(network: Network, field: str, version: int) -> str | None:
    """Match one side's addresses: nothing for the external network, None when it has none."""
    if network.is_external:
        return ""
    # An anonymous set must not overlap; neighbours and nested prefixes are merged.
    prefixes: list[str]
    if version == 4:
        v4 = [prefix for prefix in network.addresses if isinstance(prefix, IPv4Network)]
        prefixes = [str(prefix) for prefix in collapse_addresses(v4)]
    else:
        v6 = [prefix for prefix in network.addresses if isinstance(prefix, IPv6Network)]
        prefixes = [str(prefix) for prefix in collapse_addresses(v6)]
    if not prefixes:
        return None
    return f" {'ip' if version == 4 else 'ip6'} {field} {{ {', '.join(prefixes)} }}"
