import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport import limits
from sallyport.errors import ProtocolError
from sallyport.wire.telnet import TelnetDecoder, unescape

# Mostly bytes that mean something to Telnet, so that short examples reach every state.
TELNET_BYTES = st.lists(
    st.sampled_from([0x41, 0x0D, 0xEF, 0xF0, 0xF1, 0xFA, 0xFB, 0xFE, 0xFF, 0xFF, 0xFF]), max_size=40
).map(bytes)


def decode(*segments: bytes) -> bytes:
    decoder = TelnetDecoder()
    return b"".join(decoder.feed(segment) for segment in segments)


def test_bytes_without_commands_come_out_identical() -> None:
    assert decode(b"USER anonymous\r\n") == b"USER anonymous\r\n"


@given(st.binary().map(lambda data: data.replace(b"\xff", b"\xff\xff")))
def test_any_escaped_bytes_come_out_identical(data: bytes) -> None:
    assert decode(data) == data


def test_f15_the_interrupt_and_synch_before_abor_are_taken_out() -> None:
    assert decode(b"\xff\xf4\xff\xf2ABOR\r\n") == b"ABOR\r\n"


@pytest.mark.parametrize("command", range(0xF0, 0xFA))
def test_f15_a_two_byte_command_inside_a_verb_is_taken_out(command: int) -> None:
    assert decode(b"PO\xff" + bytes([command]) + b"RT") == b"PORT"


@pytest.mark.parametrize("command", [0xFB, 0xFC, 0xFD, 0xFE])
@pytest.mark.parametrize("option", [0x01, 0x0A, 0xFF])
def test_f15_a_negotiation_is_taken_out_with_its_option(command: int, option: int) -> None:
    assert decode(b"PO\xff" + bytes([command, option]) + b"RT") == b"PORT"


@pytest.mark.parametrize(
    "inside", [b"", b"\x18\x00vt100", b"\xff\xff", b"\xff\xff\xf0", b"\xff\xf1", b"\r\nPORT 1\r\n"]
)
def test_f15_a_subnegotiation_is_taken_out_with_all_that_is_inside(inside: bytes) -> None:
    assert decode(b"PO\xff\xfa" + inside + b"\xff\xf0RT") == b"PORT"


def test_a_doubled_iac_stays_doubled() -> None:
    assert decode(b"RETR \xff\xff\r\n") == b"RETR \xff\xff\r\n"


def test_a_doubled_iac_does_not_start_a_command() -> None:
    assert decode(b"\xff\xff\xf4") == b"\xff\xff\xf4"


def test_iac_before_an_ordinary_byte_is_a_letter_of_an_old_client() -> None:
    assert decode(b"RETR \xffle\r\n") == b"RETR \xffle\r\n"


def test_f15_every_split_point_gives_the_same_bytes() -> None:
    stream = b"\xff\xf4P\xff\xfd\x01O\xff\xfa\x18\xff\xff\x00\xff\xf0RT \xff\xff\xffx\r\n"
    for at in range(len(stream) + 1):
        assert decode(stream[:at], stream[at:]) == b"PORT \xff\xff\xffx\r\n"


@given(TELNET_BYTES)
def test_byte_by_byte_gives_the_same_bytes(data: bytes) -> None:
    assert decode(*(bytes([byte]) for byte in data)) == decode(data)


@given(TELNET_BYTES)
def test_decoding_what_was_decoded_changes_nothing(data: bytes) -> None:
    once = decode(data)
    assert decode(once) == once


def test_a_subnegotiation_at_the_limit_passes() -> None:
    inside = b"x" * (limits.MAX_TELNET_SUBNEGOTIATION - 2)
    assert decode(b"\xff\xfa" + inside + b"\xff\xf0NOOP") == b"NOOP"


def test_a_subnegotiation_without_end_is_refused_now_and_later() -> None:
    decoder = TelnetDecoder()
    decoder.feed(b"\xff\xfa" + b"\xff" * limits.MAX_TELNET_SUBNEGOTIATION)
    for more in (b"x", b"\r\n"):
        with pytest.raises(ProtocolError, match="telnet-subnegotiation-too-long"):
            decoder.feed(more)


def test_each_subnegotiation_is_counted_afresh() -> None:
    one = b"\xff\xfa" + b"x" * 300 + b"\xff\xf0"
    assert decode(one, one, b"NOOP") == b"NOOP"


def test_unescaping_turns_each_pair_into_one_byte() -> None:
    assert unescape(b"a\xff\xffb\xff\xff\xff\xffc\xffd") == b"a\xffb\xff\xffc\xffd"
