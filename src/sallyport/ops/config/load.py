"""Configuration: from text, or from two interface names, to values that have a meaning.

`ops.config.document` has checked every key by itself; here is what they mean together. A mistake is
reported where it stands and the reading goes on, so that one run shows them all.
"""

import os
import stat
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from pathlib import Path

from sallyport import limits
from sallyport.addresses import MAX_PORT, IpAddress, IpInterface, IpNetwork, PortRange
from sallyport.core.policy.hosts import Hosts
from sallyport.core.policy.protocols import Direction, ProtocolDefinition
from sallyport.core.policy.rules import (
    AccessRule,
    Action,
    Network,
    NetworkRule,
    Policy,
    Relation,
)
from sallyport.errors import ConfigError, ConfigErrors, StartupError
from sallyport.ops.config.access import read_access_rules
from sallyport.ops.config.admin_shapes import AdminShape, MetricsShape
from sallyport.ops.config.catalogue import ON_BY_DEFAULT, Catalogue
from sallyport.ops.config.document import (
    GatewayShape,
    NetworkRuleShape,
    NetworkShape,
    Report,
    nearest,
    read_document,
)
from sallyport.ops.config.front_ends import read_api, read_pcp, read_socks
from sallyport.ops.config.named import read_named
from sallyport.ops.config.publishing import read_rules
from sallyport.ops.config.selection import Choice, Selection
from sallyport.ops.config.settings import (
    FIRST_FREE_PORT,
    ApiSettings,
    DataPathChoice,
    GatewaySettings,
    PcpSettings,
    SocksSettings,
    node_fault,
    port_range_fault,
    socket_path_fault,
    workers_of,
)
from sallyport.ops.config.toml_lines import KeyPath, line_map, read_toml

# Without O_NONBLOCK opening a FIFO would wait for a writer.
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Configuration:
    """Everything an operator decides.

    `filters` has those that run and those that are off. `supervised` are the protocols of clients
    inside that are intercepted, allowed or not; `unsupervised` names those that a filter is known
    for and that pass as ordinary traffic.
    """

    gateway: GatewaySettings
    policy: Policy
    filters: tuple[Choice, ...] = ()
    supervised: tuple[ProtocolDefinition, ...] = ()
    unsupervised: tuple[str, ...] = ()
    pcp: PcpSettings | None = None
    """The front end for PCP; None while it is off."""
    socks: SocksSettings | None = None
    """The front end for SOCKS; None while it is off."""
    api: ApiSettings | None = None
    """The front end for processes of this host; None while it is off."""
    admin: AdminShape | None = None
    """The admin API over TCP; None: at the control socket alone."""
    metrics: MetricsShape | None = None
    """Where Prometheus asks; None: nowhere."""

    def unintercepted(self) -> "Configuration":
        """Return what it means on a host where nothing can be intercepted: all is ordinary."""
        ordinary = sorted({*self.supervised_names, *self.unsupervised})
        return replace(self, supervised=(), unsupervised=tuple(ordinary), pcp=None)

    @property
    def supervised_names(self) -> tuple[str, ...]:
        """The names of the supervised protocols, in alphabetical order."""
        return tuple(sorted({one.name for one in self.supervised}))


def load(path: Path, catalogue: Catalogue | None = None) -> Configuration:
    """Read the file at `path`; raises ConfigErrors, also for a file that cannot be read.

    `catalogue`: the filters that packages offer, by default those installed.
    """
    return parse(read_text(path), str(path), catalogue)


def read_text(path: Path) -> str:
    """Return the text of the file at `path`; raises ConfigErrors when it cannot be read."""
    try:
        # Without O_NONBLOCK opening a FIFO would wait for a writer.
        with open(
            path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)
        ) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                problem = "is not a regular file; name a TOML file"
                raise ConfigErrors([ConfigError(str(path), 1, problem)])
            content = file.read(limits.MAX_CONFIGURATION_BYTES + 1)
    except OSError as error:
        problem = f"cannot be read: {error.strerror}; name a readable TOML file"
        raise ConfigErrors([ConfigError(str(path), 1, problem)]) from None
    if len(content) > limits.MAX_CONFIGURATION_BYTES:
        problem = f"longer than {limits.MAX_CONFIGURATION_BYTES} bytes; name a TOML file"
        raise ConfigErrors([ConfigError(str(path), 1, problem)])
    try:
        return content.decode("utf-8-sig")  # some editors begin a file with a byte order mark
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = f"byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise ConfigErrors([ConfigError(str(path), line, problem)]) from None


def parse(text: str, file_name: str, catalogue: Catalogue | None = None) -> Configuration:
    """Return what `text` means; raises ConfigErrors, and nothing else, with every mistake.

    Paths of filter files in it are relative to the folder of `file_name`.
    """
    raw = read_toml(text, file_name)
    report = Report(file_name, line_map(text))
    document = read_document(raw, report)
    if not report.errors:
        # Only then: a misspelt key `addresses` must not be told to be a second external network.
        _check_external(document.networks, report)
    gateway = _gateway(document.gateway, report)
    networks = _networks(document.networks, report)
    network_rules = _network_rules(document.network_rules, document.networks, report)
    named = read_named(document, report)
    selection = Selection(
        document.filters, catalogue or Catalogue.installed(), report, Path(file_name).parent
    )
    access_rules = read_access_rules(document.access_rules, named, selection, report)
    publishing_rules = read_rules(
        document.publishing_rules,
        report,
        selection,
        named,
        policy=None if report.errors else Policy(networks, network_rules),
        port_range=gateway.port_range,
    )
    supervised = selection.supervised({name for rule in access_rules for name in rule.protocols})
    allowed = {
        name for rule in access_rules if rule.action is Action.ALLOW for name in rule.protocols
    }
    pcp = read_pcp(document.pcp, report)
    socks = read_socks(document.socks, document.users, report)
    api = read_api(document.api, report)
    choices = selection.choices(allowed | {rule.protocol for rule in publishing_rules})
    report.raise_if_any()
    return Configuration(
        gateway=gateway,
        policy=Policy(
            networks,
            network_rules,
            access_rules,
            publishing_rules=publishing_rules,
            filter_settings=_by_filter(choices),
            ipv6_host_prefix=(document.gateway or GatewayShape()).ipv6_host_prefix,
            groups=named.groups,
        ),
        filters=choices,
        supervised=supervised,
        unsupervised=tuple(
            name
            for name in selection.known_outbound()
            if name not in {one.name for one in supervised}
        ),
        pcp=pcp,
        socks=socks,
        api=api,
        admin=document.admin,
        metrics=document.metrics,
    )


def defaults(catalogue: Catalogue) -> tuple[Choice, ...]:
    """Return the filters as they are where no file says otherwise; raises ConfigErrors."""
    report = Report("the default filters", {})
    wanted = {
        protocol.name for name in ON_BY_DEFAULT for protocol in catalogue.find(name).protocols
    }
    choices = Selection({}, catalogue, report).choices(wanted)
    report.raise_if_any()
    return choices


def _by_filter(choices: Iterable[Choice]) -> dict[str, Mapping[str, object]]:
    return {choice.kind.name: choice.settings for choice in choices}


def from_interfaces(
    internal: str,
    external: str,
    addresses_of: Callable[[str], Iterable[IpInterface]],
    catalogue: Catalogue | None = None,
) -> Configuration:
    """Return the configuration of `run --internal IF --external IF`.

    `addresses_of` returns an interface's own addresses with their prefix lengths. IPv4 is
    translated and IPv6 routed; the filters that are on by default are allowed outbound. Raises
    StartupError.
    """
    if internal == external:
        raise StartupError(f"{internal} cannot be internal and external; name two interfaces")
    inside = _prefixes(addresses_of(internal))
    if not inside:
        raise StartupError(f"{internal} has no address; give it one, or use --config")
    for prefix in _prefixes(addresses_of(external)):
        if shared := [ours for ours in inside if _overlap(ours, prefix)]:
            raise StartupError(
                f"{internal} and {external} are both in {shared[0]};"
                " give the two networks different prefixes"
            )
    choices = defaults(catalogue or Catalogue.installed())
    supervised, ordinary = (
        tuple(
            protocol
            for choice in choices
            if (choice.running is not None) is is_running
            for protocol in choice.kind.protocols
            if protocol.direction is Direction.OUTBOUND
        )
        for is_running in (True, False)
    )
    policy = Policy(
        networks=(Network("internal", (internal,), inside), Network("external", (external,))),
        network_rules=(NetworkRule("internal", "external", Relation.NAT, Relation.ROUTE),),
        access_rules=(
            AccessRule(
                name="default outbound",
                action=Action.ALLOW,
                protocols=frozenset(protocol.name for protocol in supervised),
                sources=Hosts.of("internal"),
                destinations=Hosts.of("external"),
            ),
        ),
        filter_settings=_by_filter(choices),
    )
    unsupervised = tuple(one.name for one in ordinary)
    return Configuration(GatewaySettings(), policy, choices, supervised, unsupervised)


def _gateway(shape: GatewayShape | None, report: Report) -> GatewaySettings:
    default = GatewaySettings()
    if shape is None:
        return default
    ports, socket_path = default.port_range, Path(shape.control_socket)
    try:
        ports = PortRange.parse(shape.port_range)
    except ValueError:
        report.add(
            ("gateway", "port_range"),
            f"{shape.port_range!r} is not FIRST-LAST; write a range within"
            f" {FIRST_FREE_PORT}-{MAX_PORT}, such as 40000-59999",
        )
    workers = workers_of(shape.workers)
    if fault := port_range_fault(ports, masquerade=shape.masquerade, workers=workers):
        report.add(("gateway", "port_range"), fault)
    if fault := node_fault(shape.node, workers):
        report.add(("gateway", "workers"), fault)
    if fault := socket_path_fault(socket_path):
        report.add(("gateway", "control_socket"), fault)
    if report.errors:
        return default
    return GatewaySettings(
        DataPathChoice(shape.data_path),
        ports,
        socket_path,
        masquerade=shape.masquerade,
        workers=workers,
        drain_seconds=shape.drain_seconds,
        node=shape.node,
        control_group=shape.control_group,
        monitor_group=shape.monitor_group,
    )


def _networks(shapes: Mapping[str, NetworkShape | None], report: Report) -> tuple[Network, ...]:
    networks: list[Network] = []
    claimed: dict[IpNetwork, str] = {}
    for name, shape in shapes.items():
        if shape is None:
            continue
        for i, interface in enumerate(shape.interfaces):
            if interface in shape.interfaces[:i]:
                report.add(
                    ("networks", name, "interfaces", i),
                    f"{interface} stands before it; name it once",
                )
        prefixes = _addresses(name, shape.addresses, claimed, report)
        source = _source(name, shape.source, report)
        networks.append(Network(name, tuple(shape.interfaces), prefixes, source))
    return tuple(networks)


def _check_external(networks: Mapping[str, NetworkShape | None], report: Report) -> None:
    if not networks:
        report.add(("networks",), "no networks; write [networks.internal] and [networks.external]")
    external = [name for name, shape in networks.items() if shape and not shape.addresses]
    for name in external[1:]:
        report.add(
            ("networks", name),
            f"{name!r} has no addresses like {external[0]!r}, and only one network can have what"
            ' others leave; write addresses = ["10.0.0.0/24"]',
        )


def _addresses(
    name: str, texts: Iterable[str], claimed: dict[IpNetwork, str], report: Report
) -> tuple[IpNetwork, ...]:
    """Read the prefixes of one network and add them to `claimed`, which has those before."""
    prefixes: list[IpNetwork] = []
    for i, text in enumerate(texts):
        path = ("networks", name, "addresses", i)
        try:
            prefix = _prefix(text)
        except ValueError as error:
            report.add(path, str(error))
            continue
        # An address belongs to one network: overlaps would make the order of rules matter twice.
        for other, owner in claimed.items():
            if _overlap(prefix, other):
                report.add(
                    path, f"{prefix} overlaps {other} of {owner!r}; write networks that are apart"
                )
        claimed[prefix] = name
        prefixes.append(prefix)
    return tuple(prefixes)


def _source(name: str, texts: str | list[str], report: Report) -> tuple[IpAddress, ...]:
    """Read the address that the gateway uses towards one network, one for each IP version."""
    sources: dict[int, IpAddress] = {}
    for text in [texts] if isinstance(texts, str) else texts:
        path = ("networks", name, "source")
        try:
            address = ip_address(text)
        except ValueError:
            report.add(path, f"{text!r} is not an address; write one like 203.0.113.1")
            continue
        if address.is_loopback or address.is_unspecified or address.is_multicast or "%" in text:
            report.add(path, f"no host outside can answer {text}; write an address of the gateway")
        elif address.version in sources:
            report.add(path, f"two IPv{address.version} addresses; write one of them")
        sources[address.version] = address
    return tuple(sources.values())


def _prefix(text: str) -> IpNetwork:
    """Read `10.0.0.0/24`; the ValueError says what is wrong and what to write."""
    if "%" in text:
        # Python accepts zones in networks; to the kernel's address sets they mean nothing.
        raise ValueError(f"{text!r} has a zone; write the network alone")
    try:
        prefix = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is not a network; write one like 10.0.0.0/24") from None
    if prefix.prefixlen == 0:
        raise ValueError(f"{text!r} claims everything; leave the key addresses out instead")
    try:
        return ip_network(text)
    except ValueError:
        raise ValueError(f"{text!r} has host bits set; write {str(prefix)!r}") from None


def _network_rules(
    shapes: Iterable[NetworkRuleShape | None], networks: Collection[str], report: Report
) -> tuple[NetworkRule, ...]:
    rules: dict[tuple[str, str], NetworkRule] = {}
    for i, shape in enumerate(shapes):
        if shape is None:
            continue
        path, pair = ("network_rules", i), (shape.source, shape.destination)
        for key, name in zip(("from", "to"), pair, strict=True):
            _check_network(name, networks, (*path, key), report)
        if shape.ipv4 is None and shape.ipv6 is None:
            report.add(path, 'the rule relates nothing; write ipv4 = "nat" or ipv6 = "route"')
        if pair in rules:
            report.add(
                path,
                f"a rule from {pair[0]!r} to {pair[1]!r} stands above; write one rule for both",
            )
        rules[pair] = NetworkRule(*pair, ipv4=shape.ipv4, ipv6=shape.ipv6)
    return tuple(rules.values())


def _check_network(name: str, networks: Collection[str], path: KeyPath, report: Report) -> None:
    if name not in networks:
        report.add(path, f"no network is named {name!r}; {nearest(name, networks)}")


def _prefixes(addresses: Iterable[IpInterface]) -> tuple[IpNetwork, ...]:
    """Return the networks of an interface's addresses, link-local ones excluded, each once."""
    return tuple(dict.fromkeys(item.network for item in addresses if not item.is_link_local))


def _overlap(one: IpNetwork, other: IpNetwork) -> bool:
    return one.version == other.version and (
        one.network_address in other or other.network_address in one
    )
