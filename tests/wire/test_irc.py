from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.addresses import Endpoint
from sallyport.errors import ProtocolError
from sallyport.wire.irc import Offer, parse_offer, parse_resume, parse_seen

PROXY = Endpoint.parse("203.0.113.1:40000")


def offer(text: bytes) -> Offer:
    found = parse_offer(text)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "address", "port", "told"),
    [
        (
            b"PRIVMSG bob :\x01DCC SEND a.txt 167772168 5000 11\x01",
            "10.0.0.8",
            5000,
            b"PRIVMSG bob :\x01DCC SEND a.txt 3405803777 40000 11\x01",
        ),
        (
            b"NOTICE  bob :\x01dcc  chat  chat  10.0.0.8  5000",
            "10.0.0.8",
            5000,
            b"NOTICE  bob :\x01dcc  chat  chat  203.0.113.1  40000",
        ),
        (
            b'@a=b;c :me!u@h PRIVMSG #x :\x01DCC SSEND "a b 1 2.txt" fd00:a::8 5000 1 T9\x01',
            "fd00:a::8",
            5000,
            b'@a=b;c :me!u@h PRIVMSG #x :\x01DCC SSEND "a b 1 2.txt" 203.0.113.1 40000 1 T9\x01',
        ),
        (
            b"PRIVMSG bob :\x01DCC SEND 5000 167772168 5000\x01",
            "10.0.0.8",
            5000,
            b"PRIVMSG bob :\x01DCC SEND 5000 3405803777 40000\x01",
        ),
    ],
)
def test_an_offer_is_read_and_said_again_as_it_was_written(
    text: bytes, address: str, port: int, told: bytes
) -> None:
    found = offer(text)

    assert (found.address, found.port) == (ip_address(address), port)
    assert found.naming(PROXY) == told


def test_an_offer_is_said_again_with_an_address_of_the_other_family() -> None:
    found = offer(b"PRIVMSG bob :\x01DCC CHAT chat fd00:a::8 5000\x01")

    assert found.naming(Endpoint.parse("[2001:db8::1]:40000")) == (
        b"PRIVMSG bob :\x01DCC CHAT chat 2001:db8::1 40000\x01"
    )


def test_i07_port_0_is_an_offer_of_the_other_direction() -> None:
    assert offer(b"PRIVMSG bob :\x01DCC SEND a.txt 167772168 0 11 5\x01").port == 0


@pytest.mark.parametrize(
    "text",
    [
        b"PRIVMSG bob :DCC SEND a.txt 167772168 5000 11",
        b"PRIVMSG bob :look: \x01DCC SEND a.txt 167772168 5000 11\x01",
        b"PRIVMSG bob \x01DCC SEND a.txt 167772168 5000 11\x01",
        b"QUIT :\x01DCC SEND a.txt 167772168 5000 11\x01",
        b"QUIT :PRIVMSG bob :\x01DCC SEND a.txt 167772168 5000 11\x01",
        b"TOPIC #x :\x01DCC CHAT chat 167772168 5000\x01",
        b"XPRIVMSG bob :\x01DCC CHAT chat 167772168 5000\x01",
        b"PRIVMSG :\x01DCC CHAT chat 167772168 5000\x01",
        b"PRIVMSG bob :\x01DCC RESUME a.txt 5000 100\x01",
        b"PRIVMSG bob :\x01DCC SENDER a.txt 167772168 5000 11\x01",
        b"PRIVMSG bob :\x01VERSION\x01",
        b"",
    ],
)
def test_i04_what_is_no_request_to_connect_is_no_offer(text: bytes) -> None:
    assert parse_offer(text) is None


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (b"", "bad-dcc-grammar"),
        (b" a.txt", "bad-dcc-grammar"),
        (b" a b.txt 167772168 5000", "bad-dcc-grammar"),
        (b' "a b.txt 167772168 5000', "bad-dcc-grammar"),
        (b" a.txt 0x0A000008 5000", "bad-dcc-grammar"),
        (b" a.txt host.example 5000", "bad-dcc-grammar"),
        (b" a.txt 167772168 -1", "bad-dcc-grammar"),
        (b" a.txt 167772168 123456", "bad-dcc-grammar"),
        (b" a.txt 167772168 5000\x01 more", "bad-dcc-grammar"),
        (b" a.txt 4294967296 5000", "bad-dcc-address"),
        (b" a.txt 10.0.0.256 5000", "bad-dcc-address"),
        (b" a.txt 010.0.0.8 5000", "bad-dcc-address"),
        (b" a.txt dead 5000", "bad-dcc-address"),
        (b" a.txt " + b"9" * 4500 + b" 5000", "bad-dcc-address"),
        (b" a.txt 167772168 65558", "bad-dcc-port"),
    ],
)
def test_i02_an_offer_that_says_nothing_usable_is_refused(arguments: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        parse_offer(b"PRIVMSG bob :\x01DCC SEND" + arguments + b"\x01")


@given(st.binary(max_size=80))
def test_any_bytes_are_an_offer_or_none_or_refused(data: bytes) -> None:
    for text in (data, b"PRIVMSG bob :\x01DCC SEND " + data):
        try:
            found = parse_offer(text)
        except ProtocolError:
            continue
        assert found is None or 0 <= found.port <= 65535


def test_an_offer_says_to_whom_it_is_made() -> None:
    assert offer(b"PRIVMSG Bob :\x01DCC SEND a 167772168 5000\x01").taker == b"bob"


@pytest.mark.parametrize("kind", [b"RESUME", b"accept"])
def test_a_resume_names_the_port_of_the_offer(kind: bytes) -> None:
    said = b':bob!u@h PRIVMSG me :\x01DCC %s "a b" %d 4096\x01'
    found = parse_resume(said % (kind, 40000))

    assert found is not None
    assert found.port == 40000
    assert found.naming(5000) == said % (kind, 5000)
    assert parse_resume(b"PRIVMSG bob :\x01DCC SEND a 167772168 5000\x01") is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b":Bob!~u@203.0.113.7 JOIN #x", (b"bob", ip_address("203.0.113.7"))),
        (b"@a=b :bob!~u@2001:db8::7 PRIVMSG me :hi", (b"bob", ip_address("2001:db8::7"))),
        (b":bob!~u@[2001:db8::7] QUIT :", (b"bob", ip_address("2001:db8::7"))),
        (b":bob!~u@cloak.example PRIVMSG me :hi", (b"bob", None)),
        (b":srv 302 me :bob*=+~u@203.0.113.7 ", (b"bob", ip_address("203.0.113.7"))),
        (b":srv 311 me bob ~u 203.0.113.7 * :Bob", (b"bob", ip_address("203.0.113.7"))),
        (b":srv 352 me #x ~u 203.0.113.7 srv Bob H :0 Bob", (b"bob", ip_address("203.0.113.7"))),
        (b":srv 372 me :- bob!u@203.0.113.7 ", None),
        (b"PING :bob!u@203.0.113.7", None),
        (b":bob!u@203.0.113.7", None),
    ],
)
def test_i06_a_server_says_where_a_nickname_is(line: bytes, expected: object) -> None:
    assert parse_seen(line) == expected
