"""A filter in the place of the server (`EmulateForConnect`), and the names of primary ones."""

from collections.abc import Callable

import pytest
from tests.core.emulators import HookedFilter, Player, Tagger
from tests.core.office import EXTERNAL, FTP, Office

from sallyport.addresses import Endpoint
from sallyport.core.model.chain import Priority
from sallyport.core.model.connection import PrimaryConnection
from sallyport.core.model.events import ConnectionTerminating, ConnectTcp, Event, UdpDestination
from sallyport.core.model.filter import DataFilter
from sallyport.core.model.hooks import Hooks, Scope
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.errors import (
    AddressNotAvailable,
    AlreadyEmulated,
    AlreadyExists,
    BadContext,
    BindError,
    InvalidArgument,
    NotEmulated,
    Terminating,
)
from sallyport.flags import Transport
from sallyport.testing.flows import MemoryLink

EVERYWHERE = Hooks.of(ConnectTcp, UdpDestination, ConnectionTerminating, scope=Scope.ANY_PROTOCOL)
CLIENT = "10.0.0.8:50000"
CLIENT_6, SERVER_6 = "[fd00:a::8]:50000", "[2001:db8::9]:21"
NAME = Endpoint(EXTERNAL, 45000)
TFTP = ProtocolDefinition("tftp", Transport.UDP, 69)


class Stage(Office):
    """An office where `react` decides in the event of each connection, and nobody is dialled."""

    def __init__(self, *others: HookedFilter) -> None:
        self.filter = HookedFilter("playing", EVERYWHERE)
        super().__init__(self.filter, *others, protocols=frozenset({"ftp", "tftp"}))
        self.link = MemoryLink()
        self.started = 0

    def connect(
        self,
        react: Callable[[Event], object] = id,
        *,
        client: str = CLIENT,
        server: str = "198.51.100.9:21",
        protocol: ProtocolDefinition = FTP,
    ) -> PrimaryConnection:
        self.filter.witness.react = react
        primary = self.gateway.admit_primary(
            protocol, Endpoint.parse(client), Endpoint.parse(server)
        )
        primary.link = self.link

        def ready() -> None:
            self.started += 1
            is_emulated = primary.is_emulated
            self.gateway.start_primary(
                primary,
                gateway_address=None if is_emulated else Endpoint(EXTERNAL, 50001),
                link=self.link,
                client=self.link.client,
                server=None if is_emulated else self.link.server,
            )

        self.gateway.announce_primary(primary, ready)
        return primary


def playing(player: DataFilter, context: object = None) -> Callable[[Event], object]:
    def react(event: Event) -> None:
        if isinstance(event, ConnectTcp) and isinstance(event.connection, PrimaryConnection):
            event.connection.emulate_for_connect(player, context)

    return react


@pytest.mark.parametrize(("client", "server"), [(CLIENT, "198.51.100.9:21"), (CLIENT_6, SERVER_6)])
def test_a_filter_plays_the_server_and_nobody_is_dialled(client: str, server: str) -> None:
    stage, player = Stage(), Player(b"220 it is me\r\n")
    primary = stage.connect(playing(player, "the play"), client=client, server=server)
    assert primary.is_emulated
    assert player.context == "the play"

    primary.chain.from_accepted(b"user x\r\n")

    assert stage.link.client.take() == b"220 it is me\r\nUSER X\r\n"
    assert player.heard == b"user x\r\n"
    assert stage.link.server.take() == b""


def test_whoever_plays_the_server_sits_behind_every_other_filter() -> None:
    outer = HookedFilter("outer", EVERYWHERE)
    stage, player = Stage(outer), Player()

    def attach(event: Event) -> None:
        event.connection.attach_data_filter(Tagger(b"<"), Priority.EXTERNAL)

    outer.witness.react = attach
    primary = stage.connect(playing(player))

    primary.chain.from_accepted(b"a")

    assert player.heard == b"<a"
    assert stage.link.client.take() == b"<<A"


def test_nobody_can_play_a_server_twice() -> None:
    stage, refusals = Stage(), []

    def react(event: Event) -> None:
        assert isinstance(event, ConnectTcp)
        assert isinstance(event.connection, PrimaryConnection)
        event.connection.emulate_for_connect(Player())
        with pytest.raises(AlreadyEmulated) as refusal:
            event.connection.emulate_for_connect(Player())
        refusals.append(refusal.value.hresult)

    stage.connect(react)

    assert refusals == [0xC0040009]
    assert stage.started == 1


def test_a_server_can_be_played_in_the_event_of_its_connection_only() -> None:
    stage = Stage()
    primary = stage.connect()

    with pytest.raises(BadContext) as refusal:
        primary.emulate_for_connect(Player())
    assert refusal.value.hresult == 0xC004000A
    assert not primary.is_emulated


def test_no_filter_plays_a_server_of_datagrams() -> None:
    stage, refusals = Stage(), []

    def react(event: Event) -> None:
        assert isinstance(event.connection, PrimaryConnection)
        with pytest.raises(BadContext) as refusal:
            event.connection.emulate_for_connect(Player())
        refusals.append(refusal.value.reason)

    stage.connect(react, protocol=TFTP)
    assert refusals == ["not-in-connect-tcp-of-this-connection"]


def test_a_connection_killed_in_its_event_cannot_be_played() -> None:
    stage, refusals = Stage(), []

    def react(event: Event) -> None:
        if isinstance(event, ConnectTcp) and isinstance(event.connection, PrimaryConnection):
            event.connection.kill()
            with pytest.raises(Terminating):
                event.connection.emulate_for_connect(Player())
            refusals.append(event.connection.is_emulated)

    stage.connect(react)
    assert (refusals, stage.started) == ([False], 0)


def test_a_player_that_another_filter_denies_is_let_go_and_never_starts() -> None:
    strict = HookedFilter("strict", EVERYWHERE)
    stage, player = Stage(strict), Player()
    strict.witness.react = lambda event: (
        event.connection.deny() if isinstance(event, ConnectTcp) else None
    )

    primary = stage.connect(playing(player))

    assert (primary.is_open, player.done, stage.started) == (False, ["detached"], 0)
    assert stage.link.ended == "reset"


# -- what is told of it ---------------------------------------------------------------------------


def test_the_name_a_player_gives_its_connection_is_the_one_binds_use() -> None:
    stage = Stage()

    def react(event: Event) -> None:
        playing(Player())(event)
        if isinstance(event, ConnectTcp) and isinstance(event.connection, PrimaryConnection):
            event.connection.set_socket_name(NAME)

    primary = stage.connect(react)

    assert primary.external_socket_name() == NAME
    assert primary.external_peer_name() == primary.server
    assert stage.bind(primary).proxy_address.address == EXTERNAL


@pytest.mark.parametrize(
    ("name", "error"),
    [
        (NAME.with_port(0), InvalidArgument),
        (Endpoint.parse("[2001:db8::1]:45000"), InvalidArgument),
        (Endpoint.parse("198.51.100.9:45000"), AddressNotAvailable),
    ],
)
def test_a_name_that_is_not_the_gateways_is_refused(name: Endpoint, error: type[BindError]) -> None:
    stage, refusals = Stage(), []

    def react(event: Event) -> None:
        playing(Player())(event)
        assert isinstance(event.connection, PrimaryConnection)
        with pytest.raises(error):
            event.connection.set_socket_name(name)
        refusals.append(event.connection.gateway_address)

    stage.connect(react)
    assert refusals == [None]


def test_an_emulated_connection_is_named_once_and_before_it_starts() -> None:
    stage, refusals = Stage(), []

    def react(event: Event) -> None:
        playing(Player())(event)
        assert isinstance(event.connection, PrimaryConnection)
        event.connection.set_socket_name(NAME)
        with pytest.raises(AlreadyExists) as refusal:
            event.connection.set_socket_name(NAME)
        refusals.append(refusal.value.hresult)

    stage.connect(react)
    assert refusals == [0x800700B7]

    unnamed = stage.connect(playing(Player()), client="10.0.0.9:50000")
    with pytest.raises(AlreadyExists):
        unnamed.set_socket_name(NAME)
    with pytest.raises(BadContext, match="no-name"):
        unnamed.external_socket_name()


def test_bytes_that_the_player_sent_itself_are_counted_as_sent() -> None:
    stage = Stage()
    primary = stage.connect(playing(Player()))
    primary.increment_bytes_sent(700)
    primary.increment_bytes_sent(300)
    with pytest.raises(InvalidArgument):
        primary.increment_bytes_sent(-1)

    primary.kill()

    ended = stage.filter.witness.events[-1]
    assert isinstance(ended, ConnectionTerminating)
    assert ended.traffic.to_peer_bytes == 1000
    with pytest.raises(Terminating):
        primary.increment_bytes_sent(1)


def test_a_real_connection_needs_no_name_and_no_count() -> None:
    primary = Stage().connect()

    with pytest.raises(NotEmulated) as refusal:
        primary.set_socket_name(NAME)
    assert refusal.value.hresult == 0xC0040010
    with pytest.raises(NotEmulated):
        primary.increment_bytes_sent(1)


# -- names of primary connections -----------------------------------------------------------------


def test_a_connection_has_names_while_it_is_there() -> None:
    office = Office()
    primary = office.admit()
    for name in (primary.external_peer_name, primary.external_socket_name):
        with pytest.raises(BadContext):
            name()

    office.announce(primary)
    assert primary.external_peer_name() == Endpoint.parse("198.51.100.9:21")
    assert primary.external_socket_name() == Endpoint(EXTERNAL, 50001)

    primary.kill()
    for name in (primary.external_peer_name, primary.external_socket_name):
        with pytest.raises(Terminating):
            name()
