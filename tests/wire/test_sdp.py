"""Session descriptions: read without loss, and rewritten line by line."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.errors import ProtocolError
from sallyport.wire.sdp import SessionDescription

HEAD = b"v=0\r\no=kim 5 6 IN IP4 10.0.0.8\r\ns=-\r\nc=IN IP4 10.0.0.8\r\nt=0 0\r\n"
AUDIO = b"m=audio 49170 RTP/AVP 0 8\r\na=rtpmap:0 PCMU/8000\r\na=rtcp:49171\r\n"
VIDEO = b"m=video 51372/2 RTP/SAVP 31\r\nc=IN IP4 10.0.0.9/127\r\na=sendonly\r\na=rtcp-mux\r\n"
FAX = b"m=image 0 udptl t38\r\n"
TEXT = HEAD + AUDIO + VIDEO + FAX


def test_each_stream_has_port_profile_and_the_address_nearest_to_it() -> None:
    said = SessionDescription(TEXT)
    audio, video, fax = said.media

    assert (audio.kind, audio.port, audio.count, audio.profile) == (b"audio", 49170, 1, b"RTP/AVP")
    assert (video.port, video.count, fax.port) == (51372, 2, 0)
    assert {b"sendonly", b"rtcp-mux"} <= video.attributes
    assert [said.address(one.connection or 0) for one in said.media] == [
        ip_address("10.0.0.8"),
        ip_address("10.0.0.9"),
        ip_address("10.0.0.8"),
    ]
    assert said.rtcp_port(audio) == 49171
    assert said.rtcp_port(video) is None
    assert said.address(audio.rtcp or 0) is None
    assert said.origin == 1
    assert not said.is_ice
    assert bytes(said) == TEXT


def test_lines_are_rewritten_and_the_others_stay() -> None:
    said, ours = SessionDescription(TEXT), ip_address("203.0.113.1")
    audio = said.media[0]
    changes = {
        1: said.with_address(1, ours),
        3: said.with_address(3, ours),
        audio.line: said.with_port(audio.line, 40000),
        audio.rtcp or 0: said.with_port(audio.rtcp or 0, 40001),
    }

    assert said.rewritten(changes) == (
        b"v=0\r\no=kim 5 6 IN IP4 203.0.113.1\r\ns=-\r\nc=IN IP4 203.0.113.1\r\nt=0 0\r\n"
        b"m=audio 40000 RTP/AVP 0 8\r\na=rtpmap:0 PCMU/8000\r\na=rtcp:40001\r\n" + VIDEO + FAX
    )


def test_an_address_of_the_other_family_is_written_with_its_family() -> None:
    said = SessionDescription(HEAD + b"m=audio 4 RTP/AVP 0\r\na=rtcp:5 IN IP4 10.0.0.8")

    assert said.with_address(3, ip_address("2001:db8::1")) == b"c=IN IP6 2001:db8::1"
    assert said.with_address(6, ip_address("2001:db8::1")) == b"a=rtcp:5 IN IP6 2001:db8::1"
    assert said.address(6) == ip_address("10.0.0.8")


def test_only_a_line_that_says_an_address_or_a_port_is_given_another_one() -> None:
    said = SessionDescription(TEXT)
    media, connection = said.media[0].line, said.media[0].connection or 0

    with pytest.raises(ProtocolError, match="bad-connection-line"):
        said.with_address(media, ip_address("203.0.113.1"))
    with pytest.raises(ProtocolError, match="bad-media-line"):
        said.with_port(connection, 40000)


@pytest.mark.parametrize("line", [b"c=IN IP4 host.example", b"c=IN IP4 10.0.0.800"])
def test_p06_a_name_is_no_address(line: bytes) -> None:
    said = SessionDescription(b"v=0\r\n" + line + b"\r\nm=audio 4 RTP/AVP 0\r\n")

    assert said.address(1) is None


def test_p14_a_stream_may_lack_an_address() -> None:
    (audio,) = SessionDescription(b"v=0\nm=audio 4000 RTP/AVP 0\n").media

    assert audio.connection is None


def test_p11_candidates_are_noticed_wherever_they_stand() -> None:
    candidate = b"a=candidate:1 1 UDP 2130706431 10.0.0.8 8998 typ host\r\n"

    assert SessionDescription(HEAD + AUDIO + candidate).is_ice


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "not-sdp"),
        (b"v=1\r\n", "not-sdp"),
        (b"v=0\r\nm=audio 65536 RTP/AVP 0\r\n", "bad-media-line"),
        (b"v=0\r\nm=audio -1 RTP/AVP 0\r\n", "bad-media-line"),
        (b"v=0\r\nm=audio 4/0 RTP/AVP 0\r\n", "bad-media-line"),
        (b"v=0\r\nm=audio\r\n", "bad-media-line"),
        (b"v=0\r\nc=IN IP5 x\r\n", "bad-connection-line"),
        (HEAD + b"c=IN IP4 10.0.0.9\r\n", "bad-connection-line"),
        (HEAD + AUDIO + b"a=rtcp:1\r\n", "bad-connection-line"),
        (HEAD + b"m=audio 4 RTP/AVP 0\r\na=rtcp:70000\r\n", "bad-rtcp-attribute"),
        (HEAD + b"m=audio 4 RTP/AVP 0\r\na=rtcp:x\r\n", "bad-rtcp-attribute"),
        (b"v=0\r\ns=a\rc=IN IP4 10.0.0.9\r\n", "stray-line-end"),
        (HEAD + AUDIO.replace(b"a=rtcp:49171\r\n", b"") * 17, "too-many-media"),
    ],
)
def test_p07_p08_p14_what_could_be_read_in_two_ways_is_refused(text: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        SessionDescription(text)

    assert caught.value.reason == reason


LINES = st.sampled_from(
    [b"v=0", b"s=x y", b"c=IN IP4 10.0.0.8", b"m=audio 40 RTP/AVP 0", b"a=x:y", b"", b"a=rtcp:4"]
)


@given(st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r\n"])), max_size=12))
def test_every_description_that_is_read_is_written_back_the_same(
    lines: list[tuple[bytes, bytes]],
) -> None:
    text = b"v=0\r\n" + b"".join(line + end for line, end in lines)
    try:
        said = SessionDescription(text)
    except ProtocolError:
        return

    assert bytes(said) == text
    assert said.rewritten({}) == text


def test_a_port_of_rtcp_without_an_address_gets_none() -> None:
    said = SessionDescription(
        b"v=0\r\no=- 1 1 IN IP4 10.0.0.8\r\ns=-\r\nt=0 0\r\nc=IN IP4 10.0.0.8\r\n"
        b"m=audio 4000 RTP/AVP 0\r\na=rtcp:53020\r\n"
    )

    with pytest.raises(ProtocolError, match="bad-connection-line"):
        said.with_address(6, ip_address("203.0.113.1"))
