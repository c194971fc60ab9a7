"""What a filter delivers to the client of a bind it took over (`EmulateConnection`)."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.core.emulating import NAME, OTHER, ZERO, EmulatingOffice, deliver, denying
from tests.core.emulators import ARRIVED, HookedFilter, Player, Slow, Tagger
from tests.core.office import CLIENT, PEER, Office, run

from sallyport.addresses import Endpoint
from sallyport.core.model.events import (
    AcceptedConnection,
    ConnectionRefused,
    EstablishedConnection,
)
from sallyport.core.model.secondary import SecondaryConnection
from sallyport.core.pinholes.lifecycle import State
from sallyport.errors import (
    AddressNotAllowed,
    AlreadyExists,
    BadContext,
    BindError,
    InvalidArgument,
    NotEmulated,
    PolicyDenied,
    Terminating,
)
from sallyport.flags import BindFlags, Transport
from sallyport.ipfilter import IpFilter

# -- delivering a connection ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inside", "client", "peer"),
    [
        ("10.0.0.8", CLIENT, PEER),
        ("fd00:a::8", Endpoint.parse("[fd00:a::8]:1553"), Endpoint.parse("[2001:db8::9]:20")),
    ],
)
def test_the_client_is_dialled_as_if_the_peer_had_come(
    inside: str, client: Endpoint, peer: Endpoint
) -> None:
    office = EmulatingOffice()
    binding = office.take(client, inside=inside)
    (connection,) = binding.connections
    player = deliver(connection, peer=peer, context="the play")

    flow = office.flow(binding, peer)
    assert (flow.pinhole.target, flow.peer) == (client, peer)
    assert (player.connection, player.peer, player.context) == (connection, peer, "the play")
    flow.target_says(b"who is it\r\n")
    assert flow.dialled.take() == b"helloWHO IS IT\r\n"
    assert connection.external_peer_name() == peer
    assert office.caller.events == [EstablishedConnection(connection, peer, "the bind")]
    assert not isinstance(player, Player) or player.heard == b"who is it\r\n"


def test_an_emulated_connection_ends_with_both_directions() -> None:
    office = EmulatingOffice()
    binding = office.take()
    player = Player()
    deliver(binding.connections[0], player)

    office.flow(binding).target_closes()

    assert binding.state is State.CLOSED
    assert player.done == ["started", "detached"]
    assert office.caller.kinds() == ["EstablishedConnection", "ConnectionTerminating"]
    assert not office.data_path.reserved
    assert not office.user_path.flows


def test_other_filters_are_asked_and_sit_nearer_to_the_client() -> None:
    other = HookedFilter("other", ARRIVED)
    other.witness.react = lambda event: event.connection.attach_data_filter(Tagger(b"<"))
    office = EmulatingOffice(other)
    binding = office.take()
    player = Player(b"hello")
    deliver(binding.connections[0], player)

    flow = office.flow(binding)
    flow.target_says(b"a")

    assert other.witness.events == [AcceptedConnection(binding.connections[0], PEER)]
    assert flow.dialled.take() == b"<hello<<A"
    assert player.heard == b"<a"


def test_a_filter_that_denies_leaves_the_port_as_it_was() -> None:
    other = HookedFilter("other", ARRIVED)
    other.witness.react = denying
    office = EmulatingOffice(other)
    binding = office.take()
    (connection,) = binding.connections
    player = Player()
    deliver(connection, player)

    assert (player.done, office.caller.events) == (["detached"], [])
    assert not office.user_path.flows
    other.witness.react = id
    deliver(connection)
    assert office.caller.kinds() == ["EstablishedConnection"]


def test_while_other_filters_think_no_second_connection_is_begun() -> None:
    office = EmulatingOffice(Slow())
    (connection,) = office.take().connections
    deliver(connection)
    with pytest.raises(AlreadyExists):
        deliver(connection, peer=OTHER)
    assert not office.user_path.flows

    office.world.resume()

    assert set(office.user_path.flows[connection.pinhole.id]) == {PEER}


@pytest.mark.parametrize("end", [SecondaryConnection.kill, lambda one: one.binding.withdraw()])
def test_a_port_that_ends_while_other_filters_think_delivers_nothing(
    end: Callable[[SecondaryConnection], None],
) -> None:
    office = EmulatingOffice(Slow())
    (connection,) = office.take().connections
    player = Player()
    deliver(connection, player)

    end(connection)
    while office.world.suspended:
        office.world.resume()

    assert (player.done, connection.state) == (["detached"], State.CLOSED)
    assert not office.user_path.flows


def test_a_port_withdrawn_while_other_filters_think_delivers_nothing_beside_what_runs() -> None:
    office = EmulatingOffice(Slow())
    binding = office.take(flags=BindFlags.ALLOW_MULTIPLE)
    (connection,) = binding.connections
    deliver(connection)
    office.world.resume()
    player = Player()
    deliver(connection, player, OTHER)

    binding.withdraw()
    office.world.resume()

    assert player.done == ["detached"]
    assert set(office.user_path.flows[connection.pinhole.id]) == {PEER}


def test_a_client_that_refuses_is_told_and_can_be_dialled_again() -> None:
    office = EmulatingOffice()
    (connection,) = office.take().connections
    player = Player()

    def refuse(pinhole: Any, peer: Endpoint, tap: Any) -> None:  # noqa: ANN401 - of UserPath.deliver
        tap.end()
        office.gateway.registry.flow_refused(pinhole.id, peer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(office.user_path, "deliver", refuse)
        deliver(connection, player)

    assert player.done == ["detached"]
    assert office.caller.events == [ConnectionRefused(connection, PEER, "the bind")]
    deliver(connection, peer=OTHER)
    assert connection.external_peer_name() == OTHER


# -- how many -------------------------------------------------------------------------------------


def test_one_connection_is_delivered_and_no_more() -> None:
    office = EmulatingOffice()
    (connection,) = office.take().connections
    deliver(connection)

    for peer in (PEER, OTHER):
        with pytest.raises(AlreadyExists):
            deliver(connection, peer=peer)
    office.user_path.finish(PEER)
    for peer in (PEER, OTHER):
        with pytest.raises(Terminating):
            deliver(connection, peer=peer)


def test_with_allow_multiple_each_peer_has_a_connection_of_its_own() -> None:
    office = EmulatingOffice()
    binding = office.take(flags=BindFlags.ALLOW_MULTIPLE)
    (connection,) = binding.connections
    players = [deliver(connection, peer=peer) for peer in (PEER, OTHER)]

    with pytest.raises(AlreadyExists):
        deliver(connection, peer=OTHER)
    office.flow(binding, OTHER).target_says(b"a")
    assert [player.heard for player in players if isinstance(player, Player)] == [b"", b"a"]
    office.user_path.finish(OTHER)
    deliver(connection, peer=OTHER)
    assert len(office.user_path.flows[connection.pinhole.id]) == 2


def test_of_many_nothing_more_is_delivered_to_a_port_that_was_withdrawn() -> None:
    office = EmulatingOffice()
    binding = office.take(flags=BindFlags.ALLOW_MULTIPLE)
    deliver(binding.connections[0])
    binding.withdraw()

    with pytest.raises(Terminating):
        deliver(binding.connections[0], peer=OTHER)
    assert office.user_path.flows


def test_a_udp_port_belongs_to_one_source_which_may_come_back() -> None:
    office = EmulatingOffice()
    binding = office.take(transport=Transport.UDP)
    (connection,) = binding.connections
    deliver(connection)
    with pytest.raises(AlreadyExists):
        deliver(connection, peer=OTHER)
    office.user_path.finish(PEER)

    with pytest.raises(AlreadyExists):
        deliver(connection, peer=OTHER)
    deliver(connection)
    assert office.caller.kinds() == ["EstablishedConnection"] * 2


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "error"),
    [
        (PEER.with_port(0), InvalidArgument),
        (Endpoint.parse("[2001:db8::9]:20"), InvalidArgument),
        (Endpoint.parse("198.51.100.10:20"), AddressNotAllowed),
        (PEER.with_port(21), AddressNotAllowed),
        (Endpoint.parse("10.0.0.9:20"), PolicyDenied),
        (Endpoint.parse("203.0.113.1:20"), PolicyDenied),
    ],
)
def test_a_peer_that_could_not_have_come_is_not_delivered(
    peer: Endpoint, error: type[BindError]
) -> None:
    office = EmulatingOffice()
    sources = IpFilter.of("198.51.100.9", "10.0.0.9", "203.0.113.1")
    (connection,) = office.take(ip_filter=sources, peer_ports=frozenset({20})).connections
    before = office.holdings()

    with pytest.raises(error):
        deliver(connection, peer=peer)
    assert office.holdings() == before
    assert not connection.expected
    assert not office.user_path.flows


def test_nothing_is_delivered_before_the_port_is_open() -> None:
    office = EmulatingOffice()
    binding = office.take(armed=False)
    (connection,) = binding.connections
    with pytest.raises(BadContext):
        deliver(connection)

    run(binding.arm())

    deliver(connection)
    assert office.caller.kinds() == ["EstablishedConnection"]


def test_nothing_is_delivered_to_a_client_whose_address_nobody_knows() -> None:
    office = EmulatingOffice()
    binding = office.take(ZERO)
    (connection,) = binding.connections
    with pytest.raises(BadContext):
        deliver(connection)

    run(connection.set_client_address(CLIENT))

    deliver(connection)
    assert office.flow(binding).pinhole.target == CLIENT


def test_a_port_that_was_not_taken_over_delivers_nothing() -> None:
    office = Office()
    (connection,) = office.bind(office.dial()).connections

    with pytest.raises(NotEmulated):
        deliver(connection)
    with pytest.raises(NotEmulated):
        connection.set_socket_name(NAME)
    with pytest.raises(NotEmulated):
        connection.increment_bytes_sent(1)


def test_nobody_connects_to_an_emulated_port_so_no_filter_restricts_it() -> None:
    office = EmulatingOffice()
    (connection,) = office.take().connections

    with pytest.raises(BadContext):
        run(connection.set_ip_filter(IpFilter()))
