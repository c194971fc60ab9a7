"""Where control traffic arrives: the sockets we listen at, and the front ends that accept there.

Sockets come first, since rules name their ports; front ends when there is a gateway to serve. Both
can follow another configuration: what it still wants stays open, and nobody waiting there is lost.
"""

import asyncio
import socket
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address

from sallyport.addresses import Endpoint
from sallyport.core.engine.gateway import Gateway
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rules import Policy
from sallyport.errors import StartupError
from sallyport.flags import Transport
from sallyport.frontends.tproxy import Interceptor, intercepting_socket, publishing_socket
from sallyport.frontends.udp import DatagramInterceptor, intercepting_datagram_socket
from sallyport.io.fair_poller import FairPoller
from sallyport.kernel.interception import Interception
from sallyport.ops.config.publishing import is_routed

Protocols = Mapping[Transport, Mapping[int, ProtocolDefinition]]
"""What clients inside may speak, by the port they dial."""

Place = tuple[Transport, int] | Endpoint
"""A socket that TPROXY delivers to, by transport and IP version; or one at an address of ours."""


class Listeners:
    """The listening sockets, by place."""

    def __init__(self) -> None:
        self.sockets: dict[Place, socket.socket] = {}

    def open(self, policy: Policy, protocols: Protocols) -> set[Place]:
        """Make the sockets that are missing, and give their places.

        Raises StartupError, with those it made closed again.
        """
        opened: set[Place] = set()
        try:
            for place, made in self._missing(policy, protocols):
                self.sockets[place] = made
                opened.add(place)
        except StartupError:
            self.close(opened)
            raise
        return opened

    def close(self, places: Iterable[Place]) -> None:
        """Close the sockets at these places."""
        for place in tuple(places):
            self.sockets.pop(place).close()

    def unwanted(self, policy: Policy, protocols: Protocols) -> set[Place]:
        """Give the places that a configuration has no use for."""
        published = {rule.listen for rule in policy.publishing_rules if not is_routed(rule)}
        return self.sockets.keys() - published - set(_intercepting(policy, protocols))

    def interceptions(self, policy: Policy, protocols: Protocols) -> Iterator[Interception]:
        """Give what the kernel is to deliver to these sockets."""
        for transport, version in _intercepting(policy, protocols):
            port = self.sockets[transport, version].getsockname()[1]
            for wanted in protocols.get(transport, {}):
                yield Interception(version, wanted, port, transport)
            for rule in policy.publishing_rules:
                if is_routed(rule) and (transport, version) == (Transport.TCP, rule.server.version):
                    yield Interception(
                        version, rule.server.port, port, transport, server=rule.server.address
                    )

    def _missing(
        self, policy: Policy, protocols: Protocols
    ) -> Iterator[tuple[Place, socket.socket]]:
        makers = {Transport.TCP: intercepting_socket, Transport.UDP: intercepting_datagram_socket}
        for transport, version in _intercepting(policy, protocols):
            if (transport, version) not in self.sockets:
                yield (transport, version), makers[transport](version)
        for rule in policy.publishing_rules:
            if not is_routed(rule) and rule.listen not in self.sockets:
                may_be_absent = rule.listen.address in policy.sources
                yield rule.listen, publishing_socket(rule, may_be_absent=may_be_absent)


def _intercepting(policy: Policy, protocols: Protocols) -> list[tuple[Transport, int]]:
    routed = any(is_routed(rule) for rule in policy.publishing_rules)
    transports = set(protocols) | ({Transport.TCP} if routed else set())
    if not transports:
        return []
    return [
        (transport, version) for transport in transports for version in _loopback_versions(policy)
    ]


def _loopback_versions(policy: Policy) -> list[int]:
    """Give the IP versions that work here; raises StartupError when not even IPv4 does."""
    if IPv4Address("127.0.0.1") not in policy.gateway_addresses:
        raise StartupError("interface lo is down: `ip link set lo up`")
    # A host may do without IPv6 (disable_ipv6); nobody's IPv6 connections come through it then.
    return [4, 6] if IPv6Address("::1") in policy.gateway_addresses else [4]


class FrontEnds:
    """Those who accept at the listening sockets; one pair per gateway."""

    def __init__(self, gateway: Gateway, tasks: asyncio.TaskGroup, poller: FairPoller) -> None:
        self._streams = Interceptor(gateway, {}, tasks, poller)
        self._datagrams = DatagramInterceptor(gateway, {})
        self._served: dict[Place, socket.socket] = {}

    def serve(self, listeners: Listeners, protocols: Protocols) -> None:
        """Accept at these sockets too; from now on clients inside may speak these protocols."""
        self._streams.speak(protocols.get(Transport.TCP, {}))
        self._datagrams.speak(protocols.get(Transport.UDP, {}))
        for place, listener in listeners.sockets.items():
            if place not in self._served:
                self._served[place] = listener
                self._front_end(place).serve(listener)

    def leave(self, places: Iterable[Place]) -> None:
        """Accept nothing more at these places; what was accepted there goes on."""
        for place in places:
            self._front_end(place).leave(self._served.pop(place))

    def close(self) -> None:
        """Accept nothing more; idempotent."""
        self._streams.close()
        self._datagrams.close()

    def _front_end(self, place: Place) -> Interceptor | DatagramInterceptor:
        is_udp = isinstance(place, tuple) and place[0] is Transport.UDP
        return self._datagrams if is_udp else self._streams
