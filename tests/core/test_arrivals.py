"""Peers that arrive in user mode: who sees their bytes, who is refused, who waits."""

from collections.abc import Callable

import pytest
from tests.core.arrivals_bench import (
    KINDS,
    OTHER,
    SERVER,
    Arriving,
    Nosy,
    SlowNosy,
    deny,
    secondary_only,
)
from tests.core.model.chain_bench import Recording
from tests.core.office import (
    PEER,
    Office,
    Witness,
    attaching,
)

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.model.chain import Priority
from sallyport.core.model.events import (
    ConnectionTerminating,
    EstablishedConnection,
    Event,
)
from sallyport.core.model.filter import DataFilter
from sallyport.core.pinholes.lifecycle import State
from sallyport.flags import BindFlags

# -- secondary flows: attach ------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_data_filter_sees_a_flow_from_the_clients_side(kind: str) -> None:
    nosy, seen = Nosy(), Recording("a")
    nosy.react = secondary_only(attaching(seen, priority=Priority.NAT, context="mine"))
    arriving = Arriving(Office(nosy), kind)
    arriving.arrive()
    flow = arriving.flow()
    flow.peer_says(b"p")
    flow.target_says(b"t")

    # Who opened an outbound connection is its client; at a bound port the peer is the server.
    is_client = kind == "future"
    assert seen.log[-2:] == (
        ["a client p", "a server t"] if is_client else ["a server p", "a client t"]
    )
    assert seen.peer == (Endpoint.parse(SERVER) if is_client else PEER)
    assert seen.connection is arriving.opening
    assert seen.context == "mine"
    assert (flow.dialled.take()[-1:], flow.accepted.take()) == (b"p", b"t")
    arriving.opening.path.kill([arriving.opening.pinhole.id])
    assert seen.log[-1] == "a detached"


@pytest.mark.parametrize("kind", KINDS)
def test_a_flow_nobody_wants_to_see_is_let_through_without_a_chain(kind: str) -> None:
    nosy = Nosy()
    arriving = Arriving(Office(nosy), kind)
    assert arriving.arrive() is not None
    assert arriving.office.user_path.filtered == {}
    assert len(nosy.witnesses[0].events) == 2


def test_x07_no_more_peers_wait_for_a_slow_filter_than_may_be_connected() -> None:
    nosy = SlowNosy()
    arriving = Arriving(Office(nosy), "tcp", flags=BindFlags.ALLOW_MULTIPLE)
    nosy.be_slow()
    peers = [PEER.with_port(1024 + i) for i in range(limits.MAX_RELAYED_FLOWS + 1)]
    for peer in peers:
        arriving.arrive(peer)

    assert arriving.office.user_path.refused == peers[-1:]
    assert len(arriving.opening.asked_about) == limits.MAX_RELAYED_FLOWS
    arriving.opening.kill()
    arriving.office.world.resume()
    assert arriving.opening.asked_about == []


def test_a_datagram_of_nothing_passes_every_data_filter_and_none_ends_it() -> None:
    class Ending(DataFilter):
        async def from_server(self, data: bytes) -> None:
            self.client.shutdown()
            self.client.send(data)

    nosy = Nosy()
    nosy.react = secondary_only(attaching(DataFilter(), Ending()))
    arriving = Arriving(Office(nosy), "udp", flags=BindFlags.BIDIRECTIONAL)
    arriving.arrive()
    arriving.flow().dialled.take()
    for datagram in (b"", b"more"):
        arriving.flow().peer_says(datagram)
        arriving.flow().target_says(datagram)

    assert arriving.flow().dialled.datagrams == [b"", b"more"]
    assert arriving.flow().accepted.datagrams == [b"", b"more"]


def test_each_peer_of_a_udp_port_has_a_data_filter_of_its_own() -> None:
    made = list[Recording]()
    nosy = Nosy()

    def react(event: Event) -> None:
        made.append(Recording(str(len(made))))
        attaching(made[-1])(event)

    nosy.react = secondary_only(react)
    arriving = Arriving(Office(nosy), "udp", flags=BindFlags.ALLOW_MULTIPLE)
    for peer in (PEER, OTHER):
        arriving.arrive(peer)

    assert [one.peer for one in made] == [PEER, OTHER]


def test_a_datagram_is_one_call() -> None:
    nosy, seen = Nosy(), Recording("a")
    nosy.react = secondary_only(attaching(seen))
    arriving = Arriving(Office(nosy), "udp")
    path = arriving.office.user_path
    for data in (b"one", b"two"):
        path.send(PEER, arriving.listen, data)

    assert seen.log[-2:] == ["a server one", "a server two"]
    assert arriving.flow().dialled.datagrams == [b"one", b"two"]


# -- secondary flows: deny --------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_denied_peer_is_refused_and_the_next_one_may_come(kind: str) -> None:
    nosy, later, log = Nosy(), Nosy(), list[str]()
    later.name = "later"

    def react(event: Event) -> None:
        attaching(Recording("a", log))(event)
        deny(event)

    nosy.react = secondary_only(react)
    caller = Witness()
    arriving = Arriving(Office(nosy, later), kind, session_filter=caller)
    assert arriving.arrive() is None

    path = arriving.office.user_path
    assert path.refused == [arriving.peer]
    assert arriving.opening.state is State.ARMED
    assert caller.events == []
    assert log == ["a detached"]
    assert [event for event in later.witnesses[0].events if event.is_secondary] == []
    (record,) = (f for event, f in arriving.office.world.journal.records if event == "flow.denied")
    assert (record["filter"], record["peer"]) == ("nosy", arriving.peer)
    nosy.witnesses[0].react = id
    assert arriving.arrive(arriving.peer.with_port(5000)) is not None
    assert caller.kinds() == ["EstablishedConnection"]


@pytest.mark.parametrize("kind", KINDS)
def test_x07_a_fault_about_an_arrival_ends_what_it_came_to_and_detaches_who_was_attached(
    kind: str,
) -> None:
    log = list[str]()
    first, second = Nosy(), Nosy()
    second.name = "second"

    def fail(_event: Event) -> None:
        raise ValueError("a filter's fault")

    first.react = secondary_only(attaching(Recording("a", log)))
    second.react = secondary_only(fail)
    arriving = Arriving(Office(first, second), kind)
    assert arriving.arrive() is None

    assert log == ["a detached"]
    assert arriving.opening.state is State.CLOSED
    assert arriving.opening.primary is not None
    assert arriving.opening.primary.is_open
    failures = [f for event, f in arriving.office.world.journal.records if event == "filter.failed"]
    assert [one["filter"] for one in failures] == ["second"]


# -- secondary flows: waiting, and ends meanwhile ---------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_peer_waits_until_all_have_answered(kind: str) -> None:
    slow = SlowNosy()
    arriving = Arriving(Office(slow), kind)
    slow.be_slow()
    assert arriving.arrive() is None
    assert arriving.opening.state is State.ARMED

    arriving.office.world.resume()
    assert arriving.opening.latest_peer == arriving.peer


def test_peers_are_asked_about_one_after_another_and_each_gets_what_was_attached_for_it() -> None:
    slow, made = SlowNosy(), list[Recording]()

    def react(event: Event) -> None:
        made.append(Recording())
        attaching(made[-1])(event)

    slow.react = secondary_only(react)
    arriving = Arriving(Office(slow), "tcp", flags=BindFlags.ALLOW_MULTIPLE)
    slow.be_slow()
    for peer in (PEER, OTHER):
        arriving.arrive(peer)
    assert len(arriving.office.world.suspended) == 1
    for _ in range(2):
        arriving.office.world.resume()

    assert [one.peer for one in made] == [PEER, OTHER]
    assert [one.log[0] for one in made] == [" set", " set"]


ENDS: dict[str, Callable[[Arriving], object]] = {
    "kill": lambda arriving: arriving.office.gateway.registry.kill(arriving.opening, "enough"),
    "withdraw": lambda arriving: arriving.office.gateway.registry.withdraw(arriving.opening, "x"),
    "primary": lambda arriving: arriving.primary.close("done"),
    "session": lambda arriving: arriving.primary.session.kill(),
    "shut down": lambda arriving: arriving.office.gateway.shut_down("stopping"),
    "too long": lambda arriving: arriving.office.pass_time(limits.FILTER_WAIT_SECONDS),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_ends_while_a_filter_is_asked_detaches_once_and_lets_nobody_in(
    kind: str, end: str
) -> None:
    log = list[str]()
    quick, slow = Nosy(), SlowNosy()
    slow.name = "slow"
    quick.react = secondary_only(attaching(Recording("a", log)))
    slow.react = secondary_only(attaching(Recording("b", log)))
    arriving = Arriving(Office(quick, slow), kind)
    slow.be_slow()
    assert arriving.arrive() is None
    ENDS[end](arriving)
    arriving.office.world.resume()

    assert log == ["a detached"]
    assert arriving.opening.state is State.CLOSED
    assert arriving.office.user_path.flows == {}
    assert arriving.office.user_path.filtered == {}
    assert not arriving.office.world.suspended
    failed = "filter.failed" in arriving.office.world.journal.events()
    assert failed is (end == "too long")


@pytest.mark.parametrize("kind", KINDS)
def test_who_kills_the_opening_while_being_asked_lets_nobody_in(kind: str) -> None:
    log = list[str]()
    nosy = Nosy()

    def react(event: Event) -> None:
        attaching(Recording("a", log))(event)
        event.connection.kill("not-wanted")

    nosy.react = secondary_only(react)
    caller = Witness()
    arriving = Arriving(Office(nosy), kind, session_filter=caller)
    assert arriving.arrive() is None

    assert log == ["a detached"]
    assert caller.kinds() == ["ConnectionTerminating"]
    assert arriving.office.user_path.flows == {}


@pytest.mark.parametrize("kind", KINDS)
def test_who_kills_it_while_data_filters_start_ends_it_once(kind: str) -> None:
    class Killing(Recording):
        async def started(self) -> None:
            await super().started()
            self.connection.kill("first", "go away")
            self.connection.kill("second")

        def detach(self) -> None:
            super().detach()
            self.connection.kill("third", "no")

    nosy, killing, caller = Nosy(), Killing("a"), Witness()
    nosy.react = secondary_only(attaching(killing))
    arriving = Arriving(Office(nosy), kind, session_filter=caller)
    arriving.arrive()

    assert killing.log == ["a set", "a started", "a detached"]
    established, over = caller.events
    assert isinstance(established, EstablishedConnection)
    assert isinstance(over, ConnectionTerminating)
    assert (over.reason, over.traffic.flows, over.explanation) == ("first", 1, "go away")
    assert arriving.office.user_path.flows == {}
