"""A second look at a configuration that can be read: does it fit this host, and does it mean much?

An error is what `run` would refuse. A warning is what it would run with, though hardly as meant.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, product
from typing import NamedTuple

from sallyport.addresses import IpAddress
from sallyport.core.policy.hosts import Hosts
from sallyport.core.policy.rules import AccessRule, Policy
from sallyport.errors import ConfigError
from sallyport.kernel.cuts import ForwardedFlow, cuts
from sallyport.ops.config.load import Configuration
from sallyport.ops.config.publishing import is_routed
from sallyport.ops.config.toml_lines import KeyPath


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What a configuration has to fit: this host's interfaces and addresses."""

    interfaces: Mapping[str, Collection[IpAddress]]
    """Of each interface the addresses that others may know."""
    addresses: Collection[IpAddress]
    """Every address of this host."""
    vrfs: Mapping[str, str] = field(default_factory=dict)
    """The interfaces that belong to a VRF, with its name."""
    forwarded: Collection[ForwardedFlow] = ()
    """What the host forwards now, if we may know."""


class Findings(NamedTuple):
    """What the second look found, each at its line."""

    errors: tuple[ConfigError, ...]
    warnings: tuple[ConfigError, ...]


def review(
    configuration: Configuration, file: str, lines: Mapping[KeyPath, int], host: HostFacts
) -> Findings:
    """Return what is wrong or doubtful; `lines` says where the keys of `file` stand."""

    def placed(found: Iterator[tuple[KeyPath, str]]) -> tuple[ConfigError, ...]:
        return tuple(ConfigError(file, _line(lines, path), problem) for path, problem in found)

    policy = configuration.policy
    return Findings(
        errors=placed(_foreign_addresses(policy, host)),
        warnings=placed(chain(_doubts(policy, host), _cuts(configuration, host))),
    )


def _doubts(policy: Policy, host: HostFacts) -> Iterator[tuple[KeyPath, str]]:
    yield from _missing_interfaces(policy, host)
    yield from _vrf_ports(policy, host)
    yield from _bare_interfaces(policy, host)
    yield from _useless_rules(policy)


def _cuts(configuration: Configuration, host: HostFacts) -> Iterator[tuple[KeyPath, str]]:
    ports = {(one.transport, one.dialled_port) for one in configuration.supervised}
    for cut in cuts(configuration.policy, ports, host.forwarded, host.addresses):
        yield ("networks", cut.network), str(cut)


def _line(lines: Mapping[KeyPath, int], path: KeyPath) -> int:
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def _foreign_addresses(policy: Policy, host: HostFacts) -> Iterator[tuple[KeyPath, str]]:
    for i, rule in enumerate(policy.publishing_rules):
        address = rule.listen.address
        is_ours = address in host.addresses or address in policy.sources
        if not (is_routed(rule) or is_ours or rule.interface is not None):
            yield (
                ("publishing_rules", i, "listen"),
                f"{address} is no address of this host; write one that `ip address` lists",
            )


def _missing_interfaces(policy: Policy, host: HostFacts) -> Iterator[tuple[KeyPath, str]]:
    for network in policy.networks:
        for i, name in enumerate(network.interfaces):
            if name not in host.interfaces:
                yield (
                    ("networks", network.name, "interfaces", i),
                    f"there is no interface {name!r} now; `ip link` lists those there are",
                )


def _vrf_ports(policy: Policy, host: HostFacts) -> Iterator[tuple[KeyPath, str]]:
    for network in policy.networks:
        for i, name in enumerate(network.interfaces):
            if (vrf := host.vrfs.get(name)) is not None:
                yield (
                    ("networks", network.name, "interfaces", i),
                    f"{name} belongs to the VRF {vrf}, whose routes come before ours: what is"
                    " intercepted there does not reach the gateway and is dropped; take the"
                    f" interface out (`ip link set {name} nomaster`), or run the gateway in a"
                    " network namespace instead of a VRF",
                )


def _bare_interfaces(policy: Policy, host: HostFacts) -> Iterator[tuple[KeyPath, str]]:
    for i, rule in enumerate(policy.publishing_rules):
        version = rule.server.version
        there = host.interfaces.get(rule.interface or "")
        if there is not None and all(one.version != version for one in there):
            yield (
                ("publishing_rules", i, "listen"),
                f"{rule.interface} has no IPv{version} address now, and rule {rule.name!r}"
                " publishes nothing until it has one; `ip address` lists those there are",
            )


def _useless_rules(policy: Policy) -> Iterator[tuple[KeyPath, str]]:
    related = {(rule.source, rule.destination) for rule in policy.network_rules}
    decided: dict[tuple[str, str, str], str] = {}
    for i, rule in enumerate(policy.access_rules):
        cases = {case for case in _cases(policy, rule) if case[1:] in related}
        if not cases:
            yield (
                ("access_rules", i),
                f"rule {rule.name!r} never matches: no network rule relates its from to its to",
            )
        elif cases <= decided.keys():
            above = dict.fromkeys(decided[case] for case in sorted(cases))
            yield (
                ("access_rules", i),
                f"rule {rule.name!r} never matches: it is shadowed by"
                f" {' and '.join(map(repr, above))} above; remove it, or move it up",
            )
        for case in cases if _decides_alone(rule) else ():
            decided.setdefault(case, rule.name)


def _cases(policy: Policy, rule: AccessRule) -> Iterator[tuple[str, str, str]]:
    """Return each protocol, source and destination that a rule may be about."""
    sources, destinations = _networks(policy, rule.sources), _networks(policy, rule.destinations)
    return product(rule.protocols, sources, destinations)


def _networks(policy: Policy, hosts: Hosts) -> set[str]:
    """Return the networks that some of these hosts are in, or may be in."""
    touched = set(hosts.networks)
    for low, high in hosts.addresses.ranges:
        first, last, is_within = int(low), int(high), False
        for network in policy.networks:
            for prefix in network.addresses:
                begin, end = int(prefix.network_address), int(prefix.broadcast_address)
                if prefix.version == low.version and begin <= last and first <= end:
                    touched.add(network.name)
                    is_within = is_within or begin <= first <= last <= end
        if not is_within:
            touched.update(network.name for network in policy.networks if network.is_external)
    return touched


def _decides_alone(rule: AccessRule) -> bool:
    """Return whether a rule decides its cases for everyone, at all times and however asked."""
    depends = (rule.users, rule.schedule, rule.frontends)
    by_address = rule.sources.addresses or rule.destinations.addresses
    return not by_address and all(one is None for one in depends)
