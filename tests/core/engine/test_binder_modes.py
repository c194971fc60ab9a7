"""What a bind asks of a data path, and of which."""

from typing import Any

import pytest
from tests.core.office import CLIENT, EXTERNAL, PEER, Office, WatchingFilter

from sallyport.addresses import Endpoint
from sallyport.core.model.events import AcceptedConnection, BindTcp, BindUdp, ConnectTcp, Listen
from sallyport.core.model.hooks import Hooks, Scope
from sallyport.core.pinholes.datapath import DataPathKind
from sallyport.core.pinholes.lifecycle import State
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.errors import OutOfResources
from sallyport.flags import BindFlags, Transport
from sallyport.ipfilter import IpFilter

# -- UDP ---------------------------------------------------------------------------------------

UDP: dict[str, Any] = {"transport": Transport.UDP}


def test_a_udp_bind_serves_the_first_source_and_no_other() -> None:
    office = Office()
    binding = office.bind(office.dial(), **UDP)

    assert office.data_path.send(PEER, binding.proxy_address) == CLIENT
    assert office.data_path.send(PEER.with_port(21), binding.proxy_address) is None
    assert binding.state is State.LIVE
    assert office.data_path.reserved == {(Transport.UDP, binding.proxy_address)}


def test_a_udp_bind_with_allow_multiple_serves_any_number_of_sources() -> None:
    office = Office()
    binding = office.bind(office.dial(), flags=BindFlags.ALLOW_MULTIPLE, **UDP)

    for port in (20, 21, 22):
        assert office.data_path.send(PEER.with_port(port), binding.proxy_address) == CLIENT
    assert binding.state is State.ARMED


@pytest.mark.parametrize(
    ("flags", "is_answered"), [(BindFlags.NONE, False), (BindFlags.BIDIRECTIONAL, True)]
)
def test_a_udp_client_answers_its_peer_with_bidirectional_only(
    flags: BindFlags, is_answered: bool
) -> None:
    office = Office()
    binding = office.bind(office.dial(), flags=flags, **UDP)
    assert not office.data_path.answer(binding.proxy_address, PEER)
    office.data_path.send(PEER, binding.proxy_address)

    assert office.data_path.answer(binding.proxy_address, PEER) is is_answered


def test_a_timed_udp_bind_ends_when_idle_and_an_untimed_one_lives_until_killed() -> None:
    office = Office()
    primary = office.dial()
    timed = office.bind(primary, flags=BindFlags.TIMEOUT, **UDP)
    patient = office.bind(primary, **UDP)
    idle = {one.listen: one.idle_seconds for one in office.data_path.pinholes.values()}
    assert idle == {timed.proxy_address: 60.0, patient.proxy_address: None}

    for port, binding in ((20, timed), (21, patient)):
        office.data_path.send(PEER.with_port(port), binding.proxy_address)
        office.data_path.finish(PEER.with_port(port))
    assert (timed.state, patient.state) == (State.CLOSED, State.LIVE)
    assert office.reasons("binding.closed") == ["idle"]
    patient.kill()
    assert patient.state is State.CLOSED


def test_a_timed_udp_bind_that_nobody_uses_ends_after_a_minute() -> None:
    office = Office()
    binding = office.bind(office.dial(), flags=BindFlags.TIMEOUT, **UDP)
    office.pass_time(60)

    assert binding.state is State.CLOSED
    assert office.reasons("binding.closed") == ["timed-out"]


def test_a_timed_bind_waits_as_long_as_its_filter_says() -> None:
    office = Office()
    binding = office.bind(office.dial(), flags=BindFlags.TIMEOUT)
    binding.wait(300)
    office.pass_time(299)
    assert len(office.data_path.pinholes) == 1

    binding.wait(10)
    office.pass_time(9)
    assert len(office.data_path.pinholes) == 1
    office.pass_time(1)
    assert binding.state is State.CLOSED


def test_waiting_means_nothing_for_what_is_not_timed_or_not_awaited() -> None:
    office = Office()
    patient = office.bind(office.dial())
    patient.wait(1)
    used = office.bind(office.dial(), flags=BindFlags.TIMEOUT)
    office.data_path.connect(PEER, used.proxy_address)
    used.wait(1)
    ended = office.bind(office.dial(), flags=BindFlags.TIMEOUT)
    ended.withdraw()
    ended.wait(1)
    office.pass_time(100)

    assert (patient.state, used.state, ended.state) == (State.ARMED, State.LIVE, State.CLOSED)


def test_rtp_gets_an_even_port_and_the_next_one() -> None:
    office = Office()
    binding = office.bind(office.dial(), CLIENT, CLIENT.with_port(1554), **UDP)

    rtp, rtcp = (connection.proxy_address for connection in binding.connections)
    assert (rtp.port % 2, rtcp.port) == (0, rtp.port + 1)
    assert office.data_path.send(PEER, rtcp) == CLIENT.with_port(1554)


def test_the_same_port_number_serves_tcp_and_udp() -> None:
    office = Office()
    primary = office.dial()
    forced = Endpoint(EXTERNAL, 40500)
    office.bind(primary, proxy_address=forced)
    office.bind(primary, proxy_address=forced, **UDP)

    assert office.data_path.reserved == {(Transport.TCP, forced), (Transport.UDP, forced)}


# -- what a data path is told -----------------------------------------------------------------


def test_backlog_and_receive_buffer_reach_the_data_path() -> None:
    office = Office()
    primary = office.dial()
    office.bind(primary, backlog=4096, flags=BindFlags.INCREASE_RECEIVE_BUFFER)
    office.bind(primary)

    told = [(one.backlog, one.receive_buffer) for one in office.data_path.pinholes.values()]
    assert told == [(4096, 1 << 20), (1, None)]


@pytest.mark.parametrize(
    "ip_filter",
    [
        IpFilter.of("198.51.100.0/24"),
        IpFilter.of("198.51.100.0/24").exclude_filter(IpFilter.of("198.51.100.66")),
        None,
    ],
)
@pytest.mark.parametrize("peer_ports", [None, frozenset({20})])
def test_an_ip_filter_and_peer_ports_hold_alone_and_together(
    ip_filter: IpFilter | None, peer_ports: frozenset[int] | None
) -> None:
    office = Office()
    binding = office.bind(
        office.dial(), ip_filter=ip_filter, peer_ports=peer_ports, flags=BindFlags.ALLOW_MULTIPLE
    )

    def gets_in(text: str) -> bool:
        return office.data_path.connect(Endpoint.parse(text), binding.proxy_address) is not None

    assert gets_in("198.51.100.9:20")
    assert gets_in("198.51.100.9:4711") is (peer_ports is None)
    assert gets_in("192.0.2.9:20") is (ip_filter is None)
    if ip_filter is not None and ip_filter != IpFilter.of("198.51.100.0/24"):
        assert not gets_in("198.51.100.66:20")


# -- kernel or user ---------------------------------------------------------------------------


class BindingGuard(WatchingFilter):
    """Is asked about binds, and not about who comes to them."""

    hooks = Hooks.of(BindTcp, BindUdp, Listen, scope=Scope.SECONDARY)


class NosyFilter(WatchingFilter):
    """Wants to see the bytes of its protocols' secondary connections."""

    hooks = Hooks.of(ConnectTcp, AcceptedConnection, scope=Scope.SECONDARY)


KERNEL, USER = DataPathKind.KERNEL, DataPathKind.USER


@pytest.mark.parametrize(
    ("flags", "application_filter", "chosen"),
    [
        (BindFlags.NONE, WatchingFilter(), KERNEL),
        (BindFlags.NONE, BindingGuard(), KERNEL),
        (BindFlags.NO_KERNEL_MODE, WatchingFilter(), USER),
        (BindFlags.NONE, NosyFilter(), USER),
    ],
)
def test_the_kernel_carries_what_nobody_wants_to_see(
    flags: BindFlags, application_filter: WatchingFilter, chosen: DataPathKind
) -> None:
    office = Office(application_filter)
    binding = office.bind(office.dial(), flags=flags)

    paths = {KERNEL: office.data_path, USER: office.user_path}
    assert [len(paths[kind].pinholes) for kind in paths] == [chosen is KERNEL, chosen is USER]
    assert binding.connections[0].data_path is chosen
    assert paths[chosen].connect(PEER, binding.proxy_address) == CLIENT
    binding.kill()
    assert paths[chosen].resets
    assert not office.data_path.reserved


def test_a_filter_that_watches_another_protocol_changes_nothing() -> None:
    class Elsewhere(NosyFilter):
        protocols = (ProtocolDefinition("rtsp", Transport.TCP, 554),)

    office = Office(Elsewhere())
    assert office.bind(office.dial()).connections[0].data_path is KERNEL


def test_without_a_kernel_path_user_mode_carries_everything() -> None:
    office = Office(kinds=(USER,))
    assert office.bind(office.dial()).connections[0].data_path is USER


def test_user_mode_that_is_asked_for_and_not_there_is_refused() -> None:
    office = Office(kinds=(KERNEL,))
    primary = office.dial()
    before = office.holdings()
    with pytest.raises(OutOfResources, match="no-user-data-path"):
        office.bind(primary, flags=BindFlags.NO_KERNEL_MODE)
    assert office.holdings() == before
    assert office.reasons("binding.refused") == ["no-user-data-path"]
