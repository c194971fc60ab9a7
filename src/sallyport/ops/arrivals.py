"""Where control traffic arrives: which sockets a configuration wants, and who accepts at them.

The supervisor makes the sockets (ops/processes/listeners.py), since they outlive a worker, and
rules name their ports. Front ends follow another configuration: what was accepted goes on.
"""

import asyncio
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.engine.gateway import Gateway
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rules import Policy, PublishingRule
from sallyport.errors import StartupError
from sallyport.flags import Transport
from sallyport.frontends.api.server import ApiServer, worker_path
from sallyport.frontends.entrance import Entrance
from sallyport.frontends.pcp.announcer import Announcer
from sallyport.frontends.pcp.leases import LeaseBook, Leases
from sallyport.frontends.pcp.responder import PcpResponder, SeenAs
from sallyport.frontends.pcp.server import PcpServer
from sallyport.frontends.rights import PORT_MAPPING
from sallyport.frontends.socks.server import SocksServer
from sallyport.frontends.tproxy import Interceptor
from sallyport.frontends.udp import DatagramInterceptor
from sallyport.io.fair_poller import FairPoller
from sallyport.kernel.interception import Interception
from sallyport.ops.config.publishing import is_routed
from sallyport.ops.config.settings import ApiSettings, PcpSettings, SocksSettings

Protocols = Mapping[Transport, Mapping[int, ProtocolDefinition]]
"""What clients inside may speak, by the port they dial."""

Place = str
"""Where a socket is: `tcp4` for one that TPROXY delivers to, or `udp 203.0.113.1:69`, with an
address and port of ours; `socks 10.0.0.1:1080` where SOCKS is spoken, `api` and a path where the
local API is."""


def intercepting(policy: Policy, protocols: Protocols) -> list[Place]:
    """Return the places that TPROXY delivers to; raises StartupError without a loopback."""
    return [_place(*kind) for kind in _kinds(policy, protocols)]


def publishing(rule: PublishingRule) -> Place:
    """Return the place at an address of ours where a rule publishes its server."""
    return f"{rule.transport.name.lower()} {rule.listen}"


def socks_place(listen: Endpoint) -> Place:
    """Return the place at an address of ours where SOCKS is spoken."""
    return f"socks {listen}"


def api_place(path: Path) -> Place:
    """Return the place of the local API."""
    return f"api {path}"


def interceptions(
    policy: Policy, protocols: Protocols, ports: Mapping[Place, Sequence[int]]
) -> Iterator[Interception]:
    """Yield what the kernel is to deliver to the intercepting places.

    `ports`: of each place the port of every worker's socket, in the order of the workers.
    """
    for transport, version in _kinds(policy, protocols):
        listeners = tuple(ports[_place(transport, version)])
        for wanted in protocols.get(transport, {}):
            is_to_us = (transport, wanted) == (Transport.UDP, PORT_MAPPING.port)
            yield Interception(version, wanted, listeners, transport, is_to_us=is_to_us)
        for rule in policy.publishing_rules:
            if is_routed(rule) and (transport, version) == (rule.transport, rule.server.version):
                yield Interception(
                    version, rule.server.port, listeners, transport, server=rule.server.address
                )


def _kinds(policy: Policy, protocols: Protocols) -> list[tuple[Transport, int]]:
    routed = {rule.transport for rule in policy.publishing_rules if is_routed(rule)}
    transports = set(protocols) | routed
    if not transports:
        return []
    versions = _loopback_versions(policy)
    return [(transport, version) for transport in sorted(transports) for version in versions]


def _place(transport: Transport, version: int) -> Place:
    return f"{transport.name.lower()}{version}"


def _loopback_versions(policy: Policy) -> list[int]:
    """Return the IP versions that work here; raises StartupError when not even IPv4 does."""
    if IPv4Address("127.0.0.1") not in policy.gateway_addresses:
        raise StartupError("interface lo is down: `ip link set lo up`")
    # A host may do without IPv6 (disable_ipv6); no IPv6 connection comes through it then.
    return [4, 6] if IPv6Address("::1") in policy.gateway_addresses else [4]


_FrontEnd = Interceptor | DatagramInterceptor | SocksServer | ApiServer


class FrontEnds:
    """Those who accept at the listening sockets; one pair per gateway."""

    def __init__(
        self,
        gateway: Gateway,
        tasks: asyncio.TaskGroup,
        poller: FairPoller,
        seen_as: SeenAs = lambda _transport, _client, _server: None,
    ) -> None:
        """`seen_as` knows the flows that run in the kernel."""
        self._seen_as = seen_as
        self._entrance = Entrance(gateway, poller)
        self._streams = Interceptor(gateway, {}, poller, self._entrance)
        self._datagrams = DatagramInterceptor(gateway, {}, poller.has_others)
        self._socks = SocksServer(gateway, tasks, poller, self._entrance)
        self._api = ApiServer(gateway, tasks)
        self._served: dict[Place, socket.socket] = {}
        self._gateway = gateway
        self._tasks = tasks
        self._leases: Leases | None = None
        self._has_leases = asyncio.Event()
        self._announcer = Announcer()

    def serve(self, sockets: Mapping[Place, socket.socket], protocols: Protocols) -> None:
        """Accept at exactly these places; from now on clients inside may speak these protocols.

        Takes the sockets over: of a place that is served already the new duplicate is closed.
        """
        self._streams.speak(protocols.get(Transport.TCP, {}))
        self._socks.speak(protocols.get(Transport.TCP, {}))
        self._datagrams.speak(protocols.get(Transport.UDP, {}))
        for place in self._served.keys() - sockets.keys():
            self._leave(place)
        for place, listener in sockets.items():
            if place in self._served:
                listener.close()
            else:
                self._served[place] = listener
                self._front_end(place).serve(listener)

    def offer_pcp(self, settings: PcpSettings | None) -> None:
        """Answer PCP as these settings say from now on, or no more; mappings that stand are kept.

        Switched off, every mapping ends.
        """
        if settings is None:
            self._datagrams.answer_ourselves({})
            if self._leases is not None:
                self._leases.close()
                self._leases = None
            self._announcer.stop()
            return
        bounds = settings.min_lifetime, settings.max_lifetime
        if self._leases is None:
            self._leases = Leases(self._gateway, PORT_MAPPING)
        self._leases.bound(*bounds)
        responder = PcpResponder(
            self._gateway,
            self._leases,
            speaks_nat_pmp=settings.nat_pmp,
            seen_as=self._seen_as,
        )
        server = PcpServer(responder, self._gateway.journal, self._tasks, self._has_leases)
        self._datagrams.answer_ourselves({PORT_MAPPING.port: server.received})
        self._leases.lose_those_elsewhere(self._gateway.policy.gateway_addresses)
        self._announcer.know(responder, self._gateway.policy)

    def hand_over_leases(self) -> LeaseBook | None:
        """End the mappings that clients asked for, and return them for another process.

        Requests wait from now on. None when no front end has mappings.
        """
        self._has_leases.clear()
        return None if self._leases is None else self._leases.hand_over()

    async def take_over_leases(
        self, book: LeaseBook | None, serves: Callable[[IpAddress], bool], *, announces: bool
    ) -> None:
        """Make the mappings of another process again, of these clients, and answer requests.

        `announces`: whether it is this worker that tells clients of a new beginning.
        """
        if book is not None and self._leases is not None:
            await self._leases.take_over(book, serves)
        self._has_leases.set()
        if announces:
            self._announcer.begin()

    def offer_api(
        self, settings: ApiSettings | None, worker_of: Callable[[IpAddress], int | None]
    ) -> None:
        """Answer processes for clients of this worker; of others name the worker's socket.

        `worker_of` knows the place of the worker that serves a client, None: it is this one.
        """

        def elsewhere(client: IpAddress) -> str | None:
            index = worker_of(client)
            if index is None or settings is None:
                return None
            return worker_path(str(settings.socket), index)

        self._api.send_elsewhere(elsewhere)

    def offer_socks(self, settings: SocksSettings | None) -> None:
        """Know the users of these settings from now on; where it listens `serve` is told."""
        self._socks.know({} if settings is None else settings.passwords)

    def stop_accepting(self) -> None:
        """Accept nothing more; what was accepted goes on. Idempotent."""
        for place in tuple(self._served):
            self._leave(place)

    def close(self) -> None:
        """Accept nothing more, after the last connection has ended; idempotent."""
        self.stop_accepting()
        self._entrance.close()
        self._announcer.stop()
        self._datagrams.close()
        self._socks.close()
        self._api.close()

    def _leave(self, place: Place) -> None:
        listener = self._served.pop(place)
        self._front_end(place).leave(listener)
        listener.close()

    def _front_end(self, place: Place) -> _FrontEnd:
        if place.startswith("socks"):
            return self._socks
        if place.startswith("api"):
            return self._api
        return self._datagrams if place.startswith("udp") else self._streams
