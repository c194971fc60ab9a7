"""Binds that a Firewall client made by itself, approved afterwards (`RetroactiveAllowBind`)."""

from ipaddress import ip_address
from typing import Any

import pytest
from tests.core.office import CLIENT, EXTERNAL, FTP, PEER, Office, WatchingFilter, run

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.model.binding import Binding
from sallyport.core.pinholes.lifecycle import State
from sallyport.errors import (
    BindError,
    InvalidArgument,
    NoSuchBind,
    OutOfResources,
    PolicyDenied,
    Terminating,
)
from sallyport.flags import BindFlags, Transport
from sallyport.ipfilter import IpFilter

ANY = ip_address("0.0.0.0")


def reserve(office: Office, **arguments: Any) -> Binding:  # noqa: ANN401 - any argument of bind_for_client
    return office.bind(office.dial(), armed=False, **arguments)


def approve(binding: Binding, address: Endpoint | None = None, **arguments: Any) -> bool:  # noqa: ANN401 - of retroactive_allow_bind
    everything: dict[str, Any] = {"protocol": FTP} | arguments
    transport = everything.pop("transport", binding.transport)
    return run(
        binding.session.retroactive_allow_bind(
            transport, address or binding.proxy_address, **everything
        )
    )


def test_an_approved_bind_is_open_and_was_not_before() -> None:
    office = Office()
    binding = reserve(office)
    assert office.data_path.connect(PEER, binding.proxy_address) is None

    assert approve(binding) is True

    assert binding.state is State.ARMED
    assert office.data_path.connect(PEER, binding.proxy_address) == CLIENT


def test_what_was_approved_before_says_so_and_stays_as_it_is() -> None:
    office = Office()
    binding = reserve(office)
    approve(binding)

    assert approve(binding, ip_filter=IpFilter()) is False
    assert binding.ip_filter is None
    office.data_path.connect(PEER, binding.proxy_address)
    assert approve(binding) is False


@pytest.mark.parametrize("client", [CLIENT, Endpoint.parse("[fd00:a::8]:1553")])
def test_zeros_match_any_address_at_that_port(client: Endpoint) -> None:
    office = Office()
    is_v4 = client.version == 4
    inside, outside = (
        ("10.0.0.8:50000", "198.51.100.9:21")
        if is_v4
        else ("[fd00:a::8]:50000", "[2001:db8::9]:21")
    )
    binding = office.bind(office.dial(inside, outside), client, armed=False)
    zeros = ANY if is_v4 else ip_address("::")

    assert approve(binding, Endpoint(zeros, binding.proxy_address.port)) is True


def test_who_may_connect_can_be_said_with_the_approval() -> None:
    office = Office()
    binding = reserve(office)
    approve(binding, ip_filter=IpFilter.of(PEER.address))

    stranger = Endpoint.parse("198.51.100.8:20")
    assert office.data_path.connect(stranger, binding.proxy_address) is None
    assert office.data_path.connect(PEER, binding.proxy_address) == CLIENT


def test_an_approval_that_names_nobody_leaves_who_may_connect_as_it_was_bound() -> None:
    office = Office()
    binding = reserve(office, ip_filter=IpFilter())
    approve(binding)

    assert office.data_path.connect(PEER, binding.proxy_address) is None


def test_a_udp_bind_is_approved_with_the_flags_of_the_call() -> None:
    office = Office()
    binding = reserve(office, transport=Transport.UDP)
    flags = BindFlags.BIDIRECTIONAL | BindFlags.INCREASE_RECEIVE_BUFFER
    approve(binding, flags=flags)

    office.data_path.send(PEER, binding.proxy_address)
    assert office.data_path.answer(binding.proxy_address, PEER)
    pinhole = binding.connections[0].pinhole
    assert pinhole.receive_buffer == limits.INCREASED_RECEIVE_BUFFER
    assert binding.flags == flags


@pytest.mark.parametrize(
    ("address", "arguments", "error", "hresult"),
    [
        (Endpoint(EXTERNAL, 0), {}, InvalidArgument, 0x80070057),
        (None, {"flags": BindFlags.TIMEOUT}, InvalidArgument, 0x80070057),
        (None, {"flags": BindFlags.BIDIRECTIONAL}, InvalidArgument, 0x80070057),
        (Endpoint(EXTERNAL, 39999), {}, NoSuchBind, 0x80070490),
        (Endpoint(ANY, 39999), {}, NoSuchBind, 0x80070490),
        (None, {"transport": Transport.UDP}, NoSuchBind, 0x80070490),
    ],
)
def test_what_cannot_be_approved_has_its_error_and_stays_shut(
    address: Endpoint | None, arguments: dict[str, Any], error: type[BindError], hresult: int
) -> None:
    office = Office()
    binding = reserve(office)

    with pytest.raises(error) as refusal:
        approve(binding, address, **arguments)
    assert refusal.value.hresult == hresult
    assert binding.state is State.RESERVED
    assert not office.data_path.pinholes


def test_a_port_of_the_same_number_at_another_address_is_not_the_clients() -> None:
    binding = reserve(Office())
    elsewhere = Endpoint(ip_address("10.0.0.1"), binding.proxy_address.port)

    with pytest.raises(NoSuchBind):
        approve(binding, elsewhere)


def test_a_bind_that_a_filter_asked_for_is_that_filters_to_open() -> None:
    watching = WatchingFilter()
    office = Office(watching)
    primary = office.dial()
    binding = office.bind(primary, armed=False, session_filter=watching.witnesses[0])

    with pytest.raises(NoSuchBind):
        approve(binding)
    assert binding.state is State.RESERVED


def test_a_protocol_the_rules_refuse_approves_nothing_and_is_written_down() -> None:
    office = Office()
    binding = reserve(office)
    other = type(FTP)("tftp", Transport.UDP, 69)

    with pytest.raises(PolicyDenied):
        approve(binding, protocol=other)
    assert binding.state is State.RESERVED
    assert office.reasons("binding.refused") == ["no-rule-matched"]


def test_a_bind_that_has_ended_is_not_there_and_a_session_that_is_over_says_so() -> None:
    office = Office()
    binding = reserve(office)
    binding.kill()
    with pytest.raises(NoSuchBind):
        approve(binding)

    assert binding.primary is not None
    binding.primary.kill()
    with pytest.raises(Terminating):
        approve(binding)


def test_a_bind_the_data_path_cannot_open_is_withdrawn() -> None:
    office = Office()
    binding = reserve(office)
    office.data_path.fail_next = OutOfResources("set-full")

    with pytest.raises(OutOfResources):
        approve(binding)
    assert binding.state is State.CLOSED
    assert not office.data_path.reserved
