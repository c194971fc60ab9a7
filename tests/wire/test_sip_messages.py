"""SIP messages, those of RFC 4475 first of all."""

import pytest
from tests.wire.torture import BROKEN, ODD, TRAILING, VALID

from sallyport.errors import ProtocolError
from sallyport.wire.messages import TextMessage
from sallyport.wire.sip.messages import (
    MessageNames,
    is_sip,
    names_of,
    read_datagram,
    sip_reader,
    vias_of,
)


@pytest.mark.parametrize("name", VALID)
def test_a_valid_torture_message_is_read_and_written_back_the_same(name: str) -> None:
    message = read_datagram(VALID[name])

    assert bytes(message) == VALID[name]
    assert names_of(message).branch.startswith(b"z9hG4bK")


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_torture_message_is_refused(name: str) -> None:
    data, reason = BROKEN[name]

    with pytest.raises(ProtocolError) as caught:
        names_of(read_datagram(data))
    assert caught.value.reason == reason


@pytest.mark.parametrize("name", ODD)
def test_a_message_that_is_only_odd_is_written_back_the_same(name: str) -> None:
    message = read_datagram(ODD[name])

    assert bytes(message) == ODD[name]
    assert names_of(message).cseq == 8


def test_what_follows_the_body_in_a_datagram_is_cut_off() -> None:
    assert bytes(read_datagram(TRAILING + b"INVITE sip:x SIP/2.0\r\n\r\n")) == TRAILING


def test_a_datagram_without_a_length_is_body_to_its_end() -> None:
    data = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a\r\n\r\nv=0\r\n"

    assert read_datagram(data).body == b"v=0\r\n"


def test_the_names_of_a_message_are_its_call_number_branch_and_tags() -> None:
    data = (
        b"SIP/2.0 180 Ringing\r\nv: SIP/2.0/UDP 10.0.0.8;branch=z9hG4bK1, SIP/2.0/UDP b\r\n"
        b'f: "A;tag=no" <sip:a@b;tag=no>;tag=yes\r\nt: <sip:c@d>;TAG=far\r\ni: x@y\r\n'
        b"CSeq: 7 INVITE\r\n\r\n"
    )

    assert names_of(read_datagram(data)) == MessageNames(
        b"x@y", 7, b"INVITE", b"z9hG4bK1", b"yes", b"far"
    )


def test_p10_a_stream_is_cut_by_its_lengths_and_compact_ones_count() -> None:
    one = b"MESSAGE sip:a@b SIP/2.0\r\nl:   3\r\n\r\nabc"
    stream = b"\r\n\r\n" + one + b"\r\n" + one
    for cut in range(1, len(stream)):
        reader = sip_reader()
        found: list[TextMessage | bytes] = []
        for data in (stream[:cut], stream[cut:]):
            reader.feed(data)
            while (taken := reader.take()) is not None:
                found.append(taken)
        messages = [one for one in found if isinstance(one, TextMessage)]
        assert [bytes(message) for message in messages] == [one, one]
        assert b"".join(map(bytes, found)) == stream


def test_a_path_has_its_bound() -> None:
    many = b"SIP/2.0 200 OK\r\n" + b"Via: SIP/2.0/UDP a\r\n" * 33 + b"\r\n"

    with pytest.raises(ProtocolError, match="too-many-vias"):
        vias_of(read_datagram(many))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"REGISTER sip:a SIP/2.0\r\n", True),
        (b"SIP/2.0 200 OK\r\n", True),
        (b"POST / HTTP/1.1\r\nSIP/2.0 200 OK", False),
        (b"\x00\x01\x00\x08\x21\x12\xa4\x42", False),
        (b"", False),
    ],
)
def test_h05_only_a_first_line_of_sip_makes_a_datagram_sip(data: bytes, expected: bool) -> None:
    assert is_sip(data) is expected
