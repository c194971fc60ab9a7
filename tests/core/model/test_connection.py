from dataclasses import replace
from ipaddress import ip_address

import pytest
from tests.core.office import CLIENT, PEER, Office, WatchingFilter, Wire, Witness, attaching

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.model.connection import PrimaryConnection
from sallyport.core.model.events import (
    ConnectionRefused,
    ConnectionTerminating,
    EstablishedConnection,
)
from sallyport.core.model.filter import DataFilter
from sallyport.core.pinholes.datapath import DataPathKind, FlowCounters
from sallyport.core.pinholes.lifecycle import State
from sallyport.core.pinholes.registry import Traffic
from sallyport.errors import BadContext, InvalidArgument, Terminating
from sallyport.filters.tftp import TftpFilter
from sallyport.flags import BindFlags
from sallyport.testing.dialogue import Dialogue
from sallyport.testing.world import make_policy


class Timed(DataFilter):
    """Keeps when its deadline passed."""

    def __init__(self) -> None:
        self.passed = 0

    async def deadline_passed(self) -> None:
        self.passed += 1


def timed_primary() -> tuple[Office, PrimaryConnection, Timed]:
    timed = Timed()
    watching = WatchingFilter()
    watching.react = attaching(timed)
    office = Office(watching)
    return office, office.dial(), timed


# -- primary ----------------------------------------------------------------------------------


def test_a_deadline_passes_once_at_its_time() -> None:
    office, _, timed = timed_primary()
    timed.set_deadline(10)

    office.pass_time(9.9)
    assert timed.passed == 0
    office.pass_time(100)
    assert timed.passed == 1


def test_setting_a_deadline_again_moves_it_and_none_takes_it_away() -> None:
    office, _, timed = timed_primary()
    timed.set_deadline(10)
    office.pass_time(9)
    timed.set_deadline(10)
    office.pass_time(9)
    assert timed.passed == 0
    timed.set_deadline(None)
    office.pass_time(100)
    assert timed.passed == 0


def test_no_deadline_outlives_its_connection() -> None:
    office, primary, timed = timed_primary()
    timed.set_deadline(10)
    primary.close("done")
    assert len(office.gateway.deadlines) == 0

    timed.set_deadline(10)
    assert len(office.gateway.deadlines) == 0
    office.pass_time(100)
    assert timed.passed == 0


def test_each_data_filter_has_a_deadline_of_its_own() -> None:
    one, two = Timed(), Timed()
    watching = WatchingFilter()
    watching.react = attaching(one, two)
    office = Office(watching)
    office.dial()
    one.set_deadline(10)
    two.set_deadline(20)
    two.set_deadline(5)

    office.pass_time(5)
    assert (one.passed, two.passed) == (0, 1)
    office.pass_time(5)
    assert (one.passed, two.passed) == (1, 1)


def test_there_is_no_deadline_before_the_connection_starts() -> None:
    lonely, waiting = DataFilter(), Timed()
    watching = WatchingFilter()
    watching.react = attaching(waiting)
    office = Office(watching)
    primary = office.admit()
    primary.link = office.wires[primary.id] = Wire()
    office.gateway.announce_primary(primary, lambda: None)

    for data_filter, reason in (
        (lonely, "not-attached"),
        (waiting, "the-connection-has-not-started"),
    ):
        with pytest.raises(BadContext, match=reason):
            data_filter.set_deadline(10)
    primary.kill("server-unreachable")
    waiting.set_deadline(None)


def test_a_filter_without_an_answer_to_its_deadline_loses_the_connection() -> None:
    watching, passive = WatchingFilter(), DataFilter()
    watching.react = attaching(passive)
    office = Office(watching)
    primary = office.dial()
    passive.set_deadline(1)
    office.pass_time(1)

    assert office.reasons("connect.closed") == ["deadline-passed"]
    assert office.wires[primary.id].done == ["abort"]


def test_data_filters_are_attached_while_filters_are_asked_and_never_else() -> None:
    watching = WatchingFilter()
    watching.react = attaching(DataFilter(), DataFilter())
    office = Office(watching)
    primary = office.admit()

    def expect_refusals() -> None:
        with pytest.raises(BadContext, match="not-in-an-event-of-this-connection"):
            primary.attach_data_filter(DataFilter())
        with pytest.raises(BadContext, match="not-in-an-event-of-this-connection"):
            primary.deny()

    expect_refusals()
    office.announce(primary)
    expect_refusals()
    assert len(primary.chain.data_filters) == 2


@pytest.mark.parametrize(("ending", "done"), [("close", "close"), ("kill", "abort")])
def test_it_ends_once_in_order_or_with_a_reset(ending: str, done: str) -> None:
    office = Office()
    primary = office.dial()
    office.pass_time(2.5)
    getattr(primary, ending)("first")
    primary.kill("second")
    primary.close("third")

    assert office.wires[primary.id].done == [done]
    assert office.reasons("connect.closed") == ["first"]
    assert office.world.journal.records[-1][1]["seconds"] == 2.5


@pytest.mark.parametrize("ending", ["close", "kill"])
def test_f22_its_end_closes_what_waits_and_a_running_transfer_may_finish(ending: str) -> None:
    office = Office()
    primary = office.dial()
    waiting, reserved = office.bind(primary), office.bind(primary, armed=False)
    running = office.bind(primary, flags=BindFlags.TIMEOUT)
    future = office.allow(primary, "198.51.100.9:3000")
    office.data_path.connect(PEER, running.proxy_address)
    getattr(primary, ending)("done")

    assert [b.state for b in (waiting, reserved, running)] == [
        State.CLOSED,
        State.CLOSED,
        State.LIVE,
    ]
    assert future.is_closed
    assert not office.data_path.pinholes
    assert not office.data_path.resets
    assert set(office.reasons("binding.closed")) == {"primary-ended"}
    office.data_path.finish(PEER)
    assert running.state is State.CLOSED
    assert not list(office.gateway.sessions)


def test_its_notes_name_session_and_connection() -> None:
    office = Office()
    primary = office.dial()
    primary.note("something.happened", level="debug", detail=7)

    assert office.world.journal.records[-1] == (
        "something.happened",
        {"level": "debug", "session": primary.session.id, "connection": primary.id, "detail": 7},
    )


# -- secondary --------------------------------------------------------------------------------


def test_it_tells_where_it_listens_where_it_leads_and_what_carries_it() -> None:
    office = Office()
    primary = office.dial()
    binding = office.bind(primary)
    (secondary,) = binding.connections

    assert secondary.proxy_address == binding.proxy_address
    assert secondary.client_address == CLIENT
    assert secondary.data_path is DataPathKind.KERNEL
    assert (secondary.is_secondary, primary.is_secondary) == (True, False)


def test_its_peers_are_those_admitted_with_their_bytes_so_far() -> None:
    office = Office()
    (secondary,) = office.bind(office.dial()).connections
    assert secondary.peers() == ()
    office.data_path.connect(PEER, secondary.proxy_address)
    office.data_path.flows[secondary.pinhole.id][PEER] = FlowCounters(PEER, 5, 6)

    assert secondary.peers() == (FlowCounters(PEER, 5, 6),)


def test_the_caller_of_the_bind_is_told_everything_with_its_context() -> None:
    office, witness = Office(), Witness()
    binding = office.bind(office.dial(), session_filter=witness, context="transfer")
    (secondary,) = binding.connections
    failed = PEER.with_port(4711)
    office.data_path.attempt(failed, secondary.proxy_address)
    office.data_path.connect(PEER, secondary.proxy_address)
    office.data_path.finish(PEER, 10, 20)

    assert witness.events == [
        ConnectionRefused(secondary, failed, "transfer"),
        EstablishedConnection(secondary, PEER, "transfer"),
        ConnectionTerminating(secondary, "finished", Traffic(1, 10, 20), "transfer"),
    ]


def test_nobody_else_is_told_of_a_bindings_events() -> None:
    watching, witness = WatchingFilter(), Witness()
    office = Office(watching)
    binding = office.bind(office.dial(), session_filter=witness)
    office.data_path.connect(PEER, binding.proxy_address)
    office.data_path.finish(PEER)

    assert witness.kinds() == ["EstablishedConnection", "ConnectionTerminating"]
    assert watching.witnesses[0].kinds() == ["ConnectTcp"]


def test_one_port_of_several_can_be_killed_alone() -> None:
    office = Office()
    binding = office.bind(office.dial(), CLIENT, CLIENT)
    first, second = binding.connections
    first.kill("enough")

    assert (first.state, second.state) == (State.CLOSED, State.ARMED)
    assert [pinhole.listen for pinhole in office.data_path.pinholes.values()] == [
        second.proxy_address
    ]
    assert binding.id in binding.session.bindings


def test_timeout_closes_an_unused_binding_after_a_minute_and_without_it_none() -> None:
    office = Office()
    primary = office.dial()
    timed, patient = office.bind(primary, flags=BindFlags.TIMEOUT), office.bind(primary)
    office.pass_time(limits.ACCEPT_TIMEOUT_SECONDS)

    assert timed.state is State.CLOSED
    assert patient.state is State.ARMED
    assert office.reasons("binding.closed") == ["timed-out"]


def test_a_closed_port_rests_before_another_binding_gets_it() -> None:
    office = Office(ports="40000-40001")
    primary = office.dial()
    first = office.bind(primary).proxy_address
    office.gateway.registry.kill(next(iter(primary.openings.values())), "killed")
    assert office.data_path.reserved == set()

    second = office.bind(primary).proxy_address
    assert second != first
    assert {first.port, second.port} == {40000, 40001}
    assert office.bind(primary).proxy_address == first  # in need


def test_a_late_report_of_a_killed_flow_changes_nothing() -> None:
    office = Office()
    (secondary,) = office.bind(office.dial()).connections
    office.data_path.connect(PEER, secondary.proxy_address)
    secondary.kill()
    before = office.holdings()
    office.gateway.registry.flow_ended(secondary.pinhole.id, FlowCounters(PEER, 1, 1))
    office.gateway.registry.flow_established(secondary.pinhole.id, Endpoint.parse("192.0.2.1:1"))

    assert office.holdings() == before
    assert secondary.state is State.CLOSED


def test_a_server_is_dialled_from_the_source_of_its_network_or_as_routing_says() -> None:
    office, virtual = Office(), ip_address("203.0.113.7")
    primary = office.admit()
    assert primary.source is None

    plain = make_policy()
    networks = (
        replace(n, source=(virtual,)) if n.name == "external" else n for n in plain.networks
    )
    office = Office(policy=replace(plain, networks=tuple(networks)))
    assert office.admit().source == virtual


# -- conversations over UDP --------------------------------------------------------------------


def test_g1_a_conversation_is_kept_within_what_its_rule_and_the_gateway_allow() -> None:
    brief = make_policy(protocols=frozenset({"tftp"}), max_lifetime=600)

    assert Dialogue(TftpFilter()).connection.keep(1e9) == limits.MAX_KEPT_SECONDS
    assert Dialogue(TftpFilter(), policy=brief).connection.keep(3600) == 600


def test_g1_only_a_conversation_that_is_not_over_can_be_kept_and_for_some_time() -> None:
    talk = Dialogue(TftpFilter())
    for seconds in (0, -1, float("nan")):
        with pytest.raises(InvalidArgument):
            talk.connection.keep(seconds)
    talk.connection.close("done")
    with pytest.raises(Terminating):
        talk.connection.keep(60)
    _, primary, _ = timed_primary()
    with pytest.raises(BadContext):
        primary.keep(60)
