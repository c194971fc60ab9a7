"""Putting a worker's gateway together from its parts, each undone in reverse order.

On a host with netfilter and privileges: both data paths, behind guard, translation and interception
that the supervisor installs. Without them, if the operator asked for user mode: published servers
at plain listeners, and nothing else.
"""

import asyncio
import resource
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace

from sallyport import limits
from sallyport.addresses import Endpoint, IpAddress, PortRange
from sallyport.core.engine.adoption import Adoption
from sallyport.core.engine.gateway import Gateway
from sallyport.core.model.filter import ApplicationFilter
from sallyport.core.pinholes.datapath import DataPath, DataPathKind
from sallyport.core.pinholes.ports import Ports
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rules import Network, Policy, PublishingRule
from sallyport.errors import OperatorError, StartupError
from sallyport.flags import Transport
from sallyport.frontends.rights import PORT_MAPPING
from sallyport.io.fair_poller import FairPoller
from sallyport.kernel import host
from sallyport.kernel.base_table import GatewayRules
from sallyport.kernel.datapath import KernelDataPath
from sallyport.kernel.first_words import FirstWords
from sallyport.kernel.sharding import worker_of
from sallyport.ops import arrivals
from sallyport.ops.arrivals import FrontEnds, Place, Protocols
from sallyport.ops.config.catalogue import fence
from sallyport.ops.config.load import Configuration
from sallyport.ops.config.publishing import is_routed, require_own_addresses, settled
from sallyport.ops.config.settings import DataPathChoice, GatewaySettings
from sallyport.ops.interfaces import addresses_of, lasting_addresses, local_addresses
from sallyport.ops.watchdog import Watchdog
from sallyport.ops.world import AsyncWorld
from sallyport.relay.datapath import UserDataPath

# What sockets, tables and sysctls were made for at the start; the rest may change.
_FIXED = (
    "data_path",
    "port_range",
    "control_socket",
    "control_group",
    "monitor_group",
    "masquerade",
    "workers",
    "node",
)


class RestartNeeded(OperatorError):
    """A running gateway cannot take this configuration; the message names the key."""

    code = "restart-needed"


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a configuration means on this host, before anything is set up.

    `lack` is what the host misses for interception, None when that is nothing.
    """

    configuration: Configuration
    lack: str | None
    policy: Policy
    filters: tuple[ApplicationFilter, ...]
    protocols: Protocols
    is_in_force: bool = False
    """Whether a gateway runs by it already: its filters stay."""

    @classmethod
    def of(cls, configuration: Configuration, *, is_in_force: bool = False) -> "Prepared":
        """Look at what the host has; raises StartupError for what cannot work on it.

        `is_in_force`: a gateway runs by it. An address that has gone since it began may come back.
        """
        is_user_mode = configuration.gateway.data_path is DataPathChoice.USER
        lack = host.missing() if is_user_mode else None
        if lack is not None:
            configuration = configuration.unintercepted()
        own = local_addresses() | configuration.policy.sources
        policy = replace(
            configuration.policy,
            publishing_rules=settled(configuration.policy.publishing_rules, lasting_addresses()),
            gateway_addresses=frozenset(own),
            own_addresses={
                one.name: own_addresses_at(one) for one in configuration.policy.networks
            },
        )
        if not is_in_force:
            require_own_addresses(policy)
        if lack is not None:
            _require_plain(configuration, policy, lack)
        choices = [one.running for one in configuration.filters]
        filters = tuple(one for one in choices if one is not None)
        wanted = list(configuration.supervised)
        if configuration.pcp is not None:
            wanted.append(PORT_MAPPING)
        protocols = _by_port(wanted)
        policy = replace(policy, intercepted_ports=frozenset(protocols.get(Transport.TCP, ())))
        return cls(configuration, lack, policy, filters, protocols, is_in_force)

    def gateway_rules(self, ports: Mapping[Place, Sequence[int]]) -> GatewayRules:
        """Return what the guard must know besides the policy.

        `ports`: those of each place's sockets (arrivals.interceptions).
        """
        settings = self.configuration.gateway
        return GatewayRules(
            port_range=settings.port_range,
            masquerade=settings.masquerade,
            interceptions=tuple(arrivals.interceptions(self.policy, self.protocols, ports)),
        )

    def intercepting(self) -> list[Place]:
        """Return the places that TPROXY delivers to; raises StartupError without a loopback."""
        return arrivals.intercepting(self.policy, self.protocols)

    def published(self) -> list[PublishingRule]:
        """Return the rules that need a socket at an address of ours."""
        return [rule for rule in self.policy.publishing_rules if not is_routed(rule)]

    def socks_listens(self) -> tuple[Endpoint, ...]:
        """Return the addresses of ours at which SOCKS is spoken."""
        socks = self.configuration.socks
        return () if socks is None else socks.listen

    def require_same(self, before: Configuration) -> None:
        """Check that a gateway that runs with `before` can take this; raises RestartNeeded."""
        _require_same(before, self.configuration)


@dataclass(frozen=True, slots=True)
class Share:
    """One worker's part of what all of a gateway's workers share.

    `name` begins the ids of what it makes, `number` is its own, from 1 to `workers`, and `series`
    its part of the numbers in marks.
    """

    name: str = ""
    number: int = 1
    workers: int = 1
    series: int = 0

    def ports(self, whole: PortRange) -> PortRange:
        """Return its slice of the gateway's ports; the first workers have the odd ones."""
        first, last = (
            whole.first + len(whole) * worker // self.workers
            for worker in (self.number - 1, self.number)
        )
        return PortRange(first, last - 1)

    def has(self, client: IpAddress) -> bool:
        """Whether this worker serves a client."""
        return self.other(client) is None

    def other(self, client: IpAddress) -> int | None:
        """Return the place of the worker that serves a client, from 0 on; None: it is this one."""
        found = worker_of(client, self.workers)
        return None if found == self.number - 1 else found


class Assembly:
    """The parts of a running gateway, as far as another configuration reaches them."""

    def __init__(
        self,
        configuration: Configuration,
        gateway: Gateway,
        front_ends: FrontEnds,
        adoption: Adoption | None,
        share: Share,
    ) -> None:
        """`adoption` is None where no flow outlives its process."""
        self.share = share
        self.configuration = configuration
        self.gateway = gateway
        self.front_ends = front_ends
        self._adoption = adoption

    def replace(self, prepared: Prepared, sockets: Mapping[Place, socket.socket]) -> None:
        """Take another configuration for what begins from now on; what runs goes on.

        Takes over `sockets`, all that it wants. Raises FilterUnusable, with nothing changed and the
        sockets closed.
        """
        with ExitStack() as undo:
            for listener in sockets.values():
                undo.callback(listener.close)
            if prepared.is_in_force:
                self.gateway.policy = prepared.policy
            else:
                with fence("the start of a filter"):
                    self.gateway.replace(prepared.policy, prepared.filters)
            undo.pop_all()
        self.configuration = prepared.configuration
        self.front_ends.serve(sockets, prepared.protocols)
        self.front_ends.offer_pcp(prepared.configuration.pcp)
        self.front_ends.offer_socks(prepared.configuration.socks)
        self.front_ends.offer_api(prepared.configuration.api, self.share.other)

    def adopt(self) -> int:
        """Adopt the transfers that no process watches; return how many. Raises KernelError.

        None on the standby of a pair, which has not the addresses that it would be their gateway
        at: what it finds is a copy, and the other node watches over the original.
        """
        if self._adoption is None or not self.gateway.policy.sources <= local_addresses():
            return 0
        return self._adoption.look()


def assemble(
    prepared: Prepared,
    sockets: Mapping[Place, socket.socket],
    world: AsyncWorld,
    tasks: asyncio.TaskGroup,
    poller: FairPoller,
    *,
    undo: ExitStack,
    share: Share = Share(),
) -> Assembly:
    """Build every part and start it; what must be undone is pushed on `undo`.

    Takes over `sockets`. `share` is this worker's part of what all share. Raises StartupError, and
    FilterUnusable for a filter that does not start.
    """

    def host_of(address: IpAddress) -> str:
        """Ask the policy of the moment; the gateway is there before anything flows."""
        return gateway.policy.host_of(address)

    settings = prepared.configuration.gateway
    data_paths, kernel = _data_paths(
        settings,
        poller,
        undo,
        is_privileged=prepared.lack is None,
        absent=prepared.policy.sources,
        series=share.series,
        host_of=host_of,
    )
    with fence("the start of a filter"):
        gateway = Gateway(
            policy=prepared.policy,
            data_paths=data_paths,
            ports=Ports(share.ports(settings.port_range), world.random_below),
            environment=world,
            filters=prepared.filters,
            name=share.name,
            max_controls=_affordable_controls(),
        )
    world.drive(gateway)
    watchdog = Watchdog(world.filter_running)
    watchdog.start()
    undo.callback(watchdog.stop)
    if kernel is None:
        front_ends = FrontEnds(gateway, tasks, poller)
    else:
        front_ends = FrontEnds(gateway, tasks, poller, kernel.seen_as)
    undo.callback(front_ends.close)
    front_ends.serve(sockets, prepared.protocols)
    front_ends.offer_pcp(prepared.configuration.pcp)
    front_ends.offer_socks(prepared.configuration.socks)
    front_ends.offer_api(prepared.configuration.api, share.other)
    adoption = None
    if kernel is not None:
        adoption = Adoption(gateway, gateway.sessions, kernel, kernel.orphans, share.has)
    return Assembly(prepared.configuration, gateway, front_ends, adoption, share)


def _affordable_controls() -> int:
    """Return how many control connections there may be: each takes two descriptors."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    kept = soft // limits.DESCRIPTORS_KEPT_BACK
    return max(1, min(limits.MAX_CONTROLS, (soft - kept) // 2))


def _require_same(before: Configuration, after: Configuration) -> None:
    """Check that a running gateway can follow; raises RestartNeeded."""
    for key in _FIXED:
        was = getattr(before.gateway, key)
        if getattr(after.gateway, key) != was:
            raise RestartNeeded(
                f"[gateway] {key} cannot change while the gateway runs; restart it, or write"
                f" {str(was)!r} again"
            )
    for table in ("admin", "metrics"):
        if getattr(after, table) != getattr(before, table):
            raise RestartNeeded(
                f"[{table}] cannot change while the gateway runs; restart it, or write it as it was"
            )
    was_at, is_at = (
        {name for network in one.policy.networks for name in network.interfaces}
        for one in (before, after)
    )
    if was_at != is_at:
        raise RestartNeeded(
            f"the interfaces of [networks] cannot change while the gateway runs; restart it, or"
            f" write {', '.join(sorted(was_at))} again"
        )
    if before.policy.sources != after.policy.sources:
        raise RestartNeeded(
            "the source of [networks] cannot change while the gateway runs; restart it, or write"
            f" {', '.join(sorted(map(str, before.policy.sources))) or 'none'} again"
        )


def own_addresses_at(network: Network) -> tuple[IpAddress, ...]:
    """Return the addresses that this host has at the interfaces of a network, if any are there."""
    found: list[IpAddress] = []
    for interface in network.interfaces:
        with suppress(StartupError):  # it may appear later; check-config says so
            found += [one.ip for one in addresses_of(interface) if not one.is_link_local]
    return tuple(found)


def _by_port(supervised: Iterable[ProtocolDefinition]) -> Protocols:
    """Sort the supervised protocols by transport and port; nothing else is intercepted."""
    found: dict[Transport, dict[int, ProtocolDefinition]] = {}
    for protocol in supervised:
        found.setdefault(protocol.transport, {})[protocol.dialled_port] = protocol
    return found


def _require_plain(configuration: Configuration, policy: Policy, lack: str) -> None:
    """Check that what is published works without interception; raises StartupError."""
    front_ends = (configuration.socks, configuration.api)
    if not policy.publishing_rules and front_ends == (None, None):
        raise StartupError(f"nothing can be intercepted, and no server is published: {lack}")
    for rule in policy.publishing_rules:
        if is_routed(rule) or not rule.full_proxy:
            raise StartupError(
                f"publishing rule {rule.name!r} needs interception, because its server sees its"
                f" clients' own addresses; write full_proxy = true on a nat relation ({lack})"
            )


def _data_paths(
    settings: GatewaySettings,
    poller: FairPoller,
    undo: ExitStack,
    *,
    is_privileged: bool,
    absent: frozenset[IpAddress],
    series: int,
    host_of: Callable[[IpAddress], str],
) -> tuple[dict[DataPathKind, DataPath], KernelDataPath | None]:
    loop = asyncio.get_running_loop()
    ears = FirstWords(loop, series) if is_privileged else None
    if ears is not None:
        undo.callback(ears.stop)
    user = UserDataPath(
        loop, poller, is_transparent=is_privileged, absent=absent, ears=ears, host_of=host_of
    )
    undo.callback(user.stop)
    if settings.data_path is DataPathChoice.USER:
        return {DataPathKind.USER: user}, None
    kernel = KernelDataPath.start(absent=absent, series=series)
    undo.callback(kernel.stop)
    kernel.run_in(loop, poller)
    return {DataPathKind.KERNEL: kernel, DataPathKind.USER: user}, kernel
