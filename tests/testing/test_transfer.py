"""Transfers that data filters look into, from either side, and datagrams."""

from collections.abc import Coroutine

import pytest
from tests.testing.knock import KNOCK, Knock

from sallyport.api import (
    AcceptedConnection,
    ApplicationFilter,
    BindFlags,
    ConnectTcp,
    DataFilter,
    Endpoint,
    Event,
    Hooks,
    Scope,
    Session,
    SessionFilter,
    Transport,
    UdpDestination,
)
from sallyport.testing import Dialogue, pause

PEER, CLIENT = "203.0.113.9:20", "10.0.0.8:50002"
LISTEN, OUTSIDE = "203.0.113.1:40271", "203.0.113.9:5001"


class Louder(DataFilter):
    """Changes both directions so that a test can tell them apart, and ends on request."""

    async def from_client(self, data: bytes) -> None:
        self.server.send(data.upper())

    async def from_server(self, data: bytes) -> None:
        if data == b"die":
            self.reset()
        elif data == b"kill":
            self.connection.kill()
        else:
            self.client.send(data + b"!")


class Scanner(ApplicationFilter, SessionFilter):
    """Looks into every transfer, when it is not told to deny it or to take its time."""

    name = "scanner"
    api_version = 1
    hooks = Hooks.of(
        ConnectTcp, AcceptedConnection, UdpDestination, scope=Scope.SECONDARY | Scope.ANY_PROTOCOL
    )
    denies = waits = False

    def attach_to_session(self, session: Session) -> SessionFilter:
        assert session.client_address.is_private
        return self

    async def on_event(self, event: Event) -> None:
        if not event.is_secondary:
            return
        assert isinstance(event, (ConnectTcp, AcceptedConnection, UdpDestination))
        if self.waits:
            await pause()
        if self.denies:
            event.connection.deny()
        else:
            event.connection.attach_data_filter(Louder())


def opened(scanner: Scanner | None = None) -> Dialogue:
    dialogue = Dialogue(Knock(), others=[scanner or Scanner()])
    dialogue.client_says(b"OPEN 5000\n").server_hears(b"OPEN 40271\n")
    return dialogue.pinholes(f"{LISTEN} -> 10.0.0.8:5000 from 203.0.113.9")


def answered(work: Coroutine[object, object, object]) -> None:
    """Run what is asked of a session to its end; nothing waits here."""
    with pytest.raises(StopIteration):
        work.send(None)


def permitted() -> Dialogue:
    dialogue = Dialogue(Knock(), others=[Scanner()])
    connection = dialogue.connection
    answered(
        connection.session.allow_future_connect(
            Endpoint.parse(OUTSIDE), protocol=KNOCK, primary=connection
        )
    )
    return dialogue


def bound_to_datagrams() -> Dialogue:
    dialogue = Dialogue(Knock(), others=[Scanner()])
    connection = dialogue.connection
    answered(
        connection.session.bind_for_client(
            [Endpoint.parse("10.0.0.8:5000")],
            transport=Transport.UDP,
            protocol=KNOCK,
            flags=BindFlags.BIDIRECTIONAL,
            primary=connection,
        )
    )
    return dialogue


def test_of_a_bound_port_the_client_is_the_sessions_and_the_peer_who_came() -> None:
    dialogue = opened()

    transfer = dialogue.transfer(PEER, LISTEN)

    transfer.peer_says(b"some", b"data").client_hears(b"some!data!")
    transfer.client_says(b"thanks").peer_hears(b"THANKS").nothing_more().still_open()
    dialogue.transfers(PEER).pinholes()


def test_of_a_permission_the_client_is_who_came_and_the_peer_whom_it_reached() -> None:
    dialogue = permitted()

    transfer = dialogue.transfer(CLIENT, OUTSIDE)

    transfer.client_says(b"get").peer_hears(b"GET").peer_says(b"data").client_hears(b"data!")
    dialogue.transfers(CLIENT)


def test_a_transfer_is_over_when_both_have_closed() -> None:
    dialogue = opened()
    transfer = dialogue.transfer(PEER, LISTEN).peer_says(b"last").peer_closes()

    transfer.client_hears(b"last!").client_hears_end().still_open()
    with pytest.raises(AssertionError, match="the peer's stream has not ended"):
        transfer.peer_hears_end()
    with pytest.raises(AssertionError, match="it is open"):
        transfer.ended()

    transfer.client_closes().peer_hears_end().ended()
    dialogue.transfers().noted("binding.closed", "finished")
    with pytest.raises(AssertionError, match="the transfer has ended"):
        transfer.still_open()
    with pytest.raises(AssertionError, match="it is closed"):
        transfer.was_reset()


def test_who_has_closed_says_no_more() -> None:
    transfer = opened().transfer(PEER, LISTEN).peer_closes()

    with pytest.raises(AssertionError, match="the peer has closed; it can say no more"):
        transfer.peer_says(b"late")
    with pytest.raises(AssertionError, match="the client has closed; it can say no more"):
        transfer.client_closes().client_says(b"late")


@pytest.mark.parametrize("last", [b"die", b"kill"])
def test_a_filter_may_reset_it(last: bytes) -> None:
    dialogue = opened()

    dialogue.transfer(PEER, LISTEN).peer_says(last).was_reset()

    dialogue.transfers()


def test_either_side_may_reset_it() -> None:
    opened().transfer(PEER, LISTEN).resets().was_reset()


def test_what_was_heard_differently_is_shown_and_stays() -> None:
    transfer = opened().transfer(PEER, LISTEN).peer_says(b"data")

    with pytest.raises(AssertionError, match=r"client heard b'data!', not b'';.*binding\.est"):
        transfer.nothing_more()
    transfer.client_hears(b"data!")
    with pytest.raises(AssertionError, match="peer heard b'', not b'x'"):
        transfer.peer_hears(b"x")
    with pytest.raises(AssertionError, match="the client's stream has not ended"):
        transfer.client_hears_end()


def test_a_peer_that_is_denied_has_no_transfer() -> None:
    scanner = Scanner()
    scanner.denies = True

    dialogue = opened(scanner).cannot_connect(PEER, LISTEN)

    with pytest.raises(AssertionError, match="no transfer of 203"):
        dialogue.running(PEER)


def test_a_transfer_that_filters_let_wait_begins_when_they_have_answered() -> None:
    scanner = Scanner()
    scanner.waits = True
    dialogue = opened(scanner).knocks(PEER, LISTEN).transfers()

    transfer = dialogue.waiting_ends().running(PEER)

    transfer.peer_says(b"data").client_hears(b"data!")


def test_of_datagrams_each_is_one() -> None:
    transfer = bound_to_datagrams().datagrams(PEER, LISTEN, b"one", b"two")
    transfer.client_hears(b"one!", b"two!")

    transfer.client_says(b"a", b"b").peer_hears(b"A", b"B").peer_says(b"three")
    with pytest.raises(AssertionError, match=r"client heard \(b'three!',\), not \(b'th', b'ree!'"):
        transfer.client_hears(b"th", b"ree!")
