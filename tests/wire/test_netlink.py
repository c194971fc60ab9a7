"""Netlink framing: literal bytes both ways, and any bytes never crash."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.errors import ProtocolError
from sallyport.wire import netlink
from sallyport.wire.netlink import Family, Message, Subsystem

# An acknowledgement as the kernel sends it: error 0 and the header it answers.
ACK = bytes.fromhex(
    "24000000 0200 0001 07000000 00000000 00000000 14000000 1000 0100 07000000 00000000"
)

REFUSAL = ACK[:16] + (-17).to_bytes(4, "little", signed=True) + ACK[20:]


def test_an_attribute_is_padded_and_its_length_is_not() -> None:
    assert netlink.attribute(8, b"abc") == bytes.fromhex("0700 0800 616263 00")


def test_nested_attributes_carry_the_flag() -> None:
    assert netlink.nested(1, netlink.attribute(2, b"x")) == bytes.fromhex(
        "0c00 0180 0500 0200 78000000"
    )


def test_text_ends_with_nul() -> None:
    assert netlink.text(1, "abc") == bytes.fromhex("0800 0100 61626300")


def test_a_message_carries_the_netfilter_header() -> None:
    kind = netlink.message_type(Subsystem.CTNETLINK, 1)

    assert netlink.message(kind, 5, 9, Family.IPV6, b"", 0x0A00) == bytes.fromhex(
        "14000000 0101 0500 09000000 00000000 0a 00 000a"
    )


def test_an_acknowledgement_is_error_zero() -> None:
    (message,) = netlink.messages(ACK)

    assert (message.kind, message.sequence, message.errno) == (netlink.TYPE_ERROR, 7, 0)


def test_a_refusal_gives_a_positive_errno() -> None:
    assert [message.errno for message in netlink.messages(REFUSAL)] == [17]


@pytest.mark.parametrize(
    ("sequence", "answer", "expected"),
    [
        (7, ACK, 0),
        (7, REFUSAL, 17),
        (7, REFUSAL[: netlink.VERDICT_SIZE], 17),
        (7, REFUSAL[: netlink.VERDICT_SIZE - 1], None),
        (8, ACK, None),
        (7, netlink.message(0x100, 0, 7, Family.INET, b"12345678"), None),
    ],
)
def test_a_verdict_is_an_errno_for_the_request_and_in_the_first_bytes(
    sequence: int, answer: bytes, expected: int | None
) -> None:
    assert netlink.verdict(answer, sequence) == expected


def test_other_messages_have_no_errno() -> None:
    assert Message(0x100, 0, 1, b"\0\0\0\0").errno is None


def test_an_error_too_short_to_hold_a_number_is_refused() -> None:
    with pytest.raises(ProtocolError, match="netlink-truncated"):
        _ = Message(netlink.TYPE_ERROR, 0, 1, b"\0").errno


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (ACK[:10], "netlink-truncated"),
        (ACK[:-4], "netlink-bad-length"),
        (b"\x04" + ACK[1:], "netlink-bad-length"),
    ],
)
def test_impossible_message_lengths_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        list(netlink.messages(data))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x05\0", "netlink-truncated"),
        (b"\x03\0\1\0", "netlink-bad-length"),
        (b"\x09\0\1\0abcd", "netlink-bad-length"),
    ],
)
def test_impossible_attribute_lengths_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        list(netlink.attributes(data))


_KIND = st.integers(1, 0x3FFF)


@given(st.lists(st.tuples(_KIND, st.binary(max_size=40))))
def test_attributes_round_trip(written: list[tuple[int, bytes]]) -> None:
    data = b"".join(netlink.attribute(kind, payload) for kind, payload in written)

    assert list(netlink.attributes(data)) == written


@given(
    st.lists(st.tuples(st.integers(3, 0xFFFF), st.integers(0, 2**32 - 1), st.binary(max_size=40)))
)
def test_messages_round_trip(written: list[tuple[int, int, bytes]]) -> None:
    data = b""
    for kind, sequence, body in written:
        one = netlink.message(kind, 0, sequence, Family.INET, body)
        data += one + bytes(-len(one) & 3)

    read = [(m.kind, m.sequence, m.payload[netlink.GENERIC_SIZE :]) for m in netlink.messages(data)]

    assert read == written


@given(st.binary(max_size=200))
def test_any_bytes_are_messages_or_a_protocol_error(data: bytes) -> None:
    try:
        for message in netlink.messages(data):
            _ = message.errno
            list(netlink.attributes(message.payload))
    except ProtocolError as error:
        assert error.reason in {"netlink-truncated", "netlink-bad-length"}  # noqa: PT017


def test_the_first_attribute_of_a_type_is_found() -> None:
    data = netlink.attribute(1, b"one") + netlink.attribute(2, b"two") + netlink.attribute(2, b"")

    assert [netlink.value_of(data, kind) for kind in (1, 2, 3)] == [b"one", b"two", b""]
