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
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.core.office import EXTERNAL, Office, run

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.model.binding import Binding
from sallyport.core.model.connection import PrimaryConnection
from sallyport.core.model.secondary import SecondaryConnection
from sallyport.core.pinholes.datapath import DataPathKind
from sallyport.core.pinholes.lifecycle import State
from sallyport.core.pinholes.registry import Opening
from sallyport.errors import (
    AddressInUse,
    BindError,
    OutOfResources,
    QuotaExceeded,
    Terminating,
)
from sallyport.flags import BindFlags, Transport
from sallyport.ipfilter import IpFilter
from sallyport.testing import MemoryDataPath

CLIENTS = ("10.0.0.8", "10.0.0.9")
PORTS = range(40000, 40010)
QUOTA = 8
SERVER = "198.51.100.9"
SENDER = "198.51.100.10"
ZERO = Endpoint.parse("0.0.0.0:0")


@dataclass(eq=False)
class Port:
    """What we believe of one opening."""

    opening: Opening
    primary: PrimaryConnection
    is_timed: bool
    is_single: bool
    due: float
    is_udp: bool = False
    path: DataPathKind = DataPathKind.KERNEL
    is_known: bool = True
    is_barred: bool = False
    state: State = State.RESERVED
    is_open: bool = False
    owner: Endpoint | None = None
    flows: set[Endpoint] = field(default_factory=set)

    @property
    def holds_port(self) -> bool:
        return self.opening.pinhole.is_translated

    def admits(self, peer: Endpoint) -> bool:
        """Whether a first packet of this peer is let in."""
        is_meant = self.is_known and not self.is_barred and self.owner in (None, peer)
        return self.is_open and is_meant

    def admit(self, peer: Endpoint) -> None:
        self.flows.add(peer)
        if self.is_single:
            self.state = State.LIVE
            self.owner = peer
            self.is_open = self.is_udp

    def end(self, peer: Endpoint) -> None:
        self.flows.remove(peer)
        if self.state is State.LIVE and (self.is_timed or not self.is_open):
            self.withdraw()

    def withdraw(self) -> None:
        self.is_open = False
        self.state = State.LIVE if self.flows else State.CLOSED

    def kill(self) -> None:
        self.flows.clear()
        self.withdraw()


@dataclass(frozen=True, slots=True)
class Wish:
    """What a step asks of a bind."""

    length: int
    transport: Transport
    flags: BindFlags
    path: DataPathKind
    is_known: bool


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

    def has_run(self, transport: Transport, length: int) -> bool:
        held = {
            p.opening.pinhole.listen.port
            for p in self.open_ports()
            if p.holds_port and p.opening.pinhole.transport is transport
        }
        bases = [base for base in PORTS if base % length == 0 and base + length - 1 in PORTS]
        return any(not held & set(range(base, base + length)) for base in bases)

    def of(self, binding: Binding) -> list[Port]:
        return [port for port in self.ports if port.opening in binding.connections]

    @staticmethod
    def pick(ports: list[Port], choice: int) -> Port:
        """Choose a port; mostly one where somebody can get in."""
        preferred = [port for port in ports if port.is_open and port.is_known]
        chosen = preferred if preferred and choice % 8 else ports
        return chosen[choice % len(chosen)]

    def arm_all(self, ports: list[Port]) -> None:
        for port in ports:
            port.state = State.ARMED
            port.is_open = True
            port.due = self.office.world.seconds + limits.ACCEPT_TIMEOUT_SECONDS

    def allow_refusal(self, primary: PrimaryConnection, length: int = 1) -> type[BindError] | None:
        if not primary.is_open:
            return Terminating
        if self.held_by(primary.client.address) + length > QUOTA:
            return QuotaExceeded
        return None

    def bind_refusal(self, primary: PrimaryConnection, wish: Wish) -> type[BindError] | None:
        refusal = self.allow_refusal(primary, wish.length)
        if refusal is None and not self.has_run(wish.transport, wish.length):
            return AddressInUse
        if refusal is None and self.path(wish.path).fail_next is not None:
            return OutOfResources
        return refusal

    def path(self, kind: DataPathKind) -> MemoryDataPath:
        is_kernel = kind is DataPathKind.KERNEL
        return self.office.data_path if is_kernel else self.office.user_path

    def make(self, primary: PrimaryConnection, wish: Wish, *, armed: bool) -> Binding:
        clients = [primary.client.with_port(2000) if wish.is_known else ZERO] * wish.length
        is_user = wish.path is DataPathKind.USER
        flags = wish.flags | (BindFlags.NO_KERNEL_MODE if is_user else BindFlags.NONE)
        return self.office.bind(
            primary, *clients, transport=wish.transport, flags=flags, armed=armed
        )

    # -- steps --------------------------------------------------------------------------------

    @initialize(target=primaries)
    def dial_from_everywhere(self) -> MultipleResults[PrimaryConnection]:
        return multiple(*(self.office.dial(f"{client}:{next(self.numbers)}") for client in CLIENTS))

    @rule(target=primaries, client=st.sampled_from(CLIENTS))
    def dial(self, client: str) -> PrimaryConnection:
        return self.office.dial(f"{client}:{next(self.numbers)}")

    @rule(
        target=bindings,
        primary=primaries,
        wish=st.builds(
            Wish,
            length=st.integers(1, 3),
            transport=st.sampled_from(Transport),
            flags=st.sampled_from([BindFlags.NONE, BindFlags.TIMEOUT, BindFlags.ALLOW_MULTIPLE]),
            path=st.sampled_from([DataPathKind.KERNEL, DataPathKind.USER]),
            is_known=st.sampled_from([True, True, False]),
        ),
        is_armed=st.sampled_from([True, True, True, False]),
        fails=st.integers(0, 9).map(lambda chance: chance == 9),
    )
    def bind(
        self, primary: PrimaryConnection, wish: Wish, is_armed: bool, fails: bool
    ) -> Binding | MultipleResults[Binding]:
        if fails and is_armed:
            self.path(wish.path).fail_next = OutOfResources("set-full")
        refusal = self.bind_refusal(primary, wish)
        if refusal is not None:
            with pytest.raises(refusal):
                self.make(primary, wish, armed=is_armed)
            self.path(wish.path).fail_next = None
            return multiple()
        binding = self.make(primary, wish, armed=is_armed)
        made = [
            Port(
                connection,
                primary,
                is_timed=wish.flags is BindFlags.TIMEOUT,
                is_single=wish.flags is not BindFlags.ALLOW_MULTIPLE,
                due=self.office.world.seconds + limits.ACCEPT_TIMEOUT_SECONDS,
                is_udp=wish.transport is Transport.UDP,
                path=wish.path,
                is_known=wish.is_known,
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

    # One rule, because hypothesis leaves some rules out of each run: what begins must also end.
    @precondition(lambda self: self.open_ports())
    @rule(choice=st.integers(0, 1000), what=st.sampled_from(["arrive", "arrive", "attempt", "end"]))
    def use(self, choice: int, what: str) -> None:
        running = [(port, peer) for port in self.ports for peer in sorted(port.flows)]
        port = self.pick(self.open_ports(), choice)
        if what == "end" and running:
            port, peer = running[choice % len(running)]
            self.path(port.path).finish(peer, 1, 2)
            port.end(peer)
        elif port.is_udp:
            self.send(port, choice % 2)
        else:
            self.connect(port, is_completed=what == "arrive")

    def connect(self, port: Port, *, is_completed: bool) -> None:
        pinhole = port.opening.pinhole
        # A permission admits its client only, a binding anybody.
        host = SERVER if port.holds_port else str(port.primary.client.address)
        peer = Endpoint.parse(f"{host}:{next(self.numbers)}")
        if not is_completed:
            self.path(port.path).attempt(peer, pinhole.listen)
            return
        target = self.path(port.path).connect(peer, pinhole.listen)
        assert target == (pinhole.target if port.admits(peer) else None)
        if target is not None:
            port.admit(peer)

    def send(self, port: Port, source: int) -> None:
        pinhole = port.opening.pinhole
        # Each pinhole has two sources of its own, so that they come back.
        peer = Endpoint.parse(f"{SENDER}:{2 * pinhole.id + source}")
        target = self.path(port.path).send(peer, pinhole.listen)
        if peer in port.flows:
            assert target == pinhole.target
            return
        assert target == (pinhole.target if port.admits(peer) else None)
        if target is not None:
            port.admit(peer)

    @precondition(lambda self: any(not port.is_known for port in self.ports))
    @rule(choice=st.integers(0, 1000), fails=st.booleans())
    def set_client_address(self, choice: int, fails: bool) -> None:
        unknown = [port for port in self.ports if not port.is_known]
        port = unknown[choice % len(unknown)]
        assert isinstance(port.opening, SecondaryConnection)
        path = self.path(port.path)
        if fails and port.is_open:
            path.fail_next = OutOfResources("set-full")
        work = port.opening.set_client_address(port.primary.client.with_port(2001))
        # A binding outlives its primary with a flow only, and then its address is known.
        if port.state is State.CLOSED:
            with pytest.raises(Terminating):
                run(work)
        elif path.fail_next is not None:
            with pytest.raises(OutOfResources):
                run(work)
        else:
            run(work)
            port.is_known = True

    @precondition(lambda self: self.open_ports())
    @rule(choice=st.integers(0, 1000), is_barred=st.booleans())
    def set_ip_filter(self, choice: int, is_barred: bool) -> None:
        ports = self.open_ports()
        port = ports[choice % len(ports)]
        if isinstance(port.opening, SecondaryConnection):
            run(port.opening.set_ip_filter(IpFilter() if is_barred else None))
            port.is_barred = is_barred

    @precondition(lambda self: self.open_ports())
    @rule(choice=st.integers(0, 1000), how=st.sampled_from(["withdraw", "kill", "kill one"]))
    def end_binding(self, choice: int, how: str) -> None:
        ports = self.open_ports()
        port = ports[choice % len(ports)]
        if how == "kill one" or not isinstance(port.opening, SecondaryConnection):
            self.office.gateway.registry.kill(port.opening, "killed")
            port.kill()
            return
        binding = port.opening.binding
        assert binding is not None
        getattr(binding, how)()
        for one in self.of(binding):
            if one.state is not State.CLOSED:
                getattr(one, how)()

    @rule(
        primary=consumes(primaries),
        how=st.sampled_from(["close", "close", "kill", "kill", "kill session"]),
    )
    def end_primary(self, primary: PrimaryConnection, how: str) -> None:
        session = primary.session
        if how == "kill session":
            session.kill()
        else:
            getattr(primary, how)("done")
        for port in self.open_ports():
            if how == "kill session" and port.primary.session is session:
                port.kill()
            elif port.primary is primary:
                port.withdraw()

    @rule(seconds=st.sampled_from([0.5, 0.5, 0.5, 30.0, 59.9, 60.0, 121.0]))
    def pass_time(self, seconds: float) -> None:
        self.office.pass_time(seconds)
        for port in self.open_ports():
            is_over = port.is_timed and port.due <= self.office.world.seconds
            if is_over and port.state is not State.LIVE:
                port.withdraw()

    # -- what must hold after every step ------------------------------------------------------

    @invariant()
    def states_are_equal(self) -> None:
        assert [p.opening.state for p in self.ports] == [p.state for p in self.ports]

    @invariant()
    def exactly_what_lets_somebody_in_is_open_and_on_its_own_path(self) -> None:
        for kind in (DataPathKind.KERNEL, DataPathKind.USER):
            is_open = {
                p.opening.pinhole.id: p.opening.pinhole
                for p in self.ports
                if p.is_open and p.path is kind
            }
            assert self.path(kind).pinholes == is_open

    @invariant()
    def exactly_what_is_not_closed_holds_its_port(self) -> None:
        holding = [p.opening.pinhole for p in self.open_ports() if p.holds_port]
        held = {(pinhole.transport, pinhole.listen) for pinhole in holding}
        assert self.office.data_path.reserved == held
        for transport in Transport:
            taken = sum(pinhole.transport is transport for pinhole in holding)
            assert self.office.ports.of(transport, EXTERNAL).free == len(PORTS) - taken

    @invariant()
    def quotas_and_sessions_are_those_of_what_is_open(self) -> None:
        sessions = self.office.gateway.sessions
        for session in sessions:
            assert len(session.openings) == self.held_by(session.client_address)
        busy = {p.client.address for p in self.office.primaries if p.is_open}
        busy |= {p.primary.client.address for p in self.open_ports()}
        assert {session.client_address for session in sessions} == busy
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
        paths = (self.office.data_path, self.office.user_path)
        known = {peer for path in paths for flows in path.flows.values() for peer in flows}
        assert known == running


def test_gateway_and_model_hold_the_same_after_any_steps() -> None:
    run_state_machine_as_test(
        GatewayMachine, settings=settings(max_examples=60, stateful_step_count=60, deadline=None)
    )
