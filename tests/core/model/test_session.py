from dataclasses import replace

from tests.core.office import CLIENT, FTP, NEIGHBOUR, PEER, Office

from sallyport.addresses import Endpoint
from sallyport.core.pinholes.lifecycle import State
from sallyport.flags import Transport

DATA = Endpoint.parse("10.0.0.8:4711")


def test_a_session_is_one_client_from_its_first_connection_on() -> None:
    office = Office()
    office.pass_time(5)
    session = office.dial().session

    assert str(session.client_address) == "10.0.0.8"
    assert session.since == 5.0
    assert not session.is_over


def test_its_openings_are_all_ports_and_permissions_until_each_has_ended() -> None:
    office = Office()
    primary = office.dial()
    session = primary.session
    pair = office.bind(primary, CLIENT, CLIENT)
    future = office.allow(primary, "198.51.100.9:3000")
    assert len(session.openings) == 3

    pair.connections[0].kill()
    assert len(session.openings) == 2
    future.cancel()
    assert len(session.openings) == 1
    office.data_path.connect(PEER, pair.connections[1].proxy_address)
    assert len(session.openings) == 1
    office.data_path.finish(PEER)
    assert session.openings == {}


def test_kill_ends_everything_of_the_client_and_resets_every_flow() -> None:
    office = Office()
    primary, other = office.dial(), office.dial("10.0.0.9:50000")
    session = primary.session
    waiting, running = office.bind(primary), office.bind(primary)
    future = office.allow(primary, "198.51.100.9:3000")
    spared = office.bind(other, NEIGHBOUR)
    office.data_path.connect(PEER, running.proxy_address)
    office.data_path.connect(DATA, Endpoint.parse("198.51.100.9:3000"))
    for _ in range(2):
        session.kill("operator")

    assert {peer for _, peer in office.data_path.resets} == {PEER, DATA}
    assert (waiting.state, running.state, future.state) == (State.CLOSED,) * 3
    assert office.wires[primary.id].done == ["abort"]
    assert session.is_over
    assert list(office.gateway.sessions) == [other.session]
    assert spared.state is State.ARMED


def test_kill_also_resets_the_transfers_of_connections_that_have_ended() -> None:
    office = Office()
    primary = office.dial()
    session = primary.session
    office.allow(primary, "198.51.100.9:3000")
    running = office.bind(primary)
    office.data_path.connect(DATA, Endpoint.parse("198.51.100.9:3000"))
    office.data_path.connect(PEER, running.proxy_address)
    primary.close("done")
    session.kill("operator")

    assert {peer for _, peer in office.data_path.resets} == {PEER, DATA}
    assert session.is_over


def test_an_old_session_cannot_touch_the_one_that_came_after_it() -> None:
    office = Office()
    old = office.dial().session
    old.kill()
    primary = office.dial()
    old.kill()

    assert primary.is_open
    assert list(office.gateway.sessions) == [primary.session]


def test_a_neighbour_is_found_by_the_port_that_was_bound_for_it_and_a_stranger_is_not() -> None:
    office = Office()
    first, neighbour = office.dial(), office.dial("10.0.0.9:50000")
    binding = office.bind(first, armed=False)
    port, ask = binding.proxy_address, neighbour.session.neighbour_at

    assert ask(FTP, Transport.TCP, port) == CLIENT
    assert first.session.neighbour_at(FTP, Transport.TCP, port) == CLIENT
    assert ask(FTP, Transport.UDP, port) is None
    assert ask(replace(FTP, name="other"), Transport.TCP, port) is None
    assert ask(FTP, Transport.TCP, PEER) is None
    stranger = office.gateway.client_session(PEER.address)
    assert stranger.neighbour_at(FTP, Transport.TCP, port) is None
    unknown = office.bind(first, Endpoint.parse("0.0.0.0:0"))
    assert ask(FTP, Transport.TCP, unknown.proxy_address) is None
    binding.withdraw()
    assert ask(FTP, Transport.TCP, port) is None
