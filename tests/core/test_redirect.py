"""Ports of ours that lead the client outwards (`RedirectConnections`)."""

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from tests.core.emulators import HookedFilter, Tagger
from tests.core.office import FTP, Office, Witness, run
from tests.core.test_published import DATA, FTP_SERVER, OUTSIDE, RULE, PublishingOffice

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.model.connection import PrimaryConnection
from sallyport.core.model.events import ConnectTcp, EstablishedConnection, UdpDestination
from sallyport.core.model.future_connection import FutureConnection
from sallyport.core.model.hooks import Hooks, Scope
from sallyport.core.pinholes.datapath import DataPathKind
from sallyport.core.pinholes.lifecycle import State
from sallyport.errors import (
    AddressInUse,
    AddressNotAllowed,
    AddressNotAvailable,
    BindError,
    InvalidArgument,
    OutOfResources,
    PolicyDenied,
    QuotaExceeded,
    Terminating,
)
from sallyport.flags import BindFlags, Transport
from sallyport.testing import MemoryDataPath

INSIDE = ip_address("10.0.0.1")
HERE = Endpoint.parse("10.0.0.8:4711")
FIRST, SECOND = Endpoint.parse("198.51.100.9:3000"), Endpoint.parse("198.51.100.77:5000")


def redirect(
    primary: PrimaryConnection,
    *addresses: Endpoint,
    **arguments: Any,  # noqa: ANN401 - any argument of redirect_connections
) -> tuple[FutureConnection, ...]:
    everything: dict[str, Any] = {
        "protocol": FTP,
        "primary": primary,
        "internal_address": INSIDE,
    } | arguments
    return run(primary.session.redirect_connections(addresses or (FIRST, SECOND), **everything))


def inside_port(office: Office) -> int:
    return office.ports.of(Transport.TCP, INSIDE).free


def test_each_port_of_a_run_leads_the_client_to_its_address() -> None:
    office = Office()
    first, second = redirect(office.dial())
    low = first.proxy_address

    assert low.address == INSIDE
    assert (low.port % 2, second.proxy_address) == (0, low.with_port(low.port + 1))
    assert office.data_path.connect(HERE, low) == FIRST
    assert office.data_path.connect(HERE, second.proxy_address) == SECOND
    assert office.data_path.connect(HERE.with_port(4712), low) is None


def test_nobody_but_the_client_may_use_them() -> None:
    office = Office()
    (redirected,) = redirect(office.dial(), FIRST)

    for stranger in ("10.0.0.9:4711", "198.51.100.9:4711"):
        came = office.data_path.connect(Endpoint.parse(stranger), redirected.proxy_address)
        assert came is None


def test_an_ipv6_client_is_redirected_on_a_routed_relation_too() -> None:
    office = Office()
    primary = office.dial("[fd00:a::8]:50000", "[2001:db8::9]:21")
    target = Endpoint.parse("[2001:db8::9]:3000")
    (redirected,) = redirect(primary, target, internal_address=ip_address("fd00:a::1"))

    here = Endpoint.parse("[fd00:a::8]:4711")
    assert redirected.proxy_address.address == ip_address("fd00:a::1")
    assert office.data_path.connect(here, redirected.proxy_address) == target


def test_who_asked_is_told_which_one_was_used() -> None:
    office, caller = Office(), Witness()
    first, second = redirect(office.dial(), session_filter=caller, context="tracks")
    office.data_path.connect(HERE, second.proxy_address)

    assert caller.events == [EstablishedConnection(second, HERE, "tracks")]
    assert (first.state, second.state) == (State.ARMED, State.LIVE)
    assert second.context == "tracks"


def test_a_redirected_udp_client_is_answered() -> None:
    office = Office()
    (redirected,) = redirect(office.dial(), FIRST, transport=Transport.UDP)

    assert office.data_path.send(HERE, redirected.proxy_address, b"x") == FIRST
    assert office.data_path.answer(redirected.proxy_address, HERE, b"y")
    assert office.data_path.send(HERE.with_port(4712), redirected.proxy_address) is None
    assert redirected.pinhole.idle_seconds == limits.UDP_IDLE_SECONDS


def test_each_action_is_cancelled_by_itself_and_gives_its_port_back() -> None:
    office = Office()
    primary = office.dial()
    free = inside_port(office)
    first, second = redirect(primary)
    first.cancel()

    assert office.data_path.reserved == {(Transport.TCP, second.proxy_address)}
    assert inside_port(office) == free - 1
    with pytest.raises(Terminating):
        first.cancel()


def test_they_end_with_their_primary_and_after_a_minute() -> None:
    office = Office()
    primary = office.dial()
    before = office.holdings()
    unused = redirect(primary)
    office.pass_time(limits.ACCEPT_TIMEOUT_SECONDS + 0.1)
    assert [one.state for one in unused] == [State.CLOSED] * 2
    assert office.holdings() == before

    kept = redirect(primary, flags=BindFlags.ALLOW_MULTIPLE)
    office.pass_time(limits.ACCEPT_TIMEOUT_SECONDS + 0.1)
    assert [one.state for one in kept] == [State.ARMED] * 2
    primary.kill()
    assert [one.state for one in kept] == [State.CLOSED] * 2
    assert not office.data_path.reserved


def test_a_redirection_for_many_is_used_again() -> None:
    office = Office()
    (redirected,) = redirect(office.dial(), FIRST, flags=BindFlags.ALLOW_MULTIPLE)

    for port in (4711, 4712):
        here = HERE.with_port(port)
        assert office.data_path.connect(here, redirected.proxy_address) == FIRST


def test_no_kernel_mode_puts_it_into_user_mode() -> None:
    office = Office()
    (redirected,) = redirect(office.dial(), FIRST, flags=BindFlags.NO_KERNEL_MODE)

    assert redirected.path.kind is DataPathKind.USER
    assert office.user_path.connect(HERE, redirected.proxy_address) == FIRST


@pytest.mark.parametrize("transport", list(Transport))
def test_filters_see_the_bytes_and_whom_they_are_for(transport: Transport) -> None:
    hooks = Hooks.of(ConnectTcp, UdpDestination, scope=Scope.SECONDARY | Scope.ANY_PROTOCOL)
    other = HookedFilter("other", hooks)
    office = Office(other)
    (redirected,) = redirect(office.dial(), FIRST, transport=transport)
    other.witness.events.clear()
    tagger = Tagger(b"<")
    other.witness.react = lambda event: event.connection.attach_data_filter(tagger)

    if transport is Transport.TCP:
        office.user_path.connect(HERE, redirected.proxy_address)
        assert other.witness.events == [ConnectTcp(redirected)]
    else:
        office.user_path.send(HERE, redirected.proxy_address, b"a")
        assert other.witness.events == [UdpDestination(redirected, FIRST)]
    assert tagger.peer == FIRST
    flow = office.user_path.filtered[redirected.pinhole.id, HERE]
    flow.peer_says(b"b")
    assert flow.dialled.take().endswith(b"<b")


# -- which address it is --------------------------------------------------------------------------


def test_a_published_servers_client_is_known_by_our_inside_address() -> None:
    office = PublishingOffice()
    primary = office.publish()
    primary.inside_address = Endpoint(INSIDE, 50001)
    (redirected,) = redirect(
        primary, OUTSIDE.with_port(4711), protocol=FTP_SERVER, internal_address=None
    )

    assert redirected.proxy_address.address == INSIDE
    came = office.data_path.connect(DATA, redirected.proxy_address)
    assert came == OUTSIDE.with_port(4711)


def test_a_server_in_full_proxy_is_redirected_by_the_plain_permission_too() -> None:
    office = PublishingOffice(replace(RULE, full_proxy=True))
    primary = office.publish()
    primary.inside_address = Endpoint(INSIDE, 50001)
    target = OUTSIDE.with_port(4711)
    future = run(primary.session.allow_future_connect(target, protocol=FTP_SERVER, primary=primary))

    assert future.proxy_address.address == INSIDE
    assert office.data_path.connect(DATA, future.proxy_address) == target


def test_without_an_address_the_client_knows_us_by_nothing_is_opened() -> None:
    office = Office()
    primary = office.dial()
    before = office.holdings()

    with pytest.raises(InvalidArgument, match="internal-address-needed"):
        redirect(primary, internal_address=None)
    with pytest.raises(InvalidArgument, match="internal-address-needed"):
        run(primary.session.redirect_connections([FIRST], protocol=FTP))
    assert office.holdings() == before


# -- all or nothing -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"addresses": ()}, InvalidArgument),
        ({"addresses": (FIRST,) * (limits.MAX_ADDRESSES_PER_CALL + 1)}, InvalidArgument),
        ({"addresses": (FIRST, Endpoint.parse("[2001:db8::9]:3000"))}, InvalidArgument),
        ({"internal_address": ip_address("fd00:a::1")}, InvalidArgument),
        ({"flags": BindFlags.TIMEOUT | BindFlags.ALLOW_MULTIPLE}, InvalidArgument),
        ({"flags": BindFlags.PROXY_MODE}, InvalidArgument),
        ({"addresses": (FIRST, FIRST.with_port(1023))}, AddressNotAllowed),
        ({"addresses": (FIRST, Endpoint.parse("10.0.0.77:3000"))}, PolicyDenied),
        ({"addresses": (FIRST, Endpoint.parse("203.0.113.1:3000"))}, PolicyDenied),
        ({"internal_address": ip_address("10.0.0.2")}, AddressNotAvailable),
        ({"internal_address": ip_address("127.0.0.1")}, AddressNotAvailable),
        ({"addresses": (FIRST,) * 3}, QuotaExceeded),
    ],
)
def test_one_bad_address_refuses_them_all_and_changes_nothing(
    arguments: dict[str, Any], error: type[BindError]
) -> None:
    office = Office(max_bindings_per_client=2)
    primary = office.dial()
    before, free = office.holdings(), inside_port(office)
    everything: dict[str, Any] = {
        "addresses": (FIRST, SECOND),
        "protocol": FTP,
        "primary": primary,
        "internal_address": INSIDE,
    }

    with pytest.raises(error):
        run(primary.session.redirect_connections(**(everything | arguments)))
    assert office.holdings() == before
    assert inside_port(office) == free


def test_a_loopback_address_is_not_one_the_client_reaches() -> None:
    loopback = ip_address("127.0.0.1")
    office = Office(data_path=MemoryDataPath([loopback]))

    with pytest.raises(AddressNotAvailable):
        redirect(office.dial(), internal_address=loopback)
    assert not office.data_path.reserved


def test_when_one_cannot_open_none_is_open() -> None:
    office = Office()
    primary = office.dial()
    before = office.holdings()
    office.data_path.fail_next = OutOfResources("set-full")

    with pytest.raises(OutOfResources):
        redirect(primary)
    assert office.holdings() == before


def test_when_no_run_of_ports_is_left_nothing_is_held() -> None:
    office = Office(ports="40001-40002")
    primary = office.dial()
    with pytest.raises(AddressInUse):
        redirect(primary)
    assert not office.data_path.reserved
