"""Publishing rules: from `[[publishing_rules]]` to values, and what is wrong with them.

Behind NAT the gateway listens on an address of its own; on a routed relation outside clients know
the server's own address, and the gateway listens there (semantics section 7).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from sallyport.addresses import MAX_PORT, Endpoint, IpAddress, PortRange, parse_address
from sallyport.core.policy.protocols import Direction
from sallyport.core.policy.rules import Policy, PublishingRule, Relation
from sallyport.errors import StartupError
from sallyport.flags import Transport
from sallyport.ops.config.document import Report
from sallyport.ops.config.named import Named, read_terms
from sallyport.ops.config.rule_shapes import PublishingRuleShape
from sallyport.ops.config.selection import Selection
from sallyport.ops.config.toml_lines import KeyPath

_EXAMPLE = "write one like 203.0.113.1:21"

# What a rule listens at that follows an interface, until the host has been looked at.
_ANY: Mapping[int, IpAddress] = {4: IPv4Address(0), 6: IPv6Address(0)}


def read_rules(
    shapes: Iterable[PublishingRuleShape | None],
    report: Report,
    selection: Selection,
    named: Named,
    *,
    policy: Policy | None,
    port_range: PortRange,
) -> tuple[PublishingRule, ...]:
    """Return the rules that `shapes` mean; mistakes go to `report`.

    `selection` knows which protocols there are, `named` which names. `policy` has the networks
    and their relations; None when they are wrong themselves, and what rests on them is not judged.
    """
    rules: dict[str, PublishingRule] = {}
    for i, shape in enumerate(shapes):
        if shape is None:
            continue
        path = ("publishing_rules", i)
        if shape.name in rules:
            report.add((*path, "name"), f"a rule named {shape.name!r} stands above; rename one")
        fault = selection.fault(shape.protocol, Direction.INBOUND, is_allowed=True)
        if fault is not None:
            report.add((*path, "protocol"), fault)
        server = _endpoint(shape.server, (*path, "server"), report)
        if server is None:
            continue
        listen, interface = _listen(shape.listen, server, (*path, "listen"), report)
        if listen is None:
            continue
        rule = PublishingRule(
            name=shape.name,
            protocol=shape.protocol,
            listen=listen,
            server=server,
            transport=Transport.TCP
            if fault is not None
            else selection.transport_of_published(shape.protocol),
            sources=None
            if shape.sources is None
            else named.hosts(shape.sources, (*path, "from"), report),
            full_proxy=shape.full_proxy,
            is_in_tls=selection.begins_with_tls(shape.protocol, server.port),
            interface=interface,
            **read_terms(shape, path, report, selection, [shape.protocol]),  # type: ignore[arg-type]
        )
        _check_places(rule, rules.values(), path, report)
        if policy is not None:
            _check_networks(rule, policy, port_range, path, report)
        rules[shape.name] = rule
    return tuple(rules.values())


def require_own_addresses(policy: Policy) -> None:
    """Check, at start, that what is published behind NAT is published at an address of ours.

    Raises StartupError.
    """
    for rule in policy.publishing_rules:
        if is_routed(rule) or rule.listen.address in policy.gateway_addresses:
            continue
        raise StartupError(
            f"publishing rule {rule.name!r}: {rule.listen.address} is no address of this host;"
            " `ip address` lists those there are"
        )


def settled(
    rules: Iterable[PublishingRule], addresses_at: Mapping[str, Collection[IpAddress]]
) -> tuple[PublishingRule, ...]:
    """Return the rules as they are on this host: where an interface is named, one for each address.

    `addresses_at`: of each interface those it has now. What a rule says of one address by itself
    holds there, whatever the interface of another rule has.
    """
    written = tuple(rule for rule in rules if rule.interface is None)
    taken = {(rule.transport, rule.listen) for rule in written}
    found = [one for rule in rules for one in _followed(rule, addresses_at)]
    return written + tuple(one for one in found if (one.transport, one.listen) not in taken)


def _followed(
    rule: PublishingRule, addresses_at: Mapping[str, Collection[IpAddress]]
) -> Iterator[PublishingRule]:
    for address in addresses_at.get(rule.interface or "", ()):
        if address.version == rule.server.version:
            yield replace(rule, listen=Endpoint(address, rule.listen.port))


def is_routed(rule: PublishingRule) -> bool:
    """Whether outside clients know the server's own address, where we intercept them."""
    return rule.listen == rule.server


def _listen(
    text: str, server: Endpoint, path: KeyPath, report: Report
) -> tuple[Endpoint | None, str | None]:
    """Read where a rule listens: at an address, or at those of an interface, which is named then.

    The server is of one family, and so are the addresses.
    """
    interface, _colon, port = text.rpartition(":")
    if not port.isdecimal() or any(one in interface for one in ":[]") or _is_address(interface):
        return _endpoint(text, path, report), None
    if not interface or not 0 < int(port) <= MAX_PORT:
        report.add(
            path, f"{text!r} does not name one port of one interface; write one like ext0:21"
        )
        return None, None
    return Endpoint(_ANY[server.version], int(port)), interface


def _is_address(text: str) -> bool:
    try:
        parse_address(text)
    except ValueError:
        return False
    return True


def _endpoint(text: str, path: KeyPath, report: Report) -> Endpoint | None:
    try:
        endpoint = Endpoint.parse(text)
    except ValueError as error:
        report.add(path, f"{error}; {_EXAMPLE}")
        return None
    if endpoint.port == 0 or not _is_host(endpoint.address):
        report.add(path, f"{text!r} does not name one port of one host; {_EXAMPLE}")
        return None
    return endpoint


def _is_host(address: IpAddress) -> bool:
    return not (address.is_unspecified or address.is_multicast or address.is_loopback)


def _check_places(
    rule: PublishingRule, above: Iterable[PublishingRule], path: KeyPath, report: Report
) -> None:
    """Check the two addresses against each other and against those of the rules above."""
    if rule.listen.version != rule.server.version:
        report.add(
            (*path, "server"),
            "listen and server are addresses of two families; write two of one family",
        )
    for other in above:
        if _taken(rule) == _taken(other):
            report.add(
                (*path, "listen"),
                f"{_place(rule)}:{rule.listen.port} is taken by the rule {other.name!r}; write"
                " another address or port",
            )
        elif rule.server.address == other.server.address and _place(rule) != _place(other):
            # Connections that the server opens (FTP active mode) leave from the address its
            # clients know, and the server's address alone must say which.
            report.add(
                (*path, "listen"),
                f"{rule.server.address} is published at {_place(other)} by the rule"
                f" {other.name!r}; publish it there as well",
            )


def _taken(rule: PublishingRule) -> tuple[Transport, str | None, Endpoint]:
    """Return what no two rules may have in common."""
    return rule.transport, rule.interface, rule.listen


def _place(rule: PublishingRule) -> str:
    """Say at which address a rule listens, or at those of which interface."""
    if rule.interface is None:
        return str(rule.listen.address)
    return rule.interface


def _check_networks(
    rule: PublishingRule, policy: Policy, port_range: PortRange, path: KeyPath, report: Report
) -> None:
    """Check what the rule says against what the networks make of it."""
    home = policy.network_of(rule.server.address)
    if home is None or policy.is_outside(home):
        report.add(
            (*path, "server"),
            f"{rule.server.address} is in no inside network; name a server in one that has"
            " addresses",
        )
        return
    relation = policy.relation(rule.server.address, None)
    family = f"ipv{rule.server.version}"
    if relation is None:
        report.add(
            (*path, "server"),
            f"no network rule relates {home.name!r} to the external network for {family}; write one"
            f' with {family} = "nat" or "route"',
        )
    elif relation is Relation.ROUTE and not is_routed(rule):
        report.add(
            (*path, "listen"),
            f"{family} is routed, and outside clients know the server's own address; write"
            f' listen = "{rule.server}"',
        )
    elif relation is Relation.ROUTE and rule.full_proxy:
        report.add(
            (*path, "full_proxy"),
            f"{family} is routed, and full proxy translates; write full_proxy = false",
        )
    elif rule.interface is not None and rule.interface not in _outside_interfaces(policy):
        report.add(
            (*path, "listen"),
            f"{rule.interface!r} is neither an address nor an interface of an outside network;"
            " write one like 203.0.113.1:21 or ext0:21",
        )
    elif relation is Relation.NAT and policy.network_of(rule.listen.address) == home:
        report.add(
            (*path, "listen"),
            f"{rule.listen.address} is behind NAT, where no outside host can reach it; write"
            " an outside address of the gateway",
        )
    elif relation is Relation.NAT and rule.listen.port in port_range:
        report.add(
            (*path, "listen"),
            f"port {rule.listen.port} is in port_range {port_range}, where bindings live; write"
            " another",
        )


def _outside_interfaces(policy: Policy) -> set[str]:
    outside = [network for network in policy.networks if policy.is_outside(network)]
    return {name for network in outside for name in network.interfaces}
