from dataclasses import replace

import pytest
from tests.core.office import CLIENT, EXTERNAL, FTP, PEER, Office, WatchingFilter, run

from sallyport.addresses import Endpoint
from sallyport.core.pinholes.lifecycle import State
from sallyport.core.policy.rules import NetworkRule, Relation
from sallyport.errors import AddressInUse
from sallyport.flags import BindFlags, Transport
from sallyport.ipfilter import IpFilter
from sallyport.testing.world import make_policy

CLIENT6 = "[fd00:a::8]:50000"
SERVER6 = "[2001:db8::9]:21"


def test_a_plain_bind_opens_one_port_of_the_range_to_the_client() -> None:
    office = Office()
    binding = office.bind(office.dial(), ip_filter=IpFilter.of("198.51.100.9"))

    (pinhole,) = office.data_path.pinholes.values()
    assert pinhole.listen == binding.proxy_address
    assert pinhole.listen.address == EXTERNAL
    assert 40000 <= pinhole.listen.port <= 40999
    assert pinhole.target == CLIENT
    assert pinhole.sources == IpFilter.of("198.51.100.9")
    assert pinhole.source_ports is None
    assert pinhole.single
    assert office.data_path.reserved == {(Transport.TCP, pinhole.listen)}
    assert binding.state is State.ARMED


def test_an_unarmed_bind_holds_the_port_and_opens_nothing_until_armed() -> None:
    office = Office()
    binding = office.bind(office.dial(), armed=False)

    assert binding.state is State.RESERVED
    assert not office.data_path.pinholes
    assert office.data_path.connect(PEER, binding.proxy_address) is None
    assert office.data_path.reserved == {(Transport.TCP, binding.proxy_address)}

    run(binding.arm())
    assert office.data_path.connect(PEER, binding.proxy_address) == CLIENT


def test_what_the_caller_said_stays_readable() -> None:
    office = Office(name="office ftp")
    primary = office.dial()
    office.pass_time(7)
    binding = office.bind(primary, context="transfer", flags=BindFlags.TIMEOUT)

    assert (binding.context, binding.flags, binding.primary) == (
        "transfer",
        BindFlags.TIMEOUT,
        primary,
    )
    assert (binding.rule.name, binding.protocol, binding.created_at) == ("office ftp", FTP, 7.0)
    assert binding.session.bindings == {binding.id: binding}
    assert list(office.gateway.bindings()) == [binding]


def test_without_an_ip_filter_anyone_may_connect_and_with_an_empty_one_nobody() -> None:
    office = Office()
    primary = office.dial()
    anyone, nobody = office.bind(primary), office.bind(primary, ip_filter=IpFilter())

    assert office.data_path.connect(PEER, anyone.proxy_address) == CLIENT
    assert office.data_path.connect(PEER, nobody.proxy_address) is None


def test_a_stranger_neither_gets_in_nor_uses_the_binding_up() -> None:
    office = Office()
    binding = office.bind(office.dial(), ip_filter=IpFilter.of("198.51.100.9"))
    stranger = Endpoint.parse("198.51.100.66:20")

    assert office.data_path.connect(stranger, binding.proxy_address) is None
    assert binding.state is State.ARMED
    assert office.data_path.connect(PEER, binding.proxy_address) == CLIENT


def test_f27_only_the_named_peer_ports_may_connect() -> None:
    office = Office()
    peers = IpFilter.of(PEER.address)
    binding = office.bind(office.dial(), ip_filter=peers, peer_ports=frozenset({20}))

    assert office.data_path.connect(PEER.with_port(4711), binding.proxy_address) is None
    assert office.data_path.connect(PEER, binding.proxy_address) == CLIENT


def test_exactly_one_connection_is_accepted_by_default_and_many_with_allow_multiple() -> None:
    office = Office()
    primary = office.dial()
    one = office.bind(primary)
    many = office.bind(primary, flags=BindFlags.ALLOW_MULTIPLE)

    for port in (20, 21, 22):
        assert office.data_path.connect(PEER.with_port(port), many.proxy_address) == CLIENT
    assert office.data_path.connect(PEER, one.proxy_address) == CLIENT
    assert office.data_path.connect(PEER.with_port(23), one.proxy_address) is None


@pytest.mark.parametrize("count", [2, 3, 16, 64])
def test_n_addresses_get_n_consecutive_ports_the_lowest_a_multiple_of_n(count: int) -> None:
    office = Office()
    clients = [CLIENT.with_port(2000 + 7 * i) for i in range(count)]
    binding = office.bind(office.dial(), *clients)

    base = binding.proxy_address.port
    assert base % count == 0
    assert [c.proxy_address for c in binding.connections] == [
        Endpoint(EXTERNAL, base + i) for i in range(count)
    ]
    assert [c.client_address for c in binding.connections] == clients
    assert [c.index for c in binding.connections] == list(range(count))


def test_a_protocol_may_be_named_by_its_uuid() -> None:
    office = Office(WatchingFilter())

    assert office.bind(office.dial(), protocol=FTP.uuid).protocol is FTP


def test_a_routed_client_is_reached_at_its_own_address_without_a_gateway_port() -> None:
    office = Office()
    client = Endpoint.parse("[fd00:a::8]:40123")  # a number our own range has as well
    binding = office.bind(office.dial(CLIENT6, SERVER6), client)

    (pinhole,) = office.data_path.pinholes.values()
    assert (pinhole.listen, pinhole.target) == (client, client)
    assert not pinhole.is_translated
    assert binding.proxy_address == client
    assert not office.data_path.reserved
    binding.kill()
    assert office.ports.of(Transport.TCP, client.address).free == 1000


@pytest.mark.parametrize("proxy", ["[fd00:a::8]:0", "[fd00:a::8]:1553"])
def test_a_routed_client_may_be_named_as_its_own_proxy_address(proxy: str) -> None:
    office = Office()
    client = Endpoint.parse("[fd00:a::8]:1553")
    binding = office.bind(
        office.dial(CLIENT6, SERVER6), client, proxy_address=Endpoint.parse(proxy)
    )

    assert binding.proxy_address == client
    assert not office.data_path.reserved


def test_a_routed_client_may_also_ask_for_a_port_of_the_gateway() -> None:
    office = Office()
    client = Endpoint.parse("[fd00:a::8]:1553")
    binding = office.bind(
        office.dial(CLIENT6, SERVER6), client, proxy_address=Endpoint.parse("[2001:db8::1]:0")
    )

    assert str(binding.proxy_address.address) == "2001:db8::1"
    assert office.data_path.connect(Endpoint.parse("[2001:db8::9]:20"), binding.proxy_address)


def test_a_binding_without_a_primary_names_its_proxy_address() -> None:
    office = Office()
    session = office.dial().session
    binding = run(
        session.bind_for_client(
            [CLIENT], transport=Transport.TCP, protocol=FTP, proxy_address=Endpoint(EXTERNAL, 0)
        )
    )

    assert binding.proxy_address.address == EXTERNAL
    assert binding.primary is None


@pytest.mark.parametrize("port", [40500, 2021], ids=["in the range", "outside the range"])
def test_a_forced_port_is_used_again_and_again_and_nobody_else_draws_it(port: int) -> None:
    office = Office(ports="40500-40503", max_bindings_per_client=10)
    primary = office.dial()
    forced = Endpoint(EXTERNAL, port)
    before = office.holdings()

    for _ in range(3):
        binding = office.bind(primary, proxy_address=forced)
        assert binding.proxy_address == forced
        with pytest.raises(AddressInUse):
            office.bind(primary, proxy_address=forced)
        binding.kill()
        assert office.holdings() == before

    office.bind(primary, proxy_address=forced)
    drawn = [office.bind(primary).proxy_address for _ in range(before.ports - (port == 40500))]
    assert forced not in drawn
    assert len(set(drawn)) == len(drawn)


def test_the_relation_of_the_primary_decides_about_translation() -> None:
    policy = replace(
        make_policy(),
        network_rules=(NetworkRule("internal", "external", Relation.ROUTE, Relation.ROUTE),),
    )
    office = Office(policy=policy)

    assert office.bind(office.dial()).proxy_address == CLIENT
