"""Where a session description stands in a body; how parts could be read in two ways: nowhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.filters.sip_talk import sdp

from sallyport.errors import ProtocolError
from sallyport.wire.messages import TextMessage
from sallyport.wire.sip.bodies import place_of_description
from sallyport.wire.sip.messages import read_datagram

SDP = sdp(b"10.0.0.8", b"4000")
PARTS = b"Content-Type: multipart/mixed; boundary="


def with_body(body: bytes, *headers: bytes) -> TextMessage:
    return read_datagram(b"\r\n".join((b"INVITE sip:a@b SIP/2.0", *headers, b"", body)))


def test_a_body_that_is_one_is_one_to_its_end() -> None:
    for kind in (b"application/sdp", b"Application/SDP;charset=x"):
        message = with_body(SDP, b"c: " + kind)
        place = place_of_description(message)
        assert place is not None
        assert message.body[place] == SDP


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", b"application/sdp"),
        (SDP, b"application/isup"),
        (b"--x\r\nContent-Type: text/plain\r\n\r\nv=0\r\n--x--", b"multipart/mixed;boundary=x"),
    ],
)
def test_other_bodies_have_none(body: bytes, kind: bytes) -> None:
    assert place_of_description(with_body(body, b"Content-Type: " + kind)) is None
    assert place_of_description(with_body(SDP)) is None


_LINES = st.text("abc-\r\n", max_size=20).map(str.encode)


@given(before=_LINES, after=_LINES, end=st.sampled_from([b"\r\n", b"\n"]))
def test_it_is_found_between_any_other_parts_and_nothing_around_it_belongs_to_it(
    before: bytes, after: bytes, end: bytes
) -> None:
    other = b"--9~9" + end + b"Content-Type: text/plain" + end * 2
    body = other + before + end + b"--9~9" + end + b"content-TYPE : application/sdp" + end * 2
    body += SDP + end + other + after + end + b"--9~9--" + end + b"epilogue"
    message = with_body(body, PARTS + b'"9~9"')

    place = place_of_description(message)
    assert place is not None
    assert message.body[place] == SDP


@pytest.mark.parametrize(
    ("body", "boundary"),
    [
        (b"--x\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n", b"x"),
        (b"--x\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--x--", b""),
        (b"--x\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--x--", b"y" * 71),
        (b"--x\r\nContent-Type: application/sdp\r\nv=0\r\n--x--", b"x"),
        (b"--x--\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--x\r\n", b"x"),
        (
            b"--x\r\nContent-Type: multipart/alternative;boundary=y\r\n\r\n"
            b"--y\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--y--\r\n--x--",
            b"x",
        ),
    ],
)
def test_p10_parts_that_hide_one_are_refused(body: bytes, boundary: bytes) -> None:
    with pytest.raises(ProtocolError, match="sdp-among-parts"):
        place_of_description(with_body(body, PARTS + boundary))
