"""Filters are told of flows, of their ends, and of whose they are."""

from dataclasses import replace

import pytest
from tests.core.arrivals_bench import (
    KINDS,
    RAISED,
    Arriving,
    Nosy,
    SlowNosy,
    SlowWitness,
    deny,
)
from tests.core.model.chain_bench import Conversation, Recording
from tests.core.office import (
    FTP,
    PEER,
    Office,
    WatchingFilter,
    Wire,
    Witness,
    attaching,
)

from sallyport import limits
from sallyport.core.model.events import (
    AcceptedConnection,
    ConnectionTerminating,
    ConnectTcp,
    Event,
    UdpDestination,
)
from sallyport.core.model.filter import DataFilter, SessionFilter
from sallyport.core.model.hooks import Hooks, Scope
from sallyport.core.model.session import Session
from sallyport.testing.world import make_policy

# -- primary connections ----------------------------------------------------------------------


def test_the_server_is_dialled_when_all_have_answered() -> None:
    office = Office(WatchingFilter(), SlowNosy())
    ready = list[str]()
    for client in ("10.0.0.8:50000", "10.0.0.8:50002"):
        primary = office.admit(client)
        primary.link = Wire()
        office.gateway.announce_primary(primary, lambda: ready.append("ready"))
        slow = office.gateway.roster.current.filters[1]
        assert isinstance(slow, SlowNosy)
        slow.be_slow()

    assert ready == ["ready"]
    office.world.resume()
    assert ready == ["ready", "ready"]


def test_a_denied_connection_is_reset_and_nobody_else_is_asked() -> None:
    log = list[str]()
    first, second, third = WatchingFilter(), Nosy(), Nosy()
    third.name = "third"
    first.react, second.react = attaching(Recording("a", log)), deny
    office = Office(first, second, third)
    conversation = Conversation(office=office)

    assert conversation.link.ended == "reset"
    assert log == ["a detached"]
    assert third.witnesses == []
    assert office.reasons("connect.closed") == ["denied-by-filter"]
    (record,) = (f for event, f in office.world.journal.records if event == "connect.denied")
    assert record["filter"] == "nosy"
    assert not list(office.gateway.sessions)
    assert conversation.faults() == []


def test_a_connection_killed_by_who_is_told_of_it_is_not_dialled() -> None:
    watching, later = WatchingFilter(), Nosy()
    watching.react = lambda event: event.connection.kill("not-wanted")
    office = Office(watching, later)
    conversation = Conversation(office=office)

    assert conversation.link.ended == "reset"
    assert office.reasons("connect.closed") == ["not-wanted"]
    assert "connect.accepted" not in office.world.journal.events()
    assert later.witnesses == []


def test_who_kills_and_denies_has_killed() -> None:
    watching = WatchingFilter()

    def react(event: Event) -> None:
        event.connection.kill("not-wanted")
        deny(event)

    watching.react = react
    office = Office(watching)
    Conversation(office=office)

    assert office.reasons("connect.closed") == ["not-wanted"]
    assert "connect.denied" not in office.world.journal.events()


def test_a_connection_that_ends_while_a_filter_waits_is_forgotten() -> None:
    class Slow(WatchingFilter):
        def attach_to_session(self, session: Session) -> SessionFilter:
            self.witnesses.append(SlowWitness())
            self.witnesses[-1].react = attaching(DataFilter())
            return self.witnesses[-1]

    office = Office(Slow())
    conversation = Conversation(office=office)
    conversation.primary.kill("client-reset")
    office.world.resume()

    assert office.reasons("connect.closed") == ["client-reset"]
    assert conversation.faults() == []
    assert not list(office.gateway.sessions)


# -- what an event says -----------------------------------------------------------------------


def test_an_event_says_whose_it_is_by_which_rule_and_with_which_settings() -> None:
    nosy = Nosy()
    settings = {"nosy": {"depth": 3}, "watching": {"depth": 5}}
    office = Office(nosy, WatchingFilter(), policy=replace(make_policy(), filter_settings=settings))
    primary = office.dial()
    binding = office.bind(primary, context="why")
    office.user_path.connect(PEER, binding.proxy_address)

    first, second = nosy.witnesses[0].events
    assert (first.is_secondary, second.is_secondary) == (False, True)
    assert first.protocol is second.protocol is FTP
    assert first.rule == primary.rule
    assert second.rule == binding.rule
    assert first.parameters == second.parameters == {"depth": 3}
    assert first.connection.context is None
    assert second.connection.context == "why"
    assert first.connection.primary is second.connection.primary is primary


@pytest.mark.parametrize("kind", KINDS)
def test_a_flow_in_user_mode_is_told_with_its_peer(kind: str) -> None:
    nosy = Nosy()
    arriving = Arriving(Office(nosy), kind)
    assert arriving.arrive() is not None

    event = nosy.witnesses[0].events[-1]
    assert type(event) is RAISED[kind]
    assert event.connection is arriving.opening
    assert event.is_secondary
    if isinstance(event, UdpDestination | AcceptedConnection):
        assert event.peer == PEER


def test_the_caller_is_told_its_filters_settings_and_a_stranger_none() -> None:
    watching, stranger = WatchingFilter(), Witness()
    settings = {"watching": {"depth": 5}}
    office = Office(watching, policy=replace(make_policy(), filter_settings=settings))
    primary = office.dial()
    for witness in (watching.witnesses[0], stranger):
        office.bind(primary, session_filter=witness).kill()

    (_, mine), (theirs,) = watching.witnesses[0].events, stranger.events
    assert mine.parameters == {"depth": 5}
    assert theirs.parameters == {}


# -- ends -------------------------------------------------------------------------------------


class Mourner(WatchingFilter):
    """Is told of the start and the end of everything."""

    hooks = Hooks.of(ConnectTcp, ConnectionTerminating, scope=Scope.SECONDARY)


def ends(witness: Witness) -> list[ConnectionTerminating]:
    return [event for event in witness.events if isinstance(event, ConnectionTerminating)]


def test_the_end_is_told_to_who_registered_and_to_the_caller_once_each() -> None:
    mourner, caller = Mourner(), Witness()
    settings = {"watching": {"depth": 5}}
    office = Office(mourner, policy=replace(make_policy(), filter_settings=settings))
    primary = office.dial()
    (mine,) = mourner.witnesses
    for session_filter in (caller, mine, None):
        binding = office.bind(primary, session_filter=session_filter, context="why")
        binding.connections[0].kill("enough", "the server is gone")
        binding.kill()
    primary.kill("operator", "maintenance")
    primary.kill("again")

    (told,) = ends(caller)
    assert told.context == "why"
    assert told.explanation == "the server is gone"
    assert [event.reason for event in ends(mine)] == ["enough", "enough", "enough", "operator"]
    assert ends(mine)[-1].explanation == "maintenance"
    assert ends(mine)[-1].connection is primary
    assert [event.parameters for event in ends(mine)] == [{"depth": 5}] * 4


def test_the_end_never_attaches_a_filter() -> None:
    mourner = Mourner()
    mourner.hooks = Hooks.of(ConnectionTerminating, scope=Scope.SECONDARY)
    office = Office(mourner)
    primary = office.dial()
    office.bind(primary).kill()
    primary.close("done")

    assert mourner.witnesses == []


@pytest.mark.parametrize("how", ["session", "too long"])
def test_a_caller_whose_filter_still_waits_is_told_of_the_end_all_the_same(how: str) -> None:
    slow, caller = Recording("a"), Witness()
    conversation = Conversation(slow)
    conversation.office.bind(conversation.primary, session_filter=caller)
    slow.is_slow = True
    conversation.client_says(b"x")
    if how == "session":
        conversation.primary.session.kill("operator")
    else:
        conversation.office.pass_time(limits.FILTER_WAIT_SECONDS)

    assert caller.kinds() == ["ConnectionTerminating"]
    conversation.office.world.resume()
    assert caller.kinds() == ["ConnectionTerminating"]
