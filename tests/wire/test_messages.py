"""Messages of RTSP and SIP: read without loss, changed without a trace elsewhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.errors import ProtocolError
from sallyport.wire.messages import (
    HeaderLine,
    MessageReader,
    StartLine,
    TextMessage,
    read_head,
    read_start_line,
)

SETUP = b"SETUP rtsp://cam/1 RTSP/1.0\r\nCSeq: 1\r\nTransport:\tRTP/AVP;\r\n unicast\r\n\r\n"
OK = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 5\r\n\r\n"


def reader(**wanted: int | bool | None) -> MessageReader:
    limits: dict[str, int | bool | None] = {
        "max_head": 1024,
        "max_headers": 8,
        "is_interleaved": True,
    }
    return MessageReader(**(limits | wanted))  # type: ignore[arg-type]


def taken(stream: MessageReader, *segments: bytes) -> list[TextMessage | bytes]:
    found: list[TextMessage | bytes] = []
    for data in segments:
        stream.feed(data)
        while (one := stream.take()) is not None:
            found.append(one)
    return found


def joined(found: list[TextMessage | bytes]) -> bytes:
    return b"".join(map(bytes, found))


def refused(data: bytes, **wanted: int | bool | None) -> str:
    with pytest.raises(ProtocolError) as caught:
        taken(reader(**wanted), data)
    return caught.value.reason


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"PLAY * RTSP/1.0", StartLine(b"RTSP/1.0", b"PLAY", b"*")),
        (
            b"PLAY  rtsp://cam/a file.mp4  RTSP/2.0",
            StartLine(b"RTSP/2.0", b"PLAY", b"rtsp://cam/a file.mp4"),
        ),
        (b"RTSP/1.0 454 Session Not Found", StartLine(b"RTSP/1.0", code=454)),
        (b"SIP/2.0 100 ", StartLine(b"SIP/2.0", code=100)),
        (b"SIP/2.0 200", StartLine(b"SIP/2.0", code=200)),
    ],
)
def test_the_first_line_says_what_kind_of_message_it_is(line: bytes, expected: StartLine) -> None:
    assert read_start_line(line) == expected
    assert expected.is_request == bool(expected.method)


@pytest.mark.parametrize(
    "line", [b"", b"GET / HTTP/1.1", b"RTSP/1.0 099 x", b"RTSP/1.0 2000 x", b"PLAY RTSP/1.0", b"a"]
)
def test_another_first_line_begins_no_message(line: bytes) -> None:
    with pytest.raises(ProtocolError, match="not-a-start-line"):
        read_start_line(line)


def test_a_header_is_read_without_its_folds_and_blanks() -> None:
    message = read_head(SETUP, 8)

    assert message.all(b"transport") == [b"RTP/AVP; unicast"]
    assert message.get(b"cseq") == b"1"
    assert message.get(b"session") is None
    assert bytes(message) == SETUP


def test_a_replaced_header_keeps_its_name_and_its_place() -> None:
    changed = read_head(SETUP, 8).with_header(1, b"RTP/AVP;client_port=1-2")

    assert bytes(changed) == (
        b"SETUP rtsp://cam/1 RTSP/1.0\r\nCSeq: 1\r\nTransport:\tRTP/AVP;client_port=1-2\r\n\r\n"
    )


def test_a_replaced_target_keeps_what_stands_around_it() -> None:
    message = read_head(b"PLAY  PLAY  RTSP/1.0\nCSeq: 1\n\n", 8)

    assert bytes(message.with_target(b"rtsp://b/")) == b"PLAY  rtsp://b/  RTSP/1.0\nCSeq: 1\n\n"


def test_a_replaced_body_has_its_length_said_where_one_was_said() -> None:
    said = read_head(b"SIP/2.0 200 OK\r\nl :  3\r\n\r\n", 8, {b"l": b"content-length"})
    unsaid = read_head(b"SIP/2.0 200 OK\r\n\r\n", 8)

    assert bytes(said.with_body(b"12345")) == b"SIP/2.0 200 OK\r\nl :  5\r\n\r\n12345"
    assert bytes(unsaid.with_body(b"12345")) == b"SIP/2.0 200 OK\r\n\r\n12345"
    assert said.with_body(b"") is said


def test_compact_names_are_known_where_they_are_asked_for() -> None:
    message = read_head(b"SIP/2.0 200 OK\r\nL: 0\r\nX: 1\r\n\r\n", 8, {b"l": b"content-length"})

    assert message.headers == (
        HeaderLine(b"L: 0\r\n", b"content-length"),
        HeaderLine(b"X: 1\r\n", b"x"),
    )


def test_p10_messages_are_found_wherever_segments_cut_them() -> None:
    stream = b"\r\n\r\n" + SETUP + b"$\0\0\x04abcd" + OK + b"v=0\r\n" + SETUP
    whole = taken(reader(), stream)
    messages = [one for one in whole if isinstance(one, TextMessage)]

    assert len(messages) == 3
    for cut in range(1, len(stream)):
        found = taken(reader(), stream[:cut], stream[cut:])
        assert [one for one in found if isinstance(one, TextMessage)] == messages
        assert joined(found) == stream


def test_r04_a_frame_is_skipped_by_its_length_whatever_it_holds() -> None:
    frame = b"$\x01" + len(SETUP).to_bytes(2, "big") + SETUP

    assert [type(one) for one in taken(reader(), frame, SETUP)] == [bytes, TextMessage]
    assert joined(taken(reader(), frame)) == frame
    assert refused(b"$\0\0\0\r\n\r\n", is_interleaved=False) == "stray-line-end"


def test_a_body_that_is_held_comes_with_its_message() -> None:
    found = taken(reader(max_body=10), OK + b"v=", b"0\r\n" + OK)

    assert [bytes(one) for one in found] == [OK + b"v=0\r\n"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"PLAY * RTSP/1.0\r\n a: b\r\n\r\n", "header-of-no-message"),
        (b"PLAY * RTSP/1.0\r\nno header\r\n\r\n", "not-a-header"),
        (b"PLAY * RTSP/1.0\r\n: x\r\n\r\n", "not-a-header"),
        (b"PLAY * RTSP/1.0\r\na: b\rTransport: c\r\n\r\n", "stray-line-end"),
        (b"PLAY * RTSP/1.0\r\na: b\0\r\n\r\n", "stray-line-end"),
        (b"PLAY * RTSP/1.0\r\n" + b"a: b\r\n" * 9 + b"\r\n", "too-many-headers"),
        (b"PLAY * RTSP/1.0\r\nContent-Length: -1\r\n\r\n", "bad-content-length"),
        (b"PLAY * RTSP/1.0\r\nContent-Length: 4294967328x\r\n\r\n", "bad-content-length"),
        (b"PLAY * RTSP/1.0\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "header-twice"),
        (b"a" * 1024, "head-too-long"),
    ],
)
def test_p09_what_is_no_message_ends_the_reading(data: bytes, reason: str) -> None:
    assert refused(data) == reason


def test_p09_a_body_that_is_to_be_held_must_say_its_length_and_be_short() -> None:
    assert refused(b"SIP/2.0 200 OK\r\n\r\n", max_body=9) == "no-content-length"
    assert refused(b"SIP/2.0 200 OK\r\nContent-Length: 10\r\n\r\n", max_body=9) == "body-too-long"


def test_what_was_not_taken_can_be_had_as_it_came() -> None:
    stream = reader(max_body=10)
    taken(stream, OK + b"v")

    assert stream.pending == b"v"
    assert stream.take_rest() == OK + b"v"
    assert stream.take_rest() == b""


values = st.binary(max_size=30).map(lambda one: one.translate(None, b"\r\n\0"))


@given(st.lists(st.tuples(st.from_regex(rb"[A-Za-z-]{1,9}", fullmatch=True), values), max_size=8))
def test_every_message_that_is_read_is_written_back_the_same(
    pairs: list[tuple[bytes, bytes]],
) -> None:
    head = b"PLAY * RTSP/1.0\r\n" + b"".join(b"%s:%s\r\n" % pair for pair in pairs) + b"\r\n"
    message = read_head(head, 8)

    assert bytes(message) == head
    assert [header.value for header in message.headers] == [
        value.strip(b" \t") for _, value in pairs
    ]
