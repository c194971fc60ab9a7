"""SOCKS messages (RFC 1928, RFC 1929, SOCKS 4 and 4a)."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.addresses import Endpoint
from sallyport.errors import ProtocolError
from sallyport.wire import socks
from sallyport.wire.socks import (
    Credentials,
    Method,
    NotSocks,
    Reading,
    SocksCommand,
    SocksDatagram,
    SocksRefusal,
    SocksReply,
    SocksRequest,
)

AT4, AT6 = Endpoint.parse("203.0.113.1:40271"), Endpoint.parse("[2001:db8::1]:40271")


def read(reading: Reading[object], data: bytes) -> tuple[object, bytes]:
    """Feed a reader exactly what it asks for; give what it read and what is left."""
    try:
        wanted = next(reading)
        while True:
            assert 0 < wanted <= len(data), "it asks for more than there is"
            piece, data = data[:wanted], data[wanted:]
            wanted = reading.send(piece)
    except StopIteration as done:
        return done.value, data


def test_a_greeting_says_the_version_and_the_methods() -> None:
    assert read(socks.read_version(), b"\5rest") == (5, b"rest")
    assert read(socks.read_version(), b"\4") == (4, b"")
    assert read(socks.read_methods(), b"\3\0\1\2rest") == (frozenset({0, 1, 2}), b"rest")
    assert read(socks.read_methods(), b"\0") == (frozenset(), b"")
    with pytest.raises(NotSocks):
        read(socks.read_version(), b"G")


def test_rfc_1929_a_name_and_a_password_are_bytes_of_any_kind() -> None:
    given_, rest = read(socks.read_credentials(), b"\1\5alice\6s\0cretXY")
    assert (given_, rest) == (Credentials(b"alice", b"s\0cret"), b"XY")
    assert read(socks.read_credentials(), b"\1\0\0")[0] == Credentials(b"", b"")
    with pytest.raises(NotSocks):
        read(socks.read_credentials(), b"\5\5alice\6secret")


@pytest.mark.parametrize(
    ("place", "host"),
    [
        (b"\1\xcb\0\x71\x09", IPv4Address("203.0.113.9")),
        (b"\4" + ip_address("2001:db8::9").packed, IPv6Address("2001:db8::9")),
        (b"\3\x0bexample.org", "example.org"),
    ],
)
@pytest.mark.parametrize("command", SocksCommand)
def test_rfc_1928_section_4_a_request_names_a_command_a_host_and_a_port(
    place: bytes, host: object, command: SocksCommand
) -> None:
    data = bytes((5, command, 0)) + place + b"\0\x15next"
    assert read(socks.read_request(), data) == (SocksRequest(5, command, host, 21), b"next")  # type: ignore[arg-type]


@pytest.mark.parametrize("version", [0, 1, 4, 6, 255])
def test_a_request_of_another_version_than_its_greeting_is_no_socks(version: int) -> None:
    with pytest.raises(NotSocks):
        read(socks.read_request(), bytes((version, 1, 0, 1, 203, 0, 113, 9, 0, 21)))


@pytest.mark.parametrize(
    ("data", "reply"),
    [
        (b"\5\x09\0\1\xcb\0\x71\x09\0\x15", SocksReply.COMMAND_NOT_SUPPORTED),
        (b"\5\1\0\x02", SocksReply.ADDRESS_TYPE_NOT_SUPPORTED),
        (b"\5\1\0\3\0\0\x15", SocksReply.HOST_UNREACHABLE),
        (b"\5\1\0\3\x03a\0b\0\x15", SocksReply.HOST_UNREACHABLE),
        (b"\5\1\0\3\x03a b\0\x15", SocksReply.HOST_UNREACHABLE),
    ],
)
def test_rfc_1928_section_6_what_is_not_offered_has_its_reply(
    data: bytes, reply: SocksReply
) -> None:
    with pytest.raises(SocksRefusal) as refused:
        read(socks.read_request(), data)
    assert (refused.value.reply, refused.value.version) == (reply, 5)


def test_version_4_has_an_address_and_a_user_and_4a_a_name_behind_it() -> None:
    plain, rest = read(socks.read_request_4(), b"\1\0\x15\xcb\0\x71\x09alice\0next")
    named, _ = read(socks.read_request_4(), b"\2\0\x15\0\0\0\1\0example.org\0")

    address = IPv4Address("203.0.113.9")
    assert plain == SocksRequest(4, SocksCommand.CONNECT, address, 21, "alice")
    assert rest == b"next"
    assert named == SocksRequest(4, SocksCommand.BIND, "example.org", 21)
    with pytest.raises(SocksRefusal) as refused:
        read(socks.read_request_4(), b"\3\0\x15\xcb\0\x71\x09\0")
    assert refused.value.version == 4
    with pytest.raises(NotSocks):
        read(socks.read_request_4(), b"\1\0\x15\xcb\0\x71\x09" + b"x" * 300)


def test_answers_are_those_of_the_version_that_asked() -> None:
    assert socks.choose(Method.PASSWORD) == b"\5\2"
    assert socks.choose(Method.NOT_ACCEPTABLE) == b"\5\xff"
    assert socks.judge_password(is_right=True) == b"\1\0"
    assert socks.judge_password(is_right=False) == b"\1\1"
    assert socks.answer(5, SocksReply.SUCCEEDED, AT4) == b"\5\0\0\1\xcb\0\x71\1\x9d\x4f"
    assert socks.answer(5, SocksReply.NOT_ALLOWED) == b"\5\2\0\1" + bytes(6)
    assert len(socks.answer(5, SocksReply.SUCCEEDED, AT6)) == 22
    assert socks.answer(4, SocksReply.SUCCEEDED, AT4) == b"\0\x5a\x9d\x4f\xcb\0\x71\1"
    assert socks.answer(4, SocksReply.TTL_EXPIRED) == b"\0\x5b" + bytes(6)


@pytest.mark.parametrize("at", [AT4, AT6])
@given(payload=st.binary(max_size=100))
def test_rfc_1928_section_7_a_datagram_reads_back_as_it_was_written(
    at: Endpoint, payload: bytes
) -> None:
    data = socks.write_datagram(at, payload)
    assert socks.parse_datagram(data) == SocksDatagram(0, at.address, at.port, payload)
    for cut in range(len(data) - len(payload)):
        with pytest.raises(ProtocolError):
            socks.parse_datagram(data[:cut])


def test_a_datagram_may_name_its_host_and_say_which_fragment_it_is() -> None:
    read_ = socks.parse_datagram(b"\0\0\2\3\x0bexample.org\0\x35query")
    assert read_ == SocksDatagram(2, "example.org", 53, b"query")
    with pytest.raises(NotSocks):
        socks.parse_datagram(b"\1\0\0\1\xcb\0\x71\x09\0\x35query")
