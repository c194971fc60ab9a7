"""Other filters are told of a bind and may deny it."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.core.office import (
    CLIENT,
    FTP,
    PEER,
    Office,
    Pause,
    WatchingFilter,
    Witness,
    attaching,
)

from sallyport import limits
from sallyport.core.model.chain import Priority
from sallyport.core.model.events import AcceptedConnection, BindTcp, BindUdp, Event, Listen
from sallyport.core.model.filter import DataFilter, SessionFilter
from sallyport.core.model.hooks import Hooks, Scope
from sallyport.core.model.secondary import SecondaryConnection
from sallyport.core.model.session import Session
from sallyport.core.pinholes.datapath import DataPathKind
from sallyport.core.pinholes.lifecycle import State
from sallyport.errors import AddressInUse, BadContext, InvalidArgument, Terminating
from sallyport.flags import BindFlags, Transport


class Guard(WatchingFilter):
    """Is told of every bind."""

    name = "guard"
    protocols = ()
    hooks = Hooks.of(BindTcp, BindUdp, Listen, scope=Scope.ANY_PROTOCOL)


def deny(event: Event) -> None:
    if isinstance(event, BindTcp | BindUdp):
        event.connection.deny()


def fail(event: Event) -> None:
    raise ValueError(f"cannot read {type(event).__name__}")


@pytest.mark.parametrize(
    ("transport", "kinds"),
    [
        (Transport.TCP, ["BindTcp", "BindTcp", "Listen", "Listen"]),
        (Transport.UDP, ["BindUdp", "BindUdp"]),
    ],
)
def test_who_asked_is_told_of_each_port_before_it_opens(
    transport: Transport, kinds: list[str]
) -> None:
    guard = Guard()
    seen: list[tuple[State, Any]] = []

    def look(event: Event) -> None:
        assert isinstance(event, BindTcp | BindUdp | Listen)
        seen.append((event.connection.state, event.connection.proxy_address))

    guard.react = look
    office = Office(WatchingFilter(), guard)
    binding = office.bind(office.dial(), CLIENT, CLIENT, transport=transport)

    assert guard.witnesses[0].kinds() == kinds
    ports = [connection.proxy_address for connection in binding.connections]
    assert seen == [(State.RESERVED, port) for port in ports * (len(kinds) // 2)]
    assert binding.state is State.ARMED


def test_who_did_not_ask_and_the_caller_itself_are_not_told() -> None:
    watching, guard = WatchingFilter(), Guard()
    office = Office(watching, guard)
    primary = office.dial()
    office.bind(primary)
    (own,) = guard.witnesses
    told = own.kinds()
    office.bind(primary, session_filter=own)

    assert own.kinds() == told
    assert watching.witnesses[0].kinds() == ["ConnectTcp"]


@pytest.mark.parametrize("transport", Transport)
def test_a_filter_that_denies_stops_the_bind_and_nothing_stays(transport: Transport) -> None:
    guard, asked_later = Guard(), Guard()
    asked_later.name = "later"
    guard.react = deny
    office = Office(guard, asked_later)
    primary = office.dial()
    before = office.holdings()

    with pytest.raises(AddressInUse, match="denied-by-filter"):
        office.bind(primary, CLIENT, CLIENT, transport=transport)
    assert office.holdings() == before
    assert office.reasons("binding.refused") == ["denied-by-filter"]
    (record,) = (fields for event, fields in office.world.journal.records if "denied" in event)
    assert record["filter"] == "guard"
    assert "filter.failed" not in office.world.journal.events()
    assert primary.is_open
    assert asked_later.witnesses == []


def leave(event: Event) -> None:
    raise SystemExit


@pytest.mark.parametrize("wrong", [fail, leave])
@pytest.mark.parametrize("transport", Transport)
def test_x07_a_filter_that_fails_has_denied_and_only_the_bind_is_over(
    transport: Transport, wrong: Callable[[Event], object]
) -> None:
    guard = Guard()
    guard.react = wrong
    office = Office(guard)
    primary, other = office.dial(), office.dial("10.0.0.9:50000")

    with pytest.raises(AddressInUse, match="denied-by-filter"):
        office.bind(primary, CLIENT, CLIENT, transport=transport)
    assert primary.is_open
    assert other.is_open
    assert not primary.session.bindings
    assert office.world.journal.events().count("filter.failed") == 1
    assert not office.data_path.reserved
    assert len(guard.witnesses[0].events) == 1


def test_x07_who_waits_too_long_about_a_bind_is_at_fault_and_not_the_caller() -> None:
    class Pondering(Witness):
        async def on_event(self, event: Event) -> None:
            await Pause()

    class SlowGuard(Guard):
        def attach_to_session(self, session: Session) -> SessionFilter:
            return Pondering()

    class Asking(DataFilter):
        async def from_client(self, data: bytes) -> None:
            await self.connection.session.bind_for_client(
                [CLIENT],
                transport=Transport.TCP,
                protocol=FTP,
                primary=self.connection.primary,
            )

    watching = WatchingFilter()
    watching.react = attaching(Asking())
    office = Office(watching, SlowGuard())
    primary = office.dial()
    primary.chain.from_accepted(b"PORT")
    office.pass_time(limits.FILTER_WAIT_SECONDS)

    failures = [
        fields for event, fields in office.world.journal.records if event == "filter.failed"
    ]
    assert [(one["filter"], one["error"]) for one in failures] == [
        ("guard", "TimeoutError('waited 30 s')")
    ]
    assert not primary.is_open
    assert not office.data_path.reserved
    office.world.resume()
    assert not office.world.suspended
    assert not office.data_path.pinholes


def test_listening_cannot_be_refused() -> None:
    guard, refused = Guard(), list[str]()

    def react(event: Event) -> None:
        if isinstance(event, Listen):
            with pytest.raises(BadContext, match="not-in-an-event-of-this-connection"):
                event.connection.deny()
            refused.append("too late")

    guard.react = react
    office = Office(guard)
    binding = office.bind(office.dial())

    assert refused == ["too late"]
    assert office.data_path.connect(PEER, binding.proxy_address) == CLIENT


def test_x07_a_fault_about_listening_ends_the_bind() -> None:
    guard, later = Guard(), Guard()
    later.name = "later"
    guard.react = lambda event: fail(event) if isinstance(event, Listen) else None
    office = Office(guard, later)
    primary = office.dial()

    with pytest.raises(Terminating, match="ended-while-filters-were-asked"):
        office.bind(primary, CLIENT, CLIENT)
    assert primary.is_open
    assert not office.data_path.reserved
    assert later.witnesses[0].kinds() == ["BindTcp", "BindTcp"]


def test_nobody_is_told_of_a_bind_whose_session_ended_meanwhile() -> None:
    guard, later = Guard(), Guard()
    later.name = "later"
    guard.react = lambda event: event.connection.session.kill("operator")
    office = Office(guard, later)
    primary = office.dial()

    with pytest.raises(Terminating):
        office.bind(primary, CLIENT, CLIENT)
    assert guard.witnesses[0].kinds() == ["BindTcp"]
    assert later.witnesses == []


@pytest.mark.parametrize("transport", Transport)
@pytest.mark.parametrize("way", ["attached", "factory"])
def test_a_data_filter_at_the_bind_takes_this_binding_alone_out_of_the_kernel(
    transport: Transport, way: str
) -> None:
    guard, seen, wanted = Guard(), DataFilter(), list[bool]()

    def react(event: Event) -> None:
        if not (wanted and isinstance(event, BindTcp | BindUdp)):
            return
        connection = event.connection
        if way == "attached":
            connection.attach_data_filter(seen, Priority.PRE_TRUST, "context")
            return
        connection.session.set_data_filter_factory(
            AcceptedConnection if transport is Transport.TCP else BindUdp,
            connection.proxy_address,
            lambda: seen,
            session_filter=guard.witnesses[0],
        )

    guard.react = react
    office = Office(guard)
    primary = office.dial()
    before = office.bind(primary, transport=transport)
    wanted.append(True)
    watched = office.bind(primary, transport=transport)
    wanted.clear()
    after = office.bind(primary, transport=transport)

    paths = [binding.connections[0].data_path for binding in (before, watched, after)]
    assert paths == [DataPathKind.KERNEL, DataPathKind.USER, DataPathKind.KERNEL]
    listen = watched.proxy_address
    reservations = watched.connections[0].reservations
    assert reservations is not None
    assert reservations.path is office.user_path
    if transport is Transport.TCP:
        office.user_path.connect(PEER, listen)
    else:
        office.user_path.send(PEER, listen)
    assert len(office.user_path.filtered) == 1
    assert seen.slot is not None
    assert not primary.session.factories
    watched.kill()
    assert (transport, listen) not in office.user_path.reserved


def test_what_is_attached_at_a_bind_goes_with_it() -> None:
    guard = Guard()
    guard.react = lambda event: (
        event.connection.attach_data_filter(DataFilter()) if isinstance(event, BindTcp) else None
    )
    office = Office(guard)
    primary = office.dial()
    binding = office.bind(primary)
    assert len(primary.session.factories) == 1

    binding.withdraw("done")

    assert not primary.session.factories
    assert not office.user_path.reserved
    assert not office.data_path.reserved


def test_one_data_filter_is_not_attached_to_a_bind_that_many_may_use() -> None:
    guard, refused = Guard(), list[str]()

    def react(event: Event) -> None:
        if isinstance(event, BindTcp):
            with pytest.raises(InvalidArgument, match="one-data-filter-for-many-flows"):
                event.connection.attach_data_filter(DataFilter())
            refused.append(type(event).__name__)

    guard.react = react
    office = Office(guard)
    binding = office.bind(office.dial(), flags=BindFlags.ALLOW_MULTIPLE)

    assert refused == ["BindTcp"]
    assert binding.connections[0].data_path is DataPathKind.KERNEL


def test_a_bind_that_cannot_move_to_user_mode_leaves_nothing() -> None:
    guard, wanted = Guard(), list[bool]()

    def react(event: Event) -> None:
        if wanted and isinstance(event, BindTcp):
            event.connection.attach_data_filter(DataFilter())
            office.user_path.occupied.add((Transport.TCP, event.connection.proxy_address))

    guard.react = react
    office = Office(guard)
    primary = office.dial()
    before = office.holdings()
    wanted.append(True)
    with pytest.raises(AddressInUse):
        office.bind(primary)

    assert office.holdings() == before


def test_outside_the_event_nobody_can_deny() -> None:
    office = Office()
    secondary: SecondaryConnection
    (secondary,) = office.bind(office.dial()).connections
    with pytest.raises(BadContext):
        secondary.deny()


def test_a_caller_that_gives_up_while_filters_are_asked_leaves_nothing() -> None:
    class Pondering(Witness):
        async def on_event(self, event: Event) -> None:
            await Pause()

    class SlowGuard(Guard):
        def attach_to_session(self, session: Session) -> SessionFilter:
            return Pondering()

    office = Office(SlowGuard())
    primary = office.dial()
    before = office.holdings()
    binding = primary.session.bind_for_client(
        [CLIENT], transport=Transport.TCP, protocol=FTP, primary=primary
    )
    binding.send(None)
    assert office.holdings() != before
    binding.close()

    assert office.holdings() == before
