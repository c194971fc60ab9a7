"""The base table as text; pure: policy values in, an nft script out.

`inet sallyport` guards and translates. It outlives the daemon, so that a crash fails closed and
transfers under way go on. Admission is the pins table's part (kernel/pins.py); since an accept in
one table does not override a drop in another, it only marks, and the mark is accepted here.

Closing braces stand on lines of their own: nft 1.0.6 wants it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from sallyport.addresses import MAX_PORT, Endpoint, IpAddress, PortRange
from sallyport.core.policy import Network, NetworkRule, Policy, Relation
from sallyport.flags import Transport
from sallyport.kernel import marks

BASE_TABLE = "sallyport"

# Others number conntrack zones from 1 upwards; this one is high, and 16 bits is all there is.
INTERCEPTED_ZONE = 0x5A11

# Ports below 1024 are where services live (RFC 6335 section 6): no flow is given one as a source.
_FIRST_UNPRIVILEGED = 1024


@dataclass(frozen=True, slots=True)
class Interception:
    """Traffic of one IP version to `port` reaches our loopback listener `listener_port`.

    It comes from inside; or from outside and to `server` alone, which is published.
    """

    version: int
    port: int
    listener_port: int
    transport: Transport = Transport.TCP
    server: IpAddress | None = None


@dataclass(frozen=True, slots=True)
class GatewayRules:
    """What the base table must know besides the policy; raises ValueError when contradictory.

    `masquerade` False leaves translating ordinary traffic to the host.
    """

    port_range: PortRange
    masquerade: bool = True
    interceptions: tuple[Interception, ...] = ()

    def __post_init__(self) -> None:
        wanted = {
            (item.version, item.transport, item.port, item.server) for item in self.interceptions
        }
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
        *_zoned(policy, rules),
        chain("postrouting", _postrouting(policy, rules)),
        _POKES,
        _OPENED_HERE,
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
    "meta l4proto != 6 goto datagrams",
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
            "datagrams", [f"ct mark & {marks.ONE_WAY:#x} != 0 ct direction reply drop", "accept"]
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


_OPENED_HERE = chain(
    # What we open in somebody's name is ours as well: other firewalls see it by the mark, and
    # below it is translated like what the kernel forwards.
    "opened_here",
    [
        "type filter hook output priority mangle; policy accept;",
        f"socket transparent 1 ct mark set ct mark | {marks.PIN:#x}",
    ],
)


def _managed(policy: Policy, rules: GatewayRules) -> Iterator[str]:
    yield "ct state established accept"
    yield "ct state related meta l4proto { 1, 58 } accept"
    yield "ct state invalid counter name invalid drop"
    inside = _inside(policy)
    for item in rules.interceptions if inside else ():
        # Reached only while nobody listens: a protocol of ours passes through us or not at all.
        if item.server is None:
            how = "reject with tcp reset" if item.transport is Transport.TCP else "reject"
            port = _port(item.transport, item.port)
            yield f"iifname {inside} meta nfproto ipv{item.version} {port} {how}"
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
    if outside := _outside(policy):
        # No pinhole matched. A drop tells a stranger nothing (attack F24), the counter tells us. A
        # datagram that got in would become a flow of the gateway's, out of reach of later pinholes.
        yield (
            f"iifname {outside} ct state new ct mark & {marks.PIN:#x} == 0"
            f" meta l4proto {{ 6, 17 }} th dport {rules.port_range} counter name strangers drop"
        )


def _intercept(policy: Policy, rules: GatewayRules) -> Iterator[str]:
    yield "type filter hook prerouting priority mangle; policy accept;"
    # Admitted flows are the kernel's to forward: no socket is looked for, packet by packet.
    yield f"ct mark & {marks.WON:#x} != 0 accept"
    deliver = f"meta mark set meta mark | {marks.DELIVER:#x} ct mark set ct mark | {marks.PIN:#x}"
    # Datagrams before sockets: one that speaks to a client in a server's name, for a moment, would
    # take what other clients are sending to that server.
    yield from _tproxies(policy, rules, Transport.UDP, deliver)
    # Transparent sockets are ours: connections opened in a client's name, and user-mode pinholes.
    yield f"meta l4proto {{ 6, 17 }} socket transparent 1 {deliver} accept"
    yield from _tproxies(policy, rules, Transport.TCP, deliver)
    outside = _outside(policy)
    for rule in policy.publishing_rules:
        # Marked only, for other firewalls: what is published behind NAT is a listener of ours. What
        # is not local must stay unmarked, or the guard would take it for a flow of a pinhole.
        listen = f"{_to(rule.listen, Transport.TCP)} fib daddr type local"
        yield f"iifname {outside} {listen} ct mark set ct mark | {marks.PIN:#x} accept"


def _tproxies(
    policy: Policy, rules: GatewayRules, transport: Transport, deliver: str
) -> Iterator[str]:
    for item in rules.interceptions:
        if item.transport is transport and (origin := _origin(policy, item)):
            to = "ip to 127.0.0.1" if item.version == 4 else "ip6 to [::1]"
            # tproxy comes first: without a listener it ends the rule and nothing is marked.
            yield f"{origin} tproxy {to}:{item.listener_port} {deliver} accept"


def _zoned(policy: Policy, rules: GatewayRules) -> Iterator[str]:
    """Track intercepted datagrams apart, by a chain each for both their ways.

    Otherwise the entry "client to server, port 69" would be there already when a server answers
    from that same port, and the answer, to be told apart, would be given another port.
    """
    items = [item for item in rules.interceptions if item.transport is Transport.UDP]
    if not items or not _inside(policy):
        return
    zone = f"ct zone set {INTERCEPTED_ZONE}"
    arriving = [f"{_origin(policy, item)} {zone}" for item in items]
    yield chain("zone_in", ["type filter hook prerouting priority raw; policy accept;", *arriving])
    ports = ", ".join(str(port) for port in sorted({item.port for item in items}))
    # What we say in a server's name; a server on the gateway itself is nobody's affair.
    leaving = f"udp sport {{ {ports} }} fib saddr type != local {zone}"
    yield chain("zone_out", ["type filter hook output priority raw; policy accept;", leaving])


def _postrouting(policy: Policy, rules: GatewayRules) -> Iterator[str]:
    # Even without rules this chain keeps the kernel translating flows when the pins table dies.
    yield "type nat hook postrouting priority srcnat; policy accept;"
    ports = rules.masquerade_ports
    spread = f" to :{ports[0]}-{ports[-1]}" if ports else ""
    # Full proxy is the pinhole's wish, whoever translates ordinary traffic.
    proxied = marks.PIN | marks.PROXIED
    yield f"ct mark & {proxied:#x} == {proxied:#x} meta l4proto {{ 6, 17 }} masquerade{spread}"
    yield from _published_sources(policy, spread)
    for rule in policy.network_rules:
        source, destination = _ends(policy, rule)
        for version in (4, 6):
            match = _between(source, destination, version)
            leaving = _leaving(source, destination, version)
            if rule.relation(version) is not Relation.NAT or match is None:
                continue
            if not source.is_external:
                # User mode opens it here in the client's name: there is no first interface.
                ours = f"ct mark & {marks.PIN:#x} != 0 meta l4proto {{ 6, 17 }}"
                yield f"{leaving} {ours} masquerade{spread}"
            if rules.masquerade:
                # masquerade does not look at local sockets or pinholes: keep it off our range.
                yield f"{match} meta l4proto {{ 6, 17 }} masquerade{spread}"
                yield f"{match} masquerade"


def _published_sources(policy: Policy, spread: str) -> Iterator[str]:
    """What a published server opens leaves from the address at which its clients know it."""
    places = {(rule.server.address, rule.listen.address) for rule in policy.publishing_rules}
    for server, listen in sorted(places, key=str):
        if server != listen:
            ip = "ip" if server.version == 4 else "ip6"
            to = f" to [{listen}]" if server.version == 6 else f" to {listen}"
            yield (
                f"oifname {_outside(policy)} {ip} saddr {server} ct mark & {marks.PIN:#x} != 0"
                f" meta l4proto 6 snat {ip}{to}{spread.removeprefix(' to ')}"
            )


# -- matches ----------------------------------------------------------------------------


def _inside(policy: Policy) -> str:
    """Match the interfaces that clients are behind; empty when there are none."""
    inside = [network for network in policy.networks if not network.is_external]
    return _names(inside) if inside else ""


def _outside(policy: Policy) -> str:
    """Match the interfaces that strangers are behind; empty when there are none."""
    outside = [network for network in policy.networks if network.is_external]
    return _names(outside) if outside else ""


def _origin(policy: Policy, item: Interception) -> str:
    """Match what is to be intercepted; empty when it cannot come."""
    if item.server is not None:
        server = Endpoint(item.server, item.port)
        return f"iifname {_outside(policy)} {_to(server, item.transport)}"
    if inside := _inside(policy):
        where = f"meta nfproto ipv{item.version} {_port(item.transport, item.port)}"
        return f"iifname {inside} {where} fib daddr type != local"
    return ""


def _to(listen: Endpoint, transport: Transport) -> str:
    """Match what goes to one port of one host."""
    ip = "ip" if listen.version == 4 else "ip6"
    return f"{ip} daddr {listen.address} {_port(transport, listen.port)}"


def _port(transport: Transport, port: int) -> str:
    return f"{transport.name.lower()} dport {port}"


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
    leaving = _leaving(source, destination, version)
    return leaving and f"iifname {_names([source])} {leaving}"


def _leaving(source: Network, destination: Network, version: int) -> str | None:
    """Match what leaves for another network, wherever it came in; None when nothing can."""
    here = _addresses(source, "saddr", version)
    there = _addresses(destination, "daddr", version)
    if here is None or there is None:
        return None
    return f"oifname {_names([destination])} meta nfproto ipv{version}{here}{there}"


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
