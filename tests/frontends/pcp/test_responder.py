"""What PCP and NAT-PMP requests are answered with, on the whole core, without sockets.

Each test that is named by a section holds a MUST of RFC 6887 that is the server's.
"""

from dataclasses import replace
from typing import Any

import pytest
from tests.frontends.pcp.asking import (
    CLIENT,
    CLIENT6,
    MAX,
    MIN,
    NEIGHBOUR,
    NONCE,
    OTHER_NONCE,
    OUTSIDE,
    PEER,
    PREFER_FAILURE,
    Asking,
    option,
    packed,
    peer,
)

from sallyport.addresses import Endpoint, PortRange
from sallyport.core.model.hooks import Source
from sallyport.core.policy.hosts import Hosts
from sallyport.core.policy.terms import AllowedAddresses, Frontend, Peers
from sallyport.errors import OutOfResources
from sallyport.flags import Transport
from sallyport.frontends.pcp.responder import PcpResponder
from sallyport.wire.pcp import PcpResult


def test_a_mapping_is_a_binding_of_the_clients_that_anyone_may_use() -> None:
    asking = Asking()
    answer = asking.map()

    assert (answer.result, answer.lifetime) == (PcpResult.SUCCESS, 3600)
    assert asking.pinholes() == [f"203.0.113.1:{answer.port} -> 10.0.0.8:8080 from None ports None"]
    for n in (1, 2):  # many connections, not one
        asking.path.connect(PEER.with_port(5000 + n), Endpoint(OUTSIDE, answer.port))


def test_ipv6_is_routed_so_the_external_port_is_the_clients_own() -> None:
    asking = Asking()
    answer = asking.map(CLIENT6)

    assert (answer.result, answer.port) == (PcpResult.SUCCESS, 8080)
    assert asking.pinholes() == ["[fd00:a::8]:8080 -> [fd00:a::8]:8080 from None ports None"]


def test_section_11_2_a_wished_port_is_given_when_it_is_free_and_ours() -> None:
    asking = Asking()
    assert asking.map(external=40500).port == 40500
    assert asking.map(port=8081, external=22).port != 22
    assert asking.map(port=8082, external=40500).port != 40500


def test_section_13_2_prefer_failure_gives_the_wished_port_or_none() -> None:
    asking = Asking()
    asking.map(external=40500)
    taken = asking.map(port=8081, external=40500, options=PREFER_FAILURE)
    low = asking.map(port=8082, external=22, options=PREFER_FAILURE)
    foreign = asking.map(
        port=8083, external=40501, suggested="203.0.113.77", options=PREFER_FAILURE
    )

    for answer in (taken, low, foreign):
        assert answer.result is PcpResult.CANNOT_PROVIDE_EXTERNAL
    assert len(asking.pinholes()) == 1


def test_section_15_a_renewal_keeps_the_port_whatever_is_suggested() -> None:
    asking = Asking()
    first = asking.map()
    asking.world.pass_time(asking.gateway, 3000)
    again = asking.map(external=40999)
    asking.world.pass_time(asking.gateway, 3000)

    assert (again.port, again.lifetime) == (first.port, 3600)
    assert len(asking.pinholes()) == 1


@pytest.mark.parametrize(("asked", "given"), [(1, MIN), (600, 600), (2**32 - 1, MAX)])
def test_c06_the_lifetime_is_bounded_and_the_mapping_ends_with_it(asked: int, given: int) -> None:
    asking = Asking()
    assert asking.map(lifetime=asked).lifetime == given
    asking.world.pass_time(asking.gateway, given - 1)
    assert asking.pinholes()
    asking.world.pass_time(asking.gateway, 1)

    assert not asking.pinholes()


def test_section_15_1_a_deletion_ends_the_mapping_and_of_nothing_it_succeeds() -> None:
    asking = Asking()
    asking.map()
    assert asking.map(lifetime=0).result is PcpResult.SUCCESS
    assert not asking.pinholes()
    assert asking.map(lifetime=0).result is PcpResult.SUCCESS


def test_c02_another_nonce_neither_renews_nor_deletes_nor_moves_a_mapping() -> None:
    asking = Asking()
    port = asking.map().port
    for lifetime in (3600, 0):
        answer = asking.map(nonce=OTHER_NONCE, lifetime=lifetime, external=40999)
        assert answer.result is PcpResult.NOT_AUTHORIZED
        assert answer.lifetime == 3600

    assert asking.pinholes() == [f"203.0.113.1:{port} -> 10.0.0.8:8080 from None ports None"]


def test_c01_a_client_speaks_for_itself_alone() -> None:
    asking = Asking()
    assert asking.map(client="10.0.0.9").result is PcpResult.ADDRESS_MISMATCH
    third = asking.map(options=option(1, packed("10.0.0.9")))
    itself = asking.map(options=option(1, packed("10.0.0.8")))

    assert (third.result, itself.result) == (PcpResult.NOT_AUTHORIZED, PcpResult.MALFORMED_REQUEST)
    assert not asking.pinholes()


def test_c03_a_filter_is_enforced_by_the_pinhole_and_kept_by_a_renewal_without_one() -> None:
    asking = Asking()
    port = asking.map(options=peer("203.0.113.9", 5000)).port
    there = f"203.0.113.1:{port} -> 10.0.0.8:8080"
    asking.map()
    assert asking.pinholes() == [f"{there} from 203.0.113.9 ports frozenset({{5000}})"]
    asking.map(options=peer("203.0.113.0", 5000, 96 + 24))
    assert asking.pinholes() == [
        f"{there} from 203.0.113.0-203.0.113.255 ports frozenset({{5000}})"
    ]
    asking.map(options=peer("203.0.113.9"))
    assert asking.pinholes() == [f"{there} from 203.0.113.9 ports None"]
    asking.map(options=peer("::", 0, 0))

    assert asking.pinholes() == [f"{there} from None ports None"]


def test_c03_other_peer_ports_leave_the_mapping_open_and_a_failure_changes_nothing() -> None:
    asking = Asking()
    port = asking.map(options=peer("203.0.113.9", 5000)).port
    (binding,) = asking.gateway.bindings()
    before = asking.pinholes()
    asking.path.fail_next = OutOfResources("injected")
    refused = asking.map(options=peer("203.0.113.9", 5001))
    assert (refused.result, asking.pinholes()) == (PcpResult.NO_RESOURCES, before)

    asking.path.connect(PEER, Endpoint(OUTSIDE, port))
    assert asking.map(options=peer("203.0.113.9", 5001)).port == port
    assert list(asking.gateway.bindings()) == [binding]
    assert len(binding.connections[0].peers()) == 1


def test_a_mapping_is_a_firewall_clients_binding_and_lives_as_long_as_granted() -> None:
    asking = Asking(max_lifetime=600)
    assert asking.map(lifetime=3600).lifetime == 600
    asking.world.pass_time(asking.gateway, 400)
    assert asking.map(lifetime=3600).lifetime == 600

    asking.world.pass_time(asking.gateway, 500)
    (binding,) = asking.gateway.bindings()
    assert (binding.session.source, binding.frontend) == (Source.FIREWALL_CLIENT, Frontend.PCP)
    assert binding.expires_in == 100
    asking.world.pass_time(asking.gateway, 100)
    assert not asking.pinholes()


def test_c03_filters_that_no_pinhole_can_hold_are_refused_and_open_nothing() -> None:
    asking = Asking()
    mixed = asking.map(options=peer("203.0.113.9", 80) + peer("203.0.113.10", 81))
    other_family = asking.map(options=peer("2001:db8::9"))

    assert mixed.result is PcpResult.EXCESSIVE_REMOTE_PEERS
    assert other_family.result is PcpResult.MALFORMED_OPTION
    assert not asking.pinholes()


@pytest.mark.parametrize(
    ("fields", "result"),
    [
        ({"port": 22}, PcpResult.NOT_AUTHORIZED),
        ({"port": 0}, PcpResult.NOT_AUTHORIZED),
        ({"protocol": 47}, PcpResult.UNSUPP_PROTOCOL),
        ({"protocol": 0, "port": 0}, PcpResult.UNSUPP_PROTOCOL),
    ],
)
def test_c04_a_denied_port_or_protocol_is_refused_at_once(
    fields: dict[str, Any], result: PcpResult
) -> None:
    asking = Asking()
    assert asking.map(**fields).result is result
    assert not asking.pinholes()
    assert not asking.path.reserved


def test_c05_a_client_gets_as_many_mappings_as_its_rule_grants() -> None:
    asking = Asking(max_bindings_per_client=3)
    results = [asking.map(port=8080 + n).result for n in range(5)]

    assert results == [PcpResult.SUCCESS] * 3 + [PcpResult.USER_EX_QUOTA] * 2
    assert asking.map(NEIGHBOUR).result is PcpResult.SUCCESS


def test_a_rule_says_which_wishes_are_met_and_how_long_a_mapping_lasts() -> None:
    asking = Asking(external_ports=PortRange(40100, 40199), max_lifetime=600)
    granted = asking.map(external=40150, lifetime=3600)
    other = asking.map(port=8081, external=40500)
    insisted = asking.map(port=8082, external=40501, options=PREFER_FAILURE)

    assert (granted.port, granted.lifetime) == (40150, 600)
    assert (other.result, other.port == 40500) == (PcpResult.SUCCESS, False)
    assert insisted.result is PcpResult.NOT_AUTHORIZED


def test_where_peers_must_be_named_a_mapping_for_anyone_is_refused_and_none_becomes_one() -> None:
    asking = Asking(peers=Peers.PINNED)
    assert asking.map().result is PcpResult.NOT_AUTHORIZED
    assert asking.map(options=peer("203.0.113.9")).result is PcpResult.SUCCESS
    before = asking.pinholes()
    assert asking.map(options=peer("::", 0, 0)).result is PcpResult.NOT_AUTHORIZED

    assert asking.pinholes() == before


def test_a_rule_for_other_front_ends_grants_nothing() -> None:
    asking = Asking(frontends=frozenset({Frontend.SOCKS}))
    assert asking.map().result is PcpResult.NOT_AUTHORIZED


def test_what_no_rule_grants_is_not_authorized() -> None:
    asking = Asking(sources=Hosts.of("external"))
    assert asking.map().result is PcpResult.NOT_AUTHORIZED


def test_rfc_7753_a_port_set_is_consecutive_and_the_answer_says_how_many() -> None:
    asking = Asking()
    answer = asking.map(options=option(130, bytes((0, 4, 31, 144, 0))))

    assert answer.port % 4 == 0
    assert answer.options == option(130, bytes((0, 4, 31, 144, 0)))
    assert [line.partition(" from")[0] for line in asking.pinholes()] == [
        f"203.0.113.1:{answer.port + i} -> 10.0.0.8:{8080 + i}" for i in range(4)
    ]


def test_a_wildcard_deletion_ends_the_mappings_of_this_nonce_alone() -> None:
    asking = Asking()
    asking.map(port=8080)
    asking.map(port=8081, protocol=17)
    asking.map(port=8082, nonce=OTHER_NONCE)
    assert asking.map(port=0, protocol=0, lifetime=0).result is PcpResult.SUCCESS

    assert [line.partition(" from")[0].partition("-> ")[2] for line in asking.pinholes()] == [
        "10.0.0.8:8082"
    ]


def test_section_8_5_the_epoch_counts_seconds_since_the_start() -> None:
    asking = Asking()
    asking.world.pass_time(asking.gateway, 77)

    assert asking.map().epoch == 77
    assert asking.ask(b"\2\0\0\0" + bytes(4) + packed("10.0.0.8")) == (
        b"\2\x80\0\0" + bytes(4) + (77).to_bytes(4, "big") + bytes(12)
    )


def test_a_response_or_a_stub_is_not_answered() -> None:
    asking = Asking()
    assert asking.ask(b"\2") is None
    assert asking.ask(b"\2\x81" + bytes(22)) is None


# -- NAT-PMP ------------------------------------------------------------------------------------


def natpmp(opcode: int, internal: int, external: int, lifetime: int) -> bytes:
    ports = internal.to_bytes(2, "big") + external.to_bytes(2, "big")
    return bytes((0, opcode, 0, 0)) + ports + lifetime.to_bytes(4, "big")


def test_nat_pmp_tells_the_external_address_and_maps() -> None:
    asking = Asking()
    assert asking.ask(b"\0\0") == bytes((0, 128, 0, 0)) + bytes(4) + OUTSIDE.packed
    answer = asking.ask(natpmp(2, 8080, 40500, 7200))

    assert answer == bytes((0, 130, 0, 0)) + bytes(4) + bytes((31, 144, 158, 52)) + bytes(
        (0, 0, 28, 32)
    )
    assert asking.pinholes() == ["203.0.113.1:40500 -> 10.0.0.8:8080 from None ports None"]


def test_section_7_4_without_an_external_address_the_network_fails_for_a_moment() -> None:
    asking = Asking()
    policy = asking.gateway.policy
    asking.gateway.policy = replace(policy, own_addresses={"external": ()})

    answer = asking.map()

    assert (answer.result, answer.lifetime) == (PcpResult.NETWORK_FAILURE, 30)
    # RFC 6886 section 3.5: network failure.
    refused = asking.ask(natpmp(2, 8080, 40500, 7200))
    assert refused is not None
    assert refused[:4] == bytes((0, 130, 0, 3))
    asking.gateway.policy = policy
    assert asking.map().result is PcpResult.SUCCESS


def test_nat_pmp_deletes_one_or_all_of_a_transport_but_never_what_pcp_made() -> None:
    asking = Asking()
    asking.ask(natpmp(2, 8080, 0, 7200))
    asking.ask(natpmp(2, 8081, 0, 7200))
    asking.map(port=9000)
    refused = asking.ask(natpmp(2, 9000, 0, 0))
    assert refused is not None
    assert refused[3] == 2
    asking.ask(natpmp(2, 8080, 0, 0))
    assert len(asking.pinholes()) == 2
    asking.ask(natpmp(2, 0, 0, 0))

    assert [line.partition("-> ")[2].partition(" ")[0] for line in asking.pinholes()] == [
        "10.0.0.8:9000"
    ]


def test_nat_pmp_that_is_switched_off_is_another_version() -> None:
    asking = Asking()
    asking.responder = PcpResponder(asking.gateway, asking.leases, speaks_nat_pmp=False)
    answer = asking.ask(b"\0\0")

    assert answer is not None
    assert (answer[0], answer[3]) == (2, PcpResult.UNSUPP_VERSION)


# -- for another host (section 13.1) --------------------------------------------------------------


def test_section_13_1_a_host_speaks_for_another_where_its_rule_lets_it() -> None:
    asking = Asking(allowed_addresses=AllowedAddresses.CLASS_C)
    third = option(1, packed("10.0.0.9"))
    answer = asking.map(options=third)

    assert (answer.result, answer.options) == (PcpResult.SUCCESS, third)
    assert asking.pinholes() == [f"203.0.113.1:{answer.port} -> 10.0.0.9:8080 from None ports None"]
    # The mapping belongs to who asked for it: neither the other host nor a third one ends it.
    assert asking.map(NEIGHBOUR, lifetime=0).result is PcpResult.NOT_AUTHORIZED
    assert asking.map(lifetime=0, options=third).result is PcpResult.SUCCESS
    assert not asking.pinholes()


@pytest.mark.parametrize("text", ["10.0.0.1", "203.0.113.1", "203.0.113.9", "127.0.0.1"])
def test_section_13_1_no_rule_lets_a_host_speak_for_the_gateway_or_the_outside(text: str) -> None:
    asking = Asking(allowed_addresses=AllowedAddresses.NETWORK)

    assert asking.map(options=option(1, packed(text))).result is PcpResult.NOT_AUTHORIZED
    assert not asking.pinholes()


def test_section_15_1_all_mappings_of_another_host_are_deleted_by_who_made_them() -> None:
    asking = Asking(allowed_addresses=AllowedAddresses.CLASS_C)
    third = option(1, packed("10.0.0.9"))
    asking.map(options=third)
    asking.map(NEIGHBOUR, port=8081)
    everything = asking.map(port=0, protocol=0, lifetime=0, options=third)

    assert everything.result is PcpResult.SUCCESS
    assert [one.partition("-> ")[2][:13] for one in asking.pinholes()] == ["10.0.0.9:8081"]


# -- what is said unasked (section 14.1) ----------------------------------------------------------


def test_section_14_1_clients_are_told_the_epoch_and_by_nat_pmp_the_address() -> None:
    asking = Asking()
    asking.world.seconds += 7
    announced, address = asking.responder.announcements(4)

    assert announced[:4] == b"\2\x80\0\0"
    assert int.from_bytes(announced[8:12], "big") == 7
    assert address[:8] == b"\0\x80\0\0" + (7).to_bytes(4, "big")
    assert address[8:12] == OUTSIDE.packed
    assert len(asking.responder.announcements(6)) == 1


# -- about a flow that runs (section 12) ----------------------------------------------------------

RUNNING = (Transport.TCP, CLIENT.with_port(4000), PEER)


def peer_request(
    *,
    port: int = 4000,
    remote: Endpoint = PEER,
    protocol: int = 6,
    external: int = 0,
    suggested: str = "::",
) -> bytes:
    head = b"\2\2\0\0" + (3600).to_bytes(4, "big") + packed(str(CLIENT.address))
    body = NONCE + bytes((protocol, 0, 0, 0)) + port.to_bytes(2, "big")
    body += external.to_bytes(2, "big") + packed(suggested)
    return head + body + remote.port.to_bytes(2, "big") + bytes(2) + packed(str(remote.address))


class AskingAboutFlows(Asking):
    """The same, where one flow runs that the gateway translates."""

    def __init__(self, **rule: Any) -> None:  # noqa: ANN401 - any field of AccessRule
        super().__init__(**rule)
        self.responder = PcpResponder(
            self.gateway, self.leases, speaks_nat_pmp=True, seen_as=self._seen_as
        )

    @staticmethod
    def _seen_as(*flow: object) -> tuple[Endpoint, int] | None:
        return (Endpoint(OUTSIDE, 61000), 432) if flow == RUNNING else None


def test_section_12_3_of_a_running_flow_its_translation_and_its_time_are_told() -> None:
    answer = AskingAboutFlows().ask(peer_request())
    assert answer is not None

    assert answer[:4] == b"\2\x82\0\0"
    assert int.from_bytes(answer[4:8], "big") == 432
    assert answer[24:36] == NONCE
    assert int.from_bytes(answer[42:44], "big") == 61000
    assert answer[44:60] == packed(str(OUTSIDE))
    assert answer[60:] == PEER.port.to_bytes(2, "big") + bytes(2) + packed(str(PEER.address))


@pytest.mark.parametrize(
    ("fields", "result"),
    [
        ({"port": 4001}, PcpResult.CANNOT_PROVIDE_EXTERNAL),
        ({"protocol": 47}, PcpResult.UNSUPP_PROTOCOL),
        ({"protocol": 0}, PcpResult.MALFORMED_REQUEST),
        ({"port": 0}, PcpResult.MALFORMED_REQUEST),
        ({"remote": PEER.with_port(0)}, PcpResult.MALFORMED_REQUEST),
        ({"remote": Endpoint.parse("10.0.0.9:80")}, PcpResult.NOT_AUTHORIZED),
        # Section 12.1: what the client expects is what is, or it is refused.
        ({"external": 61001}, PcpResult.CANNOT_PROVIDE_EXTERNAL),
        ({"suggested": "203.0.113.2"}, PcpResult.CANNOT_PROVIDE_EXTERNAL),
    ],
)
def test_section_12_2_of_other_flows_nothing_is_told_and_nothing_is_made(
    fields: dict[str, Any], result: PcpResult
) -> None:
    asking = AskingAboutFlows()
    answer = asking.ask(peer_request(**fields))

    assert answer is not None
    assert PcpResult(answer[3]) is result
    assert not asking.pinholes()


@pytest.mark.parametrize("suggested", ["0.0.0.0", str(OUTSIDE)])
@pytest.mark.parametrize("external", [0, 61000])
def test_section_12_1_a_flow_that_is_as_the_client_expects_is_told(
    suggested: str, external: int
) -> None:
    answer = AskingAboutFlows().ask(peer_request(external=external, suggested=suggested))

    assert answer is not None
    assert PcpResult(answer[3]) is PcpResult.SUCCESS


@pytest.mark.parametrize(
    ("extra", "result"),
    [
        pytest.param(PREFER_FAILURE, PcpResult.MALFORMED_REQUEST, id="section 12.1"),
        pytest.param(peer("203.0.113.9"), PcpResult.UNSUPP_OPTION, id="section 13.3"),
        pytest.param(
            option(1, packed(str(CLIENT.address))), PcpResult.MALFORMED_REQUEST, id="section 13.1"
        ),
        pytest.param(option(1, packed("10.0.0.9")), PcpResult.NOT_AUTHORIZED, id="another's flow"),
        pytest.param(option(200, b"unknown"), PcpResult.SUCCESS, id="section 7.3"),
    ],
)
def test_options_that_do_not_go_with_peer_are_refused_by_their_clause(
    extra: bytes, result: PcpResult
) -> None:
    answer = AskingAboutFlows().ask(peer_request() + extra)

    assert answer is not None
    assert PcpResult(answer[3]) is result
