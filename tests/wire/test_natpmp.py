"""NAT-PMP messages (RFC 6886)."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.wire import natpmp
from sallyport.wire.natpmp import NatPmpMapping, NatPmpOpcode, NatPmpResult


def test_both_kinds_of_request_are_read() -> None:
    assert natpmp.parse(b"\0\0") is NatPmpOpcode.ADDRESS
    data = bytes((0, 2, 0, 0)) + bytes((31, 144, 97, 168)) + (7200).to_bytes(4, "big")
    assert natpmp.parse(data) == NatPmpMapping(
        is_tcp=True, internal_port=8080, external_port=25000, lifetime=7200
    )


def test_a_truncated_mapping_is_not_answered_and_an_unknown_opcode_is() -> None:
    assert natpmp.parse(b"\0\1\0\0\0") is None
    with pytest.raises(ValueError, match="opcode"):
        natpmp.parse(b"\0\7")
    answer = natpmp.refuse(b"\0\7", NatPmpResult.UNSUPP_OPCODE, 9)
    assert answer == bytes((0, 135, 0, 5, 0, 0, 0, 9))


def test_a_refusal_is_as_long_as_a_success_and_names_the_internal_port() -> None:
    asked = bytes((0, 2, 0, 0)) + bytes((31, 144, 97, 168)) + (7200).to_bytes(4, "big")

    # Section 3.2: the external address is zero when there is none.
    address = natpmp.refuse(b"\0\0", NatPmpResult.NETWORK_FAILURE, 9)
    assert address == bytes((0, 128, 0, 3, 0, 0, 0, 9)) + bytes(4)
    # Section 3.3: the client knows by the internal port which of its requests failed.
    mapping = natpmp.refuse(asked, NatPmpResult.NOT_AUTHORIZED, 9)
    assert mapping == bytes((0, 130, 0, 2, 0, 0, 0, 9)) + asked[4:8] + bytes(4)


def test_answers_carry_the_epoch_and_what_was_given() -> None:
    wanted = NatPmpMapping(is_tcp=False, internal_port=8080, external_port=0, lifetime=600)

    assert natpmp.address(IPv4Address("203.0.113.1"), 5) == bytes(
        (0, 128, 0, 0, 0, 0, 0, 5, 203, 0, 113, 1)
    )
    assert natpmp.grant(wanted, 40001, 600, 5) == bytes(
        (0, 129, 0, 0, 0, 0, 0, 5, 31, 144, 156, 65, 0, 0, 2, 88)
    )


@given(data=st.binary(min_size=2, max_size=40))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        natpmp.parse(data)
    except ValueError:
        assert len(natpmp.refuse(data, NatPmpResult.UNSUPP_OPCODE, 0)) >= 8
