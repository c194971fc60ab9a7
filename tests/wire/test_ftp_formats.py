from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.addresses import Endpoint
from sallyport.errors import ProtocolError
from sallyport.wire.ftp import formats
from sallyport.wire.ftp.formats import Command, EpsvRequest, UnsupportedFamily
from sallyport.wire.telnet import unescape, without_commands

PORTS = st.integers(1, 65535)


def is_not_mapped(address: IPv4Address | IPv6Address) -> bool:
    return isinstance(address, IPv6Address) and address.ipv4_mapped is None


IPV4_ENDPOINTS = st.builds(Endpoint, st.ip_addresses(v=4), PORTS)
IPV6_ENDPOINTS = st.builds(Endpoint, st.ip_addresses(v=6).filter(is_not_mapped), PORTS)


def reason_of(error: pytest.ExceptionInfo[ProtocolError]) -> str:
    return error.value.reason


# -- commands ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "command"),
    [
        (b"PASV", Command(b"PASV")),
        (b"pasv", Command(b"PASV")),
        (b"CWD a b ", Command(b"CWD", b"a b ")),
        (b"CWD  a", Command(b"CWD", b" a")),
        (b"PASV ", Command(b"PASV", b"")),
        (b"RETR \xff\x01", Command(b"RETR", b"\xff\x01")),
        (b"XPWD", Command(b"XPWD")),
        (b"XSHA256 x", Command(b"XSHA256", b"x")),
        (b"P0RT 1", Command(b"P0RT", b"1")),
        (b"ABCDEFGHIJKLMNOP x", Command(b"ABCDEFGHIJKLMNOP", b"x")),
        (b"X", Command(b"X")),
    ],
)
def test_a_command_is_a_verb_and_the_rest_after_one_blank(text: bytes, command: Command) -> None:
    assert formats.parse_command(text + b"\r\n") == command


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" PORT 1",
        b"ABCDEFGHIJKLMNOPQ",
        b"1PORT",
        b"PORT\t1",
        b"PO-T 1",
        b"PASV\n",
        b"RETR a\nPORT 1",
        b"\xff\xffPORT",
    ],
)
def test_f15_a_line_that_does_not_begin_with_a_verb_is_refused(text: bytes) -> None:
    with pytest.raises(ProtocolError) as error:
        formats.parse_command(text + b"\r\n")
    assert reason_of(error) == "bad-command"


@pytest.mark.parametrize(
    "line", [b"PASV", b"PASV\r", b"CWD a\rb\r\n", b"CWD a\0\r\n", b"CWD a\r\0b\r\n"]
)
def test_f16_a_line_that_does_not_end_in_one_lf_with_crs_before_it_is_no_command(
    line: bytes,
) -> None:
    with pytest.raises(ProtocolError) as error:
        formats.parse_command(line)
    assert reason_of(error) == "bad-command"


@pytest.mark.parametrize(
    "stream",
    [b"\xff\xf4PORT 1\r\n", b"PO\xff\xf1RT 1\r\n", b"\xff\xfa\x18\xff\xf0PORT\xff\xfd\x01 1\r\n"],
)
def test_f15_a_verb_behind_or_around_telnet_commands_is_seen(stream: bytes) -> None:
    assert formats.parse_command(unescape(without_commands(stream))) == Command(b"PORT", b"1")


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r\r\n", b"\r\r\r\n"])
def test_f16_between_crs_there_is_no_word_that_another_reader_could_see(end: bytes) -> None:
    assert formats.parse_command(b"CWD a" + end) == Command(b"CWD", b"a")


def test_f18_only_the_first_word_is_the_verb() -> None:
    command = formats.parse_command(b"SITE X PORT 10,0,0,8,0,22\r\n")
    assert command == Command(b"SITE", b"X PORT 10,0,0,8,0,22")


def test_a_refused_command_does_not_carry_a_password_into_the_log() -> None:
    with pytest.raises(ProtocolError) as error:
        formats.parse_command(b"PASS: correct horse\r\n")
    assert error.value.offending == b"PASS"


# -- PORT -------------------------------------------------------------------------------------


def test_port_is_read_and_written_as_six_decimals() -> None:
    endpoint = Endpoint.parse("192.0.2.8:1553")
    assert formats.parse_port_argument(b"192,0,2,8,6,17") == endpoint
    assert formats.format_port_argument(endpoint) == b"192,0,2,8,6,17"


@given(IPV4_ENDPOINTS)
def test_port_round_trips(endpoint: Endpoint) -> None:
    assert formats.parse_port_argument(formats.format_port_argument(endpoint)) == endpoint


def test_f03_a_low_port_is_read_so_that_it_can_be_refused_by_its_number() -> None:
    assert formats.parse_port_argument(b"10,0,0,8,0,22").port == 22


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        pytest.param(b"10,0,0,8,0,0", "bad-port", id="f04-port-zero"),
        pytest.param(b"10,0,0,8,256,0", "bad-port-argument", id="f04-port-65536"),
        pytest.param(b"10,0,0,8,0,8192", "bad-port-argument", id="f05-low-octet-overflows"),
        pytest.param(b"0,0,0,172818690,77,1", "bad-port-argument", id="f06-one-number"),
        pytest.param(b"4294967306,77,1,2", "bad-port-argument", id="f06-wraps-at-32-bits"),
        pytest.param(b"4294967306,0,0,8,77,1", "bad-port-argument", id="f06-wraps-in-six"),
        pytest.param(b"10,0,0,256,6,17", "bad-port-argument", id="f06-octet-256"),
        pytest.param(b"10,0,0,8,6,0017", "bad-port-argument", id="f11-four-digits"),
        pytest.param(b"1 0,0,0,8,6,17", "bad-port-argument", id="f11-blank-in-a-number"),
        pytest.param(b"10,0,0,8,6,17\t", "bad-port-argument", id="f11-tab"),
        pytest.param(b"10,0,0,8,6, ", "bad-port-argument", id="f11-blank-number"),
        pytest.param(b"10 0 0 8 6 17", "bad-port-argument", id="f11-blanks-alone"),
        pytest.param(b"+10,0,0,8,6,17", "bad-port-argument", id="f11-plus"),
        pytest.param(b"-1,0,0,8,6,17", "bad-port-argument", id="f11-minus"),
        pytest.param("1٠,0,0,8,6,17".encode(), "bad-port-argument", id="f11-unicode-digit"),
        pytest.param(b"10,0,0,8,6", "bad-port-argument", id="f11-five-numbers"),
        pytest.param(b"10,0,0,8,6,17,1", "bad-port-argument", id="f11-seven-numbers"),
        pytest.param(b"10,0,0,8,6,17x", "bad-port-argument", id="f11-trailing-text"),
        pytest.param(b"10,0,0,8,6,", "bad-port-argument", id="f11-empty-number"),
        pytest.param(b"10.0.0.8.6.17", "bad-port-argument", id="f11-dots"),
        pytest.param(b"0x0a,0,0,8,6,17", "bad-port-argument", id="f11-hexadecimal"),
        pytest.param(b"1_0,0,0,8,6,17", "bad-port-argument", id="f11-underscore"),
        pytest.param(b"", "bad-port-argument", id="f11-nothing"),
    ],
)
def test_f04_f05_f06_f11_a_loose_port_argument_is_refused(argument: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError) as error:
        formats.parse_port_argument(argument)
    assert reason_of(error) == reason


@pytest.mark.parametrize(
    "argument",
    [
        pytest.param(b"010,000,000,008,006,017", id="three-digits"),
        pytest.param(b"10,0,0,8,06,017", id="leading-zero"),
        pytest.param(b" 10,0,0,8,6,17", id="blank-before"),
        pytest.param(b"10,0,0,8,6,17  ", id="blanks-after"),
        pytest.param(b"10, 0 ,0,8, 6,17", id="blanks-inside"),
    ],
)
def test_f11_what_real_servers_read_as_six_decimals_is_read_as_that(argument: bytes) -> None:
    assert formats.parse_port_argument(argument) == Endpoint.parse("10.0.0.8:1553")


@given(st.lists(st.integers(0, 300).map(str), min_size=4, max_size=8))
def test_f11_what_is_read_as_port_is_six_octets_and_nothing_else(numbers: list[str]) -> None:
    argument = ",".join(numbers).encode()
    octets = [int(number) for number in numbers]
    try:
        endpoint = formats.parse_port_argument(argument)
    except ProtocolError:
        assert len(octets) != 6 or max(octets) > 255 or octets[4:] == [0, 0]
    else:
        assert endpoint == Endpoint(IPv4Address(bytes(octets[:4])), octets[4] * 256 + octets[5])


def test_an_ipv6_endpoint_has_no_port_argument() -> None:
    with pytest.raises(ValueError, match="six numbers"):
        formats.format_port_argument(Endpoint.parse("[2001:db8::8]:1553"))


# -- EPRT -------------------------------------------------------------------------------------

# The two examples of RFC 2428 section 2, with documentation addresses.
EPRT_EXAMPLES = [
    (b"|1|192.0.2.2|6275|", "192.0.2.2:6275"),
    (b"|2|2001:db8::8:800:200c:417a|5282|", "[2001:db8::8:800:200c:417a]:5282"),
]


@pytest.mark.parametrize(("argument", "text"), EPRT_EXAMPLES)
def test_eprt_reads_and_writes_the_examples_of_rfc_2428(argument: bytes, text: str) -> None:
    assert formats.parse_eprt_argument(argument) == Endpoint.parse(text)
    assert formats.format_eprt_argument(Endpoint.parse(text)) == argument


@given(IPV4_ENDPOINTS | IPV6_ENDPOINTS)
def test_eprt_round_trips(endpoint: Endpoint) -> None:
    assert formats.parse_eprt_argument(formats.format_eprt_argument(endpoint)) == endpoint


def test_eprt_reads_an_ipv6_address_in_any_spelling_of_rfc_4291() -> None:
    argument = b"|2|2001:0DB8:0:0::0.0.0.8|5282|"
    assert formats.parse_eprt_argument(argument) == Endpoint.parse("[2001:db8::8]:5282")


@pytest.mark.parametrize(
    "delimiter", [bytes([n]) for n in range(33, 127) if n not in b"0123456789."]
)
def test_f09_every_delimiter_of_rfc_2428_but_a_digit_is_read(delimiter: bytes) -> None:
    argument = EPRT_EXAMPLES[0][0].replace(b"|", delimiter)
    assert formats.parse_eprt_argument(argument) == Endpoint.parse("192.0.2.2:6275")


@pytest.mark.parametrize("delimiter", [b"5", b".", b" ", b"\x7f", b"\x00", b"\xff", b"\xa6"])
def test_f09_a_delimiter_that_is_illegal_or_in_the_address_is_refused(delimiter: bytes) -> None:
    with pytest.raises(ProtocolError) as error:
        formats.parse_eprt_argument(EPRT_EXAMPLES[0][0].replace(b"|", delimiter))
    assert reason_of(error) == "bad-eprt-argument"


@pytest.mark.parametrize(
    "argument",
    [
        pytest.param(b"|3|192.0.2.2|6275|", id="family-3"),
        pytest.param(b"|0|192.0.2.2|6275|", id="family-0"),
        pytest.param(b"|01|192.0.2.2|6275|", id="family-with-leading-zero"),
        pytest.param(b"|1|2001:db8::8|6275|", id="ipv6-called-ipv4"),
        pytest.param(b"|2|192.0.2.2|6275|", id="ipv4-called-ipv6"),
    ],
)
def test_f08_a_family_we_lack_or_that_contradicts_the_address_is_told(argument: bytes) -> None:
    with pytest.raises(UnsupportedFamily):
        formats.parse_eprt_argument(argument)
    assert formats.SUPPORTED_FAMILIES == (1, 2)


@pytest.mark.parametrize(
    "port", [b"65558", b"65536", b"0", b"022", b"+22", b" 22", b"22 ", b"", b"4294967318", b"2_2"]
)
def test_f07_f11_a_port_that_is_not_one_to_65535_in_plain_decimal_is_refused(port: bytes) -> None:
    with pytest.raises(ProtocolError) as error:
        formats.parse_eprt_argument(b"|1|192.0.2.2|" + port + b"|")
    assert reason_of(error) == "bad-port"


@pytest.mark.parametrize(
    "argument",
    [
        pytest.param(b"|2|fe80::1%eth0|6275|", id="f10-zone"),
        pytest.param(b"|2|::ffff:192.0.2.2|6275|", id="f10-v4-mapped"),
        pytest.param(b"|2|::ffff:c000:202|6275|", id="f10-v4-mapped-in-hexadecimal"),
        pytest.param(b"|1|192.0.2.02|6275|", id="f11-leading-zero"),
        pytest.param("|1|192.0.2.٢|6275|".encode(), id="f11-unicode-digit"),
        pytest.param("|٢|192.0.2.2|6275|".encode(), id="f11-unicode-family"),
        pytest.param(b"|1|192.0.514|6275|", id="f11-three-numbers"),
        pytest.param(b"|1|3221225986|6275|", id="f11-one-number"),
        pytest.param(b"|1| 192.0.2.2|6275|", id="f11-blank"),
        pytest.param(b"|1||6275|", id="no-address"),
        pytest.param(b"||192.0.2.2|6275|", id="no-family"),
        pytest.param(b"|+1|192.0.2.2|6275|", id="f11-plus"),
        pytest.param(b"|1|192.0.2.2|6275", id="unclosed"),
        pytest.param(b"|1|192.0.2.2|6275|x", id="f11-trailing-text"),
        pytest.param(b"|1|192.0.2.2|6275||", id="six-fields"),
        pytest.param(b" |1|192.0.2.2|6275|", id="f11-leading-blank"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_f10_f11_a_loose_eprt_argument_is_refused(argument: bytes) -> None:
    with pytest.raises(ProtocolError) as error:
        formats.parse_eprt_argument(argument)
    assert reason_of(error) == "bad-eprt-argument"


# -- EPSV -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "request_"),
    [
        (None, EpsvRequest.DEFAULT),
        (b"", EpsvRequest.DEFAULT),
        (b"1", EpsvRequest.IPV4),
        (b"2", EpsvRequest.IPV6),
        (b"ALL", EpsvRequest.ALL),
        (b"all", EpsvRequest.ALL),
    ],
)
def test_epsv_asks_for_a_family_or_promises_all(
    argument: bytes | None, request_: EpsvRequest
) -> None:
    assert formats.parse_epsv_argument(argument) is request_


@pytest.mark.parametrize("argument", [b"3", b"0", b"01"])
def test_f08_epsv_of_a_family_we_lack_is_told(argument: bytes) -> None:
    with pytest.raises(UnsupportedFamily):
        formats.parse_epsv_argument(argument)


@pytest.mark.parametrize("argument", [b" 1", b"1 ", b"ALLES", b"ALL ", "١".encode()])
def test_a_loose_epsv_argument_is_refused(argument: bytes) -> None:
    with pytest.raises(ProtocolError) as error:
        formats.parse_epsv_argument(argument)
    assert reason_of(error) == "bad-epsv-argument"


# -- any bytes --------------------------------------------------------------------------------


@given(st.binary() | st.lists(st.sampled_from(b"0129,|:.()PORTEPSV \r\n\xff")).map(bytes))
def test_any_bytes_are_read_or_refused_and_never_crash(data: bytes) -> None:
    for parse in (
        formats.parse_command,
        formats.parse_port_argument,
        formats.parse_eprt_argument,
        formats.parse_epsv_argument,
    ):
        with suppress(ProtocolError):
            parse(data)


@pytest.mark.parametrize(
    "argument",
    [
        b"10,0,0,8,6,17",
        b" (10, 0,0,8,6,17)",
        b"4,4,10,0,0,8,2,6,17",
        b"|1|10.0.0.8|1553|",
        b"!2!::1!22!",
    ],
)
def test_f29_what_looks_like_an_address_is_known(argument: bytes) -> None:
    assert formats.looks_like_address(argument)


@pytest.mark.parametrize(
    "argument", [b"", b"a,b", b"1,2,3", b"|file|", b"x 10,0,0,8,6,17", b"2026-11-28"]
)
def test_other_arguments_do_not_look_like_one(argument: bytes) -> None:
    assert not formats.looks_like_address(argument)


def test_only_whole_numbers_of_an_address_are_replaced() -> None:
    text = b"227 (10,0,0,8,6,17) 110,0,0,8 10,0,0,80 10, 0,0 ,8\r\n"

    assert formats.replace_octets(text, b"10,0,0,8", b"1,2,3,4") == (
        b"227 (1,2,3,4,6,17) 110,0,0,8 10,0,0,80 1,2,3,4\r\n"
    )
