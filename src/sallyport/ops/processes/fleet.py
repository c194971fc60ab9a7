"""The workers of a gateway: started, asked, replaced when they fail, and ended together."""

import asyncio
import socket
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import ExitStack, suppress
from itertools import count
from typing import Any, TypeVar

from sallyport import limits
from sallyport.core.runtime.environment import Journal
from sallyport.errors import OperatorError, RequestRefused, StartupError
from sallyport.kernel.quiet import QUIET
from sallyport.ops.processes.command_router import CommandRouter
from sallyport.ops.processes.ground import Ground, GuardRules
from sallyport.ops.processes.kept_mappings import Book, together
from sallyport.ops.processes.listeners import Listeners
from sallyport.ops.processes.member import Member, WorkerLost, all_over, at_start
from sallyport.ops.processes.messages import (
    Adopt,
    Body,
    ConfigSource,
    Drain,
    Plan,
    Prepare,
    Render,
    Stop,
    SwitchOff,
    Take,
)
from sallyport.ops.processes.plans import places, require_same
from sallyport.ops.processes.spawn import Spawn
from sallyport.ops.processes.takeover import Mate, Predecessor
from sallyport.ops.processes.values import value_of

_T = TypeVar("_T")


class Fleet:
    """All workers, by their numbers from 1 on; made within an event loop."""

    def __init__(self, spawn: Spawn, ground: Ground, journal: Journal) -> None:
        self._spawn = spawn
        self._ground = ground
        self._journal = journal
        self._loop = asyncio.get_running_loop()
        self._members: dict[int, Member] = {}
        self._numbers = count(1)
        self.listeners = Listeners(1)
        self._source = ConfigSource()
        self._plan: Plan | None = None
        self._rules: GuardRules | None = None
        # One change at a time: a worker that is being replaced reads what a reload may change.
        self.changing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        router = CommandRouter(self._members)
        self.ask, self.ask_each, self.stream = router.ask, router.ask_each, router.stream
        self._router = router
        self._is_stopping = False
        self._look: asyncio.TimerHandle | None = None

    @property
    def plan(self) -> Plan:
        """What the configuration in force asks for; known once `open` has returned."""
        assert self._plan is not None  # noqa: S101 - see above
        return self._plan

    async def open(self, source: ConfigSource) -> Plan:
        """Start the first worker and let it read the configuration; nothing is set up.

        Raises ConfigErrors or StartupError.
        """
        self._source = source
        first = self._new_member(0)
        self._plan = await at_start(first.ask(Prepare(source), Plan))
        return self._plan

    async def serve(
        self,
        undo: ExitStack,
        book: Book | None = None,
        predecessor: Predecessor | None = None,
    ) -> list[str]:
        """Set up what the configuration asks for and have all workers serve.

        Pushes on `undo` what takes it away once the workers have ended. `book` is what clients had
        asked for before (kept_mappings), `predecessor` the gateway that is taken over: whatever
        fails before it has let go changes nothing of it. Returns the commands that workers answer.
        Raises StartupError.
        """
        plan, (first,) = self.plan, self._current()
        self.listeners = Listeners(plan.workers, {} if predecessor is None else predecessor.sockets)
        undo.callback(lambda: self.listeners.close(self.listeners.places))
        self.listeners.open(plan.intercepting, plan.published)
        self._rules = await at_start(self._render(first))
        guard = None if predecessor is None else predecessor.offer.guard
        self._ground.install(plan, self._rules, undo, guard)
        others = [self._new_member(index) for index in range(1, plan.workers)]
        commands = await at_start(self._take(first))
        try:
            async with asyncio.TaskGroup() as starting:
                for member in others:
                    starting.create_task(at_start(self._begin(member)))
        except ExceptionGroup as wrong:
            raise wrong.exceptions[0] from None  # one reason is enough to end a start
        if ended := [one.number for one in (first, *others) if one.pid is None]:
            raise StartupError(f"worker {ended[0]} has ended at the start")
        self._watch()
        crew = [] if predecessor is None else await predecessor.crew()
        outgoing = [self._inherit(*one) for one in crew]
        await self._follow_on(outgoing, (first, *others), book)
        await self._adopt()
        return commands

    async def follow(self) -> Plan:
        """Let all workers take the host as it is now; raises as `replace` does.

        With an address that has come, the other node of a pair may have gone: its transfers are
        adopted, those that conntrackd commits a moment later too.
        """
        plan = await self._replace(None)
        await self._adopt_in_turn()
        self._loop.call_later(limits.ADOPT_AGAIN_SECONDS, self._adopt_soon)
        return plan

    async def replace(self, source: ConfigSource) -> Plan:
        """Let all workers take another configuration, or none.

        Raises what is wrong with it as the worker says (ConfigErrors, RequestRefused), StartupError
        for what cannot be set up, or WorkerLost; then nothing has changed.
        """
        return await self._replace(source)

    async def _replace(self, source: ConfigSource | None) -> Plan:
        async with self.changing:
            serving = [one for one in self._current() if one.is_serving]
            if not serving:
                raise WorkerLost("no worker is serving; ask again in a few seconds")
            prepare = [member.ask(Prepare(source), Plan) for member in serving]
            plan, *_same = await asyncio.gather(*prepare)
            with ExitStack() as undo:
                opened = self.listeners.open(plan.intercepting, plan.published)
                undo.callback(self.listeners.close, opened)
                first, *others = serving
                before = self._rules
                rules = await self._render(first)
                if before is not None and rules != before:
                    self._ground.replace(rules)
                    undo.callback(self._ground.replace, before)
                undo.callback(setattr, self, "_plan", self._plan)
                self._plan = plan
                await self._take(first)
                undo.pop_all()
            self._source, self._rules = source or self._source, rules
            # What the first has taken the others can take too; one that cannot begins anew.
            for member, done in zip(
                others,
                await asyncio.gather(*map(self._take, others), return_exceptions=True),
                strict=True,
            ):
                if isinstance(done, BaseException):
                    self._fail(member, done)
            self.listeners.close(self.listeners.places - places(plan))
            return plan

    async def renew(self, source: ConfigSource) -> Plan:
        """Let a new generation of workers take the clients over; no connection is refused.

        Both accept at the same sockets until the new one serves. The old one keeps its sessions
        until they end, at most `limits.OUTGOING_SECONDS`. Raises as `replace` does, with nothing
        changed.
        """
        async with self.changing:
            before = self._current()
            new: list[Member] = []
            try:
                for one in before:
                    new.append(self._new_member(one.index))  # noqa: PERF401 - it may fail half-way
                plan = await new[0].ask(Prepare(source), Plan)
                rules = await self._render(new[0])
                require_same(self.plan, plan, has_same_rules=rules == self._rules)
                for member in new[1:]:
                    await member.ask(Prepare(source), Plan)
                for member in new:
                    await self._take(member)
            except BaseException:
                for member in new:
                    member.is_outgoing = True
                    member.kill()
                raise
            self._source, self._plan = source, plan
            await self._follow_on(before, new)
            return plan

    def members(self) -> list[Member]:
        """Return every worker, by number."""
        return list(self._members.values())

    async def drain(self, seconds: float, hurry: asyncio.Event) -> Book | None:
        """Let running transfers finish, and reset what still runs after `seconds`.

        Nothing new begins: who connects is refused. `hurry` resets at once. Returns when no worker
        is left; one that hangs is ended meanwhile. The result is what clients had asked for.
        """
        self._is_stopping = True
        self.listeners.close(self.listeners.places)
        alive = [member for member in self._members.values() if member.pid is not None]
        self._send(alive, Drain(seconds, keeps_sessions=False))
        hurried = self._loop.create_task(hurry.wait())
        ended = self._loop.create_task(all_over(alive))
        try:
            limit = seconds + limits.DRAIN_RESET_SECONDS + limits.WORKER_STOP_SECONDS
            await asyncio.wait({hurried, ended}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if hurried.done():
                self._send(alive, Drain(0, keeps_sessions=False))
                await asyncio.wait({ended}, timeout=limits.WORKER_STOP_SECONDS)
        finally:
            hurried.cancel()
            ended.cancel()
        return together(member.left for member in alive)

    async def stop(self) -> None:
        """End every worker: pinholes close, running transfers go on. Idempotent."""
        self._is_stopping = True
        if self._look is not None:
            self._look.cancel()
        for task in tuple(self._tasks):
            task.cancel()
        alive = [member for member in self._members.values() if member.pid is not None]
        self._send(alive, Stop())
        try:
            async with asyncio.timeout(limits.WORKER_STOP_SECONDS):
                await all_over(alive)
        except TimeoutError:
            for member in alive:
                member.kill()
            await all_over(alive)

    # -- from one supervisor to the next ----------------------------------------------------------

    async def number_from(self, last: int) -> None:
        """Number workers from the one after `last` on, the first one included.

        Raises StartupError.
        """
        (first,) = self._members.values()
        self._numbers = count(last + 1)
        first.is_outgoing = True
        first.kill()
        await first.over.wait()
        await self.open(self._source)

    def let_go(self) -> None:
        """Replace no worker from now on: they are another supervisor's."""
        self._is_stopping = True
        if self._look is not None:
            self._look.cancel()

    def _inherit(self, mate: Mate, pidfd: int, sock: socket.socket) -> Member:
        member = Member(mate.number, mate.index, self._spawn, self._ended)
        member.series, member.is_outgoing = mate.series, True
        self._members[mate.number] = member
        member.inherit(mate.pid, pidfd, sock)
        return member

    # -- inside -----------------------------------------------------------------------------------

    def _current(self) -> list[Member]:
        """Return those that have the clients now."""
        return [member for member in self._members.values() if not member.is_outgoing]

    @staticmethod
    def _send(members: Iterable[Member], body: Body) -> None:
        for member in members:
            member.send(body)

    def _new_member(self, index: int) -> Member:
        member = Member(next(self._numbers), index, self._spawn, self._ended)
        member.on_switched_off = self._spread
        member.start()
        self._members[member.number] = member
        return member

    def _spread(self, finder: Member, name: str) -> None:
        """Send the other workers the word that a filter is off for everybody."""
        self._send((one for one in self._current() if one is not finder), SwitchOff(name))

    async def _begin(self, member: Member) -> list[str]:
        """Let a new process of a worker read the configuration in force, and serve."""
        await member.ask(Prepare(self._source), Plan)
        return await self._take(member)

    async def _render(self, member: Member) -> GuardRules:
        words = await member.ask(Render(self.listeners.ports()), dict[str, object])
        return value_of(GuardRules, words)

    async def _take(self, member: Member) -> list[str]:
        if not member.is_serving:
            taken = {one.series for one in self._members.values() if one is not member}
            member.series = self._ground.free_series(self.plan, taken)
        there = self.listeners.of(member.index)
        # Not those that are left: a worker would go on accepting where nothing is published.
        sockets = {place: there[place] for place in places(self.plan)}
        take = Take(
            worker=member.number,
            index=member.index,
            workers=self.plan.workers,
            series=member.series,
            places=list(sockets),
        )
        descriptors = [QUIET.fileno(), *sockets.values()]
        commands = await member.ask(take, list[str], descriptors=descriptors)
        is_new = not member.is_serving
        member.serves()
        if is_new:
            await self._router.join(member)
        return commands

    def _ended(self, member: Member, status: int) -> None:
        if member.is_outgoing:
            del self._members[member.number]
            self._journal.record("worker.left", number=member.number)
            self._spawn_task(self._adopt_in_turn())
            return
        if self._is_stopping or self._look is None:
            return
        delay = member.lifeline.ended(self._loop.time())
        self._journal.record(
            "worker.ended",
            level="error",
            number=member.number,
            status=status,
            replaced_in_seconds=delay,
        )
        self._spawn_task(self._revive(member, delay))

    async def _revive(self, member: Member, delay: float) -> None:
        await asyncio.sleep(delay)
        async with self.changing:
            if member.is_outgoing:  # a new generation that came to nothing
                self._members.pop(member.number, None)
                return
            if self._is_stopping:
                return
            member.restarts += 1
            try:
                member.start()
            except WorkerLost as error:
                # There is no process whose end would bring the next attempt.
                self._fail(member, error)
                again = member.lifeline.ended(self._loop.time())
                self._spawn_task(self._revive(member, again))
                return
            try:
                await self._begin(member)
                await member.take_over(None)
            except (OperatorError, OSError) as error:
                self._fail(member, error)
            else:
                self._journal.record("worker.replaced", number=member.number, pid=member.pid)
                await self._adopt()

    async def _follow_on(
        self, before: Sequence[Member], new: Sequence[Member], book: Book | None = None
    ) -> None:
        """Move the mappings of workers to new ones, and let those before run dry."""
        books = [await member.hand_over() for member in before]
        for member in new:
            await member.take_over(together([book, *books]))
        for member in before:
            member.is_outgoing = True
            member.send(Drain(limits.OUTGOING_SECONDS, keeps_sessions=True))

    async def _adopt(self) -> None:
        """Let workers take in what another process has left: one by one, or two would find it."""
        for member in self._current():
            if member.is_serving:
                with suppress(WorkerLost, RequestRefused):
                    await member.ask(Adopt(), int)

    def _adopt_soon(self) -> None:
        if not self._is_stopping:
            self._spawn_task(self._adopt_in_turn())

    async def _adopt_in_turn(self) -> None:
        async with self.changing:
            await self._adopt()

    def _fail(self, member: Member, error: BaseException) -> None:
        """End a worker that is of no use; the next one follows."""
        self._journal.record(
            "worker.failed", level="error", number=member.number, error=str(error) or repr(error)
        )
        member.kill()

    def _watch(self) -> None:
        """Look once a second who hangs."""
        due = self._loop.time() + limits.HEARTBEAT_SECONDS
        self._look = self._loop.call_at(due, self._look_around, due)

    def _look_around(self, due: float) -> None:
        now = self._loop.time()
        # A process that was stopped itself has not read the others' signs of life: they are queued.
        # And the others were stopped as well, perhaps, and go on a little later.
        was_stopped = now - due >= limits.HEARTBEAT_SECONDS
        for member in self._members.values():
            if was_stopped:
                member.lifeline.unwatched(now - due)
            elif member.pid is not None and member.lifeline.hangs(now):
                self._fail(member, WorkerLost("no sign of life; it hangs"))
        self._watch()

    def _spawn_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
