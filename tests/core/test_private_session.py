"""Sessions that filters ask for: a client's ordinary one, and ones of their own."""

from ipaddress import ip_address

import pytest
from tests.core.emulators import HookedFilter
from tests.core.office import CLIENT, EXTERNAL, FTP, Office, run

from sallyport import limits
from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.model.binding import Binding
from sallyport.core.model.events import BindTcp
from sallyport.core.model.hooks import Hooks, Scope
from sallyport.core.model.session import Session
from sallyport.core.pinholes.lifecycle import State
from sallyport.errors import InvalidArgument, QuotaExceeded, Terminating
from sallyport.flags import SessionFlags, Transport

HOST = CLIENT.address
HOST_6 = ip_address("fd00:a::8")
ANY_PORT = Endpoint(EXTERNAL, 0)


def bind_in(session: Session) -> Binding:
    return run(
        session.bind_for_client(
            [CLIENT], transport=Transport.TCP, protocol=FTP, proxy_address=ANY_PORT
        )
    )


@pytest.mark.parametrize("host", [HOST, HOST_6])
def test_a_private_session_is_beside_the_clients_ordinary_one(host: IpAddress) -> None:
    gateway = Office().gateway
    ordinary, private = gateway.client_session(host), gateway.private_session(host)

    assert gateway.client_session(host) is ordinary
    assert private.client_address == ordinary.client_address == host
    assert private.flags == SessionFlags.NAT | SessionFlags.PRIVATE
    assert ordinary.flags == SessionFlags.NAT
    assert [one.id for one in gateway.sessions] == [ordinary.id, private.id]


def test_the_session_of_a_client_is_the_one_its_connections_have() -> None:
    office = Office()
    primary = office.dial()

    assert office.gateway.client_session(HOST) is primary.session


def test_what_a_private_session_holds_is_listed_and_keeps_it_alive() -> None:
    office = Office()
    session = office.gateway.private_session(HOST)
    binding = bind_in(session)
    office.pass_time(10 * limits.UNUSED_SESSION_SECONDS)

    assert list(office.gateway.bindings()) == [binding]
    assert list(office.gateway.sessions) == [session]

    binding.kill()
    assert session.is_over
    assert not list(office.gateway.sessions)


@pytest.mark.parametrize("name", ["client_session", "private_session"])
def test_a_session_into_which_nothing_is_put_ends_by_itself(name: str) -> None:
    office = Office()
    session: Session = getattr(office.gateway, name)(HOST)
    office.pass_time(limits.UNUSED_SESSION_SECONDS - 0.1)
    assert not session.is_over

    office.pass_time(0.2)

    assert session.flags & SessionFlags.TERMINATED
    assert not list(office.gateway.sessions)
    assert len(office.gateway.deadlines) == 0
    with pytest.raises(Terminating):
        bind_in(session)


def test_kill_ends_a_session_that_holds_nothing_and_one_that_holds_something() -> None:
    office = Office()
    empty, full = (office.gateway.private_session(HOST) for _ in range(2))
    binding = bind_in(full)

    empty.kill()
    full.kill()
    full.kill()

    assert (empty.is_over, full.is_over, binding.state) == (True, True, State.CLOSED)
    assert not list(office.gateway.sessions)
    assert not office.data_path.reserved


def test_the_quota_is_the_clients_in_all_its_sessions_together() -> None:
    office = Office(max_bindings_per_client=2)
    sessions = [office.gateway.private_session(HOST) for _ in range(2)]
    bindings = [bind_in(session) for session in sessions]
    with pytest.raises(QuotaExceeded):
        bind_in(office.gateway.client_session(HOST))

    bindings[0].kill()
    bind_in(sessions[1])
    assert len(office.gateway.held) == 1
    sessions[1].kill()
    assert not office.gateway.held


def test_a_client_has_so_many_private_sessions_and_no_more() -> None:
    gateway = Office().gateway
    sessions = [gateway.private_session(HOST) for _ in range(limits.MAX_PRIVATE_SESSIONS)]
    with pytest.raises(QuotaExceeded):
        gateway.private_session(HOST)
    gateway.private_session(HOST_6)

    sessions[0].kill()
    gateway.private_session(HOST)


@pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "0.0.0.0", "2001:db8::1"])
def test_the_gateway_is_nobodys_client(address: str) -> None:
    gateway = Office().gateway
    for make in (gateway.client_session, gateway.private_session):
        with pytest.raises(InvalidArgument):
            make(ip_address(address))
    assert not list(gateway.sessions)


def test_shutting_down_ends_private_sessions_and_detaches_their_filters() -> None:
    watching = HookedFilter("watching", Hooks.of(BindTcp, scope=Scope.ANY_PROTOCOL))
    office = Office(watching)
    full, empty = (office.gateway.private_session(HOST) for _ in range(2))
    binding = bind_in(full)

    office.gateway.shut_down("stopping")

    assert (binding.state, full.is_over, empty.is_over) == (State.CLOSED, True, True)
    assert watching.witness.detached == 1
    assert not list(office.gateway.sessions)
