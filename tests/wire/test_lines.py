from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sallyport.wire.lines import (
    LINE_TOO_LONG,
    Line,
    LineReader,
    fault_of,
    is_whole,
)

# Fragments rather than bytes: short examples that are full of line ends, good and bad.
FRAGMENTS = st.lists(
    st.sampled_from([b"A", b"long words", b"\r\n", b"\r", b"\n", b"\0", b"\r\0", b"\xff"]),
    max_size=20,
)


def split(*segments: bytes, limit: int = 512) -> list[bytes]:
    """Return whole lines, and of a longer one its first part, as its reader keeps it."""
    reader, lines, is_new = LineReader(limit), [], True
    for segment in segments:
        reader.feed(segment)
        while line := reader.take():
            if is_new:
                lines.append(line.raw)
            is_new = line.ends_line
    return lines


def judged(*segments: bytes) -> list[tuple[bytes, str | None]]:
    return [(line, fault_of(line)) for line in split(*segments)]


def test_a_line_keeps_its_terminator_and_loses_it_in_its_text() -> None:
    (line,) = split(b"NOOP\r\n")
    assert (line, Line(line, True).text, fault_of(line)) == (b"NOOP\r\n", b"NOOP", None)


def test_f12_every_split_point_of_a_port_line_gives_the_one_line() -> None:
    stream = b"PORT 10,0,0,8,6,17\r\n"
    for at in range(len(stream) + 1):
        assert split(stream[:at], stream[at:]) == [stream]


def test_f13_lines_of_one_segment_come_out_in_order() -> None:
    lines = split(b"NOOP\r\nPORT 10,0,0,8,6,17\r\nPORT 10,0,0,8,6,18\r\nNO")
    assert [Line(line, True).text for line in lines] == [
        b"NOOP",
        b"PORT 10,0,0,8,6,17",
        b"PORT 10,0,0,8,6,18",
    ]


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"NO\rOP\r\n", "bare-cr"),
        (b"NOOP\r\r\n", "bare-cr"),
        (b"RETR a\r\0b\r\n", "cr-nul"),
        (b"RETR a\0b\r\n", "nul"),
        (b"RETR a\0b\n", "nul"),
    ],
)
def test_f16_what_some_reader_takes_for_an_end_of_line_is_a_fault(raw: bytes, fault: str) -> None:
    assert judged(raw) == [(raw, fault)]


def test_f16_a_bare_lf_cuts_and_the_next_line_is_read_afresh() -> None:
    assert judged(b"NOOP\nQUIT\r\n") == [(b"NOOP\n", None), (b"QUIT\r\n", None)]


def test_f18_a_verb_after_cr_nul_stays_inside_its_faulty_line() -> None:
    raw = b"RETR a\r\0PORT 10,0,0,8,0,22\r\n"
    assert judged(raw) == [(raw, "cr-nul")]


def test_f17_a_line_of_exactly_the_limit_passes() -> None:
    raw = b"x" * 510 + b"\r\n"
    assert judged(raw) == [(raw, None)]


def test_f17_a_line_over_the_limit_is_a_fault_once_and_its_rest_is_discarded() -> None:
    lines = judged(b"x" * 511 + b"\r\nNOOP\r\n")
    assert lines == [(b"x" * 511 + b"\r", LINE_TOO_LONG), (b"NOOP\r\n", None)]


def test_replies_may_end_in_lf_alone_and_hold_any_byte() -> None:
    lines = split(b"220 a\n220 b\r\n220 \0\rc\r\n")
    assert lines == [b"220 a\n", b"220 b\r\n", b"220 \0\rc\r\n"]
    assert [Line(line, True).text for line in lines] == [b"220 a", b"220 b", None]


@given(FRAGMENTS)
def test_every_split_gives_the_same_lines(fragments: list[bytes]) -> None:
    whole = b"".join(fragments)
    expected = split(whole, limit=12)
    assert split(*fragments, limit=12) == expected
    single = (bytes([byte]) for byte in whole)
    assert split(*single, limit=12) == expected


@given(FRAGMENTS)
def test_a_strict_line_without_fault_is_clean_text_and_its_end(fragments: list[bytes]) -> None:
    for line in split(*fragments, limit=64):
        if fault_of(line) is None:
            assert line.endswith(b"\n")
            assert not set(line[:-1].removesuffix(b"\r")) & set(b"\r\n\0")


@given(FRAGMENTS)
def test_only_an_overlong_line_is_not_whole(fragments: list[bytes]) -> None:
    for line in split(*fragments, limit=12):
        assert is_whole(line) == (fault_of(line) != LINE_TOO_LONG) == line.endswith(b"\n")
        assert is_whole(line) or len(line) == 12


# -- lines of which no byte is lost ---------------------------------------------------------------


def cut(limit: int, *segments: bytes) -> tuple[list[Line], bytes]:
    reader, lines = LineReader(limit), []
    for segment in segments:
        reader.feed(segment)
        while line := reader.take():
            lines.append(line)
    return lines, reader.take_rest()


def test_lines_are_cut_at_lf_and_the_unfinished_one_is_kept() -> None:
    lines, rest = cut(8, b"a\r\nbc\n\nd")

    assert lines == [Line(b"a\r\n", True), Line(b"bc\n", True), Line(b"\n", True)]
    assert [line.text for line in lines] == [b"a", b"bc", b""]
    assert rest == b"d"


def test_a_line_of_just_the_limit_is_a_line() -> None:
    assert cut(4, b"abc\n") == ([Line(b"abc\n", True)], b"")


def test_a_longer_line_passes_in_parts() -> None:
    lines, rest = cut(4, b"abcdefg", b"hi\nj\n")

    assert lines == [
        Line(b"abcd", False),
        Line(b"efg", False),
        Line(b"hi\n", False),
        Line(b"j\n", True),
    ]
    assert [line.text for line in lines] == [None, None, None, b"j"]
    assert rest == b""


@pytest.mark.parametrize("raw", [b"a\rb\r\n", b"a\0b\r\n", b"\r\r\n", b"a\0\n"])
def test_f16_a_line_with_cr_or_nul_inside_is_has_no_text(raw: bytes) -> None:
    assert Line(raw, True).text is None


def test_what_is_pending_can_be_looked_at() -> None:
    reader = LineReader(8)
    reader.feed(b"ab")
    reader.feed(b"c")

    assert reader.take() is None
    assert reader.pending == b"abc"
    assert reader.take_rest() == b"abc"
    assert reader.pending == b""


@given(st.text("ab\r\n", max_size=30), st.lists(st.integers(0, 30)))
def test_the_same_lines_come_wherever_segments_cut_and_no_byte_is_lost(
    text: str, at: list[int]
) -> None:
    data = text.encode()
    edges = sorted({0, len(data), *(n for n in at if n < len(data))})
    lines, rest = cut(4, *(data[a:b] for a, b in pairwise(edges)))

    assert b"".join(line.raw for line in lines) + rest == data
    whole = [line.raw for line in lines if line.is_whole]
    assert whole == [line + b"\n" for line in data.split(b"\n")[:-1] if len(line) < 4]


def test_f17_a_line_never_ended_is_known_as_soon_as_it_is_too_long() -> None:
    reader = LineReader(512)
    reader.feed(b"x" * 511)
    assert reader.take() is None
    reader.feed(b"x")

    assert reader.take() == Line(b"x" * 512, False)
    assert reader.pending == b""


@given(st.lists(st.binary(max_size=40)), st.integers(1, 30))
def test_memory_is_bounded_by_the_limit(segments: list[bytes], limit: int) -> None:
    reader = LineReader(limit)
    for segment in segments:
        reader.feed(segment)
        while reader.take():
            pass
        assert len(reader.pending) < limit


@given(FRAGMENTS, FRAGMENTS)
@example([], [b"as long as a line"[:16]])
def test_lines_that_need_not_be_fed_are_those_that_feeding_would_give(
    before: list[bytes], fragments: list[bytes]
) -> None:
    reader, data = LineReader(limit=16), b"".join(fragments)
    reader.feed(b"".join(before))
    while reader.take():
        pass
    whole = reader.whole_lines(data)
    reader.feed(data)
    fed = []
    while line := reader.take():
        fed.append(line)
    if whole:
        assert (fed, reader.pending) == ([Line(raw, True) for raw in whole], b"")
    else:
        has_part = reader.pending or not all(line.is_whole for line in fed)
        assert before or not data or len(data) > 16 or has_part


def test_two_lines_in_one_segment_need_not_be_fed() -> None:
    assert list(LineReader(32).whole_lines(b"150 a\r\n226 b\r\n")) == [b"150 a\r\n", b"226 b\r\n"]
