"""Policy: networks, their relations, and the rules. The one place where "may this be?" is decided.

Rules are asked in order, the first match wins, the last word is deny. A relation between the two
networks must exist before any rule is asked (semantics section 7).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_network
from typing import NamedTuple

from sallyport import limits
from sallyport.addresses import Endpoint, IpAddress, IpNetwork, PortRange, embedded, text_of
from sallyport.core.policy.hosts import Hosts
from sallyport.core.policy.schedules import Schedule
from sallyport.core.policy.terms import Frontend, Terms
from sallyport.core.policy.trail import Trail
from sallyport.flags import Transport


class Relation(StrEnum):
    """How packets pass between two networks."""

    NAT = "nat"
    ROUTE = "route"


class Action(StrEnum):
    """What a rule says."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Network:
    """A set of addresses behind some interfaces; networks may share one, addresses decide.

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
        """Return the relation for IP version 4 or 6."""
        return self.ipv4 if version == 4 else self.ipv6


class Asker(NamedTuple):
    """Who asks, besides the address: the user whom a front end knows, and the way of asking."""

    user: str | None = None
    frontend: Frontend = Frontend.TRANSPARENT


ANYONE = Asker()
"""A host of which only the address is known."""


@dataclass(frozen=True, slots=True)
class AccessRule(Terms):
    """Who may use which protocols towards whom, and how far bindings may go."""

    name: str
    action: Action
    protocols: frozenset[str]
    sources: Hosts
    destinations: Hosts
    users: frozenset[str] | None = None
    """Names of users, and of groups with an @ before them; None: anyone."""
    schedule: Schedule | None = None
    frontends: frozenset[Frontend] | None = None
    """The ways of asking; None: any."""


@dataclass(frozen=True, slots=True)
class PublishingRule(Terms):
    """One server of ours that clients outside may reach, and how far its bindings may go.

    Clients speak to `listen`: the gateway's address on a NAT relation, the server's own on a routed
    one. With `full_proxy` they appear to the server as the gateway's address on its network.
    The limits for a client count for each outside client, so that one cannot use up the rest.
    """

    name: str
    protocol: str
    listen: Endpoint
    server: Endpoint
    transport: Transport = Transport.TCP
    """The transport of the protocol."""
    sources: Hosts | None = None
    """The outside clients that are let in; None: any."""
    full_proxy: bool = False
    is_in_tls: bool = False
    """Whether the server speaks TLS from the first byte."""
    interface: str | None = None
    """The interface whose addresses are listened at; `listen` is then one of those that it has
    now, or, in a configuration, all zeros for any. None: `listen` is what was written."""


# What lets a binding be: both say how many, for which addresses and from which port on.
Rule = AccessRule | PublishingRule


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one question, with what an operator needs to understand it.

    `rule` is None when no rule was reached or none matched; `reason` is a stable word. `nearest` is
    then the name of the allowing rule that came closest to matching.
    """

    allowed: bool
    reason: str
    rule: Rule | None = None
    relation: Relation | None = None
    nearest: str | None = None


# What keeps an allowing rule from matching, in the order in which it is looked at, and the reason
# that a request has which no rule but for that would have refused.
_MISMATCHES = {
    "protocols": "no-rule-matched",
    "from": "client-is-not-in-from",
    "to": "peer-is-not-in-to",
    "frontends": "no-rule-for-this-frontend",
    "users": "no-rule-for-this-user",
    "schedule": "outside-the-schedule",
}
_FURTHER = tuple(_MISMATCHES)


class _Question(NamedTuple):
    """What a verdict depends on; `minute` is None where no rule has a schedule."""

    protocol: str
    client: IpAddress
    peer: IpAddress | None
    asker: Asker
    minute: int | None


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything the administrator said about networks and rules; replaced as a whole.

    Promise: `networks` have unique names and at most one of them is external, rules name only
    networks that exist, and no two publishing rules of one transport listen at one place. The
    configuration checks it where it can point at the line; we check again.
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
    groups: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The groups of each user."""
    intercepted_ports: frozenset[int] = frozenset()
    """The TCP ports of supervised protocols: what clients inside open there comes to us."""
    kept_ports: frozenset[int] = field(init=False)
    """Ports that filters bind by their numbers, as their settings say; no other bind draws them."""
    is_timed: bool = field(init=False)
    """Whether some rule has a schedule, so that a verdict holds for one minute of the week."""
    _verdicts: dict[_Question, Verdict] = field(
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
            if not rule.sources.networks | rule.destinations.networks <= known:
                raise ValueError(f"rule {rule.name!r} names a network that does not exist")
        published = [
            (rule.transport, rule.interface, rule.listen) for rule in self.publishing_rules
        ]
        if len(set(published)) != len(published):
            raise ValueError("two publishing rules listen at one place")
        if any(rule.listen.version != rule.server.version for rule in self.publishing_rules):
            raise ValueError("a publishing rule listens in another family than its server")
        timed = any(rule.schedule is not None for rule in self.access_rules)
        object.__setattr__(self, "is_timed", timed)
        object.__setattr__(self, "kept_ports", self._ports_of_filters())

    def _ports_of_filters(self) -> frozenset[int]:
        tables = [*self.filter_settings.values()]
        for rule in (*self.access_rules, *self.publishing_rules):
            tables += rule.filters.values()
        ranges = [one for table in tables for one in table.values() if isinstance(one, PortRange)]
        return frozenset(port for one in ranges for port in range(one.first, one.last + 1))

    def host_of(self, address: IpAddress) -> str:
        """Return the name under which everything of one host is counted.

        An IPv6 host takes as many addresses of its /64 as it likes (RFC 8981): the prefix counts.
        """
        if address.version == 4 or self.ipv6_host_prefix == address.max_prefixlen:
            return text_of(address)
        return str(ip_network((address, self.ipv6_host_prefix), strict=False))

    def is_own(self, address: IpAddress) -> bool:
        """Whether `address` leads to the gateway itself, in whatever spelling (X08, K06, U01)."""
        if address in self.gateway_addresses or address.is_loopback or address.is_unspecified:
            return True
        inner = embedded(address)
        return inner is not None and self.is_own(inner)

    def network_of(self, address: IpAddress | None) -> Network | None:
        """Return the network that claims `address`: the longest prefix, else the external one.

        None stands for a peer that is not known yet, and anyone may be outside.
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
        if self.relation(client, None) is not Relation.NAT:
            return None
        return self.address_towards(None, client.version)

    def address_towards(self, peer: IpAddress | None, version: int) -> IpAddress | None:
        """Return the gateway's own address of this IP version in the network of `peer`.

        It is the source of the network, else the first address on its interfaces; None when there
        is no such network or no such address.
        """
        network = self.network_of(peer)
        if network is None:
            return None
        own = (one for one in self.own_addresses.get(network.name, ()) if one.version == version)
        return network.source_of(version) or next(own, None)

    @property
    def sources(self) -> frozenset[IpAddress]:
        """The addresses that networks name as the gateway's own, on this host or not yet."""
        return frozenset(address for network in self.networks for address in network.source)

    def is_outside(self, network: Network) -> bool:
        """Whether strangers share the interfaces of `network`: no client of it is protected.

        A network beside the external one on the same interface is one of the outside that rules
        can name; what arrives there may be forged, and is no client's request.
        """
        return any(
            one.is_external and not set(one.interfaces).isdisjoint(network.interfaces)
            for one in self.networks
        )

    def apart_from(self, network: Network) -> tuple[Network, ...]:
        """Return the networks that share an interface with `network`: addresses tell which."""
        return tuple(
            one
            for one in self.networks
            if one is not network and not set(one.interfaces).isdisjoint(network.interfaces)
        )

    def relation(self, client: IpAddress, peer: IpAddress | None) -> Relation | None:
        """Return how `client` reaches `peer`; None when no network rule lets it."""
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

    def decide(
        self,
        protocol: str,
        client: IpAddress,
        peer: IpAddress | None,
        asker: Asker = ANYONE,
        *,
        minute: int | None = None,
        trail: Trail | None = None,
    ) -> Verdict:
        """Decide whether `client` may use `protocol` towards `peer`; never raises.

        `minute`: of the week; what a rule with a schedule is asked about. `trail` is told how the
        decision is reached.
        """
        question = _Question(protocol, client, peer, asker, minute if self.is_timed else None)
        if trail is not None:
            return self._decide(question, trail)
        verdict = self._verdicts.get(question)
        if verdict is None:
            if len(self._verdicts) >= limits.MAX_KEPT_VERDICTS:
                self._verdicts.clear()
            verdict = self._decide(question, None)
            self._verdicts[question] = verdict
        return verdict

    def decide_published(
        self,
        rule: PublishingRule,
        protocol: str,
        peer: IpAddress,
        *,
        trail: Trail | None = None,
    ) -> Verdict:
        """Decide whether `peer` outside may use `protocol` with the server of `rule`; never raises.

        The published server is the client here: the relation is the one from its network.
        """
        if rule not in self.publishing_rules:
            return _refused("rule", "rule-is-gone", trail)
        if protocol != rule.protocol:
            return _refused("rule", "no-rule-matched", trail)
        if fault := self._fault_of_peer(peer, rule.server.version):
            return _refused("peer", fault, trail)
        source, destination = self.network_of(rule.server.address), self.network_of(peer)
        relation = self._related(source, destination, rule.server.version, trail)
        if relation is None or destination is None:
            return _refused("relation", "no-network-rule", trail)
        if rule.sources is not None and not rule.sources.holds(destination.name, peer):
            return _refused(
                "from", "client-is-not-published-to", trail, rule=rule, relation=relation
            )
        return _allowed(rule, relation, trail)

    def published_at(
        self, client: IpAddress, dialled: Endpoint, transport: Transport
    ) -> PublishingRule | None:
        """Return the publishing rule that a connection concerns; None: it is a client's inside.

        Only who is outside is a client of a published server.
        """
        rule, network = self.publishes(dialled, transport), self.network_of(client)
        return rule if network is not None and self.is_outside(network) else None

    def publishes(self, dialled: Endpoint, transport: Transport) -> PublishingRule | None:
        """Return the rule that publishes a server there; None: no rule does."""
        for rule in self.publishing_rules:
            if rule.listen == dialled and rule.transport is transport:
                return rule
        return None

    # -- inside -------------------------------------------------------------------------------

    def _decide(self, question: _Question, trail: Trail | None) -> Verdict:
        client, peer = question.client, question.peer
        if peer is not None and (fault := self._fault_of_peer(peer, client.version)):
            return _refused("peer", fault, trail)
        if self.is_own(client):
            # A pinhole never leads to the gateway itself (attack X08).
            return _refused("client", "client-is-gateway", trail)
        source, destination = self.network_of(client), self.network_of(peer)
        relation = self._related(source, destination, client.version, trail)
        if relation is None or source is None or destination is None:
            return _refused("relation", "no-network-rule", trail)
        furthest, nearest = 0, None
        for rule in self.access_rules:
            mismatch = self._mismatch(rule, question, source.name, destination.name)
            if mismatch is None:
                if rule.action is Action.ALLOW:
                    return _allowed(rule, relation, trail)
                return _refused("rule", "denied-by-rule", trail, rule=rule, relation=relation)
            if trail is not None:
                trail.passed_over(rule.name, mismatch)
            if rule.action is Action.ALLOW and _FURTHER.index(mismatch) > furthest:
                furthest, nearest = _FURTHER.index(mismatch), rule.name
        reason = _MISMATCHES[_FURTHER[furthest]]
        return _refused("rule", reason, trail, relation=relation, nearest=nearest)

    def _fault_of_peer(self, peer: IpAddress, version: int) -> str | None:
        """Return why no client has this peer, whatever rules say; None when they decide."""
        if peer.version != version:
            return "addresses-of-two-families"  # nothing translates between families
        # The gateway's own services are no protocol peer.
        return "peer-is-gateway" if self.is_own(peer) else None

    def _mismatch(
        self, rule: AccessRule, question: _Question, source: str, destination: str
    ) -> str | None:
        """Return the key that keeps a rule from matching; None when it matches."""
        to, minute = rule.destinations, question.minute
        reaches = to.holds if rule.action is Action.ALLOW else to.may_hold
        asker, schedule = question.asker, rule.schedule
        matches = {
            "protocols": question.protocol in rule.protocols,
            "from": rule.sources.holds(source, question.client),
            "to": reaches(destination, question.peer),
            "frontends": rule.frontends is None or asker.frontend in rule.frontends,
            "users": rule.users is None or self._is_one_of(asker.user, rule.users),
            "schedule": schedule is None or (minute is not None and schedule.holds(minute)),
        }
        return next((key for key in _FURTHER if not matches[key]), None)

    def _is_one_of(self, user: str | None, users: frozenset[str]) -> bool:
        if user is None:
            return False
        return user in users or any(f"@{one}" in users for one in self.groups.get(user, ()))

    def _related(
        self,
        source: Network | None,
        destination: Network | None,
        version: int,
        trail: Trail | None,
    ) -> Relation | None:
        if trail is not None:
            trail.found("client-network", source.name if source else "none")
            trail.found("peer-network", destination.name if destination else "none")
        if source is None or destination is None:
            return None
        relation = self._relation_between(source, destination, version)
        if trail is not None and relation is not None:
            trail.found("relation", relation.value)
        return relation


def _allowed(rule: Rule, relation: Relation, trail: Trail | None) -> Verdict:
    if trail is not None:
        trail.found("rule", "allowed-by-rule", rule=rule.name)
    return Verdict(allowed=True, reason="allowed-by-rule", rule=rule, relation=relation)


def _refused(
    question: str,
    reason: str,
    trail: Trail | None,
    *,
    rule: Rule | None = None,
    relation: Relation | None = None,
    nearest: str | None = None,
) -> Verdict:
    if trail is not None:
        trail.refused(question, reason, rule=rule.name if rule is not None else nearest)
    return Verdict(allowed=False, reason=reason, rule=rule, relation=relation, nearest=nearest)
