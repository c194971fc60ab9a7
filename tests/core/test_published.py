"""Published servers: the roles of an inbound primary connection, and what may be bound for it."""

from dataclasses import replace
from typing import Any

import pytest
from tests.core.office import CLIENT, EXTERNAL, FTP, Office, WatchingFilter, Wire, run

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.model.binding import Binding
from sallyport.core.model.connection import PrimaryConnection
from sallyport.core.model.events import Event
from sallyport.core.policy.protocols import Direction, ProtocolDefinition
from sallyport.core.policy.rules import NetworkRule, Policy, PublishingRule, Relation
from sallyport.errors import (
    AddressNotAllowed,
    InvalidArgument,
    PolicyDenied,
    QuotaExceeded,
    Terminating,
)
from sallyport.flags import BindFlags, ConnectionFlags, Transport
from sallyport.testing.world import make_policy

FTP_SERVER = ProtocolDefinition("ftp-server", Transport.TCP, 21, Direction.INBOUND)
OUTSIDE = Endpoint.parse("198.51.100.7:50000")
OTHER = Endpoint.parse("198.51.100.8:50000")
SERVER = Endpoint.parse("10.0.0.20:21")
DATA = SERVER.with_port(3000)
RULE = PublishingRule(
    name="our ftp server",
    protocol="ftp-server",
    listen=Endpoint(EXTERNAL, 21),
    server=SERVER,
    max_bindings_per_client=2,
)


class ServingFilter(WatchingFilter):
    protocols = (FTP, FTP_SERVER)


def publishing(rule: PublishingRule = RULE, relation: Relation = Relation.NAT) -> Policy:
    return replace(
        make_policy(),
        publishing_rules=(rule,),
        network_rules=(NetworkRule("internal", "external", relation, relation),),
    )


class PublishingOffice(Office):
    """An office with a published FTP server."""

    def __init__(self, rule: PublishingRule = RULE, *, relation: Relation = Relation.NAT) -> None:
        self.watching = ServingFilter()
        super().__init__(self.watching, policy=publishing(rule, relation))
        self.rule = rule

    def publish(self, client: Endpoint = OUTSIDE) -> PrimaryConnection:
        """Let a client outside connect, and the server answer."""
        primary = self.gateway.admit_published(self.rule, client)
        self.primaries.append(primary)
        primary.link = wire = Wire()
        self.gateway.announce_primary(
            primary,
            lambda: self.gateway.start_primary(
                primary, gateway_address=self.rule.listen, link=wire, client=wire, server=wire
            ),
        )
        return primary

    def bind_data(self, primary: PrimaryConnection, **arguments: Any) -> Binding:  # noqa: ANN401 - any argument of bind_for_client
        return self.bind(primary, DATA, **({"protocol": FTP_SERVER} | arguments))


def test_the_sessions_client_is_the_published_server_and_the_peer_is_outside() -> None:
    office = PublishingOffice()
    primary = office.publish()

    assert primary.session.client_address == SERVER.address
    assert (primary.client, primary.server, primary.peer) == (OUTSIDE, SERVER, OUTSIDE)
    assert (primary.direction, primary.transport) == (Direction.INBOUND, Transport.TCP)
    assert (primary.rule, primary.relation) == (RULE, Relation.NAT)
    assert office.watching.witnesses[0].kinds() == ["ConnectTcp"]


def test_an_outbound_connections_peer_is_its_server() -> None:
    primary = PublishingOffice().dial()

    assert (primary.direction, primary.peer) == (Direction.OUTBOUND, primary.server)
    assert primary.flags is ConnectionFlags.NONE


def test_a_bind_for_it_leads_peers_from_the_address_they_dialled_to_the_server() -> None:
    office = PublishingOffice()
    binding = office.bind_data(office.publish())

    assert binding.proxy_address.address == EXTERNAL
    assert binding.rule is RULE
    assert office.data_path.connect(OUTSIDE.with_port(4711), binding.proxy_address) == DATA


def test_on_a_routed_relation_peers_connect_to_the_server_itself() -> None:
    office = PublishingOffice(replace(RULE, listen=SERVER), relation=Relation.ROUTE)

    assert office.bind_data(office.publish()).proxy_address == DATA


def test_v02_a_bind_below_the_rules_port_or_for_another_host_is_refused() -> None:
    office = PublishingOffice()
    primary = office.publish()
    for client in (SERVER.with_port(22), CLIENT):
        with pytest.raises(AddressNotAllowed):
            office.bind(primary, client, protocol=FTP_SERVER)
    assert not office.data_path.reserved


@pytest.mark.parametrize(
    ("full_proxy", "relation", "flags"),
    [
        (False, Relation.NAT, ConnectionFlags.NONE),
        (True, Relation.NAT, ConnectionFlags.INTERNAL_ADDRESS_TRANSLATION),
        (True, Relation.ROUTE, ConnectionFlags.NONE),
    ],
)
def test_full_proxy_is_the_rules_to_stipulate_and_the_binds_to_inherit(
    full_proxy: bool, relation: Relation, flags: ConnectionFlags
) -> None:
    listen = RULE.listen if relation is Relation.NAT else SERVER
    office = PublishingOffice(
        replace(RULE, full_proxy=full_proxy, listen=listen), relation=relation
    )
    primary = office.publish()
    assert primary.flags is flags

    if flags is ConnectionFlags.NONE:
        with pytest.raises(InvalidArgument, match="proxy-mode-is-inherited"):
            office.bind_data(primary, flags=BindFlags.PROXY_MODE)
        return
    (secondary,) = office.bind_data(primary, flags=BindFlags.PROXY_MODE).connections
    (pinhole,) = office.data_path.pinholes.values()
    assert pinhole.is_proxied
    assert secondary.flags is flags


def test_a_publishing_rule_grants_nothing_but_its_own_protocol_and_peer() -> None:
    office = PublishingOffice()
    primary = office.publish()

    with pytest.raises(PolicyDenied, match="no-rule-matched"):
        office.bind(primary, DATA, protocol=FTP)
    with pytest.raises(PolicyDenied, match="peer-is-not-the-published-connections"):
        run(
            primary.session.allow_future_connect(
                OTHER.with_port(3000), protocol=FTP_SERVER, primary=primary
            )
        )
    future = run(
        primary.session.allow_future_connect(
            OUTSIDE.with_port(3000), protocol=FTP_SERVER, primary=primary
        )
    )
    assert office.data_path.connect(SERVER.with_port(20), future.pinhole.listen)


def test_full_proxy_needs_a_nat_relation_at_the_moment_of_the_bind() -> None:
    office = PublishingOffice(replace(RULE, full_proxy=True))
    primary = office.publish()
    office.gateway.policy = publishing(office.rule, Relation.ROUTE)
    before = office.holdings()

    with pytest.raises(InvalidArgument, match="proxy-mode-needs-a-nat-relation"):
        office.bind_data(primary, flags=BindFlags.PROXY_MODE)
    assert office.holdings() == before


def test_in_full_proxy_the_server_dials_a_port_of_ours_to_reach_its_client() -> None:
    office = PublishingOffice(replace(RULE, full_proxy=True))
    primary = office.publish()
    primary.inside_address = Endpoint.parse("10.0.0.1:50001")
    before = office.holdings()
    future = run(
        primary.session.allow_future_connect(
            OUTSIDE.with_port(3000), protocol=FTP_SERVER, primary=primary
        )
    )

    assert future.proxy_address.address == primary.inside_address.address
    assert office.data_path.reserved == {(Transport.TCP, future.proxy_address)}
    assert office.data_path.connect(OTHER, future.proxy_address) is None
    arrived = office.data_path.connect(SERVER.with_port(20), future.proxy_address)
    assert arrived == OUTSIDE.with_port(3000)
    office.data_path.finish(SERVER.with_port(20))
    assert office.holdings() == before


def test_a_rule_that_is_gone_lets_nobody_in_and_opens_nothing_more() -> None:
    office = PublishingOffice()
    primary = office.publish()
    office.gateway.policy = make_policy()

    with pytest.raises(PolicyDenied, match="rule-is-gone"):
        office.bind_data(primary)
    with pytest.raises(PolicyDenied, match="rule-is-gone"):
        office.publish()
    assert office.reasons("connect.refused") == ["rule-is-gone"]


@pytest.mark.parametrize(
    ("client", "reason"),
    [
        (Endpoint.parse("203.0.113.1:50000"), "peer-is-gateway"),
        (Endpoint.parse("10.0.0.9:50000"), "no-network-rule"),
    ],
)
def test_who_is_not_outside_is_refused(client: Endpoint, reason: str) -> None:
    office = PublishingOffice()
    with pytest.raises(PolicyDenied, match=reason):
        office.publish(client)
    assert not list(office.gateway.sessions)


def test_a_rule_for_a_protocol_nobody_knows_is_refused() -> None:
    office = PublishingOffice(replace(RULE, protocol="gopher-server"))
    with pytest.raises(InvalidArgument, match="unknown-protocol"):
        office.publish()


def test_each_client_outside_has_its_own_quota_and_the_servers_own_binds_another() -> None:
    office = PublishingOffice()
    flooder, other = office.publish(), office.publish(OTHER)
    bindings = [office.bind_data(flooder) for _ in range(2)]
    with pytest.raises(QuotaExceeded):
        office.bind_data(office.publish(OUTSIDE.with_port(50001)))

    assert office.bind_data(other).connections
    own = office.dial("10.0.0.20:50000")
    assert own.session is flooder.session
    assert office.bind(own, SERVER.with_port(2000)).connections
    bindings[0].kill()
    assert office.bind_data(flooder).connections


def test_a_client_outside_that_floods_is_refused_and_another_is_served() -> None:
    office = PublishingOffice()
    for number in range(limits.MAX_CONTROLS_PER_PEER):
        office.publish(OUTSIDE.with_port(10000 + number))
    with pytest.raises(QuotaExceeded, match="too-many-controls"):
        office.publish(OUTSIDE)

    assert office.publish(OTHER).is_open
    assert office.reasons("connect.refused") == ["too-many-controls"]


def test_its_end_closes_its_bindings_and_gives_everything_back() -> None:
    office = PublishingOffice()
    before = office.holdings()
    primary = office.publish()
    office.bind_data(primary)
    primary.close("done")

    assert office.holdings() == before
    assert office.reasons("binding.closed") == ["primary-ended"]
    with pytest.raises(Terminating):
        office.bind_data(primary)


def test_x07_what_fails_for_one_outside_client_costs_the_others_nothing() -> None:
    def failing(_event: Event) -> None:
        raise ValueError("what this client sent")

    office = PublishingOffice()
    other = office.publish(OTHER)
    (witness,) = office.watching.witnesses
    witness.react = failing
    for number in range(limits.MAX_FILTER_FAULTS):
        assert not office.publish(OUTSIDE.with_port(50001 + number)).is_open
    witness.react = id

    assert other.is_open
    assert office.publish(OTHER.with_port(50001)).is_open
    assert not office.publish(OUTSIDE).is_open
    assert office.gateway.roster.off() == {
        "watching": "switched off for 10.0.0.20 for 198.51.100.7: it failed there repeatedly"
    }
