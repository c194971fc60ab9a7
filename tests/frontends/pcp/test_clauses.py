"""Clauses of RFC 6887, 7753 and 6886 that bind the server and hold for every request.

Those of one operation (a renewal, a filter, a flow) are in `test_responder.py`, those of a single
message in `tests/wire/test_pcp.py`, those of a link in `tests/interop/test_pcp.py`.
"""

from typing import Any

import pytest
from tests.frontends.pcp.asking import (
    CLIENT,
    NEIGHBOUR,
    OTHER_NONCE,
    PREFER_FAILURE,
    Asking,
    option,
    packed,
    peer,
    request,
)

from sallyport.addresses import Endpoint
from sallyport.flags import Transport
from sallyport.wire.pcp import PcpResult


def test_section_7_1_reserved_bits_are_ignored_and_in_answers_they_are_zero() -> None:
    asking = Asking()
    plain = request(external=40500)
    marked = bytearray(plain)
    marked[2:4] = b"\xff\xff"  # the header's
    marked[37:40] = b"\xff\xff\xff"  # those of MAP
    answer, expected = asking.ask(bytes(marked)), Asking().ask(plain)

    assert answer == expected
    assert answer is not None
    assert answer[2] == 0
    assert answer[12:24] == bytes(12)


def test_section_7_3_optional_options_are_ignored_and_not_in_the_answer() -> None:
    known = peer("203.0.113.9")
    answer = Asking().map(options=option(200, b"unknown") + known + option(255))

    assert (answer.result, answer.options) == (PcpResult.SUCCESS, known)


def test_section_7_3_options_count_in_the_order_in_which_they_come() -> None:
    nobody, first, then = peer("0.0.0.0", bits=0), peer("203.0.113.9"), peer("203.0.113.10")

    def sources(options: bytes) -> str:
        asking = Asking()
        assert asking.map(options=options).result is PcpResult.SUCCESS
        return asking.pinholes()[0].partition(" from ")[2]

    assert sources(first + nobody + then) == sources(then)
    assert sources(nobody + first + then) == sources(first + then)
    assert sources(first + then + nobody) == sources(b"")


@pytest.mark.parametrize(
    "wrong",
    [
        {"client": "10.0.0.9"},
        {"protocol": 47},
        {"port": 22},
        {"options": option(9)},
        {"options": option(3, bytes(4))},
        {"nonce": OTHER_NONCE},
        {"external": 40501, "options": PREFER_FAILURE, "port": 8081},
    ],
)
def test_section_7_3_a_request_that_fails_changes_nothing(wrong: dict[str, Any]) -> None:
    asking = Asking()
    asking.map(external=40500)
    asking.map(port=8082, external=40501)
    before, until = asking.pinholes(), asking.seconds_left()
    answer = asking.map(**{"port": 8080, "lifetime": 9000} | wrong)

    assert answer.result is not PcpResult.SUCCESS
    assert asking.pinholes() == before
    assert asking.seconds_left() == until


@pytest.mark.parametrize("version", [1, 3, 255])
def test_section_9_another_version_is_answered_with_ours(version: int) -> None:
    answer = Asking().ask(bytes((version,)) + request()[1:])

    assert answer is not None
    assert (answer[0], answer[1], answer[3]) == (2, 0x81, PcpResult.UNSUPP_VERSION)


@pytest.mark.parametrize(
    "asked", [request(), request(protocol=47), request(port=22), request(lifetime=0)]
)
def test_section_8_3_an_answer_repeats_nonce_protocol_and_internal_port(asked: bytes) -> None:
    answer = Asking().ask(asked)

    assert answer is not None
    assert answer[1] == asked[1] | 0x80
    assert answer[24:42] == asked[24:42]


def test_section_11_3_a_mapping_is_for_the_protocol_that_was_asked_for_alone() -> None:
    asking = Asking()
    asking.map(external=40500)
    (binding,) = asking.gateway.bindings()
    assert binding.transport is Transport.TCP

    # Section 11.1: TCP and UDP of one port are two mappings; deleting one leaves the other.
    asking.map(protocol=17)
    asking.map(lifetime=0)
    assert [one.transport for one in asking.gateway.bindings()] == [Transport.UDP]


def test_section_14_1_an_announcement_is_answered_with_the_epoch_and_no_lifetime() -> None:
    asking = Asking()
    asking.world.seconds += 5
    asked = b"\2\0\0\0" + (77).to_bytes(4, "big") + packed(str(CLIENT.address))

    assert asking.ask(asked) == b"\2\x80\0\0" + bytes(4) + (5).to_bytes(4, "big") + bytes(12)


def test_section_15_a_shorter_lifetime_shortens_the_mapping() -> None:
    asking = Asking()
    asking.map(lifetime=3600)
    assert asking.map(lifetime=300).lifetime == 300
    asking.world.pass_time(asking.gateway, 299)
    assert asking.pinholes()
    asking.world.pass_time(asking.gateway, 1)
    assert not asking.pinholes()


def test_section_15_1_the_answer_to_a_deletion_repeats_what_was_suggested() -> None:
    asking = Asking()
    asking.map(external=40500)
    answer = asking.ask(request(lifetime=0, external=40777, suggested="203.0.113.7"))

    assert answer is not None
    assert answer[4:8] == bytes(4)
    assert answer[42:60] == (40777).to_bytes(2, "big") + packed("203.0.113.7")


def test_rfc_7753_section_4_1_a_set_of_no_ports_is_malformed_and_a_deletion_may_name_its_set() -> (
    None
):
    asking = Asking()
    nothing, two = (option(130, bytes((0, size, 31, 144, 0))) for size in (0, 2))
    assert asking.map(options=nothing).result is PcpResult.MALFORMED_OPTION
    assert asking.map(options=two).result is PcpResult.SUCCESS
    assert len(asking.pinholes()) == 2
    assert asking.map(options=two, lifetime=0).result is PcpResult.SUCCESS
    assert not asking.pinholes()


# -- NAT-PMP's (RFC 6886) -------------------------------------------------------------------------


def test_rfc_6886_section_3_3_a_taken_port_is_another_port_and_a_renewal_keeps_its_own() -> None:
    asking = Asking()

    def given(source: Endpoint, port: int, wished: int) -> int:
        asked = bytes((0, 2, 0, 0)) + port.to_bytes(2, "big") + wished.to_bytes(2, "big")
        answer = asking.ask(asked + (3600).to_bytes(4, "big"), source)
        assert answer is not None
        assert answer[2:4] == bytes(2)
        return int.from_bytes(answer[10:12], "big")

    assert given(CLIENT, 8080, 40500) == 40500
    assert given(NEIGHBOUR, 8080, 40500) != 40500
    assert given(CLIENT, 8080, 40600) == 40500


def test_rfc_6886_section_3_5_an_unknown_opcode_has_its_answer() -> None:
    answer = Asking().ask(b"\0\x05")

    assert answer is not None
    assert answer[:4] == b"\0\x85\0\x05"


def test_rfc_6886_section_3_4_a_deletion_is_answered_with_no_port_and_no_time() -> None:
    asking = Asking()
    asking.ask(b"\0\2\0\0" + (8080).to_bytes(2, "big") + bytes(2) + (3600).to_bytes(4, "big"))
    for _ in range(2):  # of nothing too
        answer = asking.ask(b"\0\2\0\0" + (8080).to_bytes(2, "big") + bytes(6))
        assert answer is not None
        assert answer[2:4] == bytes(2)
        assert answer[8:16] == (8080).to_bytes(2, "big") + bytes(6)
    assert not asking.pinholes()
