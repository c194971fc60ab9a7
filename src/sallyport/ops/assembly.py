"""Putting the gateway together from its parts, each undone in reverse order.

On a host with netfilter and privileges: guard, translation, interception, both data paths. Without
them, if the operator asked for user mode: published servers at plain listeners, and nothing else.
"""

import asyncio
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace

from sallyport.addresses import IpAddress
from sallyport.core.engine.gateway import Gateway
from sallyport.core.model.filter import ApplicationFilter
from sallyport.core.pinholes.datapath import DataPath, DataPathKind
from sallyport.core.pinholes.ports import Ports
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rules import Policy
from sallyport.errors import OperatorError, StartupError
from sallyport.flags import Transport
from sallyport.io.fair_poller import FairPoller
from sallyport.kernel import host
from sallyport.kernel.base_table import GatewayRules
from sallyport.kernel.datapath import KernelDataPath
from sallyport.kernel.guard import Guard, interfaces
from sallyport.ops.arrivals import FrontEnds, Listeners, Protocols
from sallyport.ops.config.catalogue import fence
from sallyport.ops.config.load import Configuration
from sallyport.ops.config.publishing import is_routed, require_own_addresses
from sallyport.ops.config.settings import DataPathChoice, GatewaySettings
from sallyport.ops.interfaces import local_addresses
from sallyport.ops.watchdog import Watchdog
from sallyport.ops.world import AsyncWorld
from sallyport.relay.datapath import UserDataPath

# What sockets, tables and sysctls were made for at the start; the rest may change.
_FIXED = ("data_path", "port_range", "control_socket", "masquerade")


class RestartNeeded(OperatorError):
    """A running gateway cannot take this configuration; the message names the key."""

    code = "restart-needed"


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a configuration means on this host, before anything is set up."""

    policy: Policy
    filters: tuple[ApplicationFilter, ...]
    protocols: Protocols

    @classmethod
    def of(cls, configuration: Configuration, lack: str | None) -> "_Plan":
        """Look at the host's addresses; `lack` is what it misses. Raises StartupError."""
        own = local_addresses() | configuration.policy.sources
        policy = replace(configuration.policy, gateway_addresses=frozenset(own))
        require_own_addresses(policy)
        if lack is not None:
            _require_plain(policy, lack)
        choices = [one.running for one in configuration.filters]
        filters = tuple(one for one in choices if one is not None)
        return cls(policy, filters, _by_port(configuration.supervised))


class Assembly:
    """The parts of a running gateway, as far as another configuration reaches them."""

    def __init__(
        self,
        configuration: Configuration,
        gateway: Gateway,
        listeners: Listeners,
        front_ends: FrontEnds,
        *,
        lack: str | None,
        guard: Guard | None,
        rules: GatewayRules,
    ) -> None:
        """`lack`: what the host misses for interception, and with it the guard; `rules` stand."""
        self.configuration = configuration
        self.gateway = gateway
        self.listeners = listeners
        self._front_ends = front_ends
        self._lack = lack
        self.guard = guard
        self._rules = rules

    def replace(self, configuration: Configuration) -> None:
        """Take another configuration for what begins from now on; what runs goes on.

        Raises RestartNeeded, StartupError or FilterUnusable, with nothing changed.
        """
        _require_same(self.configuration, configuration)
        if self._lack is not None:
            configuration = configuration.unintercepted()
        plan = _Plan.of(configuration, self._lack)
        with ExitStack() as undo:
            opened = self.listeners.open(plan.policy, plan.protocols)
            undo.callback(self.listeners.close, opened)
            rules = _gateway_rules(configuration.gateway, plan, self.listeners)
            if self.guard is not None:
                undo.callback(self.guard.install, self.gateway.policy, self._rules)
                self.guard.install(plan.policy, rules)
            with fence("the start of a filter"):
                self.gateway.replace(plan.policy, plan.filters)
            undo.pop_all()
        self.configuration, self._rules = configuration, rules
        unwanted = self.listeners.unwanted(plan.policy, plan.protocols)
        self._front_ends.leave(unwanted)
        self.listeners.close(unwanted)
        self._front_ends.serve(self.listeners, plan.protocols)


def assemble(
    configuration: Configuration,
    world: AsyncWorld,
    tasks: asyncio.TaskGroup,
    poller: FairPoller,
    undo: ExitStack,
) -> Assembly:
    """Build every part and start it; what must be undone is pushed on `undo`.

    Raises StartupError, and FilterUnusable for a filter that does not start.
    """
    settings = configuration.gateway
    lack = host.missing() if settings.data_path is DataPathChoice.USER else None
    if lack is not None:
        configuration = configuration.unintercepted()
    plan = _Plan.of(configuration, lack)
    if lack is None:
        host.require()
    else:
        world.journal.record("gateway.limited", level="warning", to="published servers", lack=lack)
    host.require_free(settings.port_range)
    listeners = Listeners()
    undo.callback(listeners.close, listeners.sockets)
    listeners.open(plan.policy, plan.protocols)
    rules = _gateway_rules(settings, plan, listeners)
    guard = None
    if lack is None:
        guard = _guard_host(settings, plan.policy, rules, world, undo)
        guard.run_in(asyncio.get_running_loop(), poller)
    data_paths = _data_paths(
        settings, poller, undo, is_privileged=lack is None, absent=plan.policy.sources
    )
    with fence("the start of a filter"):
        gateway = Gateway(
            policy=plan.policy,
            data_paths=data_paths,
            ports=Ports(settings.port_range, world.random_below),
            environment=world,
            filters=plan.filters,
        )
    world.drive(gateway)
    watchdog = Watchdog(world.filter_running)
    watchdog.start()
    undo.callback(watchdog.stop)
    front_ends = FrontEnds(gateway, tasks, poller)
    undo.callback(front_ends.close)
    front_ends.serve(listeners, plan.protocols)
    return Assembly(
        configuration, gateway, listeners, front_ends, lack=lack, guard=guard, rules=rules
    )


def _require_same(before: Configuration, after: Configuration) -> None:
    """Check that a running gateway can follow; raises RestartNeeded."""
    for key in _FIXED:
        was = getattr(before.gateway, key)
        if getattr(after.gateway, key) != was:
            raise RestartNeeded(
                f"[gateway] {key} cannot change while the gateway runs; restart it, or write"
                f" {str(was)!r} again"
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


def _by_port(supervised: Iterable[ProtocolDefinition]) -> Protocols:
    """Sort the supervised protocols by transport and port; nothing else is intercepted."""
    found: dict[Transport, dict[int, ProtocolDefinition]] = {}
    for protocol in supervised:
        found.setdefault(protocol.transport, {})[protocol.port] = protocol
    return found


def _require_plain(policy: Policy, lack: str) -> None:
    """Check that what is published works without interception; raises StartupError."""
    if not policy.publishing_rules:
        raise StartupError(f"nothing can be intercepted, and no server is published: {lack}")
    for rule in policy.publishing_rules:
        if is_routed(rule) or not rule.full_proxy:
            raise StartupError(
                f"publishing rule {rule.name!r} needs interception, because its server sees its"
                f" clients' own addresses; write full_proxy = true on a nat relation ({lack})"
            )


def _gateway_rules(settings: GatewaySettings, plan: _Plan, listeners: Listeners) -> GatewayRules:
    return GatewayRules(
        port_range=settings.port_range,
        masquerade=settings.masquerade,
        interceptions=tuple(listeners.interceptions(plan.policy, plan.protocols)),
    )


def _guard_host(
    settings: GatewaySettings,
    policy: Policy,
    rules: GatewayRules,
    world: AsyncWorld,
    undo: ExitStack,
) -> Guard:
    inside, outside = (interfaces(policy, external=external) for external in (False, True))
    changes = host.HostSettings(settings.port_range, inside, outside)
    guard = Guard(changes, policy, world.journal)
    # The guard stands before the host begins to forward, and falls after it has ceased to.
    undo.callback(guard.remove)
    guard.install(policy, rules)
    undo.callback(changes.restore)
    changes.apply()
    return guard


def _data_paths(
    settings: GatewaySettings,
    poller: FairPoller,
    undo: ExitStack,
    *,
    is_privileged: bool,
    absent: frozenset[IpAddress],
) -> dict[DataPathKind, DataPath]:
    loop = asyncio.get_running_loop()
    user = UserDataPath(loop, poller, is_transparent=is_privileged, absent=absent)
    undo.callback(user.stop)
    if settings.data_path is DataPathChoice.USER:
        return {DataPathKind.USER: user}
    kernel = KernelDataPath.start(absent=absent)
    undo.callback(kernel.stop)
    kernel.run_in(loop, poller)
    return {DataPathKind.KERNEL: kernel, DataPathKind.USER: user}
