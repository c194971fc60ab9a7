"""Mappings that move from one process to another: the same port, owner and end."""

import asyncio
import json
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.addresses import Endpoint, IpAddress, IpNetwork
from sallyport.core.engine.gateway import Gateway
from sallyport.core.policy.terms import AllowedAddresses
from sallyport.flags import Transport
from sallyport.frontends.pcp.leases import (
    AllowedPeers,
    LeaseBook,
    Leases,
    NotTheOwner,
    PeersDoNotFactor,
    Wish,
)
from sallyport.frontends.rights import PORT_MAPPING
from sallyport.ipfilter import IpFilter
from sallyport.ops.processes.values import plain, value_of
from sallyport.testing import VirtualWorld, make_gateway
from sallyport.testing.world import make_policy

CLIENT = Endpoint.parse("10.0.0.8:8080")
ROUTED = Endpoint.parse("[fd00:a::8]:8080")
PEERS = AllowedPeers(IpFilter.of("198.51.100.0/24", "2001:db8::/64"), frozenset({20}))


def make(world: VirtualWorld) -> tuple[Gateway, Leases]:
    """Make a gateway that grants mappings, and its leases."""
    policy = replace(
        make_policy(protocols=frozenset({"port-mapping"})),
        own_addresses={"external": (ip_address("203.0.113.1"),)},
    )
    gateway, _path, _world = make_gateway(policy=policy, world=world)
    leases = Leases(gateway, PORT_MAPPING)
    leases.bound(120, 86400)
    return gateway, leases


def ours(_client: IpAddress) -> bool:
    return True


def moved(leases: Leases) -> LeaseBook:
    """Hand mappings over as two processes do, in JSON."""
    words = json.loads(json.dumps(plain(leases.hand_over())))
    return value_of(LeaseBook, words)


@pytest.fixture
def world() -> VirtualWorld:
    made = VirtualWorld()
    made.seconds = 1000.0
    return made


def test_the_next_process_has_the_same_port_owner_peers_and_end(world: VirtualWorld) -> None:
    _, before = make(world)
    wish = Wish(CLIENT, Transport.UDP, 600, b"nonce", peers=PEERS)
    lease, _seconds = asyncio.run(before.grant(wish))
    world.seconds += 100
    gateway, after = make(world)

    asyncio.run(after.take_over(moved(before), ours))

    (binding,) = gateway.bindings()
    assert binding.proxy_address == lease.external
    assert binding.expires_in == 500
    renewed, seconds = asyncio.run(after.grant(wish))
    assert (renewed.external, renewed.peers, seconds) == (lease.external, PEERS, 600)
    with pytest.raises(NotTheOwner):
        asyncio.run(after.grant(Wish(CLIENT, Transport.UDP, 600, b"other")))


def test_a_set_of_ports_moves_as_a_whole(world: VirtualWorld) -> None:
    _, before = make(world)
    wish = Wish(CLIENT, Transport.UDP, 600, b"nonce", count=4)
    lease, _seconds = asyncio.run(before.grant(wish))
    gateway, after = make(world)

    asyncio.run(after.take_over(moved(before), ours))

    (binding,) = gateway.bindings()
    first = lease.external
    assert [one.proxy_address for one in binding.connections] == [
        first.with_port(first.port + i) for i in range(4)
    ]
    assert [one.pinhole.target for one in binding.connections] == [
        CLIENT.with_port(CLIENT.port + i) for i in range(4)
    ]
    assert after.began == 1000


@pytest.mark.parametrize("taken", [0, 3])
def test_a_set_of_which_one_port_is_taken_meanwhile_is_lost_and_holds_none(
    world: VirtualWorld, taken: int
) -> None:
    _, before = make(world)
    lease, _seconds = asyncio.run(before.grant(Wish(CLIENT, Transport.UDP, 600, b"", count=4)))
    gateway, after = make(world)
    session = gateway.client_session(CLIENT.address)
    forced = lease.external.with_port(lease.external.port + taken)
    bind = session.bind_for_client(
        [CLIENT], transport=Transport.UDP, protocol=PORT_MAPPING, proxy_address=forced
    )
    asyncio.run(bind)
    free = gateway.free_ports(Transport.UDP)

    asyncio.run(after.take_over(moved(before), ours))

    assert [fields["reason"] for event, fields in world.journal.records if event == "lease.lost"]
    assert gateway.free_ports(Transport.UDP) == free


def test_a_routed_mapping_moves_too(world: VirtualWorld) -> None:
    _, before = make(world)
    asyncio.run(before.grant(Wish(ROUTED, Transport.TCP, 600)))
    gateway, after = make(world)

    asyncio.run(after.take_over(moved(before), ours))

    assert [binding.proxy_address for binding in gateway.bindings()] == [ROUTED]


def test_the_epoch_goes_on_when_every_mapping_is_there_again(world: VirtualWorld) -> None:
    _, before = make(world)
    asyncio.run(before.grant(Wish(CLIENT, Transport.TCP, 600)))
    world.seconds += 100
    _, after = make(world)

    asyncio.run(after.take_over(moved(before), ours))

    assert after.began == 1000


def test_one_that_cannot_be_made_is_recorded_and_the_epoch_begins_anew(
    world: VirtualWorld,
) -> None:
    _, before = make(world)
    lease, _seconds = asyncio.run(before.grant(Wish(CLIENT, Transport.TCP, 600)))
    world.seconds += 100
    gateway, after = make(world)
    session = gateway.client_session(CLIENT.address)
    bind = session.bind_for_client(
        [CLIENT], transport=Transport.TCP, protocol=PORT_MAPPING, proxy_address=lease.external
    )
    asyncio.run(bind)

    asyncio.run(after.take_over(moved(before), ours))

    assert after.began == 1100
    (lost,) = [fields for event, fields in world.journal.records if event == "lease.lost"]
    assert lost["proxy"] == lease.external


def test_other_workers_clients_and_what_is_over_are_left_out(world: VirtualWorld) -> None:
    _, before = make(world)
    asyncio.run(before.grant(Wish(CLIENT, Transport.TCP, 600)))
    book = moved(before)
    gateway, after = make(world)

    asyncio.run(after.take_over(book, lambda client: client != CLIENT.address))
    world.seconds += 601
    asyncio.run(after.take_over(book, ours))

    assert not list(gateway.bindings())


def test_a_port_is_free_for_the_next_process_while_a_transfer_runs(world: VirtualWorld) -> None:
    gateway, before = make(world)
    lease, _seconds = asyncio.run(before.grant(Wish(CLIENT, Transport.TCP, 600)))
    number = lease.binding.connections[0].pinhole.id
    peer = Endpoint.parse("198.51.100.9:20")
    gateway.registry.flow_established(number, peer)

    before.hand_over()

    path = gateway.data_paths[lease.binding.connections[0].data_path]
    path.reserve(Transport.TCP, lease.external)
    assert peer in lease.binding.connections[0].running
    assert cast("object", lease.binding.connections[0].reservations) is None


def test_a_mapping_for_another_host_moves_with_who_asked_for_it(world: VirtualWorld) -> None:
    gateway, leases = make(world)
    neighbour = ip_address("10.0.0.9")
    (rule,) = gateway.policy.access_rules
    wider = replace(rule, allowed_addresses=AllowedAddresses.NETWORK)
    gateway.policy = replace(gateway.policy, access_rules=(wider,))
    asyncio.run(leases.grant(Wish(CLIENT, Transport.UDP, 600, b"nonce", asker=neighbour)))
    (kept,) = moved(leases).leases

    assert (kept.client, kept.host) == (CLIENT, neighbour)


def test_mappings_at_an_address_that_has_gone_are_lost_and_the_epoch_says_so(
    world: VirtualWorld,
) -> None:
    gateway, leases = make(world)
    asyncio.run(leases.grant(Wish(CLIENT, Transport.TCP, 600)))
    asyncio.run(leases.grant(Wish(ROUTED, Transport.TCP, 600)))
    world.seconds += 50
    leases.lose_those_elsewhere(gateway.policy.gateway_addresses)
    assert leases.began == 1000.0
    leases.lose_those_elsewhere({ip_address("203.0.113.2")})

    assert [one.proxy_address for one in gateway.bindings()] == [ROUTED]
    assert leases.began == 1050.0


# -- who may connect ------------------------------------------------------------------------------

# Few hosts, nested prefixes and few ports: the test can try every peer there is.
HOSTS = [ip_address(f"198.51.100.{last}") for last in range(8)]
PREFIXES = [
    ip_network(f"198.51.100.{first}/{length}")
    for length in (29, 30, 31, 32)
    for first in range(0, 8, 1 << (32 - length))
]
PORTS = [20, 21, 22]
PAIRS = st.lists(st.tuples(st.sampled_from(PREFIXES), st.sampled_from([0, *PORTS])), max_size=6)


def are_meant(pairs: list[tuple[IpNetwork, int]]) -> set[tuple[IpAddress, int]]:
    """Return every peer that the pairs let in (RFC 6887 section 13.3)."""
    return {
        (host, port)
        for host in HOSTS
        for port in (*PORTS, 1)
        if not pairs or any(host in prefix and at in (0, port) for prefix, at in pairs)
    }


def are_let_in(peers: AllowedPeers) -> set[tuple[IpAddress, int]]:
    """Return every peer that a pinhole for these lets in."""
    return {
        (host, port)
        for host in HOSTS
        for port in (*PORTS, 1)
        if (peers.addresses is None or host in peers.addresses)
        and (peers.ports is None or port in peers.ports)
    }


@given(PAIRS)
def test_filters_let_in_whom_they_name_and_no_one_else_or_are_refused(
    pairs: list[tuple[IpNetwork, int]],
) -> None:
    meant = are_meant(pairs)
    try:
        peers = AllowedPeers.of(pairs)
    except PeersDoNotFactor:
        # No set of hosts and set of ports has just these peers.
        hosts, ports = {host for host, _ in meant}, {port for _, port in meant}
        assert len(meant) < len(hosts) * len(ports)
    else:
        assert are_let_in(peers) == meant


def test_filters_that_say_the_same_in_other_words_are_the_same() -> None:
    whole, first, second = (
        ip_network(text) for text in ("198.51.100.0/29", "198.51.100.0/30", "198.51.100.4/30")
    )

    said = AllowedPeers.of([(whole, 20), (whole, 21)])
    assert said == AllowedPeers.of([(first, 20), (second, 20), (whole, 21)])
    assert AllowedPeers.of([(whole, 0)]) == AllowedPeers.of([(whole, 0), (first, 20)])
    with pytest.raises(PeersDoNotFactor):
        AllowedPeers.of([(first, 0), (whole, 20)])
