"""The gateway against a model of a few lines: after any steps both hold the same."""

from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.core.office import EXTERNAL, Office, run

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.binding import Binding
from sallyport.core.connection import PrimaryConnection, SecondaryConnection
from sallyport.core.lifecycle import State
from sallyport.core.openings import Opening
from sallyport.errors import (
    AddressInUse,
    BindError,
    OutOfResources,
    QuotaExceeded,
    Terminating,
)
from sallyport.flags import BindFlags, Transport

CLIENTS = ("10.0.0.8", "10.0.0.9")
PORTS = range(40000, 40010)
QUOTA = 5
SERVER = "198.51.100.9"


@dataclass(eq=False)
class Port:
    """What we believe of one opening."""

    opening: Opening
    primary: PrimaryConnection
    is_timed: bool
    is_single: bool
    due: float
    state: State = State.RESERVED
    flows: set[Endpoint] = field(default_factory=set)

    @property
    def holds_port(self) -> bool:
        return self.opening.pinhole.is_translated

    def withdraw(self) -> None:
        if self.state is State.ARMED and self.flows:
            self.state = State.LIVE
        elif self.state in (State.RESERVED, State.ARMED):
            self.state = State.CLOSED

    def kill(self) -> None:
        self.state = State.CLOSED
        self.flows.clear()


class GatewayMachine(RuleBasedStateMachine):
    """Everything that can happen to openings, in any order."""

    primaries = Bundle("primaries")
    bindings = Bundle("bindings")

    def __init__(self) -> None:
        super().__init__()
        self.office = Office(ports=f"{PORTS[0]}-{PORTS[-1]}", max_bindings_per_client=QUOTA)
        self.ports: list[Port] = []
        self.numbers = count(10000)

    # -- the model's own arithmetic -----------------------------------------------------------

    def held_by(self, client: object) -> int:
        return sum(
            port.state is not State.CLOSED and port.primary.client.address == client
            for port in self.ports
        )

    def open_ports(self) -> list[Port]:
        return [port for port in self.ports if port.state is not State.CLOSED]

    def has_run(self, length: int) -> bool:
        held = {p.opening.pinhole.listen.port for p in self.open_ports() if p.holds_port}
        bases = [base for base in PORTS if base % length == 0 and base + length - 1 in PORTS]
        return any(not held & set(range(base, base + length)) for base in bases)

    def of(self, binding: Binding) -> list[Port]:
        return [port for port in self.ports if port.opening in binding.connections]

    def arm_all(self, ports: list[Port]) -> None:
        for port in ports:
            port.state = State.ARMED
            port.due = self.office.world.seconds + limits.ACCEPT_TIMEOUT_SECONDS

    def allow_refusal(self, primary: PrimaryConnection, length: int = 1) -> type[BindError] | None:
        if not primary.is_open:
            return Terminating
        if self.held_by(primary.client.address) + length > QUOTA:
            return QuotaExceeded
        return None

    def bind_refusal(self, primary: PrimaryConnection, length: int) -> type[BindError] | None:
        refusal = self.allow_refusal(primary, length)
        if refusal is None and not self.has_run(length):
            return AddressInUse
        if refusal is None and self.office.data_path.fail_next is not None:
            return OutOfResources
        return refusal

    def bind_at_2000(
        self, primary: PrimaryConnection, length: int, *, flags: BindFlags, armed: bool
    ) -> Binding:
        clients = [primary.client.with_port(2000)] * length
        return self.office.bind(primary, *clients, flags=flags, armed=armed)

    # -- steps --------------------------------------------------------------------------------

    @rule(target=primaries, client=st.sampled_from(CLIENTS))
    def dial(self, client: str) -> PrimaryConnection:
        return self.office.dial(f"{client}:{next(self.numbers)}")

    @rule(
        target=bindings,
        primary=primaries,
        length=st.integers(1, 3),
        flags=st.sampled_from([BindFlags.NONE, BindFlags.TIMEOUT, BindFlags.ALLOW_MULTIPLE]),
        is_armed=st.booleans(),
        fails=st.sampled_from([False, False, False, True]),
    )
    def bind(
        self, primary: PrimaryConnection, length: int, flags: BindFlags, is_armed: bool, fails: bool
    ) -> Binding | MultipleResults[Binding]:
        if fails and is_armed:
            self.office.data_path.fail_next = OutOfResources("set-full")
        refusal = self.bind_refusal(primary, length)
        if refusal is not None:
            with pytest.raises(refusal):
                self.bind_at_2000(primary, length, flags=flags, armed=is_armed)
            self.office.data_path.fail_next = None
            return multiple()
        binding = self.bind_at_2000(primary, length, flags=flags, armed=is_armed)
        made = [
            Port(
                connection,
                primary,
                is_timed=flags is BindFlags.TIMEOUT,
                is_single=flags is not BindFlags.ALLOW_MULTIPLE,
                due=self.office.world.seconds + limits.ACCEPT_TIMEOUT_SECONDS,
            )
            for connection in binding.connections
        ]
        self.ports += made
        if is_armed:
            self.arm_all(made)
        return binding

    @rule(primary=primaries)
    def allow(self, primary: PrimaryConnection) -> None:
        server = f"{SERVER}:{next(self.numbers)}"
        refusal = self.allow_refusal(primary)
        if refusal is not None:
            with pytest.raises(refusal):
                self.office.allow(primary, server)
            return
        future = self.office.allow(primary, server)
        port = Port(future, primary, is_timed=True, is_single=True, due=0.0)
        self.ports.append(port)
        self.arm_all([port])

    @rule(binding=bindings)
    def arm(self, binding: Binding) -> None:
        ports = self.of(binding)
        try:
            run(binding.arm())
        except Terminating:
            assert any(port.state is not State.RESERVED for port in ports)
        else:
            assert all(port.state is State.RESERVED for port in ports)
            self.arm_all(ports)

    @precondition(lambda self: self.open_ports())
    @rule(choice=st.integers(0, 1000), is_completed=st.booleans())
    def connect(self, choice: int, is_completed: bool) -> None:
        ports = self.open_ports()
        port = ports[choice % len(ports)]
        pinhole = port.opening.pinhole
        # A permission admits its client only, a binding anybody.
        host = SERVER if port.holds_port else str(port.primary.client.address)
        peer = Endpoint.parse(f"{host}:{next(self.numbers)}")
        if not is_completed:
            self.office.data_path.attempt(peer, pinhole.listen)
            return
        target = self.office.data_path.connect(peer, pinhole.listen)
        assert target == (pinhole.target if port.state is State.ARMED else None)
        if target is not None:
            port.flows.add(peer)
            if port.is_single:
                port.state = State.LIVE

    @precondition(lambda self: any(port.flows for port in self.ports))
    @rule(choice=st.integers(0, 1000))
    def finish(self, choice: int) -> None:
        running = [(port, peer) for port in self.ports for peer in sorted(port.flows)]
        port, peer = running[choice % len(running)]
        self.office.data_path.finish(peer, 1, 2)
        port.flows.remove(peer)
        if port.state is State.LIVE and not port.flows:
            port.state = State.CLOSED

    @rule(binding=bindings, is_kill=st.booleans())
    def end_binding(self, binding: Binding, is_kill: bool) -> None:
        (binding.kill if is_kill else binding.withdraw)()
        for port in self.of(binding):
            (port.kill if is_kill else port.withdraw)()

    @precondition(lambda self: self.open_ports())
    @rule(choice=st.integers(0, 1000))
    def kill_one(self, choice: int) -> None:
        ports = self.open_ports()
        port = ports[choice % len(ports)]
        self.office.gateway.openings.kill(port.opening, "killed")
        port.kill()

    @rule(primary=consumes(primaries), is_kill=st.booleans())
    def end_primary(self, primary: PrimaryConnection, is_kill: bool) -> None:
        (primary.kill if is_kill else primary.close)("done")
        for port in self.ports:
            if port.primary is primary:
                port.withdraw()

    @rule(primary=primaries)
    def kill_session(self, primary: PrimaryConnection) -> None:
        session = primary.session
        session.kill()
        for port in self.ports:
            if port.primary.session is session:
                port.kill()

    @rule(seconds=st.sampled_from([0.5, 30.0, 59.9, 60.0, 121.0]))
    def pass_time(self, seconds: float) -> None:
        self.office.pass_time(seconds)
        for port in self.open_ports():
            is_over = port.is_timed and port.due <= self.office.world.seconds
            if is_over and port.state is not State.LIVE:
                port.state = State.CLOSED

    # -- what must hold after every step ------------------------------------------------------

    @invariant()
    def states_are_equal(self) -> None:
        assert [p.opening.state for p in self.ports] == [p.state for p in self.ports]

    @invariant()
    def exactly_the_armed_have_a_pinhole_open(self) -> None:
        armed = {p.opening.pinhole.id for p in self.ports if p.state is State.ARMED}
        assert set(self.office.data_path.pinholes) == armed

    @invariant()
    def exactly_what_is_not_closed_holds_its_port(self) -> None:
        held = {p.opening.pinhole.listen for p in self.open_ports() if p.holds_port}
        assert {address for _, address in self.office.data_path.reserved} == held
        assert self.office.ports.free(Transport.TCP, EXTERNAL) == len(PORTS) - len(held)

    @invariant()
    def quotas_and_sessions_are_those_of_what_is_open(self) -> None:
        sessions = self.office.gateway.sessions
        for session in sessions.values():
            assert len(session.openings) == self.held_by(session.client_address)
        busy = {p.client.address for p in self.office.primaries if p.is_open}
        busy |= {p.primary.client.address for p in self.open_ports()}
        assert set(sessions) == busy
        bound = {
            p.opening.binding
            for p in self.open_ports()
            if isinstance(p.opening, SecondaryConnection)
        }
        assert set(self.office.gateway.bindings()) == bound

    @invariant()
    def only_the_timed_and_unused_have_a_deadline(self) -> None:
        waiting = [p for p in self.open_ports() if p.is_timed and p.state is not State.LIVE]
        assert len(self.office.gateway.deadlines) == len(waiting)

    @invariant()
    def only_running_flows_are_known_to_the_data_path(self) -> None:
        running = {peer for port in self.ports for peer in port.flows}
        known = {peer for flows in self.office.data_path.flows.values() for peer in flows}
        assert known == running


def test_gateway_and_model_hold_the_same_after_any_steps() -> None:
    run_state_machine_as_test(
        GatewayMachine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )
