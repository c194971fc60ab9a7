"""A filter takes a bind over (`EmulateForBind`), and what becomes of it."""

import pytest
from tests.core.emulating import NAME, EmulatingOffice, deliver
from tests.core.emulators import ARRIVED, HookedFilter, Player, Slow
from tests.core.office import CLIENT, PEER, Office

from sallyport import limits
from sallyport.core.model.events import (
    BindTcp,
    ConnectionTerminating,
    Event,
    Listen,
)
from sallyport.core.model.hooks import Hooks, Scope
from sallyport.core.model.secondary import SecondaryConnection
from sallyport.core.pinholes.datapath import DataPathKind
from sallyport.core.pinholes.lifecycle import State
from sallyport.errors import (
    AddressNotAvailable,
    AlreadyEmulated,
    AlreadyExists,
    BadContext,
    BindError,
    InvalidArgument,
    OutOfResources,
    Terminating,
)
from sallyport.flags import BindFlags, Transport

# -- taking a bind over ---------------------------------------------------------------------------


def test_a_bind_that_was_taken_over_holds_its_port_and_opens_nothing() -> None:
    office = EmulatingOffice()
    binding = office.take()
    (connection,) = binding.connections

    assert office.data_path.reserved == {(Transport.TCP, binding.proxy_address)}
    assert not office.data_path.pinholes
    assert not office.user_path.pinholes
    assert office.data_path.connect(PEER, binding.proxy_address) is None
    assert (binding.state, connection.data_path) == (State.ARMED, DataPathKind.USER)
    assert (connection.is_emulated, connection.is_filtered) == (True, True)
    assert connection.is_secondary


def test_it_is_written_down_who_took_a_bind_over() -> None:
    office = EmulatingOffice()
    office.take()

    records = [
        fields for name, fields in office.world.journal.records if name == "binding.emulated"
    ]
    assert [(fields["binding"], fields["filter"]) for fields in records] == [("b1", "taking")]


def test_a_bind_can_be_taken_over_in_its_bind_event_only_and_once() -> None:
    listening = HookedFilter("listening", Hooks.of(BindTcp, Listen, scope=Scope.ANY_PROTOCOL))
    refusals: list[type[BindError]] = []

    def react(event: Event) -> None:
        assert isinstance(event.connection, SecondaryConnection)
        with pytest.raises(BindError) as refusal:
            event.connection.emulate_for_bind()
        refusals.append(refusal.type)

    listening.witness.react = react
    office = EmulatingOffice(listening)
    (connection,) = office.take().connections

    with pytest.raises(BadContext):
        connection.emulate_for_bind()
    assert refusals == [AlreadyEmulated, BadContext]


def test_a_peer_that_arrives_is_too_late_for_taking_the_bind_over() -> None:
    late = HookedFilter("late", ARRIVED)
    office, refusals = Office(late), []

    def react(event: Event) -> None:
        assert isinstance(event.connection, SecondaryConnection)
        with pytest.raises(BadContext):
            event.connection.emulate_for_bind()
        refusals.append(event.connection.is_emulated)

    late.witness.react = react
    binding = office.bind(office.dial())
    office.user_path.connect(PEER, binding.proxy_address)

    assert refusals == [False]


def test_a_bind_that_ended_in_its_event_cannot_be_taken_over() -> None:
    killing = HookedFilter("killing", Hooks.of(BindTcp, scope=Scope.ANY_PROTOCOL))
    refusals: list[str] = []

    def react(event: Event) -> None:
        assert isinstance(event.connection, SecondaryConnection)
        event.connection.kill()
        with pytest.raises(Terminating) as refusal:
            event.connection.emulate_for_bind()
        refusals.append(refusal.value.reason)

    killing.witness.react = react
    office = Office(killing)
    with pytest.raises(Terminating):
        office.bind(office.dial())
    assert refusals == ["connection-has-ended"]


def test_without_a_user_data_path_nothing_can_be_taken_over() -> None:
    taking = HookedFilter("taking", Hooks.of(BindTcp, scope=Scope.ANY_PROTOCOL))
    refusals: list[str] = []

    def react(event: Event) -> None:
        assert isinstance(event.connection, SecondaryConnection)
        with pytest.raises(OutOfResources) as refusal:
            event.connection.emulate_for_bind()
        refusals.append(refusal.value.reason)

    taking.witness.react = react
    office = Office(taking, kinds=(DataPathKind.KERNEL,))
    binding = office.bind(office.dial())

    assert refusals == ["no-user-data-path"]
    assert office.data_path.connect(PEER, binding.proxy_address) == CLIENT


def test_of_several_ports_those_that_were_not_taken_over_open_as_ever() -> None:
    choosy = HookedFilter("choosy", Hooks.of(BindTcp, scope=Scope.ANY_PROTOCOL))

    def react(event: Event) -> None:
        assert isinstance(event.connection, SecondaryConnection)
        if event.connection.index == 0:
            event.connection.emulate_for_bind()

    choosy.witness.react = react
    office = Office(choosy)
    binding = office.bind(office.dial(), CLIENT, CLIENT.with_port(1554))
    first, second = binding.connections

    assert (first.state, second.state) == (State.ARMED, State.ARMED)
    assert set(office.data_path.pinholes) == {second.pinhole.id}
    deliver(first)
    assert office.user_path.flows.keys() == {first.pinhole.id}


def test_when_the_other_ports_cannot_open_the_one_taken_over_ends_with_them() -> None:
    choosy = HookedFilter("choosy", Hooks.of(BindTcp, scope=Scope.ANY_PROTOCOL))

    def react(event: Event) -> None:
        assert isinstance(event.connection, SecondaryConnection)
        if event.connection.index == 0:
            event.connection.emulate_for_bind()

    choosy.witness.react = react
    office = Office(choosy)
    primary = office.dial()
    before = office.holdings()
    office.data_path.fail_next = OutOfResources("set-full")

    with pytest.raises(OutOfResources):
        office.bind(primary, CLIENT, CLIENT.with_port(1554))
    assert office.holdings() == before


# -- its life -------------------------------------------------------------------------------------


def test_kill_resets_what_was_delivered_and_gives_the_port_back() -> None:
    office = EmulatingOffice()
    primary = office.dial()
    before = office.holdings()
    (connection,) = office.bind(primary).connections
    player = Player()
    deliver(connection, player)

    connection.kill()

    assert office.user_path.resets == [(connection.pinhole.id, PEER)]
    assert player.done == ["started", "detached"]
    assert not office.user_path.flows
    assert office.holdings().reserved == before.reserved
    assert office.holdings().openings == before.openings


def test_whoever_holds_the_port_gets_it_back() -> None:
    office = EmulatingOffice()
    office.user_path.reserved = set()  # two paths that know nothing of each other
    binding = office.take()
    assert office.data_path.reserved == {(Transport.TCP, binding.proxy_address)}

    binding.kill()

    assert not office.data_path.reserved


def test_an_emulated_port_to_which_nothing_is_delivered_ends_after_a_minute() -> None:
    office = EmulatingOffice()
    binding = office.take(flags=BindFlags.TIMEOUT)
    office.pass_time(limits.ACCEPT_TIMEOUT_SECONDS + 0.1)

    assert binding.state is State.CLOSED
    assert office.reasons("binding.closed") == ["timed-out"]


def test_an_emulated_port_ends_with_its_primary_and_counts_for_the_client() -> None:
    office = EmulatingOffice(max_bindings_per_client=1)
    primary = office.dial()
    binding = office.bind(primary)
    with pytest.raises(BindError, match="too-many-bindings"):
        office.bind(primary)

    primary.kill()

    assert binding.state is State.CLOSED


def test_what_the_filters_own_socket_sent_is_part_of_the_sum() -> None:
    office = EmulatingOffice()
    (connection,) = office.take().connections
    deliver(connection)
    connection.increment_bytes_sent(900)
    office.user_path.finish(PEER, from_peer=50)

    ended = office.caller.events[-1]
    assert isinstance(ended, ConnectionTerminating)
    assert (ended.traffic.flows, ended.traffic.from_peer_bytes, ended.traffic.to_peer_bytes) == (
        1,
        50,
        900,
    )
    with pytest.raises(Terminating):
        connection.increment_bytes_sent(1)


def test_a_count_below_zero_is_refused() -> None:
    (connection,) = EmulatingOffice().take().connections
    with pytest.raises(InvalidArgument):
        connection.increment_bytes_sent(-1)


def test_clients_publish_the_name_the_filter_gives() -> None:
    office = EmulatingOffice()
    (connection,) = office.take().connections
    assert connection.external_socket_name() == connection.proxy_address

    connection.set_socket_name(NAME)

    assert connection.external_socket_name() == NAME
    with pytest.raises(AlreadyExists):
        connection.set_socket_name(NAME)


def test_the_name_is_given_before_a_connection_exists() -> None:
    office = EmulatingOffice()
    (connection,) = office.take().connections
    deliver(connection)

    with pytest.raises(AlreadyExists):
        connection.set_socket_name(NAME)
    assert connection.external_socket_name() == connection.proxy_address


def test_the_name_is_given_before_other_filters_have_answered() -> None:
    office = EmulatingOffice(Slow())
    (connection,) = office.take().connections
    deliver(connection)

    with pytest.raises(AlreadyExists):
        connection.set_socket_name(NAME)
    office.world.resume()


def test_a_delivered_connection_may_bring_its_own_name() -> None:
    office = EmulatingOffice()
    (connection,) = office.take().connections
    deliver(connection, local=NAME)

    assert connection.external_socket_name() == NAME


def test_a_name_that_is_not_the_gateways_is_refused_and_nothing_is_delivered() -> None:
    office = EmulatingOffice()
    (connection,) = office.take().connections

    with pytest.raises(AddressNotAvailable):
        connection.set_socket_name(PEER)
    with pytest.raises(AddressNotAvailable):
        deliver(connection, local=PEER)
    assert connection.external_socket_name() == connection.proxy_address
    deliver(connection)


def test_datagrams_leave_by_the_port_that_is_held() -> None:
    office = EmulatingOffice()
    (connection,) = office.take(transport=Transport.UDP).connections
    connection.send_to(PEER, b"x")

    assert office.data_path.sent == [(connection.proxy_address, PEER, b"x")]
