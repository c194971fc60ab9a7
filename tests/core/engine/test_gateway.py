import pytest
from tests.core.office import (
    FTP,
    NEIGHBOUR,
    PEER,
    Office,
    Pause,
    WatchingFilter,
    Wire,
    Witness,
)

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.model.events import ConnectTcp, Event, UdpDestination
from sallyport.core.pinholes.lifecycle import State
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rules import Action
from sallyport.errors import InvalidArgument, PolicyDenied, QuotaExceeded
from sallyport.flags import Transport


class Waiting(Witness):
    """Waits for a moment at every event."""

    async def on_event(self, event: Event) -> None:
        await Pause()
        await super().on_event(event)


# -- primary connections and sessions ---------------------------------------------------------


def test_connections_of_one_client_share_a_session_and_of_two_do_not() -> None:
    office = Office()
    one, two, other = office.dial(), office.dial("10.0.0.8:50002"), office.dial("10.0.0.9:50000")

    assert one.session is two.session
    assert one.session is not other.session
    assert one.session.primaries == {one.id: one, two.id: two}
    assert len({one.id, two.id, other.id}) == 3
    assert {s.id for s in office.gateway.sessions} == {one.session.id, other.session.id}


@pytest.mark.parametrize(
    ("client", "server", "reason"),
    [
        ("10.0.0.8:50000", "10.0.0.1:21", "peer-is-gateway"),
        ("10.0.0.8:50000", "10.0.0.77:21", "no-network-rule"),
        ("198.51.100.9:50000", "10.0.0.8:21", "no-network-rule"),
    ],
)
def test_a_connection_the_policy_denies_leaves_no_session(
    client: str, server: str, reason: str
) -> None:
    office = Office()
    with pytest.raises(PolicyDenied, match=reason):
        office.admit(client, server)

    assert office.reasons("connect.refused") == [reason]
    assert not list(office.gateway.sessions)


def test_a_rule_may_deny_what_the_networks_allow() -> None:
    with pytest.raises(PolicyDenied, match="denied-by-rule"):
        Office(action=Action.DENY).admit()


def test_one_client_cannot_hold_all_the_control_connections() -> None:
    office = Office()
    held = [office.admit(f"10.0.0.8:{10000 + i}") for i in range(limits.MAX_CONTROLS_PER_CLIENT)]
    with pytest.raises(QuotaExceeded, match="too-many-controls"):
        office.admit("10.0.0.8:9999")
    assert office.admit("10.0.0.9:50000").is_open

    held[7].close("done")
    assert office.admit("10.0.0.8:9999").is_open


def test_a_connection_whose_server_never_answers_leaves_nothing() -> None:
    office = Office()
    office.admit().kill("server-unreachable")

    assert office.reasons("connect.closed") == ["server-unreachable"]
    assert not list(office.gateway.sessions)


def test_without_a_data_filter_everything_is_passed_on() -> None:
    office = Office(WatchingFilter())
    primary = office.dial()
    primary.chain.from_accepted(b"any bytes \xff")

    assert office.wires[primary.id].sent == [b"any bytes \xff"]


def test_a_filter_is_attached_once_to_a_session_and_hears_of_each_connection() -> None:
    watching = WatchingFilter()
    office = Office(watching)
    one, two = office.dial(), office.dial("10.0.0.8:50002")

    (witness,) = watching.witnesses
    assert witness.events == [ConnectTcp(one), ConnectTcp(two)]
    one.close("done")
    assert witness.detached == 0
    two.close("done")
    assert witness.detached == 1
    assert one.session.is_over


def test_a_filter_for_another_protocol_hears_nothing() -> None:
    watching = WatchingFilter()
    watching.protocols = (ProtocolDefinition("rtsp", Transport.TCP, 554),)
    Office(watching).dial()

    assert watching.witnesses == []


def test_a_client_that_comes_back_gets_a_new_session() -> None:
    watching = WatchingFilter()
    office = Office(watching)
    old = office.dial().session
    old.kill()
    new = office.dial().session

    assert new is not old
    assert (old.is_over, new.is_over) == (True, False)
    assert len(watching.witnesses) == 2


def test_a_session_lasts_as_long_as_its_last_transfer() -> None:
    watching = WatchingFilter()
    office = Office(watching)
    primary = office.dial()
    binding = office.bind(primary)
    office.data_path.connect(PEER, binding.proxy_address)
    primary.close("done")
    assert list(office.gateway.sessions) == [primary.session]
    assert watching.witnesses[0].detached == 0

    office.data_path.finish(PEER)
    assert not list(office.gateway.sessions)
    assert watching.witnesses[0].detached == 1


def test_a_filter_told_of_the_end_after_its_connection_still_has_its_session() -> None:
    office, witness = Office(), Witness()
    primary = office.dial()
    binding = office.bind(primary, session_filter=witness)
    office.data_path.connect(PEER, binding.proxy_address)
    primary.close("done")
    was_over: list[bool] = []
    witness.react = lambda _: was_over.append(primary.session.is_over)
    office.data_path.finish(PEER)

    assert was_over == [False]


def test_bindings_lists_what_has_not_ended_of_every_session() -> None:
    office = Office()
    one = office.bind(office.dial())
    two = office.bind(office.dial("10.0.0.9:50000"), NEIGHBOUR)
    assert list(office.gateway.bindings()) == [one, two]

    one.kill()
    assert list(office.gateway.bindings()) == [two]
    assert one.id != two.id


def test_a_protocol_is_found_by_definition_or_uuid_and_an_unknown_uuid_is_refused() -> None:
    gateway = Office(WatchingFilter()).gateway
    unknown = ProtocolDefinition("rtsp", Transport.TCP, 554)

    assert gateway.protocol(FTP) is FTP
    assert gateway.protocol(FTP.uuid) is FTP
    with pytest.raises(InvalidArgument, match="unknown-protocol"):
        gateway.protocol(unknown.uuid)


def test_shutting_down_closes_pinholes_resets_controls_and_lets_transfers_run() -> None:
    office = Office()
    primary, other = office.dial(), office.dial("10.0.0.9:50000")
    waiting, running = office.bind(primary), office.bind(primary)
    orphan = office.bind(
        other, NEIGHBOUR, primary=None, proxy_address=running.proxy_address.with_port(0)
    )
    office.allow(other, "198.51.100.9:3000")
    office.data_path.connect(PEER, running.proxy_address)
    for _ in range(2):
        office.gateway.shut_down("gateway-stopping")

    assert not office.data_path.pinholes
    assert not office.data_path.resets
    assert [wire.done for wire in office.wires.values()] == [["abort"], ["abort"]]
    assert (waiting.state, orphan.state) == (State.CLOSED, State.CLOSED)
    assert running.state is State.LIVE
    assert office.data_path.reserved == {(Transport.TCP, running.proxy_address)}


def test_a_udp_conversation_starts_with_its_first_destination() -> None:
    class TalkingFilter(WatchingFilter):
        protocols = (ProtocolDefinition("tftp", Transport.UDP, 69),)

    watching, wire = TalkingFilter(), Wire()
    office = Office(watching, protocols=frozenset({"tftp"}))
    primary = office.gateway.admit_primary(
        TalkingFilter.protocols[0],
        Endpoint.parse("10.0.0.8:50000"),
        Endpoint.parse("198.51.100.9:69"),
    )
    primary.link = wire
    office.gateway.announce_primary(primary, lambda: None)

    assert primary.transport is Transport.UDP
    assert watching.witnesses[0].kinds() == ["UdpDestination"]
    (event,) = watching.witnesses[0].events
    assert isinstance(event, UdpDestination)
    assert event.peer == Endpoint.parse("198.51.100.9:69")


def test_events_wait_for_their_turn_behind_what_the_filter_is_doing() -> None:
    office, witness = Office(), Waiting()
    binding = office.bind(office.dial(), session_filter=witness)
    office.data_path.connect(PEER, binding.proxy_address)
    office.data_path.finish(PEER)
    assert witness.kinds() == []

    office.world.resume()
    assert witness.kinds() == ["EstablishedConnection"]
    office.world.resume()
    assert witness.kinds() == ["EstablishedConnection", "ConnectionTerminating"]


def test_what_waits_behind_a_filter_is_dropped_when_its_connection_ends() -> None:
    office, witness = Office(), Waiting()
    primary = office.dial()
    binding = office.bind(primary, session_filter=witness)
    office.data_path.attempt(PEER, binding.proxy_address)
    office.data_path.attempt(PEER, binding.proxy_address)
    primary.close("done")
    while office.world.suspended:
        office.world.resume()

    assert sorted(witness.kinds()) == ["ConnectionRefused", "ConnectionTerminating"]


def test_a_link_and_ends_are_used_only_from_the_start_on() -> None:
    office, wire = Office(), Wire()
    primary = office.admit()
    assert primary.gateway_address is None
    primary.link = wire
    primary.kill("dial-failed")

    assert wire.done == ["abort"]
