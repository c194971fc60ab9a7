"""Data filters promised for flows that may come."""

import pytest
from tests.core.model.chain_bench import Recording
from tests.core.office import CLIENT, PEER, Office, WatchingFilter, Witness

from sallyport.addresses import Endpoint
from sallyport.core.model.chain import Priority
from sallyport.core.model.events import (
    AcceptedConnection,
    BindTcp,
    BindUdp,
    ConnectionTerminating,
    ConnectTcp,
    Event,
    Listen,
    UdpDestination,
)
from sallyport.core.model.factory import DataFilterFactory
from sallyport.core.model.filter import DataFilter
from sallyport.core.model.hooks import Hooks, Scope
from sallyport.core.model.session import Session
from sallyport.core.pinholes.datapath import DataPathKind
from sallyport.core.pinholes.lifecycle import State
from sallyport.errors import InvalidArgument, Terminating
from sallyport.flags import BindFlags, Transport

OTHER = PEER.with_port(21)
SERVER = Endpoint.parse("198.51.100.9:3000")
ANY_PORT = Endpoint.parse("203.0.113.1:0")
ANYWHERE = Endpoint.parse("0.0.0.0:40000")


class Workshop:
    """Makes data filters, and keeps them."""

    def __init__(self) -> None:
        self.made: list[Recording] = []

    def make(self) -> Recording:
        self.made.append(Recording())
        return self.made[-1]

    def promise(
        self,
        session: Session,
        event: type[Event],
        address: Endpoint | None = None,
        flags: BindFlags = BindFlags.NONE,
    ) -> DataFilterFactory:
        return session.set_data_filter_factory(
            event,
            address,
            self.make,
            session_filter=Witness(),
            priority=Priority.NAT,
            context="promised",
            flags=flags,
        )


@pytest.fixture
def shop() -> Workshop:
    return Workshop()


def test_a_promised_data_filter_is_in_the_flow_and_the_next_flow_has_none(shop: Workshop) -> None:
    office = Office()
    primary = office.dial()
    shop.promise(primary.session, AcceptedConnection)
    binding = office.bind(primary, flags=BindFlags.ALLOW_MULTIPLE)
    for peer in (PEER, OTHER):
        office.user_path.connect(peer, binding.proxy_address)

    (made,) = shop.made
    assert (made.peer, made.context) == (PEER, "promised")
    assert list(office.user_path.filtered) == [(binding.connections[0].pinhole.id, PEER)]
    assert primary.session.factories == []


def test_what_is_promised_in_the_event_of_a_connection_is_for_the_next(shop: Workshop) -> None:
    watching = WatchingFilter()
    watching.hooks = Hooks.of(ConnectTcp)
    watching.react = lambda event: (
        shop.made
        or shop.promise(event.connection.session, ConnectTcp, Endpoint.parse("198.51.100.9:21"))
    )
    office = Office(watching)

    office.dial()
    assert shop.made == []

    office.dial("10.0.0.8:50001")
    assert len(shop.made) == 1


def test_with_allow_multiple_every_flow_gets_one(shop: Workshop) -> None:
    office = Office()
    primary = office.dial()
    shop.promise(primary.session, AcceptedConnection, flags=BindFlags.ALLOW_MULTIPLE)
    binding = office.bind(primary, flags=BindFlags.ALLOW_MULTIPLE)
    for peer in (PEER, OTHER):
        office.user_path.connect(peer, binding.proxy_address)

    assert [one.peer for one in shop.made] == [PEER, OTHER]
    assert len(primary.session.factories) == 1


@pytest.mark.parametrize("event", [UdpDestination, BindUdp])
def test_a_udp_port_gets_one_as_its_peer_comes(shop: Workshop, event: type[Event]) -> None:
    office = Office()
    primary = office.dial()
    shop.promise(primary.session, event, PEER if event is UdpDestination else ANY_PORT)
    binding = office.bind(primary, transport=Transport.UDP)
    office.user_path.send(PEER, binding.proxy_address, b"x")

    assert shop.made[0].log == [" set", " started", " server x"]


def test_a_permitted_connection_gets_one(shop: Workshop) -> None:
    office = Office()
    primary = office.dial()
    shop.promise(primary.session, ConnectTcp, SERVER)
    office.allow(primary, str(SERVER))
    office.user_path.connect(CLIENT, SERVER)

    assert shop.made[0].peer == SERVER


def test_a_primary_connection_gets_one(shop: Workshop) -> None:
    office = Office()
    session = office.dial().session
    shop.promise(session, ConnectTcp, Endpoint.parse("198.51.100.9:21"))
    shop.promise(session, BindUdp)
    shop.promise(session, ConnectTcp, Endpoint.parse("198.51.100.10:21"))
    primary = office.dial("10.0.0.8:50002")

    assert primary.chain.data_filters == tuple(shop.made)
    assert len(shop.made) == 1
    assert len(session.factories) == 2


@pytest.mark.parametrize(
    ("event", "address", "fits"),
    [
        (AcceptedConnection, None, True),
        (AcceptedConnection, ANYWHERE, True),
        (AcceptedConnection, ANY_PORT, True),
        (AcceptedConnection, Endpoint.parse("203.0.113.1:40000"), True),
        (AcceptedConnection, Endpoint.parse("203.0.113.1:40001"), False),
        (AcceptedConnection, Endpoint.parse("203.0.113.2:40000"), False),
        (AcceptedConnection, PEER, False),
        (UdpDestination, None, False),
        (ConnectTcp, None, False),
    ],
)
def test_a_factory_fits_its_event_and_its_address(
    shop: Workshop, event: type[Event], address: Endpoint | None, fits: bool
) -> None:
    factory = shop.promise(Office().dial().session, event, address)
    bound = Endpoint.parse("203.0.113.1:40000")
    assert factory.fits(AcceptedConnection, PEER, bound) is fits


def test_of_a_udp_port_the_destination_is_the_peer_and_the_bind_is_the_port(
    shop: Workshop,
) -> None:
    session, bound = Office().dial().session, Endpoint.parse("203.0.113.1:40000")
    for event, right, wrong in ((UdpDestination, PEER, bound), (BindUdp, bound, PEER)):
        assert shop.promise(session, event, right).fits(UdpDestination, PEER, bound)
        assert not shop.promise(session, event, wrong).fits(UdpDestination, PEER, bound)


@pytest.mark.parametrize("event", [BindTcp, Listen, ConnectionTerminating])
def test_there_is_no_flow_in_other_events(shop: Workshop, event: type[Event]) -> None:
    with pytest.raises(InvalidArgument, match="no-flow-in-this-event"):
        shop.promise(Office().dial().session, event)


def test_while_it_stands_such_binds_are_in_user_mode_and_others_are_not(shop: Workshop) -> None:
    office = Office()
    primary = office.dial()
    early = office.bind(primary)
    factory = shop.promise(primary.session, AcceptedConnection)
    udp, tcp = office.bind(primary, transport=Transport.UDP), office.bind(primary)
    factory.cancel()
    late = office.bind(primary)

    kinds = [one.connections[0].data_path for one in (early, udp, tcp, late)]
    kernel, user = DataPathKind.KERNEL, DataPathKind.USER
    assert kinds == [kernel, kernel, user, kernel]
    office.data_path.connect(PEER, early.proxy_address)
    office.user_path.connect(PEER, tcp.proxy_address)
    assert shop.made == []


def test_a_promise_is_taken_back_once(shop: Workshop) -> None:
    office = Office()
    primary = office.dial()
    cancelled, used, lost = (
        shop.promise(primary.session, AcceptedConnection, address)
        for address in (ANYWHERE, None, ANYWHERE)
    )
    cancelled.cancel()
    binding = office.bind(primary)
    office.user_path.connect(PEER, binding.proxy_address)
    primary.session.kill()

    for over in (cancelled, used, lost):
        with pytest.raises(Terminating, match="action-is-over"):
            over.cancel()
    with pytest.raises(Terminating, match="session-is-over"):
        shop.promise(primary.session, AcceptedConnection)


def denying() -> WatchingFilter:
    watching = WatchingFilter()
    watching.name = "nosy"
    watching.hooks = Hooks.of(AcceptedConnection, scope=Scope.SECONDARY)
    watching.react = lambda event: event.connection.deny()
    return watching


def test_a_peer_that_is_denied_does_not_use_a_promise_up(shop: Workshop) -> None:
    nosy = denying()
    office = Office(nosy)
    primary = office.dial()
    shop.promise(primary.session, AcceptedConnection)
    binding = office.bind(primary)
    office.user_path.connect(PEER, binding.proxy_address)
    assert shop.made == []

    nosy.witnesses[0].react = id
    office.user_path.connect(OTHER, binding.proxy_address)
    assert [one.peer for one in shop.made] == [OTHER]


def test_a_peer_whose_client_is_not_there_does_not_use_a_promise_up(shop: Workshop) -> None:
    office = Office()
    primary = office.dial()
    factory = shop.promise(primary.session, AcceptedConnection)
    (secondary,) = office.bind(primary).connections

    class Refusing:
        """A peer whose client refuses."""

        def proceed(self, tap: object) -> None:
            tap.end()  # type: ignore[attr-defined]
            office.gateway.registry.flow_refused(secondary.pinhole.id, PEER)

        def refuse(self) -> None:
            raise AssertionError("nobody denied it")

    office.gateway.registry.flow_arrived(secondary.pinhole.id, PEER, Refusing())
    assert shop.made[0].log == [" detached"]
    assert primary.session.factories == [factory]

    office.user_path.connect(OTHER, secondary.proxy_address)
    assert shop.made[1].peer == OTHER
    assert primary.session.factories == []


def test_x07_a_factory_that_fails_ends_the_bind_that_was_its_turn() -> None:
    def fail() -> DataFilter:
        raise ValueError("make")

    watching = WatchingFilter()
    office = Office(watching)
    primary = office.dial()
    (witness,) = watching.witnesses
    primary.session.set_data_filter_factory(AcceptedConnection, None, fail, session_filter=witness)
    binding = office.bind(primary)
    assert office.user_path.connect(PEER, binding.proxy_address) is None

    (record,) = (f for event, f in office.world.journal.records if event == "filter.failed")
    assert (record["filter"], record["error"]) == ("watching", "ValueError('make')")
    assert binding.state is State.CLOSED
    assert primary.is_open
