"""One worker as the supervisor knows it: its process, what it was asked, whether it is alive."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from typing import TypeVar

import msgspec
from msgspec import Raw

from sallyport import limits
from sallyport.errors import OperatorError, RequestRefused, StartupError
from sallyport.ops.control.feed import Feed
from sallyport.ops.control.schema import WorkerState
from sallyport.ops.processes import messages
from sallyport.ops.processes.kept_mappings import Book
from sallyport.ops.processes.lifeline import Lifeline
from sallyport.ops.processes.messages import (
    Body,
    Follow,
    HandOver,
    Leave,
    Left,
    MappingsAnswer,
    Prepare,
    SwitchedOff,
    Take,
    TakeOver,
    Told,
    WorkerAnswer,
    WorkerRequest,
)
from sallyport.ops.processes.spawn import InheritedProcess, Process, Spawn

_T = TypeVar("_T")


class WorkerLost(OperatorError):
    """A worker ended, or gave no answer in time."""

    code = "worker-lost"


class Member:
    """The worker with one number; its process may be replaced by another."""

    def __init__(
        self, number: int, index: int, spawn: Spawn, ended: Callable[["Member", int], None]
    ) -> None:
        """`number` is its own, `index` its place among those that share the clients, from 0 on.

        `ended` is told when a process of it has ended, with its exit status.
        """
        self.number = number
        self.index = index
        self.is_outgoing = False
        """Whether it only finishes what it has begun; it is not replaced."""
        self.series = 0
        """Its part of the numbers in marks, while it has a process."""
        self.is_serving = False
        self.restarts = 0
        self._spawn = spawn
        self._told = ended
        self._loop = asyncio.get_running_loop()
        self.lifeline = Lifeline(self._loop.time())
        self._process: Process | None = None
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[Raw]] = {}
        self.on_switched_off: Callable[[Member, str], None] = lambda _member, _name: None
        """Called when it has switched a filter off for all its clients."""
        self.left: dict[str, object] | None = None
        """What its last process that ended in order has left for the next."""
        self._feeds: dict[int, Feed] = {}
        self.over = asyncio.Event()
        """Set while there is no process."""
        self.over.set()

    @property
    def pid(self) -> int | None:
        """The process id; None between two processes."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start a process; raises WorkerLost where the host has no room for one."""
        assert self._process is None, "one at a time"  # noqa: S101
        self.lifeline.started(self._loop.time())
        try:
            self._process = self._spawn(self.number, self._on_report, self._ended)
        except OSError as error:
            raise WorkerLost(f"worker {self.number} cannot be started: {error}") from None
        self.over.clear()

    def inherit(self, pid: int, pidfd: int, sock: socket.socket) -> None:
        """Take the process of another supervisor, by its pidfd and the connection to it.

        It serves, or has ended meanwhile: then that is told soon.
        """
        self._process = InheritedProcess(pid, pidfd, sock, self._on_report, self._ended)
        self.over.clear()
        self.serves()

    def duplicates(self) -> list[int]:
        """Return what another supervisor needs of the process; see `Process`."""
        return [] if self._process is None else self._process.duplicates()

    def release(self) -> None:
        """Let go of the process while it runs."""
        assert self._process is not None  # noqa: S101 - it serves
        self._process.release()
        self._process, self.is_serving = None, False
        self.over.set()

    def serves(self) -> None:
        """Note that it has taken its clients."""
        self.is_serving = True
        self.lifeline.serves(self._loop.time())

    def kill(self) -> None:
        """End its process now; idempotent."""
        if self._process is not None:
            self._process.kill()

    def state(self, *, is_silent: bool) -> WorkerState:
        """Return how it is doing, in the words of `status`."""
        if not self.is_serving:
            return "starting"
        if self.is_outgoing:
            return "outgoing"
        return "silent" if is_silent else "serving"

    def send(self, body: Body) -> None:
        """Send a request whose answer is of no interest."""
        if self._process is not None:
            self._process.send(WorkerRequest(0, body))

    async def ask(
        self,
        body: Body,
        expect: type[_T],
        *,
        descriptors: Sequence[int] = (),
        seconds: float = limits.WORKER_START_SECONDS,
    ) -> _T:
        """Return the answer to a request.

        Raises the error that the worker answers with (`messages.error_of`), and WorkerLost when it
        ends before or has said nothing after `seconds`.
        """
        number = next(self._numbers)
        result = await self._answer(number, body, descriptors, seconds)
        return msgspec.json.decode(result, type=expect)

    async def follow(self, body: Follow, feed: Feed) -> None:
        """Let it tell `feed` a stream until that is closed; raises as `ask` does."""
        number = next(self._numbers)
        self._feeds[number] = feed
        feed.at_end(partial(self._leave, number))
        try:
            await self._answer(number, body, (), limits.WORKER_ANSWER_SECONDS)
        except OperatorError:
            self._feeds.pop(number, None)
            raise

    def _leave(self, number: int) -> None:
        if self._feeds.pop(number, None):
            self.send(Leave(number))

    async def _answer(
        self, number: int, body: Body, descriptors: Sequence[int], seconds: float
    ) -> Raw:
        if self._process is None:
            raise WorkerLost(f"worker {self.number} is being replaced")
        self._waiting[number] = self._loop.create_future()
        if isinstance(body, Prepare | Take):
            self.lifeline.is_changing = True
        try:
            self._process.send(WorkerRequest(number, body), descriptors)
            async with asyncio.timeout(seconds):
                return await self._waiting[number]
        except TimeoutError:
            raise WorkerLost(f"worker {self.number} gives no answer") from None
        except OSError as error:
            raise WorkerLost(f"worker {self.number} cannot be asked: {error}") from None
        finally:
            del self._waiting[number]
            if isinstance(body, Prepare | Take):
                self.lifeline.is_changing = False

    async def hand_over(self) -> Book | None:
        """Return the mappings that its clients have asked for, which ends them there."""
        with suppress(WorkerLost, RequestRefused):
            return (await self.ask(HandOver(), MappingsAnswer)).book
        return None

    async def take_over(self, book: Book | None) -> None:
        """Let it make its clients' mappings again, and answer who asks for one."""
        with suppress(WorkerLost, RequestRefused):
            await self.ask(TakeOver(book), type(None))

    def _on_report(self, body: bytes) -> None:
        self.lifeline.alive(self._loop.time())
        report = messages.decode_report(body)
        if isinstance(report, Left):
            self.left = report.book
        if isinstance(report, SwitchedOff):
            self.on_switched_off(self, report.name)
        if isinstance(report, Told):
            if feed := self._feeds.get(report.number):
                feed.put(report.document, report.lost)
            return
        if not isinstance(report, WorkerAnswer):
            return
        waiting = self._waiting.get(report.number)
        if waiting is None or waiting.done():
            return
        if report.fault is None:
            waiting.set_result(report.result)
        else:
            waiting.set_exception(messages.error_of(report.fault))

    def _ended(self, status: int) -> None:
        assert self._process is not None  # noqa: S101 - it has just ended
        self._process.close()
        self._process = None
        self.is_serving = False
        self.over.set()
        self._feeds.clear()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(WorkerLost(f"worker {self.number} has ended"))
        self._told(self, status)


async def all_over(members: Iterable[Member]) -> None:
    """Wait until none of them has a process."""
    await asyncio.gather(*(member.over.wait() for member in members))


async def at_start(answer: Awaitable[_T]) -> _T:
    """Return an answer that is needed for the start; what went wrong there is a StartupError."""
    try:
        return await answer
    except (RequestRefused, WorkerLost) as error:
        raise StartupError(str(error)) from None
