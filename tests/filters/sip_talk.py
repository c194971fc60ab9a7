"""What telephones and their providers say: messages of SIP as the tests of its filter need them."""

from typing import Any

import pytest

from sallyport.filters.sip import SipFilter, SipSettings
from sallyport.testing import Dialogue

OWN = {4: b"10.0.0.8:50000", 6: b"[fd00:a::8]:50000"}
HOST = {4: b"10.0.0.8", 6: b"fd00:a::8"}
TOLD = {4: b"203.0.113.1:50001", 6: b"[fd00:a::8]:50001"}
OUR = {4: b"203.0.113.1", 6: b"fd00:a::8"}
FAR = {4: b"198.51.100.66", 6: b"2001:db8::66"}
SERVER = {4: b"203.0.113.9", 6: b"2001:db8::9"}
PORT = {4: b"40542", 6: b"4000"}
RTP = {4: "203.0.113.1:40542", 6: "[fd00:a::8]:4000"}
MEDIA = {4: "198.51.100.66:7000", 6: "[2001:db8::66]:7000"}
STRANGER = {4: "198.51.100.7:7000", 6: "[2001:db8::77]:7000"}

both_families = pytest.mark.parametrize("version", [4, 6])


def sdp(host: bytes, port: bytes, *more: bytes, profile: bytes = b"RTP/AVP 0") -> bytes:
    family = b"IP6" if b":" in host else b"IP4"
    return b"".join(
        (
            b"v=0\r\no=- 1 1 IN " + family + b" " + host + b"\r\ns=-\r\n",
            b"c=IN " + family + b" " + host + b"\r\nt=0 0\r\n",
            b"m=audio " + port + b" " + profile + b"\r\n",
            *more,
        )
    )


def message(
    first: bytes,
    contact: bytes = b"",
    body: bytes = b"",
    *,
    method: bytes = b"INVITE",
    cseq: int = 1,
    via: bytes = b"SIP/2.0/UDP 10.0.0.8:50000;rport;branch=z9hG4bK1",
    call: bytes = b"call@1",
    own: bytes = b"From: <sip:kim@10.0.0.8>;tag=mine",
    far: bytes = b"To: <sip:lee@example.org>",
    more: bytes = b"",
) -> bytes:
    lines = [first, b"Via: " + via, own, far, b"Call-ID: " + call, b"CSeq: %d %s" % (cseq, method)]
    lines += [b"Contact: " + contact] if contact else []
    lines += [more] if more else []
    lines += [b"Content-Type: application/sdp"] if body else []
    return b"\r\n".join((*lines, b"Content-Length: %d" % len(body), b"", body))


def invite(version: int = 4, body: bytes = b"", **more: Any) -> bytes:  # noqa: ANN401 - parts of `message`
    contact = b"<sip:kim@" + OWN[version] + b">"
    return message(b"INVITE sip:lee@example.org SIP/2.0", contact, body, **more)


def reply(
    code: bytes,
    body: bytes = b"",
    tag: bytes = b"far",
    **more: Any,  # noqa: ANN401 - parts of `message`
) -> bytes:
    far = b"To: <sip:lee@example.org>;tag=" + tag
    return message(b"SIP/2.0 " + code, b"", body, far=far, **more)


def phone(version: int = 4, **settings: Any) -> Dialogue:  # noqa: ANN401 - keys of the filter
    return Dialogue(SipFilter(SipSettings(**settings)), version=version)


def calling(
    version: int = 4,
    *,
    offer: bytes = b"",
    **settings: Any,  # noqa: ANN401 - keys of the filter
) -> Dialogue:
    """Bring a call under way outwards; what the server heard is not looked at."""
    dialogue = phone(version, **settings)
    dialogue.client_says(invite(version, offer or sdp(HOST[version], b"4000")))
    dialogue.server_end.take()
    return dialogue.pinholes()


def talking(version: int = 4) -> Dialogue:
    dialogue = calling(version).server_says(reply(b"200 OK", sdp(FAR[version], b"7000")))
    dialogue.client_end.take()
    dialogue.client_says(
        message(b"ACK sip:lee@x SIP/2.0", method=b"ACK", far=b"To: <sip:l@x>;tag=far")
    )
    dialogue.server_end.take()
    return dialogue.datagram_arrives(MEDIA[version], RTP[version])


def bye(*, cseq: int = 2, tag: bytes = b"far") -> bytes:
    return message(
        b"BYE sip:lee@x SIP/2.0",
        method=b"BYE",
        cseq=cseq,
        via=b"SIP/2.0/UDP 10.0.0.8:50000;rport;branch=z9hG4bKbye",
        far=b"To: <sip:lee@example.org>;tag=" + tag,
    )


BYE_DONE = reply(
    b"200 OK", method=b"BYE", cseq=2, via=b"SIP/2.0/UDP 10.0.0.8:50000;rport;branch=z9hG4bKbye"
)


def bodies(data: bytes) -> bytes:
    return data.partition(b"\r\n\r\n")[2]
