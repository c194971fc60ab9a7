"""The supervisor: starts the workers and replaces them, and owns what outlives one.

It runs no filter code: workers read the configuration, and tell it what to set up. Whatever was set
up is undone in reverse order, also when the start fails half-way. When it is killed its workers die
with it; that leaves a closed gateway: pinholes are gone, guard and running transfers stay.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack, ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from sallyport.errors import OperatorError, StartupError
from sallyport.kernel import state_file
from sallyport.ops.control.application import BeginFeed
from sallyport.ops.control.feed import Feed
from sallyport.ops.control.operations import OPERATIONS, Handler
from sallyport.ops.control.reason_rows import reason_rows
from sallyport.ops.control.schema import (
    DrainBegun,
    Status,
    TakeoverBegun,
    UpgradeBegun,
    WorkerRow,
)
from sallyport.ops.logs import EventJournal
from sallyport.ops.processes import kept_mappings
from sallyport.ops.processes.address_follower import AddressFollower
from sallyport.ops.processes.admin_listeners import AdminListeners
from sallyport.ops.processes.estate import RunningEstate
from sallyport.ops.processes.fleet import Fleet
from sallyport.ops.processes.ground import Ground
from sallyport.ops.processes.messages import ConfigSource, Plan
from sallyport.ops.processes.observer import Observer
from sallyport.ops.processes.own_records import OwnRecords
from sallyport.ops.processes.plans import require_same
from sallyport.ops.processes.spawn import ChildProcess, Spawn
from sallyport.ops.processes.takeover import Predecessor, hand_over
from sallyport.ops.processes.upgrade import Upgrade
from sallyport.ops.reload import NotReady, Reloader
from sallyport.ops.service_manager import ServiceManager

_STOPPING: Final = (signal.SIGTERM, signal.SIGINT)

# What keeps the clients of a worker waiting.
_WORKER_TROUBLE: Final = frozenset({"starting", "silent"})

ReadSource = Callable[[], ConfigSource]
"""Read what the configuration says now; raises ConfigErrors."""


def run(
    read: ReadSource,
    journal: EventJournal,
    file: Path | None = None,
    *,
    takes_over: bool = False,
) -> None:
    """Run a gateway in the foreground until SIGTERM or SIGINT; SIGHUP reloads it.

    SIGUSR2 brings new workers, of the release that is installed now, without refusing a client.
    The first signal lets running transfers finish within `drain_seconds`, a second one ends them.

    `file` is what `read` reads, None for none: then there is nothing to reload. `takes_over`: in
    the place of the gateway that runs, which ends when this one serves. Raises ConfigErrors, and
    StartupError, one line that says what is wrong, with everything undone.
    """
    spawn = partial(ChildProcess, level=journal.level, form=journal.form)

    async def serve() -> None:
        manager = ServiceManager.of_environment(os.environ, os.getpid())
        with closing(manager), manager.watched(asyncio.get_running_loop()):
            await Supervisor(
                read,
                journal,
                spawn,
                Ground(journal),
                Upgrade(sys.orig_argv, journal),
                file=file,
                manager=manager,
                takes_over=takes_over,
            ).run()
        await _hold_signals()

    asyncio.run(serve())


async def _hold_signals() -> None:
    # All is undone. The loop gives the signals back to the system when it closes, and a second one,
    # which comes too late to hurry anything, would make a clean end look like an accident. A signal
    # goes to any thread that takes it, so ours has to be the only one.
    await asyncio.get_running_loop().shutdown_default_executor()
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)


class Supervisor:
    """One gateway's supervisor; made and run within an event loop."""

    def __init__(
        self,
        read: ReadSource,
        journal: EventJournal,
        spawn: Spawn,
        ground: Ground,
        upgrade: Upgrade,
        *,
        file: Path | None,
        manager: ServiceManager,
        takes_over: bool = False,
    ) -> None:
        """`spawn` starts a worker's process, `ground` is the host, `upgrade` starts a successor,
        `manager` is that of the service; others as in `run`."""
        self._takes_over = takes_over
        self._upgrade = upgrade
        self._succession: asyncio.Task[None] | None = None
        self._successor: int | None = None
        self._control: AdminListeners | None = None
        self._read = read
        self._journal = journal
        self._spawn = spawn
        self._ground = ground
        self._manager = manager
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._stopping = asyncio.Event()
        self._hurrying = asyncio.Event()
        self._fleet = Fleet(spawn, ground, journal)
        self._handlers: dict[str, Handler] = {}
        self._mappings = state_file.of_namespace("mappings")
        self._streams: dict[str, BeginFeed] = {}
        self._own_records = OwnRecords(journal)
        self._reloader = Reloader(file, self._reload, journal)
        self._renewer = Reloader(file or Path(), self._renew, journal)
        self._observer = Observer(self._fleet, ground, self._reloader, journal)

    async def run(self) -> None:
        """Start, serve until told to stop, and take everything apart; see `run` above."""
        self._loop.set_exception_handler(lambda _loop, context: self._survive(context))
        for number in _STOPPING:
            self._loop.add_signal_handler(number, self._stop)
        # From the beginning to the end: by itself a hangup kills, with nothing undone.
        self._loop.add_signal_handler(signal.SIGHUP, self._reloader.on_signal)
        self._loop.add_signal_handler(signal.SIGUSR2, self._renewer.on_signal)
        async with AsyncExitStack() as undo:
            starting = self._loop.create_task(self._start(undo))
            stopping = self._loop.create_task(self._stopping.wait())
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                await starting  # what went wrong ends everything
            else:
                starting.cancel()
                await asyncio.wait({starting})
            await stopping
            self._reloader.close()
            self._renewer.close()
            if self._succession is not None:
                # It has nothing yet, and would have what is taken away from here on.
                self._succession.cancel()
                await asyncio.wait({self._succession})
            if self._successor is not None:
                undo.pop_all()
                if self._control is not None:
                    await self._control.stop()
                self._journal.record("gateway.handed_over", pid=self._successor)
                self._manager.continues_with(self._successor)
                return
            if starting.done() and not starting.cancelled():
                seconds = self._fleet.plan.drain_seconds
                self._journal.record("gateway.stopping", drain_seconds=seconds)
                self._manager.stopping(f"running transfers have {seconds:g} s to finish")
                left = await self._fleet.drain(seconds, self._hurrying)
                with suppress(StartupError):
                    kept_mappings.save(self._mappings, left)
        self._journal.record("gateway.stopped")

    def _stop(self) -> None:
        """Stop when running transfers have finished; called again: stop now."""
        if self._stopping.is_set():
            self._hurrying.set()
        self._stopping.set()

    def _drain(self, _arguments: Mapping[str, object]) -> DrainBegun:
        """Answer `drain`: as one SIGTERM does."""
        self._stopping.set()
        return DrainBegun(drain_seconds=self._fleet.plan.drain_seconds)

    async def _start(self, undo: AsyncExitStack) -> None:
        undo.push_async_callback(self._fleet.stop)
        plan = await self._fleet.open(self._read())
        self._warn(plan)
        control = AdminListeners(plan, self._handlers, self._streams, self._observer, self._journal)
        self._control = control
        undo.push_async_callback(control.stop)
        if plan.lack is not None:
            self._journal.record(
                "gateway.limited", level="warning", to="published servers", lack=plan.lack
            )
        if self._takes_over:
            await self._succeed(undo, control)
        else:
            await control.open()
            self._ground.require(plan)
            ground = undo.enter_context(ExitStack())
            # A second time: workers end before what they stand on is taken away.
            undo.push_async_callback(self._fleet.stop)
            book = kept_mappings.load(self._mappings)
            self._offer(await self._fleet.serve(ground, book))
        follower = AddressFollower(self._fleet.follow, self._journal)
        undo.callback(follower.close)
        self._reloader.open()
        self._renewer.open()
        self._journal.record(
            "gateway.started",
            data_path=", ".join(plan.data_paths),
            networks=", ".join(plan.networks),
            control_socket=plan.control_socket,
            workers=plan.workers,
        )
        self._manager.ready(f"serving {', '.join(plan.networks)}; workers: {plan.workers}")

    def _offer(self, commands: Iterable[str]) -> None:
        """Answer these commands of the workers, and our own."""
        for command in commands:
            self._handlers[command] = partial(self._answer, command)
        for stream in (one.name for one in OPERATIONS.values() if one.is_stream):
            self._streams[stream] = partial(self._follow, stream)
        self._handlers["reasons.list"] = lambda _arguments: reason_rows()
        self._handlers["reasons.show"] = lambda found: reason_rows(str(found["id"]))
        self._handlers["reload"] = self._reloader.answer
        self._handlers["drain"] = self._drain
        self._handlers["takeover"] = self._begin_handing_over
        self._handlers["upgrade"] = self._begin_upgrade

    # -- from one supervisor to the next ----------------------------------------------------------

    async def _succeed(self, undo: AsyncExitStack, control: AdminListeners) -> None:
        """Take the place of the gateway that runs; raises OperatorError, and that one goes on."""
        predecessor = await Predecessor.meet(Path(self._fleet.plan.control_socket))
        undo.callback(predecessor.close)
        require_same(predecessor.offer.plan, self._fleet.plan, has_same_rules=True)
        await self._fleet.number_from(predecessor.offer.last_number)
        ground = ExitStack()
        try:
            commands = await self._fleet.serve(ground, None, predecessor)
        finally:
            # Else what is set up is not taken away: it is the other's.
            if predecessor.settle():
                undo.callback(ground.close)
                undo.push_async_callback(self._fleet.stop)
        await predecessor.gone()
        self._offer(commands)
        await control.open()

    def _begin_handing_over(self, _arguments: Mapping[str, object]) -> TakeoverBegun:
        """Answer `takeover`: raises NotReady while another one is under way, and at the end."""
        self._require_future()
        if self._succession is not None:
            raise NotReady("another gateway is taking over already")
        self._succession = self._loop.create_task(self._hand_over())
        return TakeoverBegun(pid=os.getpid())

    async def _hand_over(self) -> None:
        try:
            async with self._fleet.changing:
                self._ground.pause()
                estate = RunningEstate(self._fleet, self._ground)
                successor = await hand_over(Path(self._fleet.plan.control_socket), estate)
        except OperatorError as error:
            self._journal.record("gateway.not_handed_over", level="error", problem=str(error))
        else:
            self._successor = successor
            self._stopping.set()
        finally:
            self._succession = None
            if self._successor is None:
                self._ground.resume()

    def _begin_upgrade(self, _arguments: Mapping[str, object]) -> UpgradeBegun:
        """Answer `upgrade`; raises NotReady at the end, and what `Upgrade.begin` raises."""
        self._require_future()
        return UpgradeBegun(pid=self._upgrade.begin())

    def _require_future(self) -> None:
        """Check that there will be something to hand over; raises NotReady."""
        if self._stopping.is_set():
            raise NotReady("this gateway is stopping already")

    # -- what is asked ----------------------------------------------------------------------------

    async def _answer(self, command: str, arguments: Mapping[str, object]) -> object:
        answer, silent = await self._fleet.ask(command, arguments)
        return self._status(answer, silent) if isinstance(answer, Status) else answer

    async def _follow(self, command: str, arguments: Mapping[str, object]) -> Feed:
        """Begin a stream; what the supervisor itself has to tell goes into the same feed."""
        feed = Feed()
        try:
            await self._fleet.stream(command, arguments, feed)
        except BaseException:
            feed.close()
            raise
        if command == "events":
            self._own_records.join(feed)
        return feed

    def _status(self, together: Status, silent: list[int]) -> Status:
        """Add what the supervisor knows to the sum of what the workers say."""
        workers = [
            WorkerRow(
                number=member.number,
                pid=member.pid,
                state=member.state(is_silent=member.number in silent),
                restarts=member.restarts,
            )
            for member in self._fleet.members()
        ]
        trouble = [self._ground.trouble, together.degraded]
        trouble += [
            f"worker {one.number} is {one.state}" for one in workers if one.state in _WORKER_TROUBLE
        ]
        return msgspec.structs.replace(
            together,
            pid=os.getpid(),
            uptime_seconds=round(self._loop.time() - self._started, 3),
            port_range=self._fleet.plan.port_range,
            log_records_lost=together.log_records_lost + self._journal.lost,
            repairs=self._ground.repairs,
            degraded="; ".join(filter(None, trouble)) or None,
            successor=self._upgrade.pid,
            workers=workers,
        )

    async def _reload(self) -> list[str]:
        with self._manager.reloading():
            plan = await self._fleet.replace(self._read())
        self._warn(plan)
        return plan.filters

    def _warn(self, plan: Plan) -> None:
        """Write down what `check-config` warns of."""
        for one in plan.doubts:
            self._journal.record(
                "config.doubtful",
                level="warning",
                file=one.file,
                line=one.line,
                problem=one.problem,
            )

    async def _renew(self) -> list[str]:
        return (await self._fleet.renew(self._read())).filters

    def _survive(self, context: Mapping[str, Any]) -> None:
        """Write down what went wrong in a callback; the supervisor goes on."""
        self._journal.record(
            "daemon.fault",
            level="error",
            message=context.get("message"),
            error=repr(context.get("exception")),
        )
