import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.wire.telnet import plain_prefix, unescape, with_plain_head, without_commands

# Mostly bytes that mean something to Telnet, so that short examples reach every state.
TELNET_BYTES = st.lists(
    st.sampled_from([0x41, 0x0D, 0xEF, 0xF0, 0xF1, 0xFA, 0xFB, 0xFE, 0xFF, 0xFF, 0xFF]), max_size=40
).map(bytes)


def test_bytes_without_commands_come_out_identical() -> None:
    assert without_commands(b"USER anonymous\r\n") == b"USER anonymous\r\n"


@given(st.binary().map(lambda data: data.replace(b"\xff", b"\xff\xff")))
def test_any_escaped_bytes_come_out_identical(data: bytes) -> None:
    assert without_commands(data) == data


def test_f15_the_interrupt_and_synch_before_abor_are_taken_out() -> None:
    assert without_commands(b"\xff\xf4\xff\xf2ABOR\r\n") == b"ABOR\r\n"


@pytest.mark.parametrize("command", range(0xF0, 0xFA))
def test_f15_a_two_byte_command_inside_a_verb_is_taken_out(command: int) -> None:
    assert without_commands(b"PO\xff" + bytes([command]) + b"RT") == b"PORT"


@pytest.mark.parametrize("command", [0xFB, 0xFC, 0xFD, 0xFE])
@pytest.mark.parametrize("option", [0x01, 0x0A, 0xFF])
def test_f15_a_negotiation_is_taken_out_with_its_option(command: int, option: int) -> None:
    assert without_commands(b"PO\xff" + bytes([command, option]) + b"RT") == b"PORT"


@pytest.mark.parametrize(
    "inside", [b"", b"\x18\x00vt100", b"\xff\xff", b"\xff\xff\xf0", b"\xff\xf1", b"\r\nPORT 1\r\n"]
)
def test_f15_a_subnegotiation_is_taken_out_with_all_that_is_inside(inside: bytes) -> None:
    assert without_commands(b"PO\xff\xfa" + inside + b"\xff\xf0RT") == b"PORT"


def test_a_doubled_iac_stays_doubled() -> None:
    assert without_commands(b"RETR \xff\xff\r\n") == b"RETR \xff\xff\r\n"


def test_a_doubled_iac_does_not_start_a_command() -> None:
    assert without_commands(b"\xff\xff\xf4") == b"\xff\xff\xf4"


def test_iac_before_an_ordinary_byte_is_a_letter_of_an_old_client() -> None:
    assert without_commands(b"RETR \xffle\r\n") == b"RETR \xffle\r\n"


@given(TELNET_BYTES)
def test_decoding_what_was_decoded_changes_nothing(data: bytes) -> None:
    once = without_commands(data)
    assert without_commands(once) == once


def test_a_subnegotiation_without_end_hides_all_that_follows() -> None:
    assert without_commands(b"NO\xff\xfa\x18xterm\r\n") == b"NO"


def test_commands_of_two_bytes_before_the_verb_stay_and_the_argument_is_not_touched() -> None:
    line = b"\xff\xf4\xff\xf2DELE \xec\xff\xf1\xee\xff\xfb\r\n"

    assert with_plain_head(line) == line


@pytest.mark.parametrize(
    ("line", "passed"),
    [
        (b"\xff\xfb\x01NOOP\r\n", b"NOOP\r\n"),
        (b"NO\xff\xf4OP \xff\xf4\r\n", b"NOOP \xff\xf4\r\n"),
        (b"\xff\xf4\xff\xfd\x01NOOP\r\n", b"\xff\xf4NOOP\r\n"),
        (b"NO\xff\xfb OP x\r\n", b"NOOP x\r\n"),
        (b"\xff\xfa \xff\xf0CWD \xff\xfa\r\n", b"CWD \xff\xfa\r\n"),
        (b"NO\xff\xffOP\r\n", b"NO\xff\xffOP\r\n"),
    ],
)
def test_f15_other_commands_before_or_within_the_verb_are_taken_out(
    line: bytes, passed: bytes
) -> None:
    assert with_plain_head(line) == passed


@given(TELNET_BYTES, TELNET_BYTES)
def test_f15_what_passes_has_one_verb_for_every_reader(head: bytes, rest: bytes) -> None:
    passed = with_plain_head(head.replace(b" ", b"") + b"A " + rest)
    verb = passed[plain_prefix(passed) :].partition(b" ")[0]

    assert without_commands(verb) == verb


@pytest.mark.parametrize(
    ("data", "length"),
    [
        (b"", 0),
        (b"ABOR", 0),
        (b"\xff", 0),
        (b"\xff\xf4", 2),
        (b"\xff\xf4\xff", 2),
        (b"\xff\xf4\xff\xf2ABOR", 4),
        (b"\xff\xff\xf4", 0),
        (b"\xff\xfb\x01", 0),
        (b"\xff\xfa\x01\xff\xf0", 0),
    ],
)
def test_only_whole_commands_of_two_bytes_are_a_plain_prefix(data: bytes, length: int) -> None:
    assert plain_prefix(data) == length


def test_unescaping_turns_each_pair_into_one_byte() -> None:
    assert unescape(b"a\xff\xffb\xff\xff\xff\xffc\xffd") == b"a\xffb\xff\xffc\xffd"
