"""What can be done with a secondary connection after the bind."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.core.office import CLIENT, EXTERNAL, PEER, Office, run

from sallyport.addresses import Endpoint
from sallyport.core.model.filter import DataFilter
from sallyport.core.model.secondary import SecondaryConnection
from sallyport.core.pinholes.datapath import FlowCounters
from sallyport.core.pinholes.registry import Traffic
from sallyport.errors import (
    AddressNotAllowed,
    BadContext,
    BindError,
    InvalidArgument,
    PolicyDenied,
    Terminating,
)
from sallyport.flags import BindFlags, ConnectionFlags, Transport
from sallyport.ipfilter import IpFilter

OUTSIDE = Endpoint(EXTERNAL, 0)
SERVER = Endpoint.parse("198.51.100.9:69")


def over(office: Office, **arguments: Any) -> SecondaryConnection:  # noqa: ANN401 - any argument of bind_for_client
    """A connection that has ended while its session goes on."""
    secondary = office.bind(office.dial(), **arguments).connections[0]
    secondary.kill()
    return secondary


# -- the IP filter ----------------------------------------------------------------------------


def test_an_ip_filter_can_be_replaced_taken_away_and_emptied() -> None:
    office = Office()
    binding = office.bind(
        office.dial(), ip_filter=IpFilter.of("192.0.2.1"), flags=BindFlags.ALLOW_MULTIPLE
    )
    (secondary,) = binding.connections
    admitted = []
    for ip_filter in (IpFilter.of("198.51.100.0/24"), IpFilter(), None):
        run(secondary.set_ip_filter(ip_filter))
        assert secondary.ip_filter == binding.ip_filter == ip_filter
        admitted.append(office.data_path.connect(PEER, secondary.proxy_address) is not None)
        office.data_path.finish(PEER)

    assert admitted == [True, False, True]


def test_replacing_the_ip_filter_leaves_running_flows_alone() -> None:
    office = Office()
    (secondary,) = office.bind(office.dial(), flags=BindFlags.ALLOW_MULTIPLE).connections
    office.data_path.connect(PEER, secondary.proxy_address)
    run(secondary.set_ip_filter(IpFilter()))

    assert [flow.peer for flow in secondary.peers()] == [PEER]
    assert not office.data_path.resets


def test_a_spent_binding_stays_spent_whatever_the_filter() -> None:
    office = Office()
    (secondary,) = office.bind(office.dial()).connections
    office.data_path.connect(PEER, secondary.proxy_address)
    run(secondary.set_ip_filter(None))

    assert office.data_path.connect(PEER.with_port(21), secondary.proxy_address) is None


def set_address(secondary: SecondaryConnection) -> Coroutine[Any, Any, None]:
    return secondary.set_client_address(CLIENT)


def set_filter(secondary: SecondaryConnection) -> Coroutine[Any, Any, None]:
    return secondary.set_ip_filter(None)


@pytest.mark.parametrize("change", [set_address, set_filter])
def test_what_has_ended_cannot_be_changed(
    change: Callable[[SecondaryConnection], Coroutine[Any, Any, None]],
) -> None:
    with pytest.raises(Terminating, match="connection-has-ended"):
        run(change(over(Office())))


# -- names, flags, bytes ----------------------------------------------------------------------


def test_the_peers_name_is_known_once_there_is_one_and_ours_from_the_start() -> None:
    office = Office()
    (secondary,) = office.bind(office.dial(), flags=BindFlags.ALLOW_MULTIPLE).connections
    assert secondary.external_socket_name() == secondary.proxy_address
    with pytest.raises(BadContext, match="no-peer-has-connected"):
        secondary.external_peer_name()

    for peer in (PEER, PEER.with_port(21)):
        office.data_path.connect(peer, secondary.proxy_address)
        assert secondary.external_peer_name() == peer
    office.data_path.finish(PEER.with_port(21))
    assert secondary.external_peer_name() == PEER.with_port(21)


def test_traffic_is_the_sum_and_peers_are_those_still_running() -> None:
    office = Office()
    (secondary,) = office.bind(office.dial(), flags=BindFlags.ALLOW_MULTIPLE).connections
    for peer in (PEER, PEER.with_port(21)):
        office.data_path.connect(peer, secondary.proxy_address)
    office.data_path.finish(PEER, 3, 4)
    office.data_path.flows[secondary.pinhole.id][PEER.with_port(21)] = FlowCounters(
        PEER.with_port(21), 10, 20
    )

    assert secondary.peers() == (FlowCounters(PEER.with_port(21), 10, 20),)
    assert secondary.traffic() == Traffic(2, 13, 24)


def test_a_plain_connection_has_no_flags() -> None:
    office = Office()
    (secondary,) = office.bind(office.dial()).connections
    assert secondary.flags is ConnectionFlags.NONE


def test_no_data_filter_gets_into_the_kernel() -> None:
    office = Office()
    (secondary,) = office.bind(office.dial()).connections
    office.data_path.connect(PEER, secondary.proxy_address)
    with pytest.raises(BadContext, match="not-in-an-event-of-this-connection"):
        secondary.attach_data_filter(DataFilter())


# -- datagrams of our own ---------------------------------------------------------------------

UDP: dict[str, Any] = {"transport": Transport.UDP}


def test_a_datagram_leaves_as_the_proxy_address_and_the_answer_finds_the_client() -> None:
    office = Office()
    (secondary,) = office.bind(
        office.dial(), ip_filter=IpFilter.of(SERVER.address), **UDP
    ).connections
    secondary.send_to(SERVER, b"request")

    assert office.data_path.sent == [(secondary.proxy_address, SERVER, b"request")]
    assert office.data_path.send(SERVER.with_port(3456), secondary.proxy_address) == CLIENT


@pytest.mark.parametrize(
    ("peer", "arguments", "error"),
    [
        (SERVER, {}, BadContext),
        (Endpoint.parse("198.51.100.10:69"), UDP, AddressNotAllowed),
        (SERVER.with_port(0), UDP, InvalidArgument),
        (Endpoint.parse("[2001:db8::9]:69"), UDP, InvalidArgument),
        (Endpoint.parse("203.0.113.1:69"), UDP | {"ip_filter": None}, PolicyDenied),
        (Endpoint.parse("10.0.0.9:69"), UDP | {"ip_filter": None}, PolicyDenied),
    ],
)
def test_a_datagram_goes_only_where_the_filter_and_the_rules_let_it(
    peer: Endpoint, arguments: dict[str, Any], error: type[BindError]
) -> None:
    office = Office()
    arguments = {"ip_filter": IpFilter.of(SERVER.address)} | arguments
    (secondary,) = office.bind(office.dial(), **arguments).connections

    with pytest.raises(error):
        secondary.send_to(peer, b"request")
    assert office.data_path.sent == []


def test_an_ended_connection_sends_nothing() -> None:
    office = Office()
    with pytest.raises(Terminating):
        over(office, **UDP).send_to(SERVER, b"late")
    assert office.data_path.sent == []


def test_in_user_mode_the_datagram_leaves_by_the_user_path() -> None:
    office = Office()
    (secondary,) = office.bind(office.dial(), flags=BindFlags.NO_KERNEL_MODE, **UDP).connections
    secondary.send_to(SERVER, b"request")

    assert office.user_path.sent == [(secondary.proxy_address, SERVER, b"request")]
