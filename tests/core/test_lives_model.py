"""Whatever happens, in any order: every part of a filter begins once, ends once, and is quiet then.

The parts keep their own books (`Life`); a call that is out of order fails the test at once.
"""

from collections.abc import Callable
from contextlib import suppress
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from tests.core.office import EXTERNAL, FTP, PEER, Office, Pause, Wire, run

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.model.connection import Connection, PrimaryConnection
from sallyport.core.model.events import (
    AcceptedConnection,
    BindTcp,
    ConnectionTerminating,
    ConnectTcp,
    Event,
    Listen,
)
from sallyport.core.model.filter import ApplicationFilter, DataFilter, Firewall, SessionFilter
from sallyport.core.model.hooks import Hooks, Scope
from sallyport.core.model.session import Session
from sallyport.core.pinholes.datapath import StreamEnd
from sallyport.errors import BindError
from sallyport.flags import BindFlags, Transport

CLIENTS = ("10.0.0.8", "10.0.0.9")
MOODS = ["pass", "pass", "attach", "attach", "wait", "deny", "fail", "kill", "kill session"]


class Life:
    """What was called on one part, and whether it is over."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.is_over = False

    def first(self, call: str) -> None:
        assert call not in self.calls, f"{call} after {self.calls}"
        self.later(call)

    def later(self, call: str) -> None:
        assert not self.is_over, f"{call} after the end: {self.calls}"
        self.calls.append(call)

    def last(self, call: str) -> None:
        self.later(call)
        self.is_over = True


class World:
    """Every life there was, and the mood that filters are in."""

    def __init__(self) -> None:
        self.applications: list[Life] = []
        self.sessions: list[Life] = []
        self.flows: list[Life] = []
        self.mood = "pass"

    def act(self, connection: Connection) -> None:
        if self.mood == "fail":
            raise ValueError("a filter's fault")
        if self.mood == "kill":
            connection.kill("filter", "go away")
        if self.mood == "kill session":
            connection.session.kill("filter")


class Flow(DataFilter):
    def __init__(self, world: World) -> None:
        self.world = world
        self.life = Life()
        self.is_busy = False

    def set_sockets(
        self,
        client: StreamEnd,
        server: StreamEnd,
        connection: Connection,
        peer: object,
        context: object,
    ) -> None:
        assert self.life.calls == []
        self.life.first("set")
        super().set_sockets(client, server, connection, peer, context)  # type: ignore[arg-type]

    async def _step(self, call: str) -> None:
        assert self.life.calls[0] == "set"
        assert not self.is_busy
        self.life.later(call)
        self.is_busy = True
        if self.world.mood == "wait":
            await Pause()
        self.is_busy = False
        self.world.act(self.connection)

    async def started(self) -> None:
        assert self.life.calls == ["set"]
        self.set_deadline(10)
        await self._step("started")

    async def from_client(self, data: bytes) -> None:
        assert self.life.calls[1] == "started"
        await self._step("data")
        self.server.send(data * 2)
        if data == b"close":
            self.close()
        if data == b"reset":
            self.reset()

    async def deadline_passed(self) -> None:
        await self._step("deadline")

    def detach(self) -> None:
        self.life.last("detach")
        if self.life.calls != ["detach"]:
            self.world.act(self.connection)


class Part(SessionFilter):
    def __init__(self, world: World) -> None:
        self.world = world
        self.life = Life()
        world.sessions.append(self.life)

    async def on_event(self, event: Event) -> None:
        self.life.later(type(event).__name__)
        mood = self.world.mood
        if mood == "wait":
            await Pause()
        if isinstance(event, ConnectTcp | AcceptedConnection) and event.connection.event_context:
            if mood in ("attach", "wait"):
                flow = Flow(self.world)
                event.connection.attach_data_filter(flow)
                self.world.flows.append(flow.life)
            if mood == "deny":
                event.connection.deny()
        self.world.act(event.connection)

    def detach(self) -> None:
        self.life.last("detach")


class Whole(ApplicationFilter):
    api_version = 1
    protocols = (FTP,)
    hooks = Hooks.of(
        ConnectTcp,
        BindTcp,
        Listen,
        AcceptedConnection,
        ConnectionTerminating,
        scope=Scope.SECONDARY,
    )

    def __init__(self, name: str, world: World) -> None:
        self.name = name
        self.world = world
        self.life = Life()
        self.parts: list[Life] = []
        world.applications.append(self.life)

    def start(self, firewall: Firewall) -> None:
        self.life.first("start")

    def attach_to_session(self, session: Session) -> SessionFilter:
        assert not session.is_over
        self.life.later("attach")
        part = Part(self.world)
        self.parts.append(part.life)
        return part

    def shutdown(self) -> None:
        assert all(part.is_over for part in self.parts)
        self.life.last("shutdown")


class LivesMachine(RuleBasedStateMachine):
    """Everything that can happen to filters."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.office = Office(*self._filters())
        self.numbers = count(10000)
        self.primaries: list[PrimaryConnection] = []

    def _filters(self) -> list[Whole]:
        return [Whole(name, self.world) for name in ("one", "two")]

    @initialize(mood=st.sampled_from(MOODS))
    def begin(self, mood: str) -> None:
        self.world.mood = mood

    @rule(mood=st.sampled_from(MOODS))
    def change_mood(self, mood: str) -> None:
        self.world.mood = mood

    @rule(client=st.sampled_from(CLIENTS), is_answered=st.sampled_from([True, True, False]))
    def connect(self, client: str, is_answered: bool) -> None:
        primary = self.office.admit(f"{client}:{next(self.numbers)}")
        primary.link = self.office.wires[primary.id] = Wire()

        def ready() -> None:
            if is_answered:
                self.office.start(primary)
            else:
                primary.kill("server-unreachable")

        self.office.gateway.announce_primary(primary, ready)
        self.primaries.append(primary)

    @rule(choice=st.integers(0, 100), data=st.sampled_from([b"x", b"close", b"reset"]))
    def say(self, choice: int, data: bytes) -> None:
        begun = [primary for primary in self.primaries if primary.chain.is_begun]
        if begun:
            begun[choice % len(begun)].chain.from_accepted(data)

    @rule(choice=st.integers(0, 100), is_orphan=st.booleans())
    def bind(self, choice: int, is_orphan: bool) -> None:
        running = [primary for primary in self.primaries if primary.is_open]
        if not running:
            return
        primary = running[choice % len(running)]
        work = primary.session.bind_for_client(
            [primary.client.with_port(2000)],
            transport=Transport.TCP,
            protocol=FTP,
            flags=BindFlags.ALLOW_MULTIPLE,
            primary=None if is_orphan else primary,
            proxy_address=Endpoint(EXTERNAL, 0),
            session_filter=next(iter(primary.session.filters.values()), None),
        )
        if self.world.mood == "wait":
            self.world.mood = "attach"
        with suppress(BindError):
            run(work)

    @rule(choice=st.integers(0, 100))
    def arrive(self, choice: int) -> None:
        path = self.office.user_path
        if path.pinholes:
            pinhole = list(path.pinholes.values())[choice % len(path.pinholes)]
            path.connect(PEER.with_port(next(self.numbers)), pinhole.listen)

    @rule(choice=st.integers(0, 100), how=st.sampled_from(["say", "close", "kill", "finish"]))
    def use_flow(self, choice: int, how: str) -> None:
        path = self.office.user_path
        if not path.filtered:
            return
        flow = list(path.filtered.values())[choice % len(path.filtered)]
        acts: dict[str, Callable[[], object]] = {
            "say": lambda: flow.target_says(b"x"),
            "close": flow.peer_closes,
            "kill": lambda: path.kill([flow.pinhole.id]),
            "finish": lambda: path.finish(flow.peer),
        }
        acts[how]()

    @rule(choice=st.integers(0, 100), how=st.sampled_from(["close", "kill"]))
    def end_primary(self, choice: int, how: str) -> None:
        if self.primaries:
            getattr(self.primaries[choice % len(self.primaries)], how)("done")

    @rule(choice=st.integers(0, 100))
    def kill_session(self, choice: int) -> None:
        if self.primaries:
            self.primaries[choice % len(self.primaries)].session.kill("operator")

    @rule()
    def resume(self) -> None:
        if self.office.world.suspended:
            self.office.world.resume()

    @rule(seconds=st.sampled_from([1.0, 10.0, limits.FILTER_WAIT_SECONDS]))
    def pass_time(self, seconds: float) -> None:
        self.office.pass_time(seconds)

    @rule()
    def replace(self) -> None:
        self.office.gateway.replace(self.office.gateway.policy, self._filters())

    @invariant()
    def a_session_that_is_over_has_no_filters_left(self) -> None:
        for primary in self.primaries:
            session = primary.session
            assert not (session.is_over and (session.filters or session.openings))
            assert primary.is_open or primary.chain.is_over

    @invariant()
    def who_is_attached_to_a_flow_that_runs_is_alive_and_all_others_have_ended(self) -> None:
        sessions = {id(p.session): p.session for p in self.primaries if not p.session.is_over}
        attached = sum(len(session.filters) for session in sessions.values())
        assert sum(not life.is_over for life in self.world.sessions) == attached

    def teardown(self) -> None:
        self.world.mood = "pass"
        self.office.gateway.shut_down("stopping")
        for session in tuple(self.office.gateway.sessions):
            session.kill()
        while self.office.world.suspended:
            self.office.world.resume()
        assert all(life.is_over for life in self.world.flows + self.world.sessions)
        assert all(
            (life.calls[0], life.calls[-1]) == ("start", "shutdown")
            for life in self.world.applications
        )
        assert not list(self.office.gateway.sessions)
        assert not self.office.data_path.reserved
        assert len(self.office.gateway.registry) == 0
        self.office.pass_time(limits.PORT_REST_SECONDS)
        assert len(self.office.gateway.deadlines) == 0


def test_every_part_of_a_filter_begins_once_and_ends_once_whatever_happens() -> None:
    run_state_machine_as_test(
        LivesMachine,
        settings=settings(stateful_step_count=40, max_examples=settings().max_examples),
    )
