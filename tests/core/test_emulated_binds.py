"""A filter in the place of whoever would connect to a bound port (`EmulateForBind`)."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.core.emulators import HookedFilter, Player, Tagger, TakingFilter
from tests.core.office import CLIENT, EXTERNAL, FTP, PEER, Office, Witness, run

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.binding import Binding
from sallyport.core.datapath import DataPathKind
from sallyport.core.events import (
    AcceptedConnection,
    BindTcp,
    BindUdp,
    ConnectionRefused,
    ConnectionTerminating,
    EstablishedConnection,
    Event,
    Listen,
    UdpDestination,
)
from sallyport.core.filter import DataFilter
from sallyport.core.hooks import Hooks, Scope
from sallyport.core.lifecycle import State
from sallyport.core.secondary import SecondaryConnection
from sallyport.errors import (
    AddressNotAllowed,
    AddressNotAvailable,
    AlreadyEmulated,
    AlreadyExists,
    BadContext,
    BindError,
    InvalidArgument,
    NotEmulated,
    OutOfResources,
    PolicyDenied,
    Terminating,
)
from sallyport.flags import BindFlags, Transport
from sallyport.ipfilter import IpFilter
from sallyport.testing.flows import MemoryFlow
from sallyport.testing.memory import pause

OTHER = PEER.with_port(4711)
NAME = Endpoint(EXTERNAL, 45000)
ZERO = Endpoint.parse("0.0.0.0:0")
ACCEPTED = Hooks.of(AcceptedConnection, UdpDestination, scope=Scope.SECONDARY | Scope.ANY_PROTOCOL)


class EmulatingOffice(Office):
    """An office in which every bind is taken over."""

    def __init__(self, *others: HookedFilter, **fields: Any) -> None:  # noqa: ANN401 - fields of AccessRule
        self.taking = TakingFilter()
        super().__init__(self.taking, *others, **fields)
        self.caller = Witness()

    def take(self, *clients: Endpoint, inside: str = "10.0.0.8", **arguments: Any) -> Binding:  # noqa: ANN401 - of bind_for_client
        """Bind, as the client at `inside`; ours is the last connection that was taken over."""
        outside = "198.51.100.9:21" if "." in inside else "[2001:db8::9]:21"
        client = f"{inside}:50000" if "." in inside else f"[{inside}]:50000"
        return self.bind(
            self.dial(client, outside),
            *clients,
            **({"session_filter": self.caller, "context": "the bind"} | arguments),
        )

    def flow(self, binding: Binding, peer: Endpoint = PEER) -> MemoryFlow:
        return self.user_path.filtered[binding.connections[0].pinhole.id, peer]


def deliver(
    connection: SecondaryConnection,
    player: DataFilter | None = None,
    peer: Endpoint = PEER,
    local: Endpoint | None = None,
    context: object = None,
) -> DataFilter:
    player = player or Player(b"hello")
    run(connection.emulate_connection(player, peer, local, context))
    return player


def denying(event: Event) -> None:
    event.connection.deny()


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
    late = HookedFilter("late", ACCEPTED)
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
    other = HookedFilter("other", ACCEPTED)
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
    other = HookedFilter("other", ACCEPTED)
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


class Slow(HookedFilter):
    """Takes its time to answer."""

    def __init__(self) -> None:
        super().__init__("slow", ACCEPTED)
        self.witness = SlowWitness()


class SlowWitness(Witness):
    async def on_event(self, event: Event) -> None:
        await super().on_event(event)
        await pause()


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
    while office.world.parked:
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
        office.gateway.openings.flow_refused(pinhole.id, peer)

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
    (connection,) = office.take(ZERO).connections
    with pytest.raises(BadContext):
        deliver(connection)

    run(connection.set_client_address(CLIENT))

    deliver(connection)
    assert office.flow(connection.binding).pinhole.target == CLIENT


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


# -- connections a filter received itself (EmulateClientBind) -------------------------------------


def emulate_bind(
    office: Office,
    client: Endpoint = CLIENT,
    **arguments: Any,  # noqa: ANN401 - of emulate_client_bind
) -> SecondaryConnection:
    session = office.gateway.client_session(client.address)
    everything: dict[str, Any] = {"transport": Transport.TCP, "protocol": FTP} | arguments
    proxy = everything.pop("proxy", Endpoint(EXTERNAL, 21))
    return run(session.emulate_client_bind(client, proxy, **everything))


def test_a_connection_the_filter_received_becomes_the_clients() -> None:
    told = HookedFilter("told", Hooks.of(BindTcp, Listen, scope=Scope.ANY_PROTOCOL))
    office, caller = Office(told), Witness()
    connection = emulate_bind(office, session_filter=caller, context="the line")

    assert told.witness.kinds() == ["BindTcp", "Listen"]
    assert connection.proxy_address == Endpoint(EXTERNAL, 21)
    assert (connection.state, connection.is_secondary) == (State.ARMED, False)
    assert not office.data_path.reserved
    assert not office.data_path.pinholes
    deliver(connection)
    assert caller.events == [EstablishedConnection(connection, PEER, "the line")]
    office.user_path.finish(PEER)
    assert not tuple(office.gateway.all_sessions())


def test_it_is_a_primary_connection_to_the_filters_of_its_protocol() -> None:
    class OwnFilter(HookedFilter):
        protocols = (FTP,)

    own = OwnFilter("own", Hooks.of(AcceptedConnection))
    office = Office(own)
    deliver(emulate_bind(office))
    assert own.witness.kinds() == ["AcceptedConnection"]
    assert not own.witness.events[0].is_secondary

    deliver_to_bound = EmulatingOffice(own).take().connections[0]
    deliver(deliver_to_bound)
    assert own.witness.kinds() == ["AcceptedConnection"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"client": ZERO}, InvalidArgument),
        ({"client": CLIENT.with_port(22)}, AddressNotAllowed),
        ({"proxy": Endpoint(EXTERNAL, 0)}, InvalidArgument),
        ({"proxy": PEER}, AddressNotAvailable),
        ({"proxy": Endpoint.parse("[2001:db8::1]:21")}, InvalidArgument),
    ],
)
def test_an_emulated_bind_is_checked_as_any_other(
    arguments: dict[str, Any], error: type[BindError]
) -> None:
    office = Office()
    session = office.gateway.client_session(CLIENT.address)
    everything = {"client": CLIENT, "proxy": Endpoint(EXTERNAL, 21)} | arguments

    with pytest.raises(error):
        run(
            session.emulate_client_bind(
                everything["client"], everything["proxy"], transport=Transport.TCP, protocol=FTP
            )
        )
    assert not session.bindings


def test_the_rules_decide_about_an_emulated_bind() -> None:
    office = Office(protocols=frozenset({"tftp"}))
    with pytest.raises(PolicyDenied):
        emulate_bind(office)


def test_another_filter_may_deny_an_emulated_bind_and_cannot_take_it_over() -> None:
    other = HookedFilter("other", Hooks.of(BindTcp, BindUdp, scope=Scope.ANY_PROTOCOL))
    other.witness.react = denying
    with pytest.raises(BindError, match="denied-by-filter"):
        emulate_bind(Office(other))

    def react(event: Event) -> None:
        assert isinstance(event.connection, SecondaryConnection)
        with pytest.raises(AlreadyEmulated):
            event.connection.emulate_for_bind()

    other.witness.react = react
    emulate_bind(Office(other))
    assert other.witness.kinds() == ["BindTcp", "BindTcp"]


def test_a_translated_client_sees_the_gateway_where_there_is_nat() -> None:
    assert emulate_bind(Office(), is_address_translated=True).pinhole.is_proxied
    client = Endpoint.parse("[fd00:a::8]:1553")
    with pytest.raises(InvalidArgument, match="nat"):
        emulate_bind(Office(), client, proxy=client, is_address_translated=True)


def test_on_a_routed_relation_the_filter_was_reached_at_the_clients_address() -> None:
    client = Endpoint.parse("[fd00:a::8]:1553")
    connection = emulate_bind(Office(), client, proxy=client)

    assert connection.proxy_address == client


def test_no_datagram_leaves_by_a_port_that_nobody_holds() -> None:
    connection = emulate_bind(Office(), transport=Transport.UDP)
    with pytest.raises(BadContext, match="no-port-is-held"):
        connection.send_to(PEER, b"x")
