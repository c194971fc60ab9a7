from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.wire.tls import RecordTracker

# A record's body may hold anything, a header or a command included.
RECORDS = st.builds(
    lambda kind, minor, body: bytes((kind, 3, minor)) + len(body).to_bytes(2) + body,
    st.sampled_from([0x14, 0x15, 0x16, 0x17, 0x18]),
    st.integers(0, 4),
    st.one_of(st.binary(max_size=30), st.just(b"PORT 10,0,0,8,6,17\r\n")),
)
# How a client that knows SSL 2 as well says its first message (RFC 5246 appendix E.2).
OLD_HELLO = (
    b"\x80\x2d\x01\x03\x01" + b"\0\x15\0\0\0\x10" + b"PORT 10,0,0,8,6,17\r\nrandom challenge"
)
STREAMS = st.builds(
    lambda first, records: first + b"".join(records),
    st.sampled_from([b"", OLD_HELLO]),
    st.lists(RECORDS, min_size=1, max_size=5),
)


def feed(tracker: RecordTracker, segments: list[bytes]) -> tuple[bytes, bytes]:
    """Feed segments as a stream does: after the first plain byte everything is plain."""
    ciphered, plain = b"", b""
    for segment in segments:
        if plain:
            plain += segment
            continue
        passed, plain = tracker.feed(segment)
        ciphered += passed
    return ciphered, plain


def cut(stream: bytes, cuts: set[int]) -> list[bytes]:
    edges = [0, *sorted(cuts), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


@given(STREAMS)
def test_whole_records_pass_whole(stream: bytes) -> None:
    tracker = RecordTracker()

    assert tracker.feed(stream) == (stream, b"")
    assert tracker.has_begun


@given(STREAMS, st.sets(st.integers(0, 60)))
def test_plain_text_behind_records_is_found_wherever_the_stream_is_cut(
    stream: bytes, cuts: set[int]
) -> None:
    segments = cut(stream + b"PWD\r\n", cuts)

    assert feed(RecordTracker(), segments) == (stream, b"PWD\r\n")


@given(st.binary(max_size=60), st.sets(st.integers(0, 60)))
def test_no_byte_is_lost_or_made_and_cuts_change_nothing(data: bytes, cuts: set[int]) -> None:
    # Behind it comes a byte that ends a header that was begun, so that nothing stays kept back.
    stream = data + b"\0" * 5
    whole = feed(RecordTracker(), [stream])

    assert feed(RecordTracker(), cut(stream, cuts)) == whole
    assert stream.startswith(b"".join(whole))


@pytest.mark.parametrize(
    "plain",
    [b"P", b"\r\n", b"\x16\x02", b"\x19\x03\x03\0\0", b"\xff\xf4", b"\x80\x2e\2", b"\x80\x2e\1\2"],
)
def test_a_stream_that_begins_with_anything_else_is_plain(plain: bytes) -> None:
    tracker = RecordTracker()

    assert tracker.feed(plain) == (b"", plain)
    assert not tracker.has_begun


def test_a_header_that_was_begun_is_kept_back_until_it_is_complete() -> None:
    tracker = RecordTracker()

    assert tracker.feed(b"\x17\x03\x03\x00") == (b"", b"")
    assert not tracker.has_begun
    assert tracker.feed(b"\x02a") == (b"\x17\x03\x03\x00\x02a", b"")
    assert tracker.feed(b"bX") == (b"b", b"X")


def test_only_the_first_record_may_be_one_of_ssl_2() -> None:
    assert RecordTracker().feed(OLD_HELLO * 2) == (OLD_HELLO, OLD_HELLO)


def test_an_empty_record_is_a_record() -> None:
    assert RecordTracker().feed(b"\x17\x03\x03\x00\x00QUIT\r\n") == (
        b"\x17\x03\x03\x00\x00",
        b"QUIT\r\n",
    )


def test_nothing_in_gives_nothing_out() -> None:
    assert RecordTracker().feed(b"") == (b"", b"")
