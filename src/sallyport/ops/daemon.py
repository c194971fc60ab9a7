"""The daemon: has the gateway put together, runs it until told to stop, and takes it apart again.

Whatever was set up is undone in reverse order, also when the start fails half-way. A daemon that
is killed leaves a closed gateway: pinholes die with it, guard and running transfers stay.
"""

import asyncio
import contextlib
import signal
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from sallyport.errors import OperatorError
from sallyport.io.fair_poller import FairPoller
from sallyport.ops.assembly import assemble
from sallyport.ops.config.load import ConfigFile, Configuration
from sallyport.ops.control.handlers import Handlers
from sallyport.ops.control.server import ControlServer, Handler
from sallyport.ops.logs import EventJournal
from sallyport.ops.reload import Reloader
from sallyport.ops.world import AsyncWorld


class _Stopped(Exception):
    """Ends the task group: it waits for its tasks, or cancels them when its body raises."""


def run(
    configuration: Configuration, journal: EventJournal, source: ConfigFile | None = None
) -> None:
    """Run the gateway in the foreground until SIGTERM or SIGINT; SIGHUP reloads it.

    `source` is where the configuration came from, None when that is no file. Raises StartupError,
    one line that says what is wrong, with everything undone.
    """

    async def serve(poller: FairPoller) -> None:
        with journal.gathered(poller.soon):
            await _serve(configuration, poller, journal, source)

    poller = FairPoller()
    with contextlib.closing(poller), asyncio.Runner(loop_factory=poller.new_loop) as runner:
        runner.run(serve(poller))


async def _serve(
    configuration: Configuration,
    poller: FairPoller,
    journal: EventJournal,
    source: ConfigFile | None,
) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: _survive(journal, context))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    reloader = Reloader(source, journal)
    # From the beginning to the end: by itself a hangup kills, with nothing undone.
    loop.add_signal_handler(signal.SIGHUP, reloader.on_signal)
    handlers: dict[str, Handler] = {}
    control = ControlServer(configuration.gateway.control_socket, handlers, journal)
    await control.start()
    failures: tuple[BaseException, ...] = ()
    try:
        async with asyncio.TaskGroup() as tasks:
            with ExitStack() as undo:
                assembly = assemble(configuration, AsyncWorld(journal, tasks), tasks, poller, undo)
                gateway = assembly.gateway
                questions = Handlers(
                    gateway, journal, lambda: assembly.configuration, assembly.guard
                )
                handlers.update(questions.table(), reload=reloader.answer)
                reloader.open(assembly.replace)
                undo.callback(reloader.close)
                journal.record(
                    "gateway.started",
                    data_path=", ".join(gateway.data_paths),
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


def _survive(journal: EventJournal, context: Mapping[str, Any]) -> None:
    """Write down what went wrong in a callback; the daemon goes on."""
    journal.record(
        "daemon.fault",
        level="error",
        message=context.get("message"),
        error=repr(context.get("exception")),
    )
