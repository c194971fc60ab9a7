import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.wire.lines import LINE_TOO_LONG, Line, LineSplitter

# Fragments rather than bytes: short examples that are full of line ends, good and bad.
FRAGMENTS = st.lists(
    st.sampled_from([b"A", b"long words", b"\r\n", b"\r", b"\n", b"\0", b"\r\0", b"\xff"]),
    max_size=20,
)


def split(*segments: bytes, limit: int = 512, is_strict: bool = True) -> list[Line]:
    splitter = LineSplitter(limit, is_strict=is_strict)
    return [line for segment in segments for line in splitter.feed(segment)]


def test_a_line_keeps_its_terminator_in_raw_and_loses_it_in_text() -> None:
    (line,) = split(b"NOOP\r\n")
    assert (line.raw, line.text, line.fault) == (b"NOOP\r\n", b"NOOP", None)


def test_f12_every_split_point_of_a_port_line_gives_the_one_line() -> None:
    stream = b"PORT 10,0,0,8,6,17\r\n"
    for at in range(len(stream) + 1):
        assert split(stream[:at], stream[at:]) == [Line(stream)]


def test_f13_lines_of_one_segment_come_out_in_order() -> None:
    lines = split(b"NOOP\r\nPORT 10,0,0,8,6,17\r\nPORT 10,0,0,8,6,18\r\nNO")
    assert [line.text for line in lines] == [
        b"NOOP",
        b"PORT 10,0,0,8,6,17",
        b"PORT 10,0,0,8,6,18",
    ]


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"NOOP\n", "bare-lf"),
        (b"\n", "bare-lf"),
        (b"NO\rOP\r\n", "bare-cr"),
        (b"NOOP\r\r\n", "bare-cr"),
        (b"RETR a\r\0b\r\n", "cr-nul"),
        (b"RETR a\0b\r\n", "nul"),
        (b"RETR a\0b\n", "nul"),
    ],
)
def test_f16_a_line_end_that_is_not_crlf_is_a_fault(raw: bytes, fault: str) -> None:
    assert split(raw) == [Line(raw, fault)]


def test_f16_a_bare_lf_cuts_and_the_next_line_is_read_afresh() -> None:
    assert split(b"NOOP\nQUIT\r\n") == [Line(b"NOOP\n", "bare-lf"), Line(b"QUIT\r\n")]


def test_f18_a_verb_after_cr_nul_stays_inside_its_faulty_line() -> None:
    raw = b"RETR a\r\0PORT 10,0,0,8,0,22\r\n"
    assert split(raw) == [Line(raw, "cr-nul")]


def test_f17_a_line_of_exactly_the_limit_passes() -> None:
    raw = b"x" * 510 + b"\r\n"
    assert split(raw) == [Line(raw)]


def test_f17_a_line_over_the_limit_is_a_fault_once_and_its_rest_is_discarded() -> None:
    lines = split(b"x" * 511 + b"\r\nNOOP\r\n")
    assert lines == [Line(b"x" * 511 + b"\r", LINE_TOO_LONG), Line(b"NOOP\r\n")]


def test_f17_a_line_never_ended_is_reported_as_soon_as_it_is_too_long() -> None:
    splitter = LineSplitter(512)
    assert splitter.feed(b"x" * 511) == []
    assert splitter.feed(b"x") == [Line(b"x" * 512, LINE_TOO_LONG)]
    assert splitter.feed(b"x" * 10_000) == []
    assert splitter.pending == b""
    assert splitter.feed(b"x\nNOOP\r\n") == [Line(b"NOOP\r\n")]


def test_pending_is_the_unfinished_line() -> None:
    splitter = LineSplitter(512)
    splitter.feed(b"NOOP\r\nPOR")
    assert splitter.pending == b"POR"


def test_f30_clearing_forgets_the_unfinished_line() -> None:
    splitter = LineSplitter(512)
    splitter.feed(b"POR")
    splitter.clear()
    assert splitter.pending == b""
    assert splitter.feed(b"NOOP\r\n") == [Line(b"NOOP\r\n")]


def test_clearing_ends_the_discarding_of_an_overlong_line() -> None:
    splitter = LineSplitter(8)
    splitter.feed(b"x" * 9)
    splitter.clear()
    assert splitter.feed(b"NOOP\r\n") == [Line(b"NOOP\r\n")]


def test_replies_may_end_in_lf_alone_and_hold_any_byte() -> None:
    lines = split(b"220 a\n220 b\r\n220 \0\rc\r\n", is_strict=False)
    assert lines == [Line(b"220 a\n"), Line(b"220 b\r\n"), Line(b"220 \0\rc\r\n")]
    assert [line.text for line in lines] == [b"220 a", b"220 b", b"220 \0\rc"]


@given(FRAGMENTS, st.booleans())
def test_every_split_gives_the_same_lines(fragments: list[bytes], is_strict: bool) -> None:
    whole = b"".join(fragments)
    expected = split(whole, limit=12, is_strict=is_strict)
    assert split(*fragments, limit=12, is_strict=is_strict) == expected
    single = (bytes([byte]) for byte in whole)
    assert split(*single, limit=12, is_strict=is_strict) == expected


@given(FRAGMENTS, st.booleans())
def test_no_byte_is_lost_or_changed(fragments: list[bytes], is_strict: bool) -> None:
    splitter = LineSplitter(10_000, is_strict=is_strict)
    whole = b"".join(fragments)
    assert b"".join(line.raw for line in splitter.feed(whole)) + splitter.pending == whole


@given(FRAGMENTS)
def test_a_strict_line_without_fault_is_clean_text_and_crlf(fragments: list[bytes]) -> None:
    for line in split(*fragments, limit=64):
        if line.fault is None:
            assert line.raw == line.text + b"\r\n"
            assert not set(line.text) & set(b"\r\n\0")


@given(st.lists(st.binary(max_size=40)), st.integers(1, 30))
def test_memory_is_bounded_by_the_limit(segments: list[bytes], limit: int) -> None:
    splitter = LineSplitter(limit)
    for segment in segments:
        assert all(len(line.raw) <= limit for line in splitter.feed(segment))
        assert len(splitter.pending) < limit
