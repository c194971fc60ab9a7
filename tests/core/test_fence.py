"""What a filter raises, or fails to do, ends one connection and no other (attack X07)."""

from collections.abc import Callable

import pytest
from tests.core.office import (
    CLIENT,
    PEER,
    Office,
    Pause,
    WatchingFilter,
    Witness,
    attaching,
)

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.model.connection import PrimaryConnection
from sallyport.core.model.events import ConnectionTerminating, Event
from sallyport.core.model.filter import DataFilter, SessionFilter
from sallyport.core.model.session import Session
from sallyport.core.pinholes.lifecycle import State


class Broken(DataFilter):
    """Raises when asked to do or to release anything."""

    async def from_client(self, data: bytes) -> None:
        raise ValueError(data)

    def detach(self) -> None:
        raise ValueError("detach")


class BrokenFilter(WatchingFilter):
    """Cannot even attach to a session."""

    def attach_to_session(self, session: Session) -> SessionFilter:
        raise ValueError(session.id)


def failing(_event: Event) -> None:
    raise ValueError("a filter's fault")


def failing_at_the_end(event: Event) -> None:
    if isinstance(event, ConnectionTerminating):
        raise TypeError("a filter's fault at the end")


def expect_one_fault(office: Office, other: PrimaryConnection) -> None:
    failures = [
        fields for event, fields in office.world.journal.records if event == "filter.failed"
    ]
    assert len(failures) == 1
    assert failures[0]["level"] == "error"
    assert other.is_open


def test_x07_a_filter_that_raises_ends_one_connection_and_none_else_of_the_client() -> None:
    watching = WatchingFilter()
    office = Office(watching)
    other, before = office.dial("10.0.0.9:50000"), office.dial("10.0.0.8:50002")
    binding = office.bind(before)
    office.data_path.connect(PEER, binding.proxy_address)
    watching.witnesses[1].react = failing
    primary = office.dial()

    assert not primary.is_open
    assert office.wires[primary.id].done == ["abort"]
    assert office.reasons("connect.closed") == ["filter-failed"]
    assert before.is_open
    assert binding.state is State.LIVE
    assert office.data_path.resets == []
    expect_one_fault(office, other)
    watching.witnesses[1].react = id
    assert office.dial("10.0.0.8:50003").is_open


def test_x07_a_filter_that_raises_takes_along_what_was_opened_for_its_connection() -> None:
    class Raising(DataFilter):
        async def from_client(self, data: bytes) -> None:
            raise ValueError(data)

    watching = WatchingFilter()
    watching.react = attaching(Raising())
    office = Office(watching)
    primary = office.dial()
    watching.react = watching.witnesses[0].react = id
    beside = office.bind(office.dial("10.0.0.8:50002"))
    live, unused = office.bind(primary), office.bind(primary)
    office.data_path.connect(PEER, live.proxy_address)
    primary.chain.from_accepted(b"x")

    assert not primary.is_open
    assert (live.state, unused.state, beside.state) == (State.CLOSED, State.CLOSED, State.ARMED)
    assert office.data_path.resets == [(live.connections[0].pinhole.id, PEER)]
    assert office.reasons("binding.closed") == ["filter-failed"] * 2


def test_x07_a_filter_that_cannot_attach_ends_the_connection_and_no_other() -> None:
    office = Office(BrokenFilter())
    other = office.dial("10.0.0.9:50000", "198.51.100.9:21")
    assert not other.is_open
    watching = WatchingFilter()
    office.gateway.replace(office.gateway.policy, [watching])
    other = office.dial("10.0.0.9:50000")
    office.gateway.replace(office.gateway.policy, [BrokenFilter()])
    office.world.journal.records.clear()
    primary = office.dial()

    assert not primary.is_open
    assert list(office.gateway.sessions) == [other.session]
    expect_one_fault(office, other)


def test_x07_after_a_fault_at_the_start_no_further_filter_is_attached() -> None:
    first, second = WatchingFilter(), WatchingFilter()
    second.name = "second"
    first.react = failing
    office = Office(first, second)
    office.dial()

    assert second.witnesses == []
    assert not list(office.gateway.sessions)


def test_x07_a_data_filter_that_raises_even_while_releasing_leaves_nothing_behind() -> None:
    watching = WatchingFilter()
    watching.react = attaching(Broken())
    office = Office(watching)
    primary = office.dial()
    office.bind(primary)
    primary.chain.from_accepted(b"x")

    assert not primary.is_open
    assert not list(office.gateway.sessions)
    assert not office.data_path.pinholes
    assert office.world.journal.events().count("filter.failed") == 2


def test_x07_a_session_filter_that_raises_while_releasing_harms_nobody() -> None:
    class Clumsy(Witness):
        def detach(self) -> None:
            raise ValueError("detach")

    office = Office()
    primary = office.dial()
    primary.session.filters["clumsy"] = Clumsy()
    primary.session.filters["witness"] = witness = Witness()
    primary.close("done")

    assert witness.detached == 1
    assert not list(office.gateway.sessions)


def test_x07_a_fault_in_an_event_of_its_transfer_ends_the_connection_and_the_transfer() -> None:
    office, witness = Office(), Witness()
    witness.react = failing
    primary = office.dial()
    binding = office.bind(primary, session_filter=witness)
    office.data_path.connect(PEER, binding.proxy_address)

    assert office.reasons("connect.closed") == ["filter-failed"]
    assert binding.state is State.CLOSED
    assert office.data_path.resets == [(binding.connections[0].pinhole.id, PEER)]
    assert not list(office.gateway.sessions)
    assert witness.kinds() == ["EstablishedConnection", "ConnectionTerminating"]


@pytest.mark.parametrize("react", [failing, failing_at_the_end])
def test_x07_a_fault_in_an_event_of_an_orphan_ends_the_orphan_however_many_ports(
    react: Callable[[Event], None],
) -> None:
    office, witness = Office(), Witness()
    witness.react = react
    primary = office.dial()
    binding = office.bind(
        primary,
        *[CLIENT] * limits.MAX_ADDRESSES_PER_CALL,
        session_filter=witness,
        primary=None,
        proxy_address=Endpoint.parse("203.0.113.1:0"),
    )
    binding.connections[0].kill()

    assert binding.state is State.CLOSED
    assert not binding.session.bindings
    assert not office.data_path.reserved
    assert primary.is_open
    # Each port's end is told once, and each telling fails: that is one fault with many echoes.
    assert len(witness.events) == limits.MAX_ADDRESSES_PER_CALL
    assert office.world.journal.events().count("filter.failed") == 1


def test_an_orphan_whose_filter_waits_too_long_and_then_fails_is_told_of_one_fault() -> None:
    class WaitingToFail(Witness):
        async def on_event(self, event: Event) -> None:
            await Pause()
            raise ValueError("late")

    office = Office()
    binding = office.bind(
        office.dial(),
        session_filter=WaitingToFail(),
        primary=None,
        proxy_address=Endpoint.parse("203.0.113.1:0"),
    )
    office.data_path.connect(PEER, binding.proxy_address)
    office.pass_time(limits.FILTER_WAIT_SECONDS)
    assert office.world.journal.events().count("filter.failed") == 1
    assert binding.state is State.CLOSED

    while office.world.suspended:
        office.world.resume()
    assert office.world.journal.events().count("filter.failed") == 1
