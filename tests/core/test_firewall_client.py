"""Clients that ask the gateway themselves: their sessions, their users, the life of their binds."""

from dataclasses import replace
from typing import Any

import pytest
from tests.core.emulators import HookedFilter
from tests.core.office import CLIENT, EXTERNAL, FTP, NEIGHBOUR, PEER, Office, run

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.model.binding import Binding
from sallyport.core.model.events import BindTcp
from sallyport.core.model.hooks import Hooks, Scope, Source
from sallyport.core.model.session import Session
from sallyport.core.pinholes.lifecycle import State
from sallyport.core.policy.rules import Asker
from sallyport.core.policy.terms import Frontend
from sallyport.errors import InvalidArgument, OutOfResources, PolicyDenied, Terminating
from sallyport.flags import BindFlags, SessionFlags, Transport
from sallyport.ipfilter import IpFilter

SOCKS = Asker("alice", Frontend.SOCKS)
ANY_PORT = Endpoint(EXTERNAL, 0)
ONE, OTHER = IpFilter.of(PEER.address), IpFilter.of("198.51.100.10")


def session_of(office: Office, asker: Asker = SOCKS) -> Session:
    return office.gateway.client_session(CLIENT.address, asker)


def bind(office: Office, **arguments: Any) -> Binding:  # noqa: ANN401 - any argument of bind_for_client
    everything: dict[str, Any] = {
        "transport": Transport.TCP,
        "protocol": FTP,
        "proxy_address": ANY_PORT,
        "frontend": Frontend.SOCKS,
    } | arguments
    return run(session_of(office).bind_for_client([CLIENT], **everything))


def test_a_host_that_asks_has_a_session_beside_the_one_of_what_is_intercepted() -> None:
    office = Office()
    intercepted = office.dial().session
    asking = session_of(office)

    assert asking is not intercepted
    assert asking is session_of(office, SOCKS._replace(frontend=Frontend.API))
    assert (intercepted.source, asking.source) == (Source.SECURE_NAT, Source.FIREWALL_CLIENT)
    assert (intercepted.flags, asking.flags) == (SessionFlags.NAT, SessionFlags.NONE)


def test_two_users_of_a_host_have_two_sessions_and_one_quota() -> None:
    office = Office(max_bindings_per_client=1)
    alice, bob = session_of(office), session_of(office, Asker("bob", Frontend.SOCKS))

    assert (alice.user, bob.user) == ("alice", "bob")
    assert alice is not bob
    assert alice.account == bob.account


def test_a_session_that_is_not_used_ends_by_itself_and_is_made_anew() -> None:
    office = Office()
    first = session_of(office)
    office.pass_time(limits.UNUSED_SESSION_SECONDS + 1)

    assert first.is_over
    assert session_of(office) is not first


def test_filters_are_told_of_the_binds_of_the_clients_they_registered_for() -> None:
    filters = [
        HookedFilter(str(source.name), Hooks.of(BindTcp, scope=Scope.ANY_PROTOCOL, sources=source))
        for source in Source.ALL
    ]
    bind(Office(*filters))

    told = {one.name: one.witness.kinds() for one in filters}
    assert told == {"SECURE_NAT": [], "FIREWALL_CLIENT": ["BindTcp"]}


def test_a_bind_of_such_a_client_can_be_approved_afterwards() -> None:
    office = Office()
    binding = bind(office, armed=False)
    assert office.data_path.connect(PEER, binding.proxy_address) is None

    run(
        session_of(office).retroactive_allow_bind(
            Transport.TCP, binding.proxy_address, protocol=FTP
        )
    )
    assert office.data_path.connect(PEER, binding.proxy_address) == CLIENT


def test_a_filter_can_receive_for_such_a_client_without_a_port() -> None:
    office = Office()
    port = run(
        session_of(office).emulate_client_bind(
            CLIENT, Endpoint(EXTERNAL, 5000), transport=Transport.TCP, protocol=FTP
        )
    )
    assert port.session.source is Source.FIREWALL_CLIENT
    assert port.is_emulated


# -- how long a binding lives ---------------------------------------------------------------------


def test_a_binding_lives_as_long_as_it_was_asked_for_and_extended() -> None:
    office = Office()
    binding = bind(office, lifetime=100)
    office.pass_time(60)
    assert binding.expires_in == 40

    assert binding.extend(100) == 100
    office.pass_time(99)
    assert office.data_path.pinholes
    office.pass_time(1)
    assert not office.data_path.pinholes
    assert office.reasons("binding.closed") == ["lifetime-is-over"]


def test_what_runs_when_the_life_of_a_binding_is_over_may_finish() -> None:
    office = Office()
    binding = bind(office, lifetime=100)
    office.data_path.connect(PEER, binding.proxy_address)
    office.pass_time(100)

    assert office.reasons("binding.closed") == []
    office.data_path.finish(PEER)
    assert office.reasons("binding.closed") == ["finished"]


def test_datagrams_are_forwarded_no_longer_when_the_life_of_a_binding_is_over() -> None:
    office = Office()
    flags = BindFlags.ALLOW_MULTIPLE | BindFlags.BIDIRECTIONAL
    binding = bind(office, lifetime=100, transport=Transport.UDP, flags=flags)
    assert office.data_path.send(PEER, binding.proxy_address)
    office.pass_time(100)

    assert office.data_path.send(PEER, binding.proxy_address) is None
    assert office.data_path.flows == {}
    assert list(office.gateway.bindings()) == []
    assert office.reasons("binding.closed") == ["lifetime-is-over"]


def test_a_rule_gives_a_life_no_longer_than_its_own_limit_each_time() -> None:
    office = Office(max_lifetime=60)
    binding = bind(office, lifetime=100)
    assert binding.expires_in == 60
    office.pass_time(50)

    assert binding.extend(1000) == 60
    office.pass_time(60)
    assert office.reasons("binding.closed") == ["max-lifetime-reached"]


def test_a_binding_without_a_limit_says_so_and_gets_one_by_being_extended() -> None:
    binding = bind(Office())
    assert binding.expires_in is None
    binding.extend(5)

    assert binding.expires_in == 5


def test_a_binding_is_not_extended_when_the_rules_grant_it_no_more() -> None:
    office = Office()
    binding = bind(office, lifetime=100)
    office.gateway.replace(replace(office.gateway.policy, access_rules=()), ())

    with pytest.raises(PolicyDenied):
        binding.extend(1000)
    assert binding.expires_in == 100


@pytest.mark.parametrize("seconds", [0, -1])
def test_no_life_at_all_is_a_mistake(seconds: float) -> None:
    office = Office()
    with pytest.raises(InvalidArgument):
        bind(office, lifetime=seconds)
    with pytest.raises(InvalidArgument):
        bind(office).extend(seconds)


def test_what_has_ended_is_not_extended() -> None:
    binding = bind(Office())
    binding.kill()
    with pytest.raises(Terminating):
        binding.extend(10)


def test_no_timer_outlives_its_binding() -> None:
    office = Office()
    waiting = len(office.gateway.deadlines)
    binding = bind(office, lifetime=100)
    binding.extend(50)
    binding.kill()
    office.pass_time(limits.UNUSED_SESSION_SECONDS)

    assert len(office.gateway.deadlines) == waiting


# -- who may connect ------------------------------------------------------------------------------


def test_addresses_and_ports_of_peers_are_replaced_at_once_and_what_runs_goes_on() -> None:
    office = Office()
    binding = bind(office, flags=BindFlags.ALLOW_MULTIPLE, ip_filter=ONE)
    at = binding.proxy_address
    office.data_path.connect(PEER, at)
    run(binding.set_peers(OTHER, frozenset({7000})))
    other = Endpoint.parse("198.51.100.10:7000")

    assert office.data_path.connect(PEER.with_port(21), at) is None
    assert office.data_path.connect(other.with_port(7001), at) is None
    assert office.data_path.connect(other, at) == CLIENT
    assert (at, binding.state) == (binding.proxy_address, State.ARMED)
    assert len(binding.connections[0].peers()) == 2


def test_all_ports_of_a_binding_get_the_new_peers_or_none_does() -> None:
    office = Office()
    binding = run(
        session_of(office).bind_for_client(
            [CLIENT, CLIENT.with_port(2000)],
            transport=Transport.TCP,
            protocol=FTP,
            proxy_address=ANY_PORT,
            ip_filter=ONE,
        )
    )
    office.data_path.fail_next = OutOfResources("injected")
    with pytest.raises(OutOfResources):
        run(binding.set_peers(OTHER))
    assert [one.ip_filter for one in binding.connections] == [ONE, ONE]

    run(binding.set_peers(OTHER))
    assert [one.ip_filter for one in binding.connections] == [OTHER, OTHER]


def test_the_quota_counts_what_a_host_asks_for_and_what_is_intercepted_together() -> None:
    office = Office(max_bindings_per_client=2)
    office.bind(office.dial())
    bind(office)

    assert session_of(office).held_for(None) == 2
    assert office.gateway.client_session(NEIGHBOUR.address, SOCKS).held_for(None) == 0
