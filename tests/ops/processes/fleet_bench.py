"""A fleet of workers that are played: they answer as they are told to, and end when they are."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import cast

import msgspec
import pytest
from msgspec import Raw, Struct

from sallyport.addresses import PortRange
from sallyport.core.policy.rules import Network
from sallyport.core.runtime.environment import Level
from sallyport.errors import SallyportError
from sallyport.kernel.base_table import GatewayRules
from sallyport.ops.processes import fleet as fleet_module
from sallyport.ops.processes import messages
from sallyport.ops.processes.fleet import Fleet
from sallyport.ops.processes.ground import Ground, GuardRules
from sallyport.ops.processes.listeners import Listeners
from sallyport.ops.processes.messages import (
    Adopt,
    Ask,
    Body,
    ConfigSource,
    Drain,
    Follow,
    HandOver,
    Leave,
    MappingsAnswer,
    Outlive,
    Plan,
    Prepare,
    Render,
    Stop,
    SwitchOff,
    Take,
    TakeOver,
    Told,
    WorkerAnswer,
    WorkerRequest,
)
from sallyport.ops.processes.values import plain
from sallyport.testing.world import MemoryJournal


def plan(workers: int = 1, **changes: object) -> Plan:
    values: dict[str, object] = {
        "workers": workers,
        "control_socket": "/run/c.sock",
        "port_range": "40000-59999",
        "interfaces": ["int0", "ext0"],
        "networks": ["internal", "external"],
        "data_paths": ["kernel", "user"],
        "filters": ["ftp"],
        "intercepting": ["tcp4"],
        "published": {},
        "drain_seconds": 0.0,
        "lack": None,
    }
    return msgspec.convert(values | changes, Plan)


def rules(places: list[str]) -> GuardRules:
    """Return rules that have the places as the name of a network."""
    network = Network(" ".join(places), ("int0",))
    return GuardRules((network,), (), (), GatewayRules(PortRange(40000, 59999)))


class PlayedProcess:
    """A process that answers at once; `silent` ones hear and say nothing."""

    def __init__(
        self, pid: int, heard: Callable[[bytes], None], ended: Callable[[int], None], bench: "Bench"
    ) -> None:
        self.pid = pid
        self.is_alive = True
        self.followed: dict[int, Follow] = {}
        """The streams that it was asked for and may not leave yet, by their numbers."""
        self.is_silent = False
        self.is_connected = True
        self._heard = heard
        self._ended = ended
        self._bench = bench

    def send(self, message: Struct, descriptors: Sequence[int] = ()) -> None:
        assert isinstance(message, WorkerRequest)
        body = message.body
        self._bench.asked.append((self.pid, type(body).__name__.lower()))
        if isinstance(body, Stop | Drain):
            self.end(0)
            return
        if self.is_silent:
            return
        if isinstance(body, Leave):
            del self.followed[body.stream]
            return
        if isinstance(body, Follow):
            self.followed[message.number] = body
        try:
            answer = WorkerAnswer(
                message.number, Raw(messages.encode(self._bench.play(self.pid, body)))
            )
        except SallyportError as error:
            answer = WorkerAnswer(message.number, fault=messages.fault_of(error))
        loop = asyncio.get_running_loop()
        if ended := self._bench.ends_when_asked.get((self.pid, type(body).__name__.lower())):
            self._bench.processes[ended].end(0)
            if ended == self.pid:
                return
        loop.call_soon(self._heard, messages.encode(answer))

    def tell(self, document: object, lost: int = 0) -> None:
        """Send a document to whoever follows a stream."""
        for number in self.followed:
            self._heard(messages.encode(Told(number, Raw(messages.encode(document)), lost)))

    def say(self, report: Struct) -> None:
        """Say something that was not asked."""
        self._heard(messages.encode(report))

    def kill(self) -> None:
        self.end(-9)

    def duplicates(self) -> list[int]:
        nothing = os.open(os.devnull, os.O_RDONLY)
        if self.is_connected:
            return [nothing, os.dup(nothing)]
        os.close(nothing)
        return []

    def release(self) -> None:
        self.is_alive = False

    def close(self) -> None:
        pass

    def end(self, status: int) -> None:
        if self.is_alive:
            self.is_alive = False
            asyncio.get_running_loop().call_soon(self._ended, status)


class NotingJournal(MemoryJournal):
    """Sets an event for whoever waits for a record."""

    def __init__(self) -> None:
        super().__init__()
        self.awaited: dict[str, asyncio.Event] = {}

    def record(self, event: str, /, *, level: Level = "info", **fields: object) -> None:
        super().record(event, level=level, **fields)
        self.awaited.setdefault(event, asyncio.Event()).set()


class Bench:
    """The doubles around one fleet. `processes` has them by pid, from 101 on."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, str]] = []
        self.host: list[str] = []
        self.places: list[list[str]] = []
        """Where each process was to accept."""
        self.sources: list[str | None] = []
        """The text that each process was to read; None: none."""
        self.journal = NotingJournal()
        self.processes: dict[int, PlayedProcess] = {}
        self.plan = plan()
        self.book: dict[str, object] | None = None
        """What a worker hands over."""
        self.taken_over: list[tuple[int, dict[str, object] | None]] = []
        self.errors: dict[tuple[int, str], SallyportError] = {}
        """What a process answers to a kind of request instead."""
        self.ends_when_asked: dict[tuple[int, str], int] = {}
        """The process that ends when a process is asked for a kind of request."""
        self.lack: list[OSError | None] = []
        """What keeps the host from starting each of the next processes; None: nothing."""
        self.fleet = Fleet(self._spawn, cast("Ground", self), self.journal)

    def _spawn(
        self, _number: int, heard: Callable[[bytes], None], ended: Callable[[int], None]
    ) -> PlayedProcess:
        if self.lack and (lack := self.lack.pop(0)):
            raise lack
        pid = 101 + len(self.processes)
        self.processes[pid] = PlayedProcess(pid, heard, ended, self)
        return self.processes[pid]

    def recorded(self, event: str) -> asyncio.Event:
        """Return what is set when an event has been recorded."""
        return self.journal.awaited.setdefault(event, asyncio.Event())

    def play(self, pid: int, body: Body) -> object:  # noqa: PLR0911 - one answer for each request
        kind = type(body).__name__.lower()
        if error := self.errors.get((pid, kind)):
            raise error
        match body:
            case Prepare(source):
                self.sources.append(None if source is None else source.text)
                return self.plan
            case Render():
                return plain(rules(list(body.ports)))
            case Take(places=places):
                self.places.append(places)
                return ["status", "rules.show"]
            case Adopt():
                return 0
            case HandOver():
                return MappingsAnswer(self.book)
            case SwitchOff() | Outlive():
                return None
            case TakeOver():
                self.taken_over.append((pid, body.book))
                return None
            case Ask():
                return {"by": pid, "command": body.command}
            case Follow():
                return None
        raise AssertionError(body)

    # -- Ground -----------------------------------------------------------------------------------

    def install(self, _plan: Plan, rules: GuardRules, undo: ExitStack, _before: str | None) -> None:
        self.host.append(rules.networks[0].name)
        undo.callback(self.host.append, "removed")

    def replace(self, rules: GuardRules) -> None:
        self.host.append(rules.networks[0].name)

    def free_series(self, _plan: Plan, taken: set[int]) -> int:
        return min(set(range(16)) - taken)


class PlayedListeners(Listeners):
    """Listeners without sockets."""

    opened: list[set[str]] = []  # noqa: RUF012 - of all: a fleet makes its own

    def open(self, intercepting: object, published: object) -> set[str]:
        wanted = {*cast("list[str]", intercepting), *cast("dict[str, str]", published)}
        new = wanted - self._sockets.keys()
        self._sockets.update((place, []) for place in new)
        return new

    def ports(self) -> dict[str, list[int]]:
        return {place: [1] for place in sorted(self._sockets)}

    def of(self, worker: int) -> dict[str, int]:
        return dict.fromkeys(self._sockets, 0)


def played(act: Callable[[Bench], Awaitable[None]], monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Do something to a fleet that is not open yet; return what happened."""
    monkeypatch.setattr(fleet_module, "Listeners", PlayedListeners)

    async def scenario() -> Bench:
        bench = Bench()
        async with asyncio.timeout(10):
            await act(bench)
            await bench.fleet.stop()
        return bench

    return asyncio.run(scenario())


async def serve(bench: Bench, workers: int = 1) -> ExitStack:
    """Open the fleet and have it serve; return what undoes that."""
    bench.plan = plan(workers)
    undo = ExitStack()
    await bench.fleet.open(ConfigSource(file="/etc/s.toml", text="before"))
    await bench.fleet.serve(undo)
    return undo
