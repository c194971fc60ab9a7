"""How a chain ends: floods, faults, lives; and any chain with any segments."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.model.chain_bench import (
    Conversation,
    Holding,
    Placing,
    Recording,
    Splitting,
    Upper,
)
from tests.core.office import PEER, Office, Wire

from sallyport import limits
from sallyport.core.model.chain import MISSING_END, Chain, Priority
from sallyport.core.model.connection import Connection
from sallyport.core.model.filter import DataFilter
from sallyport.core.pinholes.datapath import StreamEnd
from sallyport.errors import BadContext, InvalidArgument
from sallyport.testing.flows import MemoryLink

# -- floods and faults ------------------------------------------------------------------------


class Flooding(DataFilter):
    """Says more than it hears."""

    async def from_client(self, data: bytes) -> None:
        for _ in range(5):
            self.server.send(bytes(limits.MAX_CHAIN_BYTES // 4))


def test_x07_a_filter_that_floods_its_neighbour_ends_the_session() -> None:
    log = list[str]()
    conversation = Conversation(Flooding(), Recording("b", log))
    log.clear()
    conversation.client_says(b"x")

    assert log == ["b detached"]
    assert conversation.faults() == [("watching", "OutOfResources('filter-floods')")]
    assert conversation.link.ended == "reset"
    assert not list(conversation.office.gateway.sessions)


def test_x07_who_floods_a_socket_is_the_one_that_was_running() -> None:
    class Reporting(DataFilter):
        async def from_client(self, data: bytes) -> None:
            conversation.primary.chain.flooded()  # as the socket would from within `send`
            self.server.send(data)

    log = list[str]()
    conversation = Conversation(Reporting(), Recording("b", log))
    conversation.client_says(b"x")

    assert conversation.faults() == [("watching", "OutOfResources('filter-floods')")]
    assert log == ["b set", "b started", "b detached"]
    assert not list(conversation.office.gateway.sessions)


def test_as_much_as_the_bound_passes_and_again_when_it_was_taken() -> None:
    class Doubling(DataFilter):
        async def from_client(self, data: bytes) -> None:
            for _ in range(2):
                self.server.send(data)

    conversation = Conversation(Doubling(), DataFilter())
    for _ in range(3):
        conversation.client_says(bytes(limits.MAX_CHAIN_BYTES // 2))
        assert len(conversation.server.take()) == limits.MAX_CHAIN_BYTES


class Failing(Recording):
    """Raises in one of its methods."""

    def __init__(self, name: str, log: list[str], where: str) -> None:
        super().__init__(name, log)
        self.where = where

    def set_sockets(
        self,
        client: StreamEnd,
        server: StreamEnd,
        connection: Connection,
        peer: object,
        context: object,
    ) -> None:
        super().set_sockets(client, server, connection, peer, context)
        if self.where == "set":
            raise ValueError("set")

    async def _note(self, call: str) -> None:
        await super()._note(call)
        if call == self.where:
            raise ValueError(call)

    async def deadline_passed(self) -> None:
        await self._note("deadline")


def play_everything(conversation: Conversation, timed: DataFilter) -> None:
    if conversation.primary.is_open:
        timed.set_deadline(1)
    conversation.client_says(b"c")
    conversation.server_says(b"s")
    conversation.primary.chain.accepted_closed()
    conversation.primary.chain.dialled_closed()
    conversation.office.pass_time(1)


@pytest.mark.parametrize("is_waiting", [False, True])
@pytest.mark.parametrize(
    "where",
    ["started", "client c", "server s", "client closed", "server closed", "deadline"],
)
def test_x07_a_fault_anywhere_ends_the_session_and_detaches_all_once(
    where: str, is_waiting: bool
) -> None:
    log = list[str]()
    failing = Failing("b", log, where)
    failing.is_slow = is_waiting
    conversation = Conversation(Recording("a", log), failing, Recording("c", log))
    while conversation.office.world.suspended:
        conversation.office.world.resume()
    play_everything(conversation, failing)
    while conversation.office.world.suspended:
        conversation.office.world.resume()

    assert conversation.faults() == [("watching", f"ValueError({where!r})")]
    assert [one for one in log if "detached" in one] == ["a detached", "b detached", "c detached"]
    assert conversation.link.ended == "reset"
    assert not list(conversation.office.gateway.sessions)
    assert len(conversation.office.gateway.deadlines) == 0


def test_x07_a_fault_in_taking_the_sockets_starts_nobody() -> None:
    log = list[str]()
    conversation = Conversation(Recording("a", log), Failing("b", log, "set"), Recording("c", log))

    assert log == ["a set", "b set", "a detached", "b detached", "c detached"]
    assert conversation.faults() == [("watching", "ValueError('set')")]


def test_x07_who_waits_too_long_is_at_fault_and_its_late_answer_is_ignored() -> None:
    log = list[str]()
    slow = Recording("b", log)
    conversation = Conversation(Recording("a", log), slow)
    slow.is_slow = True
    conversation.client_says(b"x")
    conversation.office.pass_time(limits.FILTER_WAIT_SECONDS - 0.1)
    assert conversation.primary.is_open
    conversation.office.pass_time(0.1)

    assert conversation.faults() == [("watching", "TimeoutError('waited 30 s')")]
    assert not list(conversation.office.gateway.sessions)
    conversation.office.world.resume()
    assert conversation.heard() == (b"", b"")
    assert len(conversation.faults()) == 1


def test_x07_a_method_that_is_no_coroutine_ends_the_session_and_raises_nowhere() -> None:
    class Plain(DataFilter):
        def from_client(self, data: bytes) -> None:  # type: ignore[override]
            self.server.send(data)

    conversation = Conversation(Plain())
    conversation.client_says(b"x")

    assert [name for name, _ in conversation.faults()] == ["watching"]
    assert not conversation.primary.is_open


# -- lives ------------------------------------------------------------------------------------


def test_who_ends_the_connection_while_all_start_is_the_last_to_be_started() -> None:
    class Leaving(Recording):
        async def started(self) -> None:
            await super().started()
            self.connection.kill("not-wanted")

    log = list[str]()
    Conversation(Leaving("a", log), Recording("b", log))
    assert log == ["a set", "b set", "a started", "a detached", "b detached"]


def test_who_ends_the_connection_while_all_take_their_sockets_is_the_last_to_take_them() -> None:
    class Leaving(Recording):
        def set_sockets(
            self,
            client: StreamEnd,
            server: StreamEnd,
            connection: Connection,
            peer: object,
            context: object,
        ) -> None:
            super().set_sockets(client, server, connection, peer, context)
            connection.kill("not-wanted")

    log = list[str]()
    Conversation(Leaving("a", log), Recording("b", log))
    assert log == ["a set", "a detached", "b detached"]


@pytest.mark.parametrize("end", ["kill", "close"])
def test_ending_while_being_detached_ends_once(end: str) -> None:
    class Insisting(Recording):
        def detach(self) -> None:
            super().detach()
            getattr(self.connection, end)("once more")
            self.reset()
            self.close()
            self.connection.session.kill()

    insisting = Insisting("a")
    conversation = Conversation(insisting)
    getattr(conversation.primary, end)("first")

    assert insisting.log[-1] == "a detached"
    assert insisting.log.count("a detached") == 1
    assert conversation.office.reasons("connect.closed") == ["first"]
    assert conversation.faults() == []


def test_a_connection_whose_server_never_answers_detaches_who_was_attached() -> None:
    log = list[str]()
    office = Office(Placing((Recording("a", log), Priority.NAT)))
    primary = office.admit()
    primary.link = Wire()
    office.gateway.announce_primary(primary, lambda: None)
    for _ in range(2):
        primary.kill("server-unreachable")

    assert log == ["a detached"]


def test_one_data_filter_is_for_one_flow() -> None:
    data_filter = Recording("a")
    placing = Placing((data_filter, Priority.MIDDLE))
    office = Office(placing)
    first, second = Conversation(office=office), Conversation(office=office)

    assert first.primary.is_open
    assert not second.primary.is_open
    assert first.faults() == [("watching", "InvalidArgument('data-filter-was-attached-already')")]
    assert data_filter.log == ["a set", "a started"]


def bare_chain(office: Office, *, is_client_dialled: bool = False) -> Chain:
    primary = office.admit()
    return Chain(
        office.gateway,
        primary,
        PEER,
        office.gateway.new_runner(primary),
        is_client_dialled=is_client_dialled,
    )


def test_nobody_is_attached_once_bytes_pass_or_the_flow_is_over() -> None:
    office = Office()
    begun, over = bare_chain(office), bare_chain(office)
    begun.attach(DataFilter(), Priority.MIDDLE, None, "")
    assert (begun.is_empty, over.is_empty) == (False, True)
    wire = Wire()
    begun.begin(wire, wire, wire)
    over.end()
    over.begin(wire, wire, wire)

    for chain in (begun, over):
        with pytest.raises(BadContext, match="the-connection-has-started"):
            chain.attach(DataFilter(), Priority.MIDDLE, None, "")
    assert not over.is_begun


def test_the_same_filter_twice_in_one_chain_is_refused() -> None:
    chain, data_filter = bare_chain(Office()), DataFilter()
    chain.attach(data_filter, Priority.MIDDLE, None, "")
    with pytest.raises(InvalidArgument, match="data-filter-was-attached-already"):
        chain.attach(data_filter, Priority.NAT, None, "")


@pytest.mark.parametrize("is_client_dialled", [False, True])
def test_the_client_is_on_the_side_it_came_from(is_client_dialled: bool) -> None:
    near, far = Recording("near"), Recording("far")
    chain = bare_chain(Office(), is_client_dialled=is_client_dialled)
    chain.attach(far, Priority.EXTERNAL, None, "")
    chain.attach(near, Priority.NAT, None, "")
    accepted, dialled = Wire(), Wire()
    chain.begin(Wire(), accepted, dialled)
    client, server = (dialled, accepted) if is_client_dialled else (accepted, dialled)
    assert (near.client, far.server) == (client, server)

    chain.from_accepted(b"a")
    chain.from_dialled(b"d")
    chain.accepted_closed()
    assert (accepted.sent, dialled.sent) == ([b"d"], [b"a"])
    assert dialled.done == ["shutdown"]
    assert near.log[2] == ("near server a" if is_client_dialled else "near client a")


def test_where_nobody_is_nothing_is_sent() -> None:
    chain, emulating = bare_chain(Office()), Recording("a")
    chain.attach(emulating, Priority.EMULATION, None, "")
    client = Wire()
    chain.begin(Wire(), client, None)
    assert emulating.server is MISSING_END
    chain.from_accepted(b"x")
    chain.accepted_closed()
    emulating.client.send(b"answer")

    assert client.sent == [b"answer"]
    assert emulating.log[2:] == ["a client x", "a client closed"]


# -- the flow of a peer ---------------------------------------------------------------------------


def chain_of_a_peer(office: Office, *data_filters: DataFilter) -> tuple[Chain, MemoryLink]:
    """Begin the flow of a peer that a bound port let in."""
    primary = office.dial()
    (secondary,) = office.bind(primary).connections
    runner = office.gateway.new_runner(secondary)
    chain = Chain(office.gateway, secondary, PEER, runner, is_client_dialled=True)
    for data_filter in data_filters:
        chain.attach(data_filter, Priority.MIDDLE, None, "")
    link = MemoryLink()
    chain.begin(link, accepted=link.server, dialled=link.client)
    return chain, link


def test_who_resets_the_flow_of_a_peer_leaves_the_control_connection_open() -> None:
    office, data_filter = Office(), DataFilter()
    _, link = chain_of_a_peer(office, data_filter)
    data_filter.reset()

    assert link.ended == "reset"
    assert office.primaries[0].is_open


@pytest.mark.parametrize("said", [b"", b"and this"])
def test_who_closes_the_flow_of_a_peer_does_so_behind_what_was_said(said: bytes) -> None:
    class Leaving(DataFilter):
        async def from_client(self, data: bytes) -> None:
            self.server.send(said)
            self.close()

    office, leaving, last = Office(), Leaving(), Recording("last")
    chain, link = chain_of_a_peer(office, leaving, last)
    chain.from_dialled(b"x")

    assert link.ended == "closed"
    assert link.server.take() == said
    assert office.primaries[0].is_open


def test_who_serves_no_flow_may_end_it_without_effect() -> None:
    idle = DataFilter()
    idle.reset()
    idle.close("it never began")

    assert idle.slot is None


def test_a_flow_that_ends_twice_detaches_its_filters_once() -> None:
    chain, data_filter = bare_chain(Office()), Recording("a")
    chain.attach(data_filter, Priority.MIDDLE, None, "")
    for _ in range(2):
        chain.end()

    assert data_filter.log == ["a detached"]


# -- any chain, any segments ------------------------------------------------------------------

KINDS: dict[str, tuple[Callable[[], DataFilter], Callable[[bytes], bytes]]] = {
    "pass": (DataFilter, bytes),
    "upper": (Upper, bytes.upper),
    "hold": (Holding, bytes),
    "split": (Splitting, bytes),
}


@given(
    placed=st.lists(
        st.tuples(st.sampled_from(sorted(KINDS)), st.sampled_from(Priority)), max_size=6
    ),
    segments=st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=20)), max_size=8),
    is_client_first=st.booleans(),
)
def test_what_comes_out_is_what_went_in_through_every_filter(
    placed: list[tuple[str, Priority]],
    segments: list[tuple[bool, bytes]],
    is_client_first: bool,
) -> None:
    conversation = Conversation(*((KINDS[kind][0](), priority) for kind, priority in placed))
    said = {True: b"", False: b""}
    for is_client, segment in segments:
        said[is_client] += segment
        (conversation.client_says if is_client else conversation.server_says)(segment)
    chain = conversation.primary.chain
    closes = [chain.accepted_closed, chain.dialled_closed]
    for close in closes if is_client_first else reversed(closes):
        close()

    for kind, _ in placed:
        said = {side: KINDS[kind][1](data) for side, data in said.items()}
    assert conversation.heard() == (said[False], said[True])
    assert conversation.client.is_shut
    assert conversation.server.is_shut
    assert not chain.is_busy
    assert conversation.faults() == []


@given(
    slow=st.lists(st.booleans(), min_size=1, max_size=4),
    segments=st.lists(st.tuples(st.booleans(), st.sampled_from([b"a", b"bc"])), max_size=6),
    resumes=st.lists(st.integers(0, 3), max_size=8),
)
def test_whoever_waits_no_call_overlaps_and_no_byte_is_lost(
    slow: list[bool], segments: list[tuple[bool, bytes]], resumes: list[int]
) -> None:
    log = list[str]()
    filters = [Recording(str(i), log) for i in range(len(slow))]
    for one, is_slow in zip(filters, slow, strict=True):
        one.is_slow = is_slow
    conversation = Conversation(*filters)
    pauses = iter(resumes)
    said = {True: b"", False: b""}
    for is_client, segment in segments:
        said[is_client] += segment
        (conversation.client_says if is_client else conversation.server_says)(segment)
        for _ in range(next(pauses, 0)):
            if conversation.office.world.suspended:
                conversation.office.world.resume()
    while conversation.office.world.suspended:
        conversation.office.world.resume()

    assert conversation.heard() == (said[False], said[True])
    assert conversation.faults() == []
