from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.errors import ProtocolError
from sallyport.wire.ftp import formats, replies
from sallyport.wire.ftp.replies import ReplyLine, ReplyReader

PORTS = st.integers(1, 65535)
IPV4_ENDPOINTS = st.builds(Endpoint, st.ip_addresses(v=4), PORTS)

# Text around the numbers of a reply: no digit, comma or bracket that could belong to them.
WORDS = st.text("abc =.-\xff", max_size=12).map(lambda text: text.encode("latin-1"))

# RFC 959 section 4.2, word for word.
RFC_959_REPLY = [
    b"123-First line\r\n",
    b"Second line\r\n",
    b"  234 A line beginning with numbers\r\n",
    b"123 The last line\r\n",
]

# Fragments rather than bytes: short examples that are full of codes and line ends.
FRAGMENTS = st.lists(
    st.sampled_from([*RFC_959_REPLY, b"123\n", b"227 x\r\n", b"22", b"\r", b"\xff"])
)


def reason_of(error: pytest.ExceptionInfo[ProtocolError]) -> str:
    return error.value.reason


def read(*segments: bytes, reader: ReplyReader | None = None) -> list[ReplyLine]:
    reader, lines = reader or ReplyReader(), []
    for segment in segments:
        reader.feed(segment)
        while (line := reader.take()) is not None:
            lines.append(line)
    return lines


# -- 227 --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"227 Entering Passive Mode (192,0,2,8,6,17)", id="rfc-959-page-40"),
        pytest.param(b"227 Entering Passive Mode. 192,0,2,8,6,17", id="rfc-959-page-43"),
        pytest.param(b"227 Entering Passive Mode (192,0,2,8,6,17).", id="full-stop"),
        pytest.param(b"227 =192,0,2,8,6,17", id="equals"),
        pytest.param(b"227 [192,0,2,8,6,17]", id="other-brackets"),
        pytest.param(b"227 Mode 2 (192, 0, 2 ,8,\t6,17)", id="blanks-and-a-lone-digit"),
        pytest.param(b"227 192,0,2,8,6,17,", id="trailing-comma"),
        pytest.param(b"227 (192,000,002,008,006,017)", id="three-digits"),
    ],
)
def test_v05_a_227_is_scanned_for_six_numbers(text: bytes) -> None:
    found = formats.read_pasv_reply(text)
    assert found is not None
    assert found.endpoint == Endpoint.parse("192.0.2.8:1553")
    start, end = found.span
    assert text[start:end].startswith(b"192")
    assert text[start:end].endswith(b"17")


@pytest.mark.parametrize("text", [b"227 Logout.", b"227", b"227 see 1,2,3,4,5", b"227 ,1,2,3,4,5"])
def test_v04_a_227_without_six_numbers_is_plain_text(text: bytes) -> None:
    assert formats.read_pasv_reply(text) is None


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        pytest.param(b"192,0,2,8,6,17,1", "bad-227", id="seven-numbers"),
        pytest.param(b"192,0,2,8,0,8192", "bad-227", id="octet-overflows"),
        pytest.param(b"192,0,2,256,6,17", "bad-227", id="octet-256"),
        pytest.param(b"192,0,2,0010,6,17", "bad-227", id="four-digits"),
        pytest.param(b"192,0,2,8,0,0", "bad-port", id="port-zero"),
        pytest.param(b"192,0,2,8,6,17) (192,0,2,9,6,17", "bad-227", id="two-endpoints"),
        pytest.param(b"1,1,1,1,1,999 192,0,2,9,6,17", "bad-227", id="bad-before-good"),
    ],
)
def test_v05_the_numbers_of_a_227_are_strict(numbers: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError) as error:
        formats.read_pasv_reply(b"227 Entering Passive Mode (" + numbers + b")")
    assert reason_of(error) == reason


def test_a_227_is_rewritten_in_place() -> None:
    raw = b"227 Entering  Passive Mode [10,0,0,8,6,17] \xfcbrigens\r\n"
    found = formats.read_pasv_reply(raw)
    assert found is not None
    ours = formats.format_port_argument(Endpoint.parse("192.0.2.8:1553"))
    assert formats.splice(raw, found.span, ours) == (
        b"227 Entering  Passive Mode [192,0,2,8,6,17] \xfcbrigens\r\n"
    )


@given(WORDS, IPV4_ENDPOINTS, WORDS, IPV4_ENDPOINTS)
def test_bytes_around_the_numbers_of_a_227_stay_untouched(
    before: bytes, old: Endpoint, after: bytes, new: Endpoint
) -> None:
    raw = b"227 " + before + formats.format_port_argument(old) + after + b"\r\n"
    found = formats.read_pasv_reply(raw)
    assert found is not None
    assert found.endpoint == old
    ours = formats.format_port_argument(new)
    assert formats.splice(raw, found.span, ours) == b"227 " + before + ours + after + b"\r\n"


@pytest.mark.parametrize(
    "filler", [b"1" * 200_000, b"1" + b" " * 200_000, b"1," * 4 + b" " * 200_000]
)
def test_v11_scanning_a_227_costs_no_more_than_its_length(filler: bytes) -> None:
    # Backtracking from every byte would take minutes here: the suite's time limit would tell.
    assert formats.read_pasv_reply(b"227 " + filler) is None


# -- 229 --------------------------------------------------------------------------------------


def test_229_reads_the_example_of_rfc_2428() -> None:
    text = b"229 Entering Extended Passive Mode (|||6446|)"
    found = formats.read_epsv_reply(text)
    assert found.port == 6446
    assert formats.splice(text, found.span, b"40000") == (
        b"229 Entering Extended Passive Mode (|||40000|)"
    )


@pytest.mark.parametrize("delimiter", [b"!", b"(", b")", b"\\", b"a", b"~"])
def test_229_reads_any_legal_delimiter(delimiter: bytes) -> None:
    text = b"229 ok (|||6446|).".replace(b"|", delimiter)
    assert formats.read_epsv_reply(text).port == 6446


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(b"229 ok (|||70000|)", "bad-port", id="over-65535"),
        pytest.param(b"229 ok (|||0|)", "bad-port", id="zero"),
        pytest.param(b"229 ok (|||06446|)", "bad-port", id="leading-zero"),
        pytest.param(b"229 ok (||192.0.2.1|6446|)", "bad-229", id="address"),
        pytest.param(b"229 ok (|1||6446|)", "bad-229", id="family"),
        pytest.param(b"229 ok (|1|192.0.2.1|6446|) (|||6447|)", "bad-229", id="address-first"),
        pytest.param(b"229 ok (|||6447|) (!2!!6446!)", "bad-229", id="family-behind"),
        pytest.param(b"229 ok (||||)", "bad-229", id="no-port"),
        pytest.param(b"229 ok (|||+6446|)", "bad-229", id="plus"),
        pytest.param(b"229 ok (|||6446)", "bad-229", id="unclosed"),
        pytest.param(b"229 ok (||!6446|)", "bad-229", id="mixed-delimiters"),
        pytest.param(b"229 ok (11164461)", "bad-229", id="digit-as-delimiter"),
        pytest.param(b"229 ok (   6446 )", "bad-229", id="blank-as-delimiter"),
        pytest.param(b"229 ok |||6446|", "bad-229", id="no-brackets"),
        pytest.param(b"229 ok (|||6446|) (!!!6447!)", "bad-229", id="two-ports"),
        pytest.param(b"229 Logout.", "bad-229", id="no-endpoint"),
    ],
)
def test_v06_a_loose_229_is_refused(text: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError) as error:
        formats.read_epsv_reply(text)
    assert reason_of(error) == reason


def test_v06_a_low_port_is_read_so_that_it_can_be_refused_by_its_number() -> None:
    assert formats.read_epsv_reply(b"229 ok (|||22|)").port == 22


@given(WORDS, PORTS, WORDS, PORTS)
def test_bytes_around_the_port_of_a_229_stay_untouched(
    before: bytes, old: int, after: bytes, new: int
) -> None:
    raw = b"229 %b(|||%d|)%b\r\n" % (before, old, after)
    found = formats.read_epsv_reply(raw)
    assert found.port == old
    assert formats.splice(raw, found.span, b"%d" % new) == b"229 %b(|||%d|)%b\r\n" % (
        before,
        new,
        after,
    )


# -- building replies -------------------------------------------------------------------------


def test_a_reply_of_ours_is_one_line_that_our_reader_takes() -> None:
    raw = replies.reply(501, "PORT names another host.")
    assert raw == b"501 PORT names another host.\r\n"
    assert read(raw) == [ReplyLine(raw, 501, is_first=True, is_final=True)]


@pytest.mark.parametrize(
    ("code", "text"), [(99, "x"), (1000, "x"), (200, "a\r\n230 b"), (200, "a\nb"), (200, "ü")]
)
def test_a_reply_that_would_not_be_one_line_is_not_built(code: int, text: str) -> None:
    with pytest.raises(ValueError, match=r"line of a reply|ascii"):
        replies.reply(code, text)


# -- reading replies --------------------------------------------------------------------------


def test_the_multi_line_example_of_rfc_959_is_one_reply() -> None:
    lines = read(b"".join(RFC_959_REPLY))
    assert [line.raw for line in lines] == RFC_959_REPLY
    assert {line.code for line in lines} == {123}
    assert [line.is_final for line in lines] == [False, False, False, True]


@pytest.mark.parametrize(
    "raw",
    [b"200 ok\r\n", b"200 ok\n", b"200 \r\n", b"200\r\n", b"631 x\r\n", b"200ok\r\n", b"200\tok\n"],
)
def test_a_single_line_is_final(raw: bytes) -> None:
    assert read(raw) == [ReplyLine(raw, int(raw[:3]), is_first=True, is_final=True)]


def test_the_text_of_a_line_has_the_code_but_no_terminator() -> None:
    assert [line.text for line in read(b"211-a\r\n b\n211 c\r\n")] == [b"211-a", b" b", b"211 c"]


def test_f21_pipelined_replies_come_out_in_order() -> None:
    lines = read(b"200 NOOP ok\r\n500 PORT no\r\n")
    assert [(line.code, line.is_final) for line in lines] == [(200, True), (500, True)]


@pytest.mark.parametrize(("code", "is_preliminary"), [(150, True), (199, True), (200, False)])
def test_only_1yz_is_preliminary(code: int, is_preliminary: bool) -> None:
    (line,) = read(replies.reply(code, "x"))
    assert line.is_preliminary == is_preliminary


@pytest.mark.parametrize(
    ("code", "is_success"), [(199, False), (200, True), (299, True), (300, False)]
)
def test_only_2yz_is_success(code: int, is_success: bool) -> None:
    (line,) = read(replies.reply(code, "x"))
    assert line.is_success == is_success


@pytest.mark.parametrize(
    "inside",
    [
        b"227 Entering Passive Mode (10,0,0,8,6,17)\r\n",
        b"227-x\r\n",
        b"211-again\r\n",
        b"2110 more digits\r\n",
        b" 211 padded\r\n",
        b"211\tx\r\n",
        b"\r\n",
        b"\xff\x00\r\n",
    ],
)
def test_v03_v07_a_line_inside_a_multi_line_reply_is_text(inside: bytes) -> None:
    first, middle, last = read(b"211-Status\r\n" + inside + b"211 End\r\n")
    assert (middle.raw, middle.code) == (inside, 211)
    assert [line.is_final for line in (first, middle, last)] == [False, False, True]


def test_v08_an_echoed_227_at_the_start_of_a_segment_is_still_text() -> None:
    (line,) = read(b"501 No such file: ", b"227 Entering Passive Mode (10,0,0,8,0,22)\r\n")
    assert line.code == 501


def test_a_code_alone_ends_a_multi_line_reply() -> None:
    assert [line.is_final for line in read(b"211-a\r\n211\r\n")] == [False, True]


@given(FRAGMENTS)
def test_every_split_gives_the_same_replies(fragments: list[bytes]) -> None:
    whole = b"".join(fragments)
    expected = read(whole)
    assert read(*fragments) == expected
    assert read(*(bytes([byte]) for byte in whole)) == expected


@given(FRAGMENTS)
def test_the_raw_lines_are_the_bytes_of_the_server_unchanged(fragments: list[bytes]) -> None:
    reader, stream = ReplyReader(line_limit=8), b"123-x\r\n" + b"".join(fragments)
    raw = b"".join(line.raw for line in read(stream, reader=reader))

    assert raw + reader.take_rest() == stream


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n",
        b"hello\r\n",
        b"20 ok\r\n",
        b"2000 ok\r\n",
        b" 200 ok\r\n",
        b"099 ok\r\n",
        b"700 ok\r\n",
        "٢00 ok\r\n".encode(),
        b"HTTP/1.1 200 OK\r\n",
        b"\x16\x03\x03\x00\x7a\x02\x00\n",
    ],
)
def test_v12_bytes_that_are_no_reply_are_text(raw: bytes) -> None:
    assert read(raw) == [ReplyLine(raw, None, is_first=False, is_final=False)]


def test_telnet_commands_hide_no_code_and_stay() -> None:
    (line,) = read(b"\xff\xfb\x01220 ready\r\n")

    assert (line.raw, line.code) == (b"\xff\xfb\x01220 ready\r\n", 220)


def test_v11_a_reply_line_of_64_kilobytes_comes_in_parts() -> None:
    first, *parts = read(b"220 " + b"x" * 65_536 + b"\r\n200 ok\r\n")
    *parts, last = parts

    assert (first.code, first.is_final, first.is_whole) == (220, True, False)
    assert len(first.raw) == limits.MAX_FTP_REPLY_LINE
    assert all(not (part.is_first or part.is_final or part.is_whole) for part in parts)
    assert (last.code, last.is_first) == (200, True)


def test_v11_a_reply_line_at_the_limit_is_whole() -> None:
    raw = b"220 ".ljust(limits.MAX_FTP_REPLY_LINE - 2, b"x") + b"\r\n"
    assert [(line.raw, line.is_whole) for line in read(raw)] == [(raw, True)]


def test_a_part_of_a_long_line_within_a_reply_ends_nothing() -> None:
    reader = ReplyReader(line_limit=8)
    lines = read(b"211-a\r\n1234567 211 end\r\n211 x\r\n", reader=reader)

    assert [line.is_final for line in lines] == [False, False, False, True]


def test_what_is_left_is_the_unfinished_line() -> None:
    reader = ReplyReader()
    assert read(b"200 a\r\n42", reader=reader)[0].code == 200

    assert reader.take_rest() == b"42"
    assert reader.take_rest() == b""


# -- replies that do not end as RFC 959 says ------------------------------------------------------


def test_a_line_with_another_code_is_text_until_the_client_goes_on() -> None:
    reader = ReplyReader()
    assert {line.code for line in read(b"553-No\r\n150 a\r\n226 a\r\n", reader=reader)} == {553}
    reader.client_goes_on()

    (line,) = read(b"227 x\r\n", reader=reader)
    assert (line.code, line.is_first, line.is_certain) == (227, True, False)


def test_without_such_a_line_a_reply_goes_on_whatever_the_client_does() -> None:
    reader = ReplyReader()
    read(b"213-Status\r\n file\r\n", reader=reader)
    reader.client_goes_on()

    assert [line.code for line in read(b"227 x\r\n", reader=reader)] == [213]


def test_certainty_comes_back_with_the_first_code() -> None:
    reader = ReplyReader()
    read(b"213-a\r\n150 b\r\n", reader=reader)
    reader.client_goes_on()
    assert [line.is_certain for line in read(b"200 x\r\n226 y\r\n", reader=reader)] == [False] * 2

    assert [line.is_certain for line in read(b"213 end\r\n", reader=reader)] == [True]
    assert [line.is_certain for line in read(b"227 x\r\n", reader=reader)] == [True]


@given(st.binary() | st.lists(st.sampled_from(b"0129,|()227 \r\n\xff")).map(bytes))
def test_any_bytes_are_read_or_refused_and_never_crash(data: bytes) -> None:
    for parse in (formats.read_pasv_reply, formats.read_epsv_reply, read):
        with suppress(ProtocolError):
            parse(data)
