"""Whose addresses may be bound for, and which proxy address comes of it (PRODUCT section 2)."""

import pytest
from tests.contract.bench import Bench
from tests.contract.conftest import Build
from tests.contract.places import FORCED_PORT
from tests.contract.setups import NAT, ROUTED

from sallyport.addresses import Endpoint, PortRange
from sallyport.core.pinholes.lifecycle import State
from sallyport.core.policy.terms import AllowedAddresses
from sallyport.errors import (
    AddressInUse,
    AddressNotAllowed,
    AddressNotAvailable,
    BindError,
    InvalidArgument,
)
from sallyport.flags import BindFlags
from sallyport.ipfilter import IpFilter

CLASS_C = BindFlags.ALLOW_ADDRESSES_IN_CLASS_C_NETWORK
NETWORK = BindFlags.ALLOW_ADDRESSES_IN_NETWORK
ALL = BindFlags.ALLOW_ADDRESSES_ALL
NONE = BindFlags.NONE

# How far each flag, and the administrator's word for it, goes.
WIDTHS = [
    (NONE, AllowedAddresses.CLIENT, []),
    (CLASS_C, AllowedAddresses.CLASS_C, ["neighbour"]),
    (NETWORK, AllowedAddresses.NETWORK, ["neighbour", "colleague"]),
    (ALL, AllowedAddresses.ALL, ["neighbour", "colleague", "foreigner"]),
]
WHO = ["neighbour", "colleague", "foreigner"]


def at(bench: Bench, who: str, port: int = 2000) -> Endpoint:
    return Endpoint(getattr(bench.way, who), port)


def admitted(bench: Bench, flags: BindFlags) -> list[str]:
    """Whose addresses a call with these flags may name."""
    found = []
    for who in WHO:
        try:
            bench.bind(at(bench, who), flags=flags).kill()
            found.append(who)
        except AddressNotAllowed:
            assert list(bench.gateway.bindings()) == []
    return found


@pytest.mark.parametrize(("flag", "_word", "expected"), WIDTHS)
def test_each_allow_flag_widens_the_client_addresses_as_far_as_it_says(
    bench: Bench, flag: BindFlags, _word: AllowedAddresses, expected: list[str]
) -> None:
    assert admitted(bench, flag) == expected


@pytest.mark.parametrize(("_flag", "word", "expected"), WIDTHS)
def test_the_rules_default_is_ored_into_the_flags(
    build: Build, _flag: BindFlags, word: AllowedAddresses, expected: list[str]
) -> None:
    bench = build(allowed_addresses=word)

    assert admitted(bench, NONE) == expected
    assert admitted(bench, CLASS_C) == (expected or ["neighbour"])


def test_of_several_allow_flags_the_widest_counts(bench: Bench) -> None:
    assert admitted(bench, CLASS_C | NETWORK) == ["neighbour", "colleague"]
    assert admitted(bench, CLASS_C | ALL) == WHO


def test_one_bad_address_fails_the_whole_call(bench: Bench) -> None:
    before = bench.holdings()

    with pytest.raises(AddressNotAllowed):
        bench.bind(bench.client(), at(bench, "neighbour"), bench.client())

    assert bench.holdings() == before


@pytest.mark.parametrize("who", ["inside", "outside"])
def test_x08_not_even_the_widest_flag_leads_to_the_gateway_itself(bench: Bench, who: str) -> None:
    with pytest.raises(AddressNotAllowed):
        bench.bind(at(bench, who), flags=ALL)


def test_a_neighbour_that_was_allowed_is_really_reached(bench: Bench) -> None:
    neighbour = Endpoint(bench.way.neighbour, bench.client().port)
    bench.serve(neighbour)
    binding = bench.bind(neighbour, flags=CLASS_C)

    assert bench.reach(bench.way.server, binding.proxy_address).reaches_client(b"hello")


@pytest.mark.parametrize("port", [1, 1023])
def test_client_ports_below_1024_are_refused(bench: Bench, port: int) -> None:
    with pytest.raises(AddressNotAllowed):
        bench.bind(at(bench, "client", port))


def test_client_ports_below_1024_are_bound_where_the_rule_allows_it(build: Build) -> None:
    bench = build(client_ports=PortRange(20, 65535))

    assert bench.bind(at(bench, "client", 20)).state is State.ARMED
    with pytest.raises(AddressNotAllowed):
        bench.bind(at(bench, "client", 19))


def test_a_client_port_of_zero_with_an_address_means_nothing(bench: Bench) -> None:
    with pytest.raises(InvalidArgument):
        bench.bind(at(bench, "client", 0))


# -- the proxy address ----------------------------------------------------------------------------


@NAT
def test_without_a_wish_it_is_the_gateways_external_address_and_a_port_of_its_range(
    bench: Bench,
) -> None:
    proxy = bench.bind().proxy_address

    assert proxy.address == bench.way.outside
    assert proxy.port in bench.gateway.port_range


@ROUTED
def test_without_a_wish_it_is_the_clients_own_address_and_no_gateway_port_is_used(
    bench: Bench,
) -> None:
    client, before = bench.client(), bench.holdings()
    binding = bench.bind(client)

    assert binding.proxy_address == client
    assert bench.holdings().ports == before.ports


@ROUTED
def test_the_clients_own_address_may_be_asked_for_with_its_port_or_none(bench: Bench) -> None:
    client = bench.client()
    for wish in (client, client.with_port(0)):
        binding = bench.bind(client, proxy_address=wish)
        assert binding.proxy_address == client
        binding.kill()


@ROUTED
def test_the_clients_own_address_with_another_port_is_not_available(bench: Bench) -> None:
    client = bench.client()

    with pytest.raises(AddressNotAvailable):
        bench.bind(client, proxy_address=client.with_port(client.port + 1))


@NAT
def test_where_addresses_are_translated_the_clients_own_is_not_available(bench: Bench) -> None:
    client = bench.client()

    with pytest.raises(AddressNotAvailable):
        bench.bind(client, proxy_address=client)


def test_an_address_that_is_not_the_gateways_is_not_available(bench: Bench) -> None:
    before = bench.holdings()

    with pytest.raises(AddressNotAvailable):
        bench.bind(proxy_address=at(bench, "stranger", 0))

    assert bench.holdings() == before


@NAT
def test_one_adapter_of_several_may_be_forced(bench: Bench) -> None:
    assert bench.bind(proxy_address=at(bench, "inside", 0)).proxy_address.address == (
        bench.way.inside
    )


def test_a_forced_port_is_the_one_that_is_bound_and_reached(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(client, proxy_address=bench.at_outside(FORCED_PORT))

    assert binding.proxy_address == bench.at_outside(FORCED_PORT)
    assert bench.reach(bench.way.server, binding.proxy_address).reaches_client(b"hello")


def test_a_forced_port_needs_a_single_address(bench: Bench) -> None:
    with pytest.raises(InvalidArgument):
        bench.bind(bench.client(), bench.client(), proxy_address=bench.at_outside(FORCED_PORT))


@pytest.mark.parametrize("port", [FORCED_PORT, 40007])
def test_a_forced_port_that_another_binding_has_is_in_use(bench: Bench, port: int) -> None:
    bench.bind(proxy_address=bench.at_outside(port))
    before = bench.holdings()

    with pytest.raises(AddressInUse):
        bench.bind(proxy_address=bench.at_outside(port))

    assert bench.holdings() == before


@pytest.mark.parametrize("port", [FORCED_PORT, 40007])
def test_a_forced_port_that_a_local_program_has_is_in_use(bench: Bench, port: int) -> None:
    bench.occupy(bench.at_outside(port))
    before = bench.holdings()

    with pytest.raises(AddressInUse):
        bench.bind(proxy_address=bench.at_outside(port))

    assert bench.holdings() == before


@NAT
def test_a_port_that_is_shared_leads_each_peer_to_its_own_client(bench: Bench) -> None:
    clients = bench.client(), bench.client()
    peers = bench.way.server, bench.way.stranger
    for client, peer in zip(clients, peers, strict=True):
        bench.serve(client)
        bench.bind(
            client,
            proxy_address=bench.at_outside(FORCED_PORT),
            ip_filter=IpFilter.of(peer),
            flags=BindFlags.ALLOW_MULTIPLE,
            shared=True,
        )
    talks = [bench.reach(peer, bench.at_outside(FORCED_PORT)) for peer in peers]

    assert [talk.at for talk in talks] == [*clients]
    with pytest.raises(AddressInUse):
        bench.bind(proxy_address=bench.at_outside(FORCED_PORT))


def test_a_port_can_be_bound_again_when_its_binding_is_over(bench: Bench) -> None:
    bench.bind(proxy_address=bench.at_outside(FORCED_PORT)).kill()

    assert bench.bind(proxy_address=bench.at_outside(FORCED_PORT)).state is State.ARMED


# -- several --------------------------------------------------------------------------------------


@NAT
@pytest.mark.parametrize("wanted", [2, 3, 5, 16])
def test_several_addresses_get_consecutive_ports_the_lowest_a_multiple_of_their_number(
    bench: Bench, wanted: int
) -> None:
    clients = [bench.client() for _ in range(wanted)]
    # Client addresses need not be consecutive.
    clients.reverse()
    binding = bench.bind(*clients)
    base = binding.proxy_address.port

    assert base % wanted == 0
    assert [c.proxy_address.port for c in binding.connections] == [base + i for i in range(wanted)]
    assert [c.client_address for c in binding.connections] == clients


def test_each_of_several_ports_leads_to_its_own_client_address(bench: Bench) -> None:
    clients = [bench.client(), bench.client()]
    for client in clients:
        bench.serve(client)
    binding = bench.bind(*clients)

    for client, connection in zip(clients, binding.connections, strict=True):
        talk = bench.reach(bench.way.server, connection.proxy_address)
        assert talk.at == client


def test_killing_one_of_several_leaves_the_others(bench: Bench) -> None:
    clients = [bench.client(), bench.client()]
    for client in clients:
        bench.serve(client)
    first, second = bench.bind(*clients).connections
    first.kill()

    assert bench.is_refused(bench.way.server, first.proxy_address)
    assert bench.reach(bench.way.server, second.proxy_address).reaches_client(b"hello")


@pytest.mark.parametrize("wanted", [0, 65])
def test_no_address_and_more_than_64_are_refused(bench: Bench, wanted: int) -> None:
    session, clients = bench.primary.session, [bench.client() for _ in range(wanted)]

    with pytest.raises(InvalidArgument):
        bench.run(
            session.bind_for_client(
                clients, transport=bench.transport, protocol=bench.primary.protocol
            )
        )


def test_the_addresses_of_one_call_are_of_one_family(bench: Bench) -> None:
    other = bench.other_family()

    with pytest.raises(InvalidArgument):
        bench.bind(bench.client(), Endpoint(other.client, 2000))
    with pytest.raises(InvalidArgument):
        bench.bind(proxy_address=Endpoint(other.outside, 0))


def test_one_gateway_serves_both_families_at_once(bench: Bench) -> None:
    other = bench.other_family()
    primary = bench.dial(other)
    clients = [bench.client(), Endpoint(other.client, bench.client().port)]
    for client in clients:
        bench.serve(client)
    bindings = [bench.bind(clients[0]), bench.bind(clients[1], primary=primary)]

    for way, binding in zip((bench.way, other), bindings, strict=True):
        assert bench.reach(way.server, binding.proxy_address).reaches_client(b"hello")


# -- zeros ----------------------------------------------------------------------------------------


@NAT
def test_nobody_gets_in_before_the_client_address_is_known_and_the_first_one_after(
    bench: Bench,
) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(bench.way.zeros)
    (connection,) = binding.connections

    assert [one.client_address for one in binding.connections] == [None]
    assert bench.is_refused(bench.way.server, binding.proxy_address)
    bench.run(connection.set_client_address(client))
    assert connection.client_address == client
    assert bench.reach(bench.way.server, binding.proxy_address).reaches_client(b"hello")


@NAT
def test_the_client_address_is_given_once(bench: Bench) -> None:
    (unknown,) = bench.bind(bench.way.zeros).connections
    (known,) = bench.bind().connections
    bench.run(unknown.set_client_address(bench.client()))

    for connection in (unknown, known):
        with pytest.raises(InvalidArgument):
            bench.run(connection.set_client_address(bench.client()))


@NAT
@pytest.mark.parametrize(
    ("who", "port", "refusal"),
    [
        ("neighbour", 2000, AddressNotAllowed),
        ("client", 1023, AddressNotAllowed),
        ("outside", 2000, AddressNotAllowed),
        ("client", 0, InvalidArgument),
    ],
)
def test_the_client_address_is_checked_again_when_it_is_given(
    bench: Bench, who: str, port: int, refusal: type[BindError]
) -> None:
    client = bench.client()
    bench.serve(client)
    (connection,) = bench.bind(bench.way.zeros).connections

    with pytest.raises(refusal):
        bench.run(connection.set_client_address(at(bench, who, port)))

    # The refused attempt does not count as the one.
    bench.run(connection.set_client_address(client))
    assert bench.reach(bench.way.server, connection.proxy_address).reaches_client(b"hello")


@NAT
def test_a_binding_may_be_armed_after_its_client_address_is_known(bench: Bench) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(bench.way.zeros, armed=False)
    bench.run(binding.connections[0].set_client_address(client))

    assert bench.is_refused(bench.way.server, binding.proxy_address)
    bench.run(binding.arm())
    assert bench.reach(bench.way.server, binding.proxy_address).reaches_client(b"hello")


@ROUTED
def test_zeros_mean_nothing_where_the_clients_own_address_is_the_proxy_address(
    bench: Bench,
) -> None:
    before = bench.holdings()

    with pytest.raises(InvalidArgument):
        bench.bind(bench.way.zeros)

    assert bench.holdings() == before


@ROUTED
def test_zeros_are_completed_with_the_proxy_address_where_nothing_is_translated(
    bench: Bench,
) -> None:
    client = bench.client()
    bench.serve(client)
    binding = bench.bind(bench.way.zeros, proxy_address=client)
    (connection,) = binding.connections

    assert bench.is_refused(bench.way.server, client)
    with pytest.raises(InvalidArgument):
        bench.run(connection.set_client_address(bench.client()))
    bench.run(connection.set_client_address(client))
    assert bench.reach(bench.way.server, client).reaches_client(b"hello")
