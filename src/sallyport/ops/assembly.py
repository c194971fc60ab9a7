"""Putting the gateway together from its parts, each undone in reverse order.

On a host with netfilter and privileges: guard, translation, interception, both data paths. Without
them, if the operator asked for user mode: published servers at plain listeners, and nothing else.
"""

import asyncio
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

from sallyport.core.datapath import DataPath, DataPathKind
from sallyport.core.filter import ApplicationFilter
from sallyport.core.gateway import Gateway
from sallyport.core.policy import Action, Policy
from sallyport.core.ports import Ports
from sallyport.core.protocols import Direction, ProtocolDefinition
from sallyport.errors import StartupError
from sallyport.flags import Transport
from sallyport.frontends.tproxy import Interceptor, intercepting_socket, publishing_socket
from sallyport.frontends.udp import DatagramInterceptor, intercepting_datagram_socket
from sallyport.kernel import host, table
from sallyport.kernel.datapath import KernelDataPath
from sallyport.kernel.interception import Interception
from sallyport.kernel.ruleset import BASE_TABLE, GatewayRules, render_base, render_removal
from sallyport.ops.interfaces import local_addresses
from sallyport.ops.publishing import is_routed, require_own_addresses
from sallyport.ops.settings import KNOWN_FILTERS, Configuration, DataPathChoice, GatewaySettings
from sallyport.ops.watchdog import Watchdog
from sallyport.ops.world import AsyncWorld
from sallyport.relay.datapath import UserDataPath

_Protocols = Mapping[Transport, Mapping[int, ProtocolDefinition]]
"""What clients inside may speak, by the port they dial."""


@dataclass(frozen=True, slots=True)
class _Listeners:
    """Where control traffic arrives: by transport and IP version, and at ports of our own."""

    intercepting: Mapping[tuple[Transport, int], socket.socket]
    publishing: tuple[socket.socket, ...]


async def assemble(
    configuration: Configuration, world: AsyncWorld, tasks: asyncio.TaskGroup, undo: ExitStack
) -> Gateway:
    """Build every part and start it; what must be undone is pushed on `undo`.

    Raises StartupError.
    """
    settings = configuration.gateway
    policy = replace(configuration.policy, gateway_addresses=frozenset(local_addresses()))
    require_own_addresses(policy)
    filters = _filters_in_use(policy, configuration.filters)
    lack = host.missing() if settings.data_path is DataPathChoice.USER else None
    if lack is None:
        host.require()
    else:
        _require_plain(policy, lack)
        world.journal.record("gateway.limited", level="warning", to="published servers", lack=lack)
    host.require_free(settings.port_range)
    protocols = _protocols(policy, filters) if lack is None else {}
    listeners = _listen(policy, protocols, undo)
    if lack is None:
        _prepare_host(settings, policy, _interceptions(policy, protocols, listeners), undo)
    gateway = Gateway(
        policy=policy,
        data_paths=_data_paths(settings, undo, is_privileged=lack is None),
        ports=Ports(settings.port_range, world.random_below),
        world=world,
        filters=filters,
    )
    world.drive(gateway)
    watchdog = Watchdog(world.turn)
    watchdog.start()
    undo.callback(watchdog.stop)
    await _serve(gateway, protocols, listeners, tasks, undo)
    return gateway


def _filters_in_use(
    policy: Policy, settings: Mapping[str, Mapping[str, object]]
) -> list[ApplicationFilter]:
    """Make the filters of whose protocols some rule allows one."""
    wanted = _allowed_outbound(policy) | {rule.protocol for rule in policy.publishing_rules}
    return [
        known.make(settings[name])
        for name, known in KNOWN_FILTERS.items()
        if wanted.intersection(protocol.name for protocol in known.protocols)
    ]


def _allowed_outbound(policy: Policy) -> set[str]:
    allowed = (rule.protocols for rule in policy.access_rules if rule.action is Action.ALLOW)
    return set().union(*allowed)


def _protocols(policy: Policy, filters: list[ApplicationFilter]) -> _Protocols:
    """Give what clients inside are allowed to speak; nothing else of theirs is intercepted."""
    allowed = _allowed_outbound(policy)
    found: dict[Transport, dict[int, ProtocolDefinition]] = {}
    for one in filters:
        for protocol in one.protocols:
            if protocol.name in allowed and protocol.direction is Direction.OUTBOUND:
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


def _listen(policy: Policy, protocols: _Protocols, undo: ExitStack) -> _Listeners:
    """Make every listening socket; raises StartupError."""
    makers = {Transport.TCP: intercepting_socket, Transport.UDP: intercepting_datagram_socket}
    routed = [rule for rule in policy.publishing_rules if is_routed(rule)]
    transports = set(protocols) | ({Transport.TCP} if routed else set())
    intercepting: dict[tuple[Transport, int], socket.socket] = {}
    publishing: list[socket.socket] = []
    for transport in transports:
        for version in _loopback_versions(policy):
            listener = intercepting[transport, version] = makers[transport](version)
            undo.callback(listener.close)
    for rule in policy.publishing_rules:
        if rule not in routed:
            publishing.append(publishing_socket(rule))
            undo.callback(publishing[-1].close)
    return _Listeners(intercepting, tuple(publishing))


def _loopback_versions(policy: Policy) -> list[int]:
    """Give the IP versions that work here; raises StartupError when not even IPv4 does."""
    if IPv4Address("127.0.0.1") not in policy.gateway_addresses:
        raise StartupError("interface lo is down: `ip link set lo up`")
    # A host may do without IPv6 (disable_ipv6); nobody's IPv6 connections come through it then.
    return [4, 6] if IPv6Address("::1") in policy.gateway_addresses else [4]


def _interceptions(
    policy: Policy, protocols: _Protocols, listeners: _Listeners
) -> Iterator[Interception]:
    for (transport, version), listener in listeners.intercepting.items():
        port = listener.getsockname()[1]
        for wanted in protocols.get(transport, {}):
            yield Interception(version, wanted, port, transport)
        for rule in policy.publishing_rules:
            if is_routed(rule) and (transport, version) == (Transport.TCP, rule.server.version):
                yield Interception(
                    version, rule.server.port, port, transport, server=rule.server.address
                )


def _prepare_host(
    settings: GatewaySettings,
    policy: Policy,
    interceptions: Iterator[Interception],
    undo: ExitStack,
) -> None:
    rules = GatewayRules(
        port_range=settings.port_range,
        masquerade=settings.masquerade,
        interceptions=tuple(interceptions),
    )
    interfaces = [name for network in policy.networks for name in network.interfaces]
    state_file = settings.control_socket.with_suffix(".state")
    # The guard stands before the host begins to forward, and falls after it has ceased to.
    table.load(render_base(policy, rules))
    undo.callback(table.load, render_removal(BASE_TABLE))
    changes = host.HostSettings(settings.port_range, interfaces, state_file)
    undo.callback(changes.restore)
    changes.apply()


def _data_paths(
    settings: GatewaySettings, undo: ExitStack, *, is_privileged: bool
) -> dict[DataPathKind, DataPath]:
    loop = asyncio.get_running_loop()
    user = UserDataPath(loop, is_transparent=is_privileged)
    undo.callback(user.stop)
    if settings.data_path is DataPathChoice.USER:
        return {DataPathKind.USER: user}
    kernel = KernelDataPath.start()
    undo.callback(kernel.stop)
    kernel.run_in(loop)
    return {DataPathKind.KERNEL: kernel, DataPathKind.USER: user}


async def _serve(
    gateway: Gateway,
    protocols: _Protocols,
    listeners: _Listeners,
    tasks: asyncio.TaskGroup,
    undo: ExitStack,
) -> None:
    streams = Interceptor(gateway, protocols.get(Transport.TCP, {}), tasks)
    undo.callback(streams.close)
    datagrams = DatagramInterceptor(gateway, dict(protocols.get(Transport.UDP, {})))
    undo.callback(datagrams.close)
    for (transport, _), listener in listeners.intercepting.items():
        if transport is Transport.TCP:
            await streams.serve(listener)
        else:
            datagrams.serve(listener)
    for listener in listeners.publishing:
        await streams.serve(listener)
