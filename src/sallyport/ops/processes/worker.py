"""A worker: a whole gateway for its share of the clients, which does what its supervisor asks.

It starts with nothing but one end of a socketpair. It dies with its supervisor, however that ends:
pinholes must not stay open when no supervisor watches over them.
"""

import asyncio
import contextlib
import ctypes
import os
import resource
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, Final, cast

from msgspec import Raw

from sallyport import limits
from sallyport.core.runtime.environment import Level
from sallyport.errors import ConfigError, OperatorError, SallyportError
from sallyport.frontends.pcp.leases import LeaseBook
from sallyport.io.fair_poller import FairPoller
from sallyport.kernel.quiet import QUIET
from sallyport.ops import logs
from sallyport.ops.arrivals import Place
from sallyport.ops.assembly import Assembly, Prepared, Share, assemble
from sallyport.ops.config.load import Configuration
from sallyport.ops.control.handlers import Handlers
from sallyport.ops.control.operations import Handler, Stream
from sallyport.ops.logs import EventJournal, Format
from sallyport.ops.processes import messages
from sallyport.ops.processes.channel import Channel
from sallyport.ops.processes.drain import Draining
from sallyport.ops.processes.ground import GuardRules
from sallyport.ops.processes.kept_mappings import Book
from sallyport.ops.processes.messages import (
    Adopt,
    Ask,
    Beat,
    Body,
    Drain,
    Follow,
    HandOver,
    Leave,
    Left,
    MappingsAnswer,
    Outlive,
    Plan,
    Prepare,
    Render,
    Stop,
    SwitchedOff,
    SwitchOff,
    Take,
    TakeOver,
    Told,
    WorkerAnswer,
)
from sallyport.ops.processes.plans import plan_of
from sallyport.ops.processes.source import doubts_about, read_source
from sallyport.ops.processes.values import plain, value_of
from sallyport.ops.world import AsyncWorld

# linux/prctl.h
_PR_SET_PDEATHSIG: Final = 1


class OutOfTurn(OperatorError):
    """The worker is asked before it serves, or for what was not prepared."""

    code = "not-ready"


class UnknownCommand(OperatorError):
    """No such command or stream."""

    code = "unknown-command"


class _Over(Exception):
    """Ends the task group: it waits for its tasks, or cancels them when its body raises."""


class Worker:
    """Answers the supervisor's requests, one after the other; `over` is set when it may end."""

    def __init__(
        self,
        journal: EventJournal,
        poller: FairPoller,
        tasks: asyncio.TaskGroup,
        undo: ExitStack,
    ) -> None:
        """Push on `undo` what a gateway sets up."""
        self.over = asyncio.Event()
        self._journal = journal
        self._poller = poller
        self._tasks = tasks
        self._undo = undo
        self._prepared: Prepared | None = None
        self._assembly: Assembly | None = None
        self._handlers: Mapping[str, Handler] = {}
        self._streams: Mapping[str, Stream] = {}
        # What ends each stream that is followed, by the number of the request.
        self._followed: dict[int, Callable[[], None]] = {}
        self._lost: Counter[int] = Counter()
        self._channel: Channel | None = None
        self._draining: Draining | None = None
        self._left: Book | None = None

    def listen(self, sock: socket.socket) -> None:
        """Take requests from the supervisor at the other end of `sock`."""
        loop = asyncio.get_running_loop()
        self._channel = Channel(sock, loop, self._on_request, self.over.set)
        self._undo.callback(self._channel.close)
        self._beat()
        loop.call_later(limits.LOG_MINUTE_SECONDS, self._minute_is_over)

    def _minute_is_over(self) -> None:
        self._journal.minute_is_over()
        loop = asyncio.get_running_loop()
        loop.call_later(limits.LOG_MINUTE_SECONDS, self._minute_is_over)

    def _beat(self) -> None:
        self._send(Beat())
        asyncio.get_running_loop().call_later(limits.HEARTBEAT_SECONDS, self._beat)

    def _send(self, report: WorkerAnswer | Told | Beat | SwitchedOff) -> None:
        if self._channel is not None:
            self._channel.send(report)

    def _on_request(self, body: bytes) -> None:
        request = messages.decode_request(body)
        if isinstance(request.body, TakeOver):
            self._tasks.create_task(self._take_over(request.number, request.body))
            return
        try:
            result = messages.encode(self._do(request.number, request.body))
        except Exception as error:  # noqa: BLE001 - a fence: a request never ends the worker
            if not isinstance(error, SallyportError):
                self._journal.record("request.failed", level="error", error=repr(error))
            self._send(WorkerAnswer(request.number, fault=messages.fault_of(error)))
        else:
            self._send(WorkerAnswer(request.number, Raw(result)))

    def _do(self, number: int, body: Body) -> object:
        result: object = None
        match body:
            case Prepare():
                result = self._prepare(body)
            case Render():
                result = plain(self._guard_rules(body.ports))
            case Take():
                result = self._take(body)
            case Ask():
                result = self._ask(body)
            case HandOver():
                result = MappingsAnswer(self._hand_over())
            case Adopt():
                result = self._serving().adopt()
            case Follow():
                self._follow(number, body)
            case Leave():
                self._leave(body.stream)
            case Drain():
                self._drain(body)
            case SwitchOff():
                self._serving().gateway.roster.switch_off(body.name)
            case Outlive():
                # The end of the connection ends us: the next supervisor did not start us.
                _set_death_signal(0)
            case Stop():
                self.over.set()
        return result

    def _prepare(self, body: Prepare) -> Plan:
        doubts: Sequence[ConfigError] = ()
        if body.source is None:
            prepared = Prepared.of(self._configuration(), is_in_force=True)
        else:
            configuration = read_source(body.source)
            prepared = Prepared.of(configuration)
            doubts = doubts_about(body.source, configuration)
        if self._assembly is not None:
            prepared.require_same(self._assembly.configuration)
        self._prepared = prepared
        return plan_of(prepared, doubts)

    def _ready(self) -> Prepared:
        if self._prepared is None:
            raise OutOfTurn("nothing was prepared")
        return self._prepared

    def _guard_rules(self, ports: Mapping[Place, Sequence[int]]) -> GuardRules:
        prepared = self._ready()
        policy = prepared.policy
        return GuardRules(
            policy.networks,
            policy.network_rules,
            policy.publishing_rules,
            prepared.gateway_rules(ports),
        )

    def _take(self, body: Take) -> list[str]:
        assert self._channel is not None  # noqa: S101 - a request came by it
        quiet, *numbers = self._channel.take_descriptors(1 + len(body.places))
        QUIET.join(quiet)
        sockets = {
            place: socket.socket(fileno=number)
            for place, number in zip(body.places, numbers, strict=True)
        }
        prepared = self._ready()
        if self._assembly is not None:
            self._assembly.replace(prepared, sockets)
            return sorted(self._handlers)
        world = AsyncWorld(self._journal, self._tasks, self._poller.delay)
        self._assembly = assemble(
            prepared,
            sockets,
            world,
            self._tasks,
            self._poller,
            undo=self._undo,
            share=Share(f"w{body.worker}.", body.index + 1, body.workers, body.series),
        )
        gateway = self._assembly.gateway
        gateway.roster.on_switched_off = lambda name: self._send(SwitchedOff(name))
        self._undo.callback(gateway.shut_down, "gateway-stopping")
        handlers = Handlers(gateway, self._journal, self._configuration)
        self._handlers, self._streams = handlers.table(), handlers.streams()
        return sorted(self._handlers)

    def _hand_over(self) -> Book | None:
        if self._assembly is None:
            return None
        book = self._assembly.front_ends.hand_over_leases()
        return None if book is None else cast("Book", plain(book))

    async def _take_over(self, number: int, body: TakeOver) -> None:
        assembly = self._serving()
        try:
            book = None if body.book is None else value_of(LeaseBook, body.book)
        except ValueError as error:
            book = None
            self._journal.record("request.failed", level="error", error=repr(error))
        await assembly.front_ends.take_over_leases(
            book, assembly.share.has, announces=assembly.share.number == 1
        )
        self._send(WorkerAnswer(number))

    def _set_aside(self) -> None:
        self._left = self._left or self._hand_over()

    def leave(self) -> None:
        """Say the last word, once `over` is set: what the next process has to know."""
        self._set_aside()
        if self._channel is not None:
            self._channel.finish(Left(self._left))

    def _configuration(self) -> Configuration:
        return self._serving().configuration

    def _serving(self) -> Assembly:
        if self._assembly is None:
            raise OutOfTurn("nothing was taken")
        return self._assembly

    def _ask(self, body: Ask) -> object:
        handler = self._handlers.get(body.command)
        if handler is None:
            known = ", ".join(sorted(self._handlers))
            raise UnknownCommand(f"no command {body.command!r}; this gateway has: {known}")
        return handler(body.arguments)

    def _follow(self, number: int, body: Follow) -> None:
        stream = self._streams.get(body.command)
        if stream is None:
            known = ", ".join(sorted(self._streams)) or "none"
            raise UnknownCommand(f"no stream {body.command!r}; this gateway has: {known}")
        self._followed[number] = stream(body.arguments, partial(self._tell, number))

    def _leave(self, number: int) -> None:
        if end := self._followed.pop(number, None):
            end()
        del self._lost[number]

    def _tell(self, number: int, document: object) -> None:
        """Send a document of a stream, or lose and count it: a slow reader stops no worker."""
        assert self._channel is not None  # noqa: S101 - a request came by it
        if self._channel.waiting_bytes > limits.MAX_STREAM_BACKLOG_BYTES:
            self._lost[number] += 1
            return
        self._send(Told(number, Raw(messages.encode(document)), self._lost.pop(number, 0)))

    def _drain(self, body: Drain) -> None:
        if self._assembly is None:
            self.over.set()
        elif self._draining is None:
            self._assembly.front_ends.stop_accepting()
            self._draining = Draining(
                self._assembly.gateway,
                self.over.set,
                self._set_aside,
                keeps_sessions=body.keeps_sessions,
            )
            self._draining.start(body.seconds)
        else:
            self._draining.change(body.seconds, keeps_sessions=body.keeps_sessions)


def main(arguments: Sequence[str]) -> int:
    """Serve the supervisor at the descriptor that the command line names until it has enough."""
    descriptor, supervisor, number, level, form = arguments
    _die_with(int(supervisor))
    _limit_memory()
    # Ctrl-C and some service managers signal the whole group; the supervisor decides.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(ignored, signal.SIG_IGN)
    journal = logs.set_up(cast("Level", level), Format(form), worker=int(number))
    with socket.socket(fileno=int(descriptor)) as sock:
        run(sock, journal)
    return 0


def run(sock: socket.socket, journal: EventJournal) -> None:
    """Serve the supervisor at the other end of `sock`."""
    poller = FairPoller()
    with contextlib.closing(poller), asyncio.Runner(loop_factory=poller.new_loop) as runner:
        runner.run(_serve(sock, journal, poller))


async def _serve(sock: socket.socket, journal: EventJournal, poller: FairPoller) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: _survive(journal, context))
    with journal.gathered(poller.soon):
        try:
            async with asyncio.TaskGroup() as tasks:
                with ExitStack() as undo:
                    worker = Worker(journal, poller, tasks, undo)
                    worker.listen(sock)
                    await worker.over.wait()
                    worker.leave()
                raise _Over  # noqa: TRY301 - caught below, on purpose
        except* _Over:
            pass


def _survive(journal: EventJournal, context: Mapping[str, Any]) -> None:
    """Write down what went wrong in a callback; the worker goes on."""
    journal.record(
        "daemon.fault",
        level="error",
        message=context.get("message"),
        error=repr(context.get("exception")),
    )


def _die_with(supervisor: int) -> None:
    """Ask the kernel to kill this process when its supervisor ends; ends it now when it has."""
    _set_death_signal(signal.SIGKILL)
    if os.getppid() != supervisor:
        sys.exit("sallyport: the supervisor has ended")


def _set_death_signal(number: int) -> None:
    """Set which signal the end of the parent brings; 0: none."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def _limit_memory() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = limits.MAX_WORKER_MEMORY_BYTES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
