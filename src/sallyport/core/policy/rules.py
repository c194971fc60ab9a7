"""Policy: networks, their relations, and the rules. The one place where "may this be?" is decided.

Rules are asked in order, the first match wins, the last word is deny. A relation between the two
networks must exist before any rule is asked (semantics section 7).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from ipaddress import ip_network

from sallyport import limits
from sallyport.addresses import Endpoint, IpAddress, IpNetwork, text_of


class Relation(StrEnum):
    """How packets pass between two networks."""

    NAT = "nat"
    ROUTE = "route"


class AllowedAddresses(IntEnum):
    """Which client addresses a binding may name; the wider includes the narrower."""

    CLIENT = 0
    CLASS_C = 1
    NETWORK = 2
    ALL = 3


class Action(StrEnum):
    """What a rule says."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Network:
    """A set of addresses behind some interfaces.

    Without addresses it is *external*: it claims everything that no other network claims.
    """

    name: str
    interfaces: tuple[str, ...]
    addresses: tuple[IpNetwork, ...] = ()
    source: tuple[IpAddress, ...] = ()
    """The gateway's own address towards this network, at most one for each IP version: it dials
    from it, translates to it and binds at it, even before the address is on the host (the virtual
    address of a pair). Without one, routing chooses."""

    @property
    def is_external(self) -> bool:
        """Whether this network claims only what others leave."""
        return not self.addresses

    def source_of(self, version: int) -> IpAddress | None:
        """Return the gateway's own address towards the network, if one of this version is set."""
        return next((one for one in self.source if one.version == version), None)


@dataclass(frozen=True, slots=True)
class NetworkRule:
    """The relation between two networks, for each address family; None means no traffic."""

    source: str
    destination: str
    ipv4: Relation | None = None
    ipv6: Relation | None = None

    def relation(self, version: int) -> Relation | None:
        """Give the relation for IP version 4 or 6."""
        return self.ipv4 if version == 4 else self.ipv6


@dataclass(frozen=True, slots=True)
class AccessRule:
    """Who may use which protocols towards whom, and how far bindings may go."""

    name: str
    action: Action
    protocols: frozenset[str]
    sources: frozenset[str]
    destinations: frozenset[str]
    max_bindings_per_client: int = limits.MAX_BINDINGS_PER_CLIENT
    allowed_addresses: AllowedAddresses = AllowedAddresses.CLIENT
    min_client_port: int = limits.MIN_CLIENT_PORT


@dataclass(frozen=True, slots=True)
class PublishingRule:
    """One server of ours that clients outside may reach, and how far its bindings may go.

    Clients dial `listen`: the gateway's address on a NAT relation, the server's own on a routed
    one. With `full_proxy` they appear to the server as the gateway's address on its network.
    `max_bindings_per_client` counts for each outside client, so that one cannot use up the rest.
    """

    name: str
    protocol: str
    listen: Endpoint
    server: Endpoint
    full_proxy: bool = False
    max_bindings_per_client: int = limits.MAX_BINDINGS_PER_CLIENT
    min_client_port: int = limits.MIN_CLIENT_PORT
    allowed_addresses: AllowedAddresses = AllowedAddresses.CLIENT


# What lets a binding be: both say how many, for which addresses and from which port on.
Rule = AccessRule | PublishingRule


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one question, with what an operator needs to understand it.

    `rule` is None when no rule was reached or none matched; `reason` is a stable word.
    """

    allowed: bool
    reason: str
    rule: Rule | None = None
    relation: Relation | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything the administrator said about networks and rules; replaced as a whole.

    Promise: `networks` have unique names and at most one of them is external, rules name only
    networks that exist, and no two publishing rules listen at one place. The configuration checks
    it where it can point at the line; we check again.
    """

    networks: tuple[Network, ...]
    network_rules: tuple[NetworkRule, ...] = ()
    access_rules: tuple[AccessRule, ...] = ()
    publishing_rules: tuple[PublishingRule, ...] = ()
    gateway_addresses: frozenset[IpAddress] = frozenset()
    own_addresses: Mapping[str, tuple[IpAddress, ...]] = field(default_factory=dict)
    """The gateway's addresses on the interfaces of each network, by its name; none link-local."""
    filter_settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    ipv6_host_prefix: int = limits.IPV6_HOST_PREFIX
    """How long the IPv6 prefix of one host is: quotas count all its addresses together."""
    _verdicts: dict[tuple[str, IpAddress, IpAddress | None], Verdict] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """What `decide` said already: a policy never changes, and each transfer asks the same again."""

    def __post_init__(self) -> None:
        names = [network.name for network in self.networks]
        if len(set(names)) != len(names):
            raise ValueError("two networks have the same name")
        if sum(network.is_external for network in self.networks) > 1:
            raise ValueError("two networks claim no addresses; only one can have what others leave")
        known = set(names)
        for network_rule in self.network_rules:
            if not {network_rule.source, network_rule.destination} <= known:
                raise ValueError("a network rule names a network that does not exist")
        for rule in self.access_rules:
            if not rule.sources | rule.destinations <= known:
                raise ValueError(f"rule {rule.name!r} names a network that does not exist")
        published = [rule.listen for rule in self.publishing_rules]
        if len(set(published)) != len(published):
            raise ValueError("two publishing rules listen at one place")
        if any(rule.listen.version != rule.server.version for rule in self.publishing_rules):
            raise ValueError("a publishing rule listens in another family than its server")

    def host_of(self, address: IpAddress) -> str:
        """Return the name under which everything of one host is counted.

        An IPv6 host takes as many addresses of its /64 as it likes (RFC 8981): the prefix counts.
        """
        if address.version == 4 or self.ipv6_host_prefix == address.max_prefixlen:
            return text_of(address)
        return str(ip_network((address, self.ipv6_host_prefix), strict=False))

    def is_own(self, address: IpAddress) -> bool:
        """Whether `address` leads to the gateway itself, by whatever name (attacks X08, K06)."""
        return address in self.gateway_addresses or address.is_loopback or address.is_unspecified

    def network_of(self, address: IpAddress | None) -> Network | None:
        """Give the network that claims `address`: the longest prefix, else the external one.

        None stands for a peer nobody can name yet, and anyone may be outside.
        """
        best: Network | None = None
        best_length = -1
        for network in self.networks:
            if network.is_external and best is None:
                best = network
            for prefix in network.addresses:
                if address is not None and address in prefix and prefix.prefixlen > best_length:
                    best, best_length = network, prefix.prefixlen
        return best

    def source_towards(self, peer: IpAddress) -> IpAddress | None:
        """Return the address to dial `peer` from; None when routing is to choose it."""
        network = self.network_of(peer)
        return None if network is None else network.source_of(peer.version)

    def external_address(self, client: IpAddress) -> IpAddress | None:
        """Return the address at which anyone outside reaches ports that are bound for `client`.

        Always the same one for a client (RFC 4787 REQ-2): the source of the external network, else
        the first address that the gateway has on its interfaces. None on a routed relation, where
        it is the client's own, and where there is no relation or no such address.
        """
        outside = self.network_of(None)
        if outside is None or self.relation(client, None) is not Relation.NAT:
            return None
        version = client.version
        own = (one for one in self.own_addresses.get(outside.name, ()) if one.version == version)
        return outside.source_of(version) or next(own, None)

    @property
    def sources(self) -> frozenset[IpAddress]:
        """The addresses that networks name as the gateway's own, on this host or not yet."""
        return frozenset(address for network in self.networks for address in network.source)

    def relation(self, client: IpAddress, peer: IpAddress | None) -> Relation | None:
        """Give how `client` reaches `peer`; None when no network rule lets it."""
        source, destination = self.network_of(client), self.network_of(peer)
        if source is None or destination is None:
            return None
        return self._relation_between(source, destination, client.version)

    def _relation_between(
        self, source: Network, destination: Network, version: int
    ) -> Relation | None:
        for rule in self.network_rules:
            if (rule.source, rule.destination) == (source.name, destination.name):
                return rule.relation(version)
        return None

    def decide(self, protocol: str, client: IpAddress, peer: IpAddress | None) -> Verdict:
        """Decide whether `client` may use `protocol` towards `peer`; never raises."""
        question = protocol, client, peer
        verdict = self._verdicts.get(question)
        if verdict is None:
            if len(self._verdicts) >= limits.MAX_KEPT_VERDICTS:
                self._verdicts.clear()
            verdict = self._verdicts[question] = self._decide(protocol, client, peer)
        return verdict

    def _decide(self, protocol: str, client: IpAddress, peer: IpAddress | None) -> Verdict:
        if peer is not None and self.is_own(peer):
            # The gateway's own services are nobody's protocol peer.
            return Verdict(allowed=False, reason="peer-is-gateway")
        if self.is_own(client):
            # A pinhole never leads to the gateway itself (attack X08).
            return Verdict(allowed=False, reason="client-is-gateway")
        source, destination = self.network_of(client), self.network_of(peer)
        if source is None or destination is None:
            return Verdict(allowed=False, reason="no-network-rule")
        relation = self._relation_between(source, destination, client.version)
        if relation is None:
            return Verdict(allowed=False, reason="no-network-rule")
        for rule in self.access_rules:
            if (
                protocol in rule.protocols
                and source.name in rule.sources
                and destination.name in rule.destinations
            ):
                allowed = rule.action is Action.ALLOW
                reason = "allowed-by-rule" if allowed else "denied-by-rule"
                return Verdict(allowed=allowed, reason=reason, rule=rule, relation=relation)
        return Verdict(allowed=False, reason="no-rule-matched", relation=relation)

    def decide_published(self, rule: PublishingRule, protocol: str, peer: IpAddress) -> Verdict:
        """Decide whether `peer` outside may use `protocol` with the server of `rule`; never raises.

        The published server is the client here: the relation is the one from its network.
        """
        if rule not in self.publishing_rules:
            return Verdict(allowed=False, reason="rule-is-gone")
        if protocol != rule.protocol:
            return Verdict(allowed=False, reason="no-rule-matched")
        if self.is_own(peer):
            return Verdict(allowed=False, reason="peer-is-gateway")
        relation = self.relation(rule.server.address, peer)
        if relation is None:
            return Verdict(allowed=False, reason="no-network-rule")
        return Verdict(allowed=True, reason="allowed-by-rule", rule=rule, relation=relation)
