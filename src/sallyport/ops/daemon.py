"""The daemon: puts the gateway together, runs it until told to stop, and takes it apart again.

Whatever was set up is undone in reverse order, also when the start fails half-way. A daemon that
is killed leaves a closed gateway: pinholes die with it, guard and running transfers stay.
"""

import asyncio
import signal
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from sallyport.core.filter import ApplicationFilter
from sallyport.core.gateway import Gateway
from sallyport.core.policy import Action, Policy
from sallyport.core.ports import Ports
from sallyport.errors import OperatorError
from sallyport.frontends.tproxy import Interceptor, listening_socket
from sallyport.kernel import host, table
from sallyport.kernel.datapath import KernelDataPath
from sallyport.kernel.ruleset import (
    BASE_TABLE,
    GatewayRules,
    Interception,
    render_base,
    render_removal,
)
from sallyport.ops.answers import Answers, CountingJournal
from sallyport.ops.control import ControlServer, Handler
from sallyport.ops.interfaces import local_addresses
from sallyport.ops.logs import EventJournal
from sallyport.ops.settings import KNOWN_FILTERS, Configuration
from sallyport.ops.watchdog import Watchdog
from sallyport.ops.world import AsyncWorld

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


class _Stopped(Exception):
    """Ends the task group: it waits for its tasks, or cancels them when its body raises."""


def run(configuration: Configuration, log: EventJournal) -> None:
    """Run the gateway in the foreground until SIGTERM or SIGINT.

    Raises StartupError, one line that says what is wrong, with everything undone.
    """
    asyncio.run(_serve(configuration, log))


async def _serve(configuration: Configuration, log: EventJournal) -> None:
    journal = CountingJournal(log)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: _survive(journal, context))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    handlers: dict[str, Handler] = {}
    control = ControlServer(configuration.gateway.control_socket, handlers, journal)
    await control.start()
    failures: tuple[BaseException, ...] = ()
    try:
        async with asyncio.TaskGroup() as tasks:
            with ExitStack() as undo:
                gateway = await _assemble(configuration, AsyncWorld(journal, tasks), tasks, undo)
                handlers.update(Answers(gateway, journal, log).handlers())
                journal.record(
                    "gateway.started",
                    data_path=gateway.openings.data_path.kind,
                    networks=", ".join(network.name for network in gateway.policy.networks),
                    control_socket=configuration.gateway.control_socket,
                )
                await stopped.wait()
                journal.record("gateway.stopping")
                gateway.shut_down("gateway-stopping")
            raise _Stopped  # noqa: TRY301 - caught below, on purpose
    except* _Stopped:
        journal.record("gateway.stopped")
    except* OperatorError as group:
        failures = group.exceptions
    finally:
        await control.stop()
    if failures:  # raised out here, because except* would wrap it in a group again
        raise failures[0]


async def _assemble(
    configuration: Configuration, world: AsyncWorld, tasks: asyncio.TaskGroup, undo: ExitStack
) -> Gateway:
    """Build every part; what must be undone is pushed on `undo`. Raises StartupError."""
    settings = configuration.gateway
    policy = replace(configuration.policy, gateway_addresses=frozenset(local_addresses()))
    filters = _filters_in_use(policy, configuration.filters)
    protocols = {p.port: p for one in filters for p in one.protocols}
    host.require()
    host.require_free(settings.port_range)
    listeners = {version: listening_socket(family) for version, family in _FAMILIES.items()}
    for listener in listeners.values():
        undo.callback(listener.close)
    rules = GatewayRules(
        port_range=settings.port_range,
        masquerade=settings.masquerade,
        interceptions=tuple(
            Interception(version, port, listener.getsockname()[1])
            for version, listener in listeners.items()
            for port in protocols
        ),
    )
    interfaces = [name for network in policy.networks for name in network.interfaces]
    state_file = settings.control_socket.with_suffix(".state")
    # The guard stands before the host begins to forward, and falls after it has ceased to.
    table.load(render_base(policy, rules))
    undo.callback(table.load, render_removal(BASE_TABLE))
    changes = host.HostSettings(settings.port_range, interfaces, state_file)
    undo.callback(changes.restore)
    changes.apply()
    data_path = KernelDataPath.start()
    undo.callback(data_path.stop)
    gateway = Gateway(
        policy=policy,
        data_path=data_path,
        ports=Ports(settings.port_range, world.random_below),
        world=world,
        filters=filters,
    )
    world.drive(gateway)
    data_path.run_in(asyncio.get_running_loop())
    watchdog = Watchdog(world.turn)
    watchdog.start()
    undo.callback(watchdog.stop)
    interceptor = Interceptor(gateway, protocols, tasks)
    undo.callback(interceptor.close)
    for listener in listeners.values():
        await interceptor.serve(listener)
    return gateway


def _filters_in_use(
    policy: Policy, settings: Mapping[str, Mapping[str, object]]
) -> list[ApplicationFilter]:
    """Make the filters that some rule allows; every other protocol is not even intercepted."""
    allowed = {
        protocol
        for rule in policy.access_rules
        if rule.action is Action.ALLOW
        for protocol in rule.protocols
    }
    return [
        known.make(settings[name])
        for name, known in KNOWN_FILTERS.items()
        if allowed.intersection(known.protocols)
    ]


def _survive(journal: CountingJournal, context: Mapping[str, Any]) -> None:
    """Write down what went wrong in a callback; the daemon goes on."""
    journal.record(
        "daemon.fault",
        level="error",
        message=context.get("message"),
        error=repr(context.get("exception")),
    )
