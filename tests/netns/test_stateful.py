"""The gateway on the real kernel against a model of a few lines: after any steps both agree."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.contract.bench import Witness
from tests.contract.grounds import Ground
from tests.contract.lab_bench import LabBench, event_loop
from tests.contract.lab_talk import LabTalk
from tests.contract.places import WAYS, Way

from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.model.binding import Binding
from sallyport.core.model.secondary import SecondaryConnection
from sallyport.core.pinholes.lifecycle import State
from sallyport.errors import BindError, InvalidArgument, Terminating
from sallyport.flags import BindFlags, Transport
from sallyport.ipfilter import IpFilter
from sallyport.kernel.element_writer import SWEEP_SECONDS
from sallyport.kernel.pins_table import pins_table

pytestmark = pytest.mark.netns

# A minute and a little: every time limit of a binding that waits.
LONG = 61.0
PEERS = ("server", "stranger")
# Whom a filter names, None for no filter at all. The prefix is what only interval sets can hold.
FILTERS = [None, "nobody", "server", "prefix", "both"]
NAMED = {None: PEERS, "nobody": (), "server": PEERS[:1], "prefix": PEERS[:1], "both": PEERS}
PREFIX = {4: "203.0.113.0/28", 6: "2001:db8::/122"}


@dataclass(eq=False)
class Port:
    """What we believe of one connection."""

    connection: SecondaryConnection
    client: Endpoint | None
    flags: BindFlags
    whom: str | None
    witness: Witness
    addresses: dict[str, IpAddress]
    state: State = State.RESERVED
    is_open: bool = False
    told: list[str] = field(default_factory=list)
    talks: list[LabTalk] = field(default_factory=list)

    @property
    def is_single(self) -> bool:
        return BindFlags.ALLOW_MULTIPLE not in self.flags

    def lets_in(self, peer: str) -> bool:
        """Whether a peer that comes now gets in."""
        is_taken = self.is_single and self.state is State.LIVE
        is_ready = self.is_open and self.client is not None
        return is_ready and peer in NAMED[self.whom] and not is_taken

    @property
    def is_in_kernel(self) -> bool:
        """Whether some packet is looked up to it."""
        owner = self.talks[-1].peer.address if self.is_single and self.talks else None
        if owner is not None:
            # UDP: the pinhole is its first source's, for as long as the filter names that.
            return self.is_open and owner in {self.addresses[peer] for peer in NAMED[self.whom]}
        return self.is_open and self.client is not None and bool(NAMED[self.whom])

    def close(self) -> None:
        if self.state is not State.CLOSED:
            self.told.append("ConnectionTerminating")
        self.state, self.is_open = State.CLOSED, False
        self.talks.clear()


class KernelMachine(RuleBasedStateMachine):
    """Everything that can happen to bindings of one client, in any order."""

    bindings = Bundle("bindings")

    ground: Ground
    way: Way
    transport: Transport

    def __init__(self) -> None:
        super().__init__()
        lab, way, transport = self.ground.lab, self.way, self.transport
        self.undo = ExitStack()
        self.undo.enter_context(lab.gateway.entered())
        loop = self.undo.enter_context(event_loop())
        paths = self.undo.enter_context(self.ground.kernel_paths(way, loop))
        self.bench = LabBench(way, transport, lab, loop, paths)
        self.undo.callback(self.bench.stop)
        self.bench.start((), {"max_bindings_per_client": 1000})
        self.addresses = {peer: getattr(way, peer) for peer in PEERS}
        self.ports: list[Port] = []

    def teardown(self) -> None:
        """Nothing may be left in the kernel when everything was killed."""
        for port in self.ports:
            port.connection.kill()
        left = self.in_kernel()
        self.undo.close()
        assert left == set()

    def of(self, binding: Binding) -> list[Port]:
        return [port for port in self.ports if port.connection in binding.connections]

    def ip_filter(self, whom: str | None) -> IpFilter | None:
        if whom == "prefix":
            return IpFilter.of(PREFIX[self.way.version])
        named = [self.addresses[peer] for peer in NAMED[whom]]
        return None if whom is None else IpFilter.of(*named)

    def in_kernel(self) -> set[tuple[str, int]]:
        """Where the kernel looks for pinholes: address and port of every element that finds one."""
        # Of maps alone: nft 1.0.6 has no word for the table's flag and writes what is in memory.
        argv = ["nft", "-j", "list", "maps", "inet"]
        found = set()
        for item in json.loads(self.ground.lab.gateway.run(argv).stdout)["nftables"]:
            table = item.get("map", {"name": "", "table": ""})
            assert table["table"] in {pins_table(0), ""}
            # Of these two the last part of a key is the peer's port.
            last = -2 if table["name"][:-1] in {"narrow", "wide"} else -1
            if table["name"][:-1] in {"any", "exact", "narrow", "wide"}:
                for element in table.get("elem", []):
                    key = element[0].get("concat") or element[0]["elem"]["val"]["concat"]
                    found.add((key[last - 2], key[last]))
        return found

    # -- steps --------------------------------------------------------------------------------

    @precondition(lambda self: len(self.ports) < 30)
    @rule(
        target=bindings,
        length=st.integers(1, 3),
        flags=st.sampled_from([BindFlags.NONE, BindFlags.TIMEOUT, BindFlags.ALLOW_MULTIPLE]),
        whom=st.sampled_from(FILTERS),
        is_armed=st.booleans(),
        is_known=st.booleans(),
    )
    def bind(
        self, length: int, flags: BindFlags, whom: str | None, is_armed: bool, is_known: bool
    ) -> Binding:
        witness, is_known = Witness(), is_known or not self.way.is_nat
        clients = [self.bench.client() if is_known else self.way.zeros for _ in range(length)]
        for client in clients if is_known else []:
            self.bench.serve(client)
        binding = self.bench.bind(
            *clients,
            flags=flags,
            armed=is_armed,
            ip_filter=self.ip_filter(whom),
            session_filter=witness,
        )
        state = State.ARMED if is_armed else State.RESERVED
        for connection, client in zip(binding.connections, clients, strict=True):
            known = client if is_known else None
            port = Port(connection, known, flags, whom, witness, self.addresses, state, is_armed)
            self.ports.append(port)
        return binding

    @rule(binding=bindings)
    def arm(self, binding: Binding) -> None:
        ports = self.of(binding)
        if any(port.state is not State.RESERVED for port in ports):
            with pytest.raises(Terminating):
                self.bench.run(binding.arm())
            return
        self.bench.run(binding.arm())
        for port in ports:
            port.state, port.is_open = State.ARMED, True

    @rule(binding=bindings, choice=st.integers(0, 2))
    def set_address(self, binding: Binding, choice: int) -> None:
        port, client = self.of(binding)[choice % len(binding.connections)], self.bench.client()
        refusal: type[BindError] | None = None
        if port.state is State.CLOSED:
            refusal = Terminating
        elif port.client is not None:
            refusal = InvalidArgument
        if refusal is not None:
            with pytest.raises(refusal):
                self.bench.run(port.connection.set_client_address(client))
            return
        self.bench.serve(client)
        self.bench.run(port.connection.set_client_address(client))
        port.client = client

    @rule(binding=bindings, choice=st.integers(0, 2), whom=st.sampled_from(FILTERS))
    def set_filter(self, binding: Binding, choice: int, whom: str | None) -> None:
        port = self.of(binding)[choice % len(binding.connections)]
        setting = port.connection.set_ip_filter(self.ip_filter(whom))
        if port.state is State.CLOSED:
            with pytest.raises(Terminating):
                self.bench.run(setting)
            return
        self.bench.run(setting)
        port.whom = whom

    @rule(binding=bindings, choice=st.integers(0, 2), peer=st.sampled_from(PEERS))
    def connect(self, binding: Binding, choice: int, peer: str) -> None:
        port = self.of(binding)[choice % len(binding.connections)]
        listen = port.connection.proxy_address
        if not port.lets_in(peer):
            assert self.bench.is_refused(self.addresses[peer], listen)
            return
        port.talks.append(self.bench.reach(self.addresses[peer], listen))
        # What is used up is swept a little later.
        self.bench.run(asyncio.sleep(2 * SWEEP_SECONDS))
        port.told.append("EstablishedConnection")
        assert port.talks[-1].at == port.client
        if port.is_single:
            port.state = State.LIVE
            # TCP: the one connection is there. UDP: its source may fall silent and come back.
            port.is_open = self.transport is Transport.UDP

    @precondition(lambda self: self.transport is Transport.TCP)
    @rule(binding=bindings, choice=st.integers(0, 2))
    def finish(self, binding: Binding, choice: int) -> None:
        port = self.of(binding)[choice % len(binding.connections)]
        if not port.talks:
            return
        talk = port.talks.pop()
        talk.finish()
        self.bench.until_ended(port.connection, talk.peer)
        if port.state is State.LIVE and not port.talks:
            port.close()

    @rule(binding=bindings, choice=st.integers(0, 2))
    def kill(self, binding: Binding, choice: int) -> None:
        port = self.of(binding)[choice % len(binding.connections)]
        talks = tuple(port.talks)
        port.connection.kill()
        port.close()
        if self.transport is Transport.TCP:
            assert all(talk.reset_seen_by(talk.outer, seconds=1.0) for talk in talks)

    @rule(binding=bindings)
    def withdraw(self, binding: Binding) -> None:
        binding.withdraw()
        for port in self.of(binding):
            if port.talks:
                port.state, port.is_open = State.LIVE, False
            else:
                port.close()

    @rule()
    def time_out(self) -> None:
        self.bench.pass_time(LONG)
        for port in self.ports:
            if BindFlags.TIMEOUT in port.flags and port.state in (State.RESERVED, State.ARMED):
                port.close()

    # -- what must hold after every step ------------------------------------------------------

    @invariant()
    def states_are_equal(self) -> None:
        assert [p.connection.state for p in self.ports] == [p.state for p in self.ports]

    @invariant()
    def everybody_was_told_what_happened_to_them(self) -> None:
        for port in self.ports:
            mine = [e for e in port.witness.events if e.connection is port.connection]
            assert [type(event).__name__ for event in mine] == port.told

    @invariant()
    def the_kernel_has_exactly_what_is_open(self) -> None:
        listens = [port.connection.proxy_address for port in self.ports if port.is_in_kernel]
        assert self.in_kernel() == {(str(listen.address), listen.port) for listen in listens}

    @invariant()
    def exactly_what_is_not_closed_holds_its_place(self) -> None:
        open_ = [port for port in self.ports if port.state is not State.CLOSED]
        assert len(self.bench.gateway.registry) == len(open_)
        held = len(open_) if self.way.is_nat else 0
        assert self.bench.ports.of(self.transport, self.way.outside).free == 1000 - held


def on(ground: Ground, way: Way, transport: Transport) -> type[KernelMachine]:
    """The machine for one combination: hypothesis makes it without arguments."""
    return type("Machine", (KernelMachine,), {"ground": ground, "way": way, "transport": transport})


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with Ground.prepared("stateful") as prepared:
        yield prepared


COMBINATIONS = [
    pytest.param(way, transport, id=f"{way}-{transport.name.lower()}")
    for way in WAYS
    for transport in Transport
]


def run_machine(ground: Ground, way: Way, transport: Transport, *, runs: int, steps: int) -> None:
    run_state_machine_as_test(
        on(ground, way, transport),
        settings=settings(
            max_examples=runs,
            stateful_step_count=steps,
            deadline=None,
            # What a step costs is the kernel's business, and shrinking would repeat thousands.
            phases=(Phase.generate,),
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize(("way", "transport"), COMBINATIONS)
def test_kernel_and_model_agree_after_any_steps(
    ground: Ground, way: Way, transport: Transport
) -> None:
    run_machine(ground, way, transport, runs=4, steps=20)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("way", "transport"), COMBINATIONS)
def test_kernel_and_model_agree_after_very_many_steps(
    ground: Ground, way: Way, transport: Transport
) -> None:
    run_machine(ground, way, transport, runs=100, steps=50)
