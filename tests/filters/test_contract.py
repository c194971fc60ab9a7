"""The filters that ship, put through what is expected of any filter."""

import pytest
from tests.filters import published
from tests.filters.published import Way
from tests.filters.talk import IPV4, IPV6, OK, READY, Family
from tests.testing.scanner import Scanner

from sallyport.filters.dcc import DccFilter, DccSettings
from sallyport.filters.ftp import FtpFilter
from sallyport.filters.rtsp import RtspFilter
from sallyport.filters.sip import SipFilter
from sallyport.filters.tftp import TftpFilter
from sallyport.testing import (
    Conversation,
    client_closes,
    client_says,
    contract_checks,
    peer_connects,
    peer_finishes,
    peer_is_sent,
    peer_sends,
    server_closes,
    server_says,
)
from sallyport.testing.contract import Check

RRQ = b"\0\x01pxelinux.0\0octet\0"
WRQ = b"\0\x02router.cfg\0netascii\0blksize\x001428\0"


def active(family: Family) -> Conversation:
    """Return a conversation with one upload by PORT or EPRT."""
    return Conversation(
        "active mode",
        [
            server_says(READY, passes=True),
            client_says(family.ask, asks=True, binds=1),
            server_says(OK, passes=True),
            client_says(b"STOR a\r\n", passes=True),
            peer_connects(),
            server_says(b"150 a\r\n", passes=True),
            peer_finishes(),
            server_says(b"226 a\r\n", passes=True),
            client_closes(),
            server_closes(),
        ],
        versions=(family.version,),
    )


def passive(family: Family) -> Conversation:
    """Return a conversation with one download by PASV or EPSV, and a refused command before."""
    return Conversation(
        "passive mode",
        [
            server_says(READY, passes=True),
            client_says(b"XYZZY\r\n"),
            client_says(family.ask_passive, asks=True, passes=True),
            server_says(family.reply_passive, binds=1, passes=True),
            client_says(b"RETR a\r\n", passes=True),
            peer_connects(),
            server_says(b"150 a\r\n", passes=True),
            peer_finishes(),
            server_says(b"226 a\r\n", passes=True),
        ],
        versions=(family.version,),
    )


def of_a_server_of_ours(way: Way) -> Conversation:
    """Return a conversation with a published server, both ways."""
    return Conversation(
        f"published, {way.active}",
        [
            server_says(READY, passes=True),
            client_says(way.ask_passive, asks=True, passes=True),
            server_says(way.reply_passive, binds=1),
            peer_connects(),
            peer_finishes(),
            client_says(way.ask, asks=True, binds=1),
            server_says(OK, passes=True),
            server_closes(),
        ],
        versions=(way.rule.listen.version,),
        published=way.rule,
    )


ENCRYPTED = Conversation(
    "explicit TLS",
    [
        server_says(READY, passes=True),
        client_says(b"AUTH TLS\r\n", passes=True),
        server_says(b"234 Go\r\n", passes=True),
        client_says(b"\x16\x03\x01\x00\x0410,0\x17\x03\x03\x00\x00", passes=True),
        server_says(b"\x16\x03\x03\x00\x0aPORT 10,0,", passes=True),
    ],
    versions=(4, 6),
)

FTP = [
    active(IPV4),
    active(IPV6),
    passive(IPV4),
    passive(IPV6),
    of_a_server_of_ours(published.NAT),
    of_a_server_of_ours(published.PROXIED),
    of_a_server_of_ours(published.ROUTED),
    ENCRYPTED,
]

TFTP = [
    Conversation(
        "read and write",
        [
            client_says(RRQ, asks=True, binds=1),
            peer_connects(),
            client_says(WRQ, asks=True, binds=1),
            peer_connects(),
            peer_finishes(),
        ],
        versions=(4, 6),
    ),
    Conversation("no request", [client_says(b"\0\x04\0\x01"), server_says(b"\0\x03\0\x01")]),
]


@pytest.mark.parametrize(("name", "check"), contract_checks(FtpFilter, FTP))
def test_ftp_keeps_every_promise(name: str, check: Check) -> None:
    assert "IPv" in name

    check()


DCC = [
    Conversation(
        "an offer",
        [
            server_says(b":srv 001 me :hi\r\n", passes=True),
            client_says(b"PRIVMSG bob :\x01DCC SEND a %s 5000 9\x01\r\n" % own, asks=True, binds=1),
            peer_connects(),
            client_says(b"PING x\r\n", passes=True),
            peer_finishes(),
            client_closes(),
            server_closes(),
        ],
        versions=(version,),
    )
    for version, own in ((4, b"167772168"), (6, b"fd00:a::8"))
]


@pytest.mark.parametrize(
    ("name", "check"), contract_checks(lambda: DccFilter(DccSettings(any_peer=True)), DCC)
)
def test_dcc_keeps_every_promise(name: str, check: Check) -> None:
    assert "offer" in name

    check()


RTSP = [
    Conversation(
        "a film over UDP",
        [
            client_says(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n", passes=True),
            server_says(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n", passes=True),
            client_says(
                b"SETUP rtsp://c/1 RTSP/1.0\r\nCSeq: 2\r\n"
                b"Transport: RTP/AVP;unicast;client_port=5000-5001\r\n\r\n",
                asks=True,
                binds=1,
            ),
            server_says(
                b"RTSP/1.0 200 OK\r\nCSeq: 2\r\nSession: 1\r\nTransport: RTP/AVP;unicast\r\n\r\n",
                passes=True,
            ),
            peer_connects(),
            server_says(b"$\0\0\x04abcd", passes=True),
            client_says(
                b"TEARDOWN rtsp://c/1 RTSP/1.0\r\nCSeq: 3\r\nSession: 1\r\n\r\n", passes=True
            ),
            server_says(b"RTSP/1.0 200 OK\r\nCSeq: 3\r\n\r\n", passes=True),
            client_closes(),
            server_closes(),
        ],
        versions=(4, 6),
    )
]


@pytest.mark.parametrize(("name", "check"), contract_checks(RtspFilter, RTSP))
def test_rtsp_keeps_every_promise(name: str, check: Check) -> None:
    assert "film" in name

    check()


CALL = (
    b"INVITE sip:lee@example.org SIP/2.0\r\nVia: SIP/2.0/UDP x;rport;branch=z9hG4bK1\r\n"
    b"From: <sip:kim@x>;tag=1\r\nTo: <sip:lee@x>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n"
    b"Content-Type: application/sdp\r\n\r\n"
    b"v=0\r\nc=IN IP4 10.0.0.8\r\nm=audio 4000 RTP/AVP 0\r\n"
)
ANSWERED = (
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP x;rport;branch=z9hG4bK1\r\n"
    b"From: <sip:kim@x>;tag=1\r\nTo: <sip:lee@x>;tag=2\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n"
    b"Content-Type: application/sdp\r\n\r\n"
    b"v=0\r\nc=IN IP4 203.0.113.9\r\nm=audio 7000 RTP/AVP 0\r\n"
)
SIP = [
    Conversation(
        "a call",
        [
            client_says(b"\r\n\r\n", passes=True),
            client_says(CALL, asks=True, binds=1),
            server_says(ANSWERED, passes=True),
            peer_connects(),
            peer_finishes(),
        ],
        versions=(4,),
    )
]


@pytest.mark.parametrize(("name", "check"), contract_checks(SipFilter, SIP))
def test_sip_keeps_every_promise(name: str, check: Check) -> None:
    assert "call" in name

    check()


LOOKED_INTO = [
    Conversation(
        "a reply held back until the transfer is over",
        [
            server_says(READY, passes=True),
            client_says(IPV4.ask, asks=True, binds=1),
            server_says(OK, passes=True),
            client_says(b"RETR a\r\n", passes=True),
            peer_connects(),
            server_says(b"150 a\r\n", passes=True),
            peer_sends(b"data", passes=True),
            peer_is_sent(b"more", passes=True),
            server_says(b"226 a\r\n"),
            client_says(b"NOOP\r\n", passes=True),
            peer_finishes(),
            server_says(OK, passes=True),
        ],
    )
]


@pytest.mark.parametrize(
    ("name", "check"), contract_checks(FtpFilter, LOOKED_INTO, others=[Scanner])
)
def test_ftp_keeps_every_promise_beside_a_filter_of_transfers(name: str, check: Check) -> None:
    assert "held back" in name

    check()


@pytest.mark.parametrize(("name", "check"), contract_checks(TftpFilter, TFTP))
def test_tftp_keeps_every_promise(name: str, check: Check) -> None:
    assert "IPv" in name

    check()
