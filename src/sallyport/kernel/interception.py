"""Traffic that comes to us although it is addressed to others, as chains of the guard; pure.

Control connections and first datagrams reach our loopback listeners by TPROXY, what our transparent
sockets have opened comes back to them. Both are marked, so that the guard and other firewalls know.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.policy.rules import Policy, Relation
from sallyport.flags import Transport
from sallyport.kernel import marks, sharding
from sallyport.kernel.nft_text import (
    chain,
    coming_from,
    inside,
    outside,
    port_of,
    prefixes,
    to,
)

# Others number conntrack zones from 1 upwards; this one is high, and 16 bits is all there is.
INTERCEPTED_ZONE = 0x5A11
LEG_ZONE = INTERCEPTED_ZONE + 1
DIALLED_ZONE = INTERCEPTED_ZONE + 2


@dataclass(frozen=True, slots=True)
class Interception:
    """Traffic of one IP version to `port` reaches our loopback listeners at `listener_ports`.

    Each worker has one of these, in the order of the workers. The traffic comes from inside; or
    from outside and to `server` alone, which is published. `is_to_us`: it is addressed to the
    gateway itself, where a front end answers it: by this way, and not at a socket of its own, so
    that each client's requests reach the worker that serves the client.
    """

    version: int
    port: int
    listener_ports: tuple[int, ...]
    transport: Transport = Transport.TCP
    server: IpAddress | None = None
    is_to_us: bool = False


_DELIVER = f"meta mark set meta mark | {marks.DELIVER:#x} ct mark set ct mark | {marks.PIN:#x}"

OPENED_HERE = chain(
    # A connection that we open in a client's or server's name is ours as well: other firewalls
    # know it by the mark, and it is translated like what the kernel forwards.
    "opened_here",
    [
        "type filter hook output priority mangle; policy accept;",
        f"socket transparent 1 ct mark set ct mark | {marks.PIN:#x}",
    ],
)


def refusals(policy: Policy, items: Sequence[Interception]) -> Iterator[str]:
    """Refuse what should have been intercepted and came to be forwarded."""
    clients = inside(policy)
    for item in items if clients else ():
        # Reached only while our listener is away: a protocol of ours passes through us or not
        # at all.
        if item.server is None and not item.is_to_us:
            how = "reject with tcp reset" if item.transport is Transport.TCP else "reject"
            port = port_of(item.transport, item.port)
            yield f"iifname {clients} meta nfproto ipv{item.version} {port} {how}"


def intercept(policy: Policy, items: Sequence[Interception]) -> str:
    """Write the chain that sends packets to our sockets instead of past us."""
    return chain("intercept", _intercept(policy, items))


def _intercept(policy: Policy, items: Sequence[Interception]) -> Iterator[str]:
    yield "type filter hook prerouting priority mangle; policy accept;"
    # Admitted flows are the kernel's to forward: no socket is looked for, packet by packet.
    yield f"ct mark & {marks.WON:#x} != 0 accept"
    yield from _door(policy)
    # Datagrams before sockets: one that speaks to a client in a server's name, for a moment, would
    # take what other clients are sending to that server.
    yield from _tproxies(policy, items, Transport.UDP)
    # Transparent sockets are ours: connections opened in a client's name, and user-mode pinholes.
    yield f"meta l4proto {{ 6, 17 }} socket transparent 1 {_DELIVER} accept"
    yield from _tproxies(policy, items, Transport.TCP)
    for rule in policy.publishing_rules:
        # Marked only, for other firewalls: what is published behind NAT is a listener of ours. What
        # is not local must stay unmarked, or the guard would take it for a flow of a pinhole.
        listen = f"{to(rule.listen, rule.transport)} fib daddr type local"
        yield f"iifname {outside(policy)} {listen} ct mark set ct mark | {marks.PIN:#x} accept"


def _door(policy: Policy) -> Iterator[str]:
    """Drop what comes from outside under an address of ours or of an inside network (BCP 38).

    An established flow is known by its addresses: there is nothing to look at.
    """
    strangers = outside(policy)
    if not strangers:
        return
    drop = "goto drop_spoofed"
    clients = [network for network in policy.networks if not policy.is_outside(network)]
    for version, ip in ((4, "ip"), (6, "ip6")):
        if held := prefixes(clients, version):
            yield f"iifname {strangers} ct state != established {ip} saddr {held} {drop}"
    # A neighbour that has our address says so in our name (RFC 4862 section 5.4.4). It comes from
    # the link, and without extension headers (RFC 6980): those that the kernel cannot read it
    # answers, and what is sent to an inside address goes inside.
    yield (
        f"iifname {strangers} ip6 nexthdr 58 icmpv6 type {{ 135, 136 }} ip6 hoplimit 255"
        " fib saddr type local accept"
    )
    yield f"iifname {strangers} ct state != established fib saddr type local {drop}"


def _tproxies(policy: Policy, items: Sequence[Interception], transport: Transport) -> Iterator[str]:
    for item in items:
        if item.transport is transport and (origin := _origin(policy, item)):
            if len(item.listener_ports) == 1:
                yield f"{origin} {_tproxy(item, 0)} {_DELIVER} accept"
            else:
                yield f"{origin} {sharding.match(item.version, _worker_chains(item))}"


def workers(items: Sequence[Interception]) -> Iterator[str]:
    """Yield the chains that `intercept` sends clients to: each delivers to one worker."""
    chains: dict[str, str] = {}
    for item in items:
        if len(item.listener_ports) > 1:
            protocol = f"meta l4proto {item.transport.name.lower()}"
            for worker, name in enumerate(_worker_chains(item)):
                chains[name] = f"{protocol} {_tproxy(item, worker)} {_DELIVER} accept"
    for name, rule in chains.items():
        yield chain(name, [rule])


def _worker_chains(item: Interception) -> list[str]:
    kind = f"{item.transport.name.lower()}{item.version}"
    return [f"{kind}_worker{number}" for number in range(1, len(item.listener_ports) + 1)]


def _tproxy(item: Interception, worker: int) -> str:
    # It comes before the marks: without a listener it ends the rule and nothing is marked.
    listener = "ip to 127.0.0.1" if item.version == 4 else "ip6 to [::1]"
    return f"tproxy {listener}:{item.listener_ports[worker]}"


def legs(policy: Policy) -> Iterator[str]:
    """Track user mode's legs towards clients apart where nothing is translated.

    There the peer's packets to the client and ours in the peer's name have the same addresses and
    ports: one entry would stand for both, so the leg had to speak from another port, and what a
    client sent to the port it had agreed upon was lost. What comes back is known by its socket.
    """
    routed = [
        version
        for version in (4, 6)
        if any(rule.relation(version) is Relation.ROUTE for rule in policy.network_rules)
    ]
    clients = inside(policy)
    if not (clients and routed):
        return
    zone = f"ct zone set {LEG_ZONE}"
    mark = f"{marks.LEG:#x}"
    arriving = [
        f"meta nfproto ipv{version} meta l4proto {{ 6, 17 }} iifname {clients}"
        f" socket mark & {mark} == {mark} {zone}"
        for version in routed
    ]
    yield chain("legs_in", ["type filter hook prerouting priority raw; policy accept;", *arriving])
    leaving = f"meta mark & {mark} != 0 oifname {clients} {zone}"
    yield chain("legs_out", ["type filter hook output priority raw; policy accept;", leaving])


def dialled(policy: Policy, items: Sequence[Interception]) -> Iterator[str]:
    """Track the connections that we open in a client's name apart, as far as it is we who send.

    A rule of the host may set the kernel's FTP helper on port 21. Where nothing is translated it
    sees the same command on both our connections, expects the same data connection twice, and drops
    the second command. Expectations of another zone do not clash, and match nothing outside it.
    """
    ports = {item.port for item in items if item.transport is Transport.TCP}
    ports |= {
        rule.server.port for rule in policy.publishing_rules if rule.transport is Transport.TCP
    }
    if ports:
        listed = ", ".join(map(str, sorted(ports)))
        # In this direction alone: what comes back has no zone, and finds the entry all the same.
        zone = f"ct original zone set {DIALLED_ZONE}"
        rule = f"tcp dport {{ {listed} }} socket transparent 1 {zone}"
        yield chain("dialled", ["type filter hook output priority raw; policy accept;", rule])


def zoned(policy: Policy, items: Sequence[Interception]) -> Iterator[str]:
    """Track datagrams that we take in others' place apart, by a chain each for both their ways.

    Otherwise the entry "client to server, port 69" would be there already when a server answers
    from that same port, and the answer, to be told apart, would be given another port.
    """
    zone = f"ct zone set {INTERCEPTED_ZONE}"
    arriving, leaving = [], []
    datagrams = [item for item in items if item.transport is Transport.UDP and not item.is_to_us]
    ports = sorted({item.port for item in datagrams if item.server is None})
    clients, strangers = inside(policy), outside(policy)
    if ports and clients:
        arriving = [f"{_origin(policy, item)} {zone}" for item in datagrams if item.server is None]
        # What we say in a server's name; a server on the gateway itself is not intercepted.
        listed = ", ".join(map(str, ports))
        leaving = [f"oifname {clients} udp sport {{ {listed} }} fib saddr type != local {zone}"]
    for rule in policy.publishing_rules if strangers else ():
        # Published at an address of ours it is the same: the server may answer from its own port,
        # which the client outside then sees as the one it spoke to.
        if rule.transport is Transport.UDP:
            arriving.append(f"iifname {strangers} {to(rule.listen, rule.transport)} {zone}")
            leaving.append(f"oifname {strangers} {coming_from(rule.listen, rule.transport)} {zone}")
    if arriving:
        yield chain(
            "zone_in", ["type filter hook prerouting priority raw; policy accept;", *arriving]
        )
        yield chain("zone_out", ["type filter hook output priority raw; policy accept;", *leaving])


def _origin(policy: Policy, item: Interception) -> str:
    """Match what is to be intercepted; empty when it cannot come."""
    if item.server is not None:
        server = Endpoint(item.server, item.port)
        return f"iifname {outside(policy)} {to(server, item.transport)}"
    if clients := inside(policy):
        # The port first: one look at the protocol and most packets are past the rule.
        port = port_of(item.transport, item.port)
        local = "local" if item.is_to_us else "!= local"
        return f"{port} meta nfproto ipv{item.version} iifname {clients} fib daddr type {local}"
    return ""
