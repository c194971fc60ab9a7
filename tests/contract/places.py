"""Where the contract is played: who lives at which address, and how the two networks relate."""

from dataclasses import dataclass
from ipaddress import ip_network

from sallyport.addresses import Endpoint, IpAddress, parse_address
from sallyport.core.policy.hosts import Hosts
from sallyport.core.policy.protocols import Direction, ProtocolDefinition
from sallyport.core.policy.rules import (
    AccessRule,
    Action,
    Network,
    NetworkRule,
    Policy,
    PublishingRule,
    Relation,
)
from sallyport.flags import Transport

CONTRACT = ProtocolDefinition("contract", Transport.TCP, 7)
PUBLISHED = {
    transport: ProtocolDefinition(
        f"contract-server-{transport.name.lower()}", transport, 7, Direction.INBOUND
    )
    for transport in Transport
}

# What the gateway may give away; kept apart from every port the tests choose themselves.
PORTS = "40000-40999"
FORCED_PORT = 39000
CLIENT_PORT = 1553


@dataclass(frozen=True, slots=True)
class Way:
    """One address family under one relation, with the addresses of everybody in that family."""

    version: int
    relation: Relation

    def __str__(self) -> str:
        return f"{self.relation}{self.version}"

    @property
    def is_nat(self) -> bool:
        """Whether peers connect to the gateway's own address."""
        return self.relation is Relation.NAT

    def _address(self, four: str, six: str) -> IpAddress:
        return parse_address(four if self.version == 4 else six)

    @property
    def client(self) -> IpAddress:
        """The session's client, inside."""
        return self._address("10.0.0.8", "fd00:a::8")

    @property
    def neighbour(self) -> IpAddress:
        """Another inside host of the same class C network (or /64)."""
        return self._address("10.0.0.9", "fd00:a::9")

    @property
    def colleague(self) -> IpAddress:
        """An inside address of the same network, but not of the client's class C (or /64)."""
        return self._address("10.0.7.9", "fd00:a:0:7::9")

    @property
    def foreigner(self) -> IpAddress:
        """An address of no network of ours."""
        return self._address("198.51.100.7", "2001:db8:5::7")

    @property
    def inside(self) -> IpAddress:
        """The gateway on the client's network."""
        return self._address("10.0.0.1", "fd00:a::1")

    @property
    def outside(self) -> IpAddress:
        """The gateway's external address."""
        return self._address("203.0.113.1", "2001:db8::1")

    @property
    def server(self) -> IpAddress:
        """The primary's peer."""
        return self._address("203.0.113.9", "2001:db8::9")

    @property
    def stranger(self) -> IpAddress:
        """Another outside host."""
        return self._address("203.0.113.66", "2001:db8::66")

    @property
    def nobody(self) -> IpAddress:
        """An outside address that no host has."""
        return self._address("203.0.113.77", "2001:db8::77")

    @property
    def zeros(self) -> Endpoint:
        """The client address that is not known yet."""
        return Endpoint(self._address("0.0.0.0", "::"), 0)


WAYS = tuple(Way(version, relation) for relation in Relation for version in (4, 6))
GATEWAY_ADDRESSES = frozenset(address for way in WAYS for address in (way.inside, way.outside))


def policy(way: Way, *, full_proxy: bool = False, **fields: object) -> Policy:
    """Two networks under one relation, one access rule and a published server of each transport.

    `fields` replace those of the access rule; the server is the client, seen from outside.
    """
    internal = Network(
        "internal", ("int0",), (ip_network("10.0.0.0/16"), ip_network("fd00:a::/48"))
    )
    allowed = {
        "name": "the contract",
        "action": Action.ALLOW,
        "protocols": frozenset({CONTRACT.name}),
        "sources": Hosts.of("internal"),
        "destinations": Hosts.of("external"),
    }
    published = tuple(
        PublishingRule(
            name=protocol.name,
            protocol=protocol.name,
            listen=Endpoint(way.outside if way.is_nat else way.client, protocol.port),
            server=Endpoint(way.client, protocol.port),
            transport=transport,
            full_proxy=full_proxy,
        )
        for transport, protocol in PUBLISHED.items()
    )
    return Policy(
        networks=(internal, Network("external", ("ext0",))),
        network_rules=(NetworkRule("internal", "external", way.relation, way.relation),),
        access_rules=(AccessRule(**(allowed | fields)),),  # type: ignore[arg-type]
        publishing_rules=published,
        gateway_addresses=GATEWAY_ADDRESSES,
    )
