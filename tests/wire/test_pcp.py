"""PCP messages: what is read, what is refused with which code, what is written."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.addresses import Endpoint
from sallyport.wire import pcp
from sallyport.wire.pcp import PcpOpcode, PcpResult, PeerFilter, PortSet, Refusal

NONCE = bytes(range(12))
CLIENT4 = bytes(10) + b"\xff\xff" + bytes((10, 0, 0, 8))


def header(opcode: int = 1, lifetime: int = 7200, *, version: int = 2) -> bytes:
    return bytes((version, opcode, 0, 0)) + lifetime.to_bytes(4, "big") + CLIENT4


def mapping(
    protocol: int = 6, internal: int = 8080, external: int = 0, suggested: bytes = bytes(16)
) -> bytes:
    ports = internal.to_bytes(2, "big") + external.to_bytes(2, "big")
    return NONCE + bytes((protocol, 0, 0, 0)) + ports + suggested


def option(code: int, data: bytes = b"", length: int | None = None) -> bytes:
    size = len(data) if length is None else length
    return bytes((code, 0)) + size.to_bytes(2, "big") + data + bytes(-len(data) % 4)


def peer(bits: int, port: int, packed: bytes) -> bytes:
    return option(3, bytes((0, bits)) + port.to_bytes(2, "big") + packed)


def mapped(text: str) -> bytes:
    return pcp.pack(ip_address(text))


def result_of(data: bytes) -> PcpResult:
    with pytest.raises(Refusal) as caught:
        pcp.parse(data)
    return caught.value.result


def test_a_map_request_is_read_with_all_its_options() -> None:
    options = (
        option(2)
        + peer(96 + 24, 0, mapped("203.0.113.0"))
        + option(130, bytes((0, 4, 31, 144, 1)))
        + option(200, b"optional and unknown")
    )
    request = pcp.parse(header() + mapping(external=25000) + options)

    assert (request.opcode, request.lifetime) == (PcpOpcode.MAP, 7200)
    assert request.client == ip_address("10.0.0.8")
    found = request.mapping
    assert found is not None
    assert (found.protocol, found.internal_port, found.external_port) == (6, 8080, 25000)
    assert found.prefers_failure
    assert found.filters == (PeerFilter(ip_network("203.0.113.0/24"), 0),)
    assert found.port_set == PortSet(4, 8080, keeps_parity=True)


@pytest.mark.parametrize(
    ("data", "result"),
    [
        pytest.param(header(version=1), PcpResult.UNSUPP_VERSION, id="section 9: another version"),
        pytest.param(b"\2\1", PcpResult.MALFORMED_REQUEST, id="section 8.2: shorter than a header"),
        pytest.param(
            header() + b"x", PcpResult.MALFORMED_REQUEST, id="section 7: not a multiple of 4"
        ),
        pytest.param(
            header() + mapping() + bytes(1100),
            PcpResult.MALFORMED_REQUEST,
            id="section 7: over 1100",
        ),
        pytest.param(header(3), PcpResult.UNSUPP_OPCODE, id="section 8.2: an unknown opcode"),
        pytest.param(header(2) + bytes(52), PcpResult.MALFORMED_REQUEST, id="section 12.1: short"),
        pytest.param(
            header(2) + bytes(56), PcpResult.MALFORMED_REQUEST, id="section 12.1: no port"
        ),
        pytest.param(
            header() + bytes(32), PcpResult.MALFORMED_REQUEST, id="section 11.1: too short"
        ),
        pytest.param(
            header() + mapping(protocol=0),
            PcpResult.MALFORMED_REQUEST,
            id="section 11.1: all protocols",
        ),
        pytest.param(
            header() + mapping() + option(9),
            PcpResult.UNSUPP_OPTION,
            id="C07 unknown and mandatory",
        ),
        pytest.param(
            header() + mapping() + option(3, bytes(20), length=400),
            PcpResult.MALFORMED_OPTION,
            id="C07 an option that lies about its length",
        ),
        pytest.param(
            header() + mapping() + option(2) + option(2),
            PcpResult.MALFORMED_OPTION,
            id="section 7.3: twice",
        ),
        pytest.param(
            header(lifetime=0) + mapping() + option(2),
            PcpResult.MALFORMED_REQUEST,
            id="section 13.2: PREFER_FAILURE in a deletion",
        ),
        pytest.param(
            header() + mapping() + option(130, bytes(5)),
            PcpResult.MALFORMED_OPTION,
            id="RFC 7753: a set of no ports",
        ),
        pytest.param(
            header(0) + option(9),
            PcpResult.UNSUPP_OPTION,
            id="section 7.3: unknown and mandatory, in ANNOUNCE",
        ),
        pytest.param(
            header() + mapping() + option(1, bytes(4)),
            PcpResult.MALFORMED_OPTION,
            id="section 13.1: THIRD_PARTY of another length than an address",
        ),
        pytest.param(
            header() + mapping() + peer(129, 0, mapped("2001:db8::9")),
            PcpResult.MALFORMED_OPTION,
            id="C03 a prefix longer than an IPv6 address",
        ),
        pytest.param(
            header() + mapping() + peer(129, 0, mapped("203.0.113.9")),
            PcpResult.MALFORMED_OPTION,
            id="C03 a prefix longer than an address",
        ),
        pytest.param(
            header() + mapping() + peer(64, 0, mapped("203.0.113.9")),
            PcpResult.MALFORMED_OPTION,
            id="C03 an IPv4 prefix of no possible length",
        ),
    ],
)
def test_a_faulty_request_is_refused_with_the_code_of_its_clause(
    data: bytes, result: PcpResult
) -> None:
    assert result_of(data) is result


def test_c03_a_prefix_that_counts_ipv4_bits_is_never_read_as_everybody() -> None:
    data = header() + mapping() + peer(32, 0, mapped("203.0.113.9"))
    found = pcp.parse(data).mapping

    assert found is not None
    assert found.filters == (PeerFilter(ip_network("203.0.113.9/32"), 0),)


def test_an_ipv6_prefix_counts_the_bits_of_its_own_address() -> None:
    found = pcp.parse(header() + mapping() + peer(48, 0, mapped("2001:db8::9"))).mapping

    assert found is not None
    assert found.filters == (PeerFilter(ip_network("2001:db8::/48"), 0),)


def test_a_restart_is_asked_for_and_announced_in_one_head() -> None:
    request = pcp.parse(header(0, lifetime=0) + option(200, b"optional and unknown"))

    assert (request.opcode, request.client) == (PcpOpcode.ANNOUNCE, ip_address("10.0.0.8"))
    assert request.mapping is None
    # Section 14.1.2: a success with the epoch, from which a client sees that mappings are lost.
    assert pcp.announce(7) == bytes((2, 0x80, 0, 0)) + bytes(4) + (7).to_bytes(4, "big") + bytes(12)


def test_a_prefix_of_no_bits_clears_the_filters_before_it() -> None:
    options = peer(128, 80, mapped("203.0.113.9")) + peer(0, 0, bytes(16))
    assert (found := pcp.parse(header() + mapping() + options).mapping) is not None
    assert found.filters == ()
    assert (plain := pcp.parse(header() + mapping()).mapping) is not None
    assert plain.filters is None


def test_a_refusal_repeats_the_request_behind_its_own_head() -> None:
    request = header() + mapping() + option(2)
    answer = pcp.refuse(request, PcpResult.NOT_AUTHORIZED, lifetime=1800, epoch=7)

    assert answer[:4] == bytes((2, 0x81, 0, 2))
    assert answer[4:12] == (1800).to_bytes(4, "big") + (7).to_bytes(4, "big")
    assert answer[24:] == request[24:]


def test_a_grant_names_what_was_given_and_repeats_the_options_that_were_understood() -> None:
    request = header() + mapping(external=1) + option(2) + option(200, b"unknown")
    found = pcp.parse(request).mapping
    assert found is not None
    answer = pcp.grant(found, external=ip_address("203.0.113.1"), port=40001, lifetime=600, epoch=3)

    assert answer[:4] == bytes((2, 0x81, 0, 0))
    assert answer[24:36] == NONCE
    assert answer[40:44] == (8080).to_bytes(2, "big") + (40001).to_bytes(2, "big")
    assert answer[44:60] == mapped("203.0.113.1")
    assert answer[60:] == option(2)


@pytest.mark.parametrize(("wanted", "given_", "repeated"), [(4, 2, 2), (4, None, None)])
def test_a_grant_says_for_whom_it_is_and_how_many_ports_there_are(
    wanted: int, given_: int | None, repeated: int | None
) -> None:
    third_party = option(1, mapped("10.0.0.9"))
    port_set = option(130, wanted.to_bytes(2, "big") + bytes((31, 144, 1)))
    found = pcp.parse(header() + mapping() + third_party + port_set).mapping
    assert found is not None
    assert found.third_party == ip_address("10.0.0.9")

    answer = pcp.grant(
        found, external=ip_address("203.0.113.1"), port=8, lifetime=600, epoch=3, set_size=given_
    )

    # RFC 7753 section 5.2: the size is what was given; without a set there is no such option.
    expected = b"" if repeated is None else option(130, bytes((0, repeated, 31, 144, 1)))
    assert answer[60:] == third_party + expected


@pytest.mark.parametrize(
    ("asked", "port", "told"), [(1, 40000, 1), (1, 40001, 0), (0, 40000, 0), (0, 40001, 0)]
)
def test_rfc_7753_section_4_1_parity_is_told_as_it_is_and_only_who_asked_hears_of_it(
    asked: int, port: int, told: int
) -> None:
    found = pcp.parse(header() + mapping() + option(130, bytes((0, 2, 31, 144, asked)))).mapping
    assert found is not None
    answer = pcp.grant(
        found, external=ip_address("203.0.113.1"), port=port, lifetime=600, epoch=3, set_size=2
    )

    assert answer[60:] == option(130, bytes((0, 2, 31, 144, told)))


@given(data=st.binary(min_size=2, max_size=1200))
def test_any_bytes_are_a_request_or_refused_with_a_code(data: bytes) -> None:
    if not pcp.is_request(data):
        return
    for head in (data, b"\2" + data[1:], header() + mapping() + data[: len(data) // 4 * 4]):
        try:
            pcp.parse(head)
        except Refusal as refusal:
            answer = pcp.refuse(head, refusal.result, lifetime=30, epoch=0)
            assert 24 <= len(answer) <= pcp.MAX_BYTES
            assert len(answer) % 4 == 0


def test_a_client_reads_of_an_answer_what_it_was_given() -> None:
    client, peer = ip_address("10.0.0.8"), PeerFilter(ip_network("203.0.113.0/24"), 80)
    request = pcp.map_request(client, NONCE, 6, 8080, lifetime=600, filters=(peer,))
    found = pcp.parse(request)
    assert (found.client, found.lifetime) == (client, 600)
    assert found.mapping is not None
    assert found.mapping.filters == (peer,)
    granted = pcp.grant(
        found.mapping, external=ip_address("203.0.113.1"), port=40001, lifetime=600, epoch=3
    )
    refused = pcp.refuse(request, PcpResult.NOT_AUTHORIZED, lifetime=1800, epoch=3)

    assert pcp.parse_answer(granted) == pcp.MapAnswer(
        PcpResult.SUCCESS, 600, NONCE, ip_address("203.0.113.1"), 40001
    )
    assert (answer := pcp.parse_answer(refused)) is not None
    assert (answer.result, answer.lifetime) == (PcpResult.NOT_AUTHORIZED, 1800)


def test_only_an_answer_to_map_with_a_known_code_is_read() -> None:
    granted = bytes((2, 0x81, 0, 0)) + bytes(20) + mapping()
    assert pcp.parse_answer(granted) is not None

    for other in (
        bytes((1,)) + granted[1:],  # another version
        granted[:1] + bytes((0x80,)) + granted[2:],  # ANNOUNCE
        granted[:1] + bytes((0x01,)) + granted[2:],  # a request
        granted[:3] + bytes((14,)) + granted[4:],  # section 7.4 ends at 13
        granted[:-1],
    ):
        assert pcp.parse_answer(other) is None


@given(data=st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_none(data: bytes) -> None:
    for whole in (data, bytes((2, 0x81, 0)) + data, bytes((2, 0x81, 0, 0)) + bytes(40) + data):
        pcp.parse_answer(whole)


def peering(
    protocol: int = 6, internal: int = 8080, remote: int = 443, address: str = "203.0.113.9"
) -> bytes:
    return mapping(protocol, internal) + remote.to_bytes(2, "big") + bytes(2) + mapped(address)


@pytest.mark.parametrize("others", [None, "10.0.0.9"])
def test_section_12_1_a_peer_request_and_its_answer(others: str | None) -> None:
    third = b"" if others is None else option(1, mapped(others))
    request = pcp.parse(header(2) + peering() + third)

    found = request.peering
    assert found is not None
    assert request.mapping is None
    assert (found.protocol, found.internal_port) == (6, 8080)
    assert str(found.remote) == "203.0.113.9:443"
    assert found.third_party == (None if others is None else ip_address(others))
    answer = pcp.describe(found, external=Endpoint.parse("203.0.113.1:40001"), lifetime=60, epoch=9)
    assert answer[:4] == bytes((2, 0x82, 0, 0))
    assert answer[24:36] == NONCE
    assert answer[42:60] == (40001).to_bytes(2, "big") + mapped("203.0.113.1")
    assert answer[-len(third) :] == third or not third


@pytest.mark.parametrize(
    ("data", "result"),
    [
        (peering()[:-1], PcpResult.MALFORMED_REQUEST),
        (peering(protocol=0), PcpResult.MALFORMED_REQUEST),
        (peering(internal=0), PcpResult.MALFORMED_REQUEST),
        (peering(remote=0), PcpResult.MALFORMED_REQUEST),
        (peering() + option(2), PcpResult.MALFORMED_REQUEST),
        (peering() + peer(128, 0, mapped("203.0.113.9")), PcpResult.UNSUPP_OPTION),
    ],
)
def test_section_12_what_is_no_request_about_one_flow_is_refused(
    data: bytes, result: PcpResult
) -> None:
    assert result_of(header(2) + data) is result
