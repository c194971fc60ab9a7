"""The base and the guard table as text; pure: policy values in, nft scripts out.

Both hold the same rules for forwarding and translating, because they survive different things.
`inet sallyport`, the base, has no owner: it outlives the daemon, so a crash fails closed and
transfers under way go on; but `nft flush ruleset` removes it. The guard is owned by the daemon's
netlink socket: no flush, deletion or edit by another program touches it, and the kernel removes it
when the daemon dies. The guard also intercepts, which is of no use without the daemon.

Admission is the pins table's part (kernel/pins_table.py); since an accept in one table does not
override a drop in another, it only marks, and the mark is accepted here.

Closing braces stand on lines of their own: nft 1.0.6 wants it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sallyport import limits
from sallyport.addresses import MAX_PORT, IpAddress, PortRange
from sallyport.core.policy.rules import Network, NetworkRule, Policy, Relation
from sallyport.flags import Transport
from sallyport.kernel import drops, interception, marks
from sallyport.kernel.interception import Interception
from sallyport.kernel.nft_text import (
    addressed,
    between,
    chain,
    coming_from,
    inside,
    leaving,
    names,
    outside,
    prefixes,
)

BASE_TABLE = "sallyport"

GUARD_TABLES = ("sallyport_guard1", "sallyport_guard2")
"""The guard has one of these names, and its replacement the other: for a moment both stand."""

# The base is asked first, so its counters have it all. What it lets pass the guard lets pass too.
_BASE_PRIORITY, _GUARD_PRIORITY = "filter", "filter + 1"

# Nearly every packet of a transfer goes past what is for the few. That a mark is found says that
# conntrack knows the flow and that the packet fits it: an invalid packet has no entry, so no mark.
_FAST_PATH = (
    f"ct mark & {marks.PIN | marks.WON | marks.KILL:#x} == {marks.PIN | marks.WON:#x}"
    " tcp flags & (fin | syn | rst) == 0 accept"
)
# The guard looks for the end of a flow as the base does: while the base is away the guard notes it,
# or the binding would hold its place for two minutes more. A chain more costs each packet 0.2
# microseconds, measured; that is the price of a guard that no flush removes.

# Ports below 1024 are where services live (RFC 6335 section 6): no flow is given one as a source.
_FIRST_UNPRIVILEGED = 1024


@dataclass(frozen=True, slots=True)
class GatewayRules:
    """What the base table must know besides the policy; raises ValueError when contradictory.

    `masquerade` False leaves translating ordinary traffic to the host. `forwarded` are the IP
    versions that the host forwards for others than us: between interfaces of no network they pass.
    `inside_numbers` are the indexes of the interfaces that clients are behind, whatever they are
    called at this moment.
    `are_drops_sampled`: whether some of what is dropped is copied to `kernel.drops`.
    """

    port_range: PortRange
    masquerade: bool = True
    interceptions: tuple[Interception, ...] = ()
    forwarded: frozenset[int] = frozenset()
    inside_numbers: frozenset[int] = frozenset()
    are_drops_sampled: bool = False

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


def render_removal(table: str) -> str:
    """Write the script that removes a table, whether it is there or not."""
    return f"table inet {table} {{\n}}\ndelete table inet {table}\n"


def render_base(policy: Policy, rules: GatewayRules) -> str:
    """Write the script that replaces the base table in one transaction."""
    body = "\n".join(_guarding(policy, rules, _BASE_PRIORITY))
    return f"{render_removal(BASE_TABLE)}table inet {BASE_TABLE} {{\n{body}}}\n"


def render_guard(policy: Policy, rules: GatewayRules, name: str, *, is_owned: bool = True) -> str:
    """Write the script that makes a guard table; the socket that it is sent on owns the table."""
    chains = [
        *_guarding(policy, rules, _GUARD_PRIORITY),
        *interception.workers(rules.interceptions),
        interception.intercept(policy, rules.interceptions),
        *interception.zoned(policy, rules.interceptions),
        *interception.dialled(policy, rules.interceptions),
        *interception.legs(policy),
        _FORGED_ACKS,
        interception.OPENED_HERE,
    ]
    body = "\n".join(chains)
    owned = "    flags owner;\n" if is_owned else ""
    return f"table inet {name} {{\n{owned}{body}}}\n"


def _guarding(policy: Policy, rules: GatewayRules, priority: str) -> list[str]:
    return [
        *_drops(is_sampled=rules.are_drops_sampled),
        _forward(policy, rules, priority),
        _OURS,
        chain("managed", _managed(policy, rules)),
        _FOREIGN,
        chain("input", _input(policy, rules, priority)),
        chain("postrouting", _postrouting(policy, rules)),
    ]


# -- what happens to packets ------------------------------------------------------------


def _drops(*, is_sampled: bool) -> Iterator[str]:
    """Yield for each reason a counter, and the chain that counts a packet and drops it.

    A few a second are copied to us, for the log.
    """
    rate = f"limit rate {limits.DROP_SAMPLES}/second burst {limits.DROP_SAMPLES} packets"
    for version in (4, 6):
        yield (
            f"    set knocked{version} {{\n"
            f"        type ipv{version}_addr . inet_proto . inet_service\n"
            f"        size {limits.MAX_KNOCKED_PORTS}\n"
            "        flags dynamic,timeout\n"
            f"        timeout {limits.KNOCKED_SECONDS}s\n"
            "    }\n"
        )
    for name in drops.REASONS:
        yield f"    counter {name} {{\n    }}\n"
        noting = _NOTE_WHERE if name == "strangers" else []
        log = f'log prefix "{name}" group {drops.GROUP} snaplen {drops.SAMPLED_BYTES}'
        sampling = [f"{rate} {log}"] if is_sampled else []
        yield chain(f"drop_{name}", [*noting, *sampling, f"counter name {name} drop"])


# At which ports strangers have been lately: pinholes that close unused say so (kernel/knocks.py).
# By port alone: sources can be forged, and would fill it. As a map that has the source for data it
# would say who; but nft 1.0.6 loads an IPv6 source into a register in which the key is.
_NOTE_WHERE = [
    f"meta l4proto {{ 6, 17 }} update @knocked{version} {{ {ip} daddr . meta l4proto . th dport }}"
    for version, ip in ((4, "ip"), (6, "ip6"))
]


def _forward(policy: Policy, rules: GatewayRules, priority: str) -> str:
    managed = names(policy.networks)
    return chain(
        "forward",
        [
            f"type filter hook forward priority {priority}; policy accept;",
            _FAST_PATH,
            f"ct mark & {marks.PIN:#x} != 0 goto ours",
            f"iifname {managed} oifname {managed} goto managed",
            *_unmanaged(policy, rules),
        ],
    )


def _unmanaged(policy: Policy, rules: GatewayRules) -> Iterator[str]:
    """What comes from or goes to an interface of no network: new, renamed, a VLAN, a third one."""
    if clients := inside(policy):
        yield f"oifname {clients} goto foreign"
    if rules.inside_numbers:
        # One that was renamed a moment ago: the rules have its old name still.
        yield f"oif {{ {', '.join(map(str, sorted(rules.inside_numbers)))} }} goto foreign"
    # That packets are forwarded at all is our doing where the host did not do it before: nothing
    # may pass between other interfaces that did not pass without us.
    for version in (4, 6):
        if version not in rules.forwarded:
            yield f"meta nfproto ipv{version} goto foreign"


# A port that the host forwards by its own rule stays open; so does what was begun from inside.
_ASKED_FOR = [
    "ct state established accept",
    "ct state related meta l4proto { 1, 58 } accept",
    "ct state invalid goto drop_invalid",
    "ct status dnat accept",
]

_FOREIGN = chain("foreign", [*_ASKED_FOR, "goto drop_strangers"])

_ACCEPT_ENDS = [
    "tcp flags & (fin | rst) == 0 accept",
    "meta l4proto != 6 goto datagrams",
    # To add a bit is to read and to write, and the daemon notes here that an end is recorded. Of a
    # client that has vanished resets come by the dozen, and one of them would take the note away.
    f"ct mark & {marks.ENDS:#x} == {marks.ENDS:#x} accept",
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
                # A control connection, which ends at a socket of ours. Its packets come to be
                # forwarded only when that socket has gone; they must not reach the server past us.
                f"ct mark & {marks.GENERATION:#x} == 0 goto killed",
                "ct state related accept",
                # Untranslatable packets would leave with inside addresses.
                "ct state invalid goto drop_invalid",
                f"ct mark & {marks.WON:#x} == 0 goto unproven",
                # A new connection begins with a new pinhole. conntrack lets the SYN of one pass
                # on the entry of the last, which one side has reset or left half closed, and with
                # the answer makes it a connection again.
                "tcp flags & (syn | ack) == syn drop",
                *_ACCEPT_ENDS,
            ],
        ),
        chain(
            # The pins table proves a flow before we see it; what comes here did not get the
            # pinhole's one place, or the pins table is gone. The handshake itself may go on.
            "unproven",
            [
                "ct direction reply accept",
                # Not SYN|ACK, which acknowledges like the third packet of a handshake: whether a
                # listener takes it for that is for us to prevent and not for it to decide.
                "tcp flags & (syn | ack) == syn accept",
                "tcp flags & rst != 0 accept",
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

_FORGED_ACKS = chain(
    "forged_acks",
    [
        "type filter hook output priority raw; policy accept;",
        f"meta mark & {marks.UNTRACKED:#x} != 0 notrack",
    ],
)


def _managed(policy: Policy, rules: GatewayRules) -> Iterator[str]:
    yield from _ASKED_FOR
    yield from interception.refusals(policy, rules.interceptions)
    for network in policy.networks:
        if policy.apart_from(network):
            # The interfaces do not tell which network it is.
            for version in (4, 6):
                if within := between(network, network, version, policy):
                    yield f"{within} accept"
        else:
            yield f"iifname {names([network])} oifname {names([network])} accept"
    for rule in policy.network_rules:
        yield from _relation_rules(policy, rule)
    yield "goto drop_strangers"


def _relation_rules(policy: Policy, rule: NetworkRule) -> Iterator[str]:
    source, destination = _ends(policy, rule)
    for version in (4, 6):
        relation = rule.relation(version)
        if relation is None:
            continue
        there = between(source, destination, version, policy)
        if there is not None:
            yield f"{there} accept"
        # Routed inside networks see each other; an outside host never begins a flow.
        back = between(destination, source, version, policy)
        if relation is Relation.ROUTE and not policy.is_outside(destination) and back is not None:
            yield f"{back} accept"


def _input(policy: Policy, rules: GatewayRules, priority: str) -> Iterator[str]:
    yield f"type filter hook input priority {priority}; policy accept;"
    if strangers := outside(policy):
        # No pinhole matched. A drop tells a stranger nothing (attack F24), the counter tells us. A
        # datagram that got in would become a flow of the gateway's, out of reach of later pinholes.
        yield (
            f"iifname {strangers} ct state new ct mark & {marks.PIN:#x} == 0"
            f" meta l4proto {{ 6, 17 }} th dport {rules.port_range} goto drop_strangers"
        )


def _postrouting(policy: Policy, rules: GatewayRules) -> Iterator[str]:
    # Even without rules this chain keeps the kernel translating flows when the pins table dies.
    yield "type nat hook postrouting priority srcnat; policy accept;"
    ports = rules.masquerade_ports
    spread = f" to :{ports[0]}-{ports[-1]}" if ports else ""
    # A pinhole may ask for full proxy even where the host translates ordinary traffic.
    proxied = marks.PIN | marks.PROXIED
    for network in policy.networks:
        for version in (4, 6):
            own = network.source_of(version)
            if own is not None:
                yield (
                    f"oifname {names([network])} meta nfproto ipv{version}"
                    f" ct mark & {proxied:#x} == {proxied:#x} meta l4proto {{ 6, 17 }}"
                    f" {_translation(own)}{spread.removeprefix(' to ')}"
                )
    yield f"ct mark & {proxied:#x} == {proxied:#x} meta l4proto {{ 6, 17 }} masquerade{spread}"
    yield from _published_sources(policy, spread)
    within = [network for network in policy.networks if not policy.is_outside(network)]
    for rule in policy.network_rules:
        source, destination = _ends(policy, rule)
        for version in (4, 6):
            match = between(source, destination, version, policy)
            departure = leaving(source, destination, version, policy)
            if rule.relation(version) is not Relation.NAT or match is None:
                continue
            own = destination.source_of(version)
            plain = "masquerade" if own is None else _translation(own)
            ported = plain + (spread if own is None else spread.removeprefix(" to "))
            if not policy.is_outside(source):
                # User mode opens it here in the client's name: there is no first interface.
                ours = f"ct mark & {marks.PIN:#x} != 0 meta l4proto {{ 6, 17 }}"
                yield f"{departure} {ours} {ported}"
                if policy.is_outside(destination):
                    # By an interface that was renamed a moment ago, or is no network's. A flow
                    # whose first packet is not translated never is, however often that is repeated.
                    # Not what goes to another network inside: its interface was renamed, perhaps.
                    ends = addressed(source, destination, version, policy)
                    yield (
                        f"oifname != {names(policy.networks)} {ends}"
                        f" {'ip' if version == 4 else 'ip6'} daddr != {prefixes(within, version)}"
                        f" {ours} {ported}"
                    )
            if rules.masquerade:
                # Translation does not look at local sockets or pinholes: keep it off our range.
                yield f"{match} meta l4proto {{ 6, 17 }} {ported}"
                yield f"{match} {plain}"


def _translation(source: IpAddress) -> str:
    """Write the translation to one address; a port range may follow at once."""
    return f"snat ip to {source}" if source.version == 4 else f"snat ip6 to [{source}]"


def _published_sources(policy: Policy, spread: str) -> Iterator[str]:
    """What a published server opens leaves from the address at which its clients know it.

    Datagrams from the very port that is published leave from the port where its clients found it.
    By whichever interface: one that was renamed a moment ago is not known by its name.
    """
    for rule in policy.publishing_rules:
        if rule.transport is Transport.UDP and rule.server != rule.listen:
            yield (
                f"oifname != {inside(policy)} {coming_from(rule.server, rule.transport)}"
                f" ct mark & {marks.PIN:#x} != 0"
                f" {_translation(rule.listen.address)}:{rule.listen.port}"
            )
    places = {(rule.server.address, rule.listen.address) for rule in policy.publishing_rules}
    for server, listen in sorted(places, key=str):
        if server != listen:
            ip = "ip" if server.version == 4 else "ip6"
            yield (
                f"oifname != {inside(policy)} {ip} saddr {server} ct mark & {marks.PIN:#x} != 0"
                f" meta l4proto {{ 6, 17 }} {_translation(listen)}{spread.removeprefix(' to ')}"
            )


# -- matches ----------------------------------------------------------------------------


def _ends(policy: Policy, rule: NetworkRule) -> tuple[Network, Network]:
    by_name = {network.name: network for network in policy.networks}
    return by_name[rule.source], by_name[rule.destination]
