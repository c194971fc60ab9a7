"""Connections a filter received itself become the client's (`EmulateClientBind`)."""

from typing import Any

import pytest
from tests.core.emulating import ZERO, EmulatingOffice, deliver, denying
from tests.core.emulators import HookedFilter
from tests.core.office import CLIENT, EXTERNAL, FTP, PEER, Office, Witness, run

from sallyport.addresses import Endpoint
from sallyport.core.model.events import (
    AcceptedConnection,
    BindTcp,
    BindUdp,
    EstablishedConnection,
    Event,
    Listen,
)
from sallyport.core.model.hooks import Hooks, Scope
from sallyport.core.model.secondary import SecondaryConnection
from sallyport.core.pinholes.lifecycle import State
from sallyport.errors import (
    AddressNotAllowed,
    AddressNotAvailable,
    AlreadyEmulated,
    BadContext,
    BindError,
    InvalidArgument,
    PolicyDenied,
)
from sallyport.flags import Transport


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
    assert not tuple(office.gateway.sessions)


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
