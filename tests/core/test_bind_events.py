"""Other filters are told of a bind and may deny it."""

from typing import Any

import pytest
from tests.core.office import CLIENT, FTP, PEER, Office, Pause, WatchingFilter, Witness

from sallyport.core.connection import SecondaryConnection
from sallyport.core.events import BindTcp, BindUdp, Event, Listen
from sallyport.core.filter import SessionFilter
from sallyport.core.lifecycle import State
from sallyport.core.session import Session
from sallyport.errors import AddressInUse, BadContext
from sallyport.flags import Transport


class Guard(WatchingFilter):
    """Is told of every bind."""

    name = "guard"
    protocols = ()
    watches_binds = True


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
@pytest.mark.parametrize(
    ("react", "is_fault"), [(deny, False), (fail, True)], ids=["denies", "fails"]
)
def test_a_filter_that_denies_or_fails_stops_the_bind_and_nothing_stays(
    react: Any,  # noqa: ANN401 - any reaction
    is_fault: bool,
    transport: Transport,
) -> None:
    guard = Guard()
    guard.react = react
    office = Office(guard)
    primary = office.dial()
    before = office.holdings()

    with pytest.raises(AddressInUse, match="denied-by-filter"):
        office.bind(primary, CLIENT, CLIENT, transport=transport)
    assert office.holdings() == before
    assert office.reasons("binding.refused") == ["denied-by-filter"]
    (record,) = (fields for event, fields in office.world.journal.records if "denied" in event)
    assert record["filter"] == "guard"
    assert ("filter.failed" in office.world.journal.events()) is is_fault
    assert primary.is_open


def test_listening_cannot_be_refused() -> None:
    guard, refused = Guard(), list[str]()

    def react(event: Event) -> None:
        if isinstance(event, Listen):
            with pytest.raises(BadContext, match="not-in-a-bind-event"):
                event.connection.deny()
            refused.append("too late")
            fail(event)

    guard.react = react
    office = Office(guard)
    binding = office.bind(office.dial())

    assert refused == ["too late"]
    assert office.data_path.connect(PEER, binding.proxy_address) == CLIENT


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
