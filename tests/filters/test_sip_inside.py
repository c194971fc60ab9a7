"""Two telephones inside that call each other by a provider outside, and a PBX inside."""

from typing import Any

import pytest
from tests.filters.sip_talk import (
    BYE_DONE,
    FAR,
    HOST,
    OUR,
    PORT,
    bodies,
    both_families,
    bye,
    invite,
    message,
    reply,
    sdp,
)

from sallyport.addresses import Endpoint
from sallyport.core.policy.rules import PublishingRule
from sallyport.filters.sip import SipFilter
from sallyport.filters.sip.filter import SIP_SERVER_OVER_TCP
from sallyport.flags import Transport
from sallyport.testing import Dialogue, make_policy

OTHER = {4: b"10.0.0.9", 6: b"fd00:a::9"}
OTHER_SOCKET = {4: "10.0.0.9:50000", 6: "[fd00:a::9]:50000"}
OTHER_PORT = {4: b"40588", 6: b"5000"}
VIA_IN = b"SIP/2.0/UDP example.org;branch=z9hG4bKin"


def two_telephones(version: int) -> tuple[Dialogue, Dialogue]:
    filters = SipFilter()
    kim = Dialogue(filters, version=version)
    return kim, Dialogue(filters, version=version, client=OTHER_SOCKET[version], beside=kim)


def incoming(body: bytes) -> bytes:
    return message(
        b"INVITE sip:lee@x SIP/2.0",
        b"<sip:kim@example.org>",
        body,
        call=b"call@provider",
        own=b"From: <sip:kim@x>;tag=from-provider",
        far=b"To: <sip:lee@x>",
        via=VIA_IN,
    )


def outgoing(body: bytes) -> bytes:
    return message(
        b"SIP/2.0 200 OK",
        b"<sip:lee@10.0.0.9:50000>",
        body,
        call=b"call@provider",
        own=b"From: <sip:kim@x>;tag=from-provider",
        far=b"To: <sip:lee@x>;tag=lee",
        via=VIA_IN,
    )


# -- neighbours ----------------------------------------------------------------------------------


@both_families
def test_x10_two_telephones_inside_hear_of_each_others_own_address(version: int) -> None:
    kim, lee = two_telephones(version)
    offer = sdp(HOST[version], b"4000", b"a=rtcp:4001\r\n")
    kim.client_says(invite(version, offer))
    told = bodies(kim.server_end.take())
    rtcp = b"a=rtcp:%d\r\n" % (int(PORT[version]) + 1)
    assert told == sdp(OUR[version], PORT[version], rtcp)

    lee.server_says(incoming(told)).client_hears(incoming(offer))
    lee.client_says(outgoing(sdp(OTHER[version], b"5000")))
    answer = bodies(lee.server_end.take())
    assert answer != sdp(OTHER[version], b"5000") or version == 6
    kim.server_says(reply(b"200 OK", answer))
    kim.client_hears(reply(b"200 OK", sdp(OTHER[version], b"5000")))

    kim.pinholes()
    assert "media.refused" not in kim.world.journal.events()
    kim.client_end.take()
    kim.client_says(bye()).server_says(BYE_DONE)
    assert {one.session.client_address for one in kim.gateway.bindings()} == {
        Endpoint.parse(OTHER_SOCKET[version]).address
    }


@both_families
def test_x10_a_far_side_that_names_half_a_neighbour_is_refused(version: int) -> None:
    kim, lee = two_telephones(version)
    kim.client_says(invite(version, sdp(HOST[version], b"4000")))
    told = bodies(kim.server_end.take())
    said = incoming(told + b"m=video 9 RTP/AVP 31\r\n")

    lee.server_says(said).client_hears(said).client_says(outgoing(sdp(OTHER[version], b"5000")))
    lee.noted("media.refused", "peer-is-not-outside").pinholes()


def test_x10_a_port_of_another_protocol_or_network_is_no_neighbours() -> None:
    kim, lee = two_telephones(4)
    kim.client_says(invite(4, sdp(HOST[4], b"4000")))
    told = bodies(kim.server_end.take())
    session = lee.connection.session
    at = Endpoint.parse("203.0.113.1:" + PORT[4].decode())
    sip, other = SipFilter.protocols[0], SIP_SERVER_OVER_TCP

    assert session.neighbour_at(sip, Transport.UDP, at) == Endpoint.parse("10.0.0.8:4000")
    assert session.neighbour_at(other, Transport.UDP, at) is None
    assert session.neighbour_at(sip, Transport.TCP, at) is None
    assert session.neighbour_at(sip, Transport.UDP, at.with_port(7)) is None
    far = kim.gateway.client_session(Endpoint.parse("198.51.100.66:1").address)
    assert far.neighbour_at(sip, Transport.UDP, at) is None

    kim.server_says(reply(b"486 Busy"))
    assert session.neighbour_at(sip, Transport.UDP, at) is None
    lee.server_says(incoming(told)).client_hears(incoming(told))
    lee.client_says(outgoing(sdp(OTHER[4], b"5000")))
    lee.noted("media.refused", "peer-is-not-outside").pinholes()


@both_families
def test_candidates_of_a_neighbour_are_left_alone(version: int) -> None:
    kim, lee = two_telephones(version)
    kim.client_says(invite(version, sdp(HOST[version], b"4000")))
    said = incoming(bodies(kim.server_end.take()) + b"a=candidate:1 1 UDP 1 10.0.0.8 4000\r\n")

    lee.server_says(said).client_hears(said)


# -- a PBX that is published ---------------------------------------------------------------------


PBX = {4: b"10.0.0.20", 6: b"fd00:a::20"}
LISTEN = {4: "203.0.113.1:5060", 6: "[fd00:a::20]:5060"}
PHONE = {4: "198.51.100.66:5062", 6: "[2001:db8::66]:5062"}


def pbx(version: int, protocol: str = "sip-server", **rule: Any) -> Dialogue:  # noqa: ANN401
    host = PBX[version].decode()
    server = Endpoint.parse(f"[{host}]:5060" if version == 6 else f"{host}:5060")
    transport = Transport.UDP if protocol == "sip-server" else Transport.TCP
    listen = Endpoint.parse(LISTEN[version])
    published = PublishingRule(
        name="pbx", protocol=protocol, listen=listen, server=server, transport=transport, **rule
    )
    return Dialogue(SipFilter(), published=published, client=PHONE[version], policy=make_policy())


def name(host: bytes) -> bytes:
    return b"[" + host + b"]" if b":" in host else host


OWN_PBX = {version: name(host) + b":5060" for version, host in PBX.items()}
PUBLIC = {version: one.encode() for version, one in LISTEN.items()}
PHONE_VIA = b"SIP/2.0/UDP 192.168.1.5:5062;rport;branch=z9hG4bKphone"
BEHIND = b"192.168.1.5"


def from_phone(version: int, body: bytes = b"", method: bytes = b"INVITE", **more: Any) -> bytes:  # noqa: ANN401
    first = method + b" sip:100@" + PUBLIC[version] + b" SIP/2.0"
    return message(first, b"<sip:out@192.168.1.5:5062>", body, method=method, via=PHONE_VIA, **more)


def from_pbx(code: bytes, contact: bytes, body: bytes = b"", method: bytes = b"INVITE") -> bytes:
    far = b"To: <sip:lee@example.org>;tag=pbx"
    return message(b"SIP/2.0 " + code, contact, body, method=method, via=PHONE_VIA, far=far)


@both_families
def test_a_telephone_outside_registers_at_a_pbx_inside(version: int) -> None:
    said = from_phone(version, method=b"REGISTER", more=b"Expires: 300")
    dialogue = pbx(version).client_says(said).server_hears(said)
    granted = from_pbx(b"200 OK", b"<sip:out@192.168.1.5:5062>;expires=300", method=b"REGISTER")

    dialogue.server_says(granted).client_hears(granted).pinholes()
    assert dialogue.connection.kept_until - dialogue.world.now() == pytest.approx(332)


@both_families
def test_p01_a_registration_that_the_pbx_refuses_keeps_nothing(version: int) -> None:
    dialogue = pbx(version).client_says(from_phone(version, method=b"REGISTER"))
    dialogue.server_says(from_pbx(b"403 No", b"", method=b"REGISTER"))

    assert dialogue.connection.kept_until - dialogue.world.now() <= 120


@both_families
def test_a_call_from_outside_has_the_media_of_the_pbx(version: int) -> None:
    far = BEHIND if version == 4 else FAR[6]
    said = from_phone(version, sdp(far, b"7000"))
    dialogue = pbx(version).client_says(said).server_hears(said).pinholes()
    contact = b"<sip:100@" + OWN_PBX[version] + b">"
    dialogue.server_says(from_pbx(b"200 OK", contact, sdp(PBX[version], b"16384")))

    heard = dialogue.client_end.take()
    assert b"Contact: <sip:100@" + PUBLIC[version] + b">\r\n" in heard
    media = "203.0.113.1:40542" if version == 4 else "[fd00:a::20]:16384"
    assert bodies(heard) == sdp(
        OUR[4] if version == 4 else PBX[6], media.rpartition(":")[2].encode()
    )
    dialogue.datagram_arrives(PHONE[version], media)
    stranger = "198.51.100.7:7000" if version == 4 else "[2001:db8::77]:7000"
    dialogue.datagram_is_lost(stranger, media)

    ends = from_phone(version, method=b"BYE", cseq=2).replace(
        b"To: <sip:lee@example.org>", b"To: <sip:lee@example.org>;tag=pbx"
    )
    dialogue.client_says(ends)
    done = from_pbx(b"200 OK", b"", method=b"BYE").replace(b"CSeq: 1", b"CSeq: 2")
    dialogue.server_says(done).pinholes()
    dialogue.datagram_is_lost(PHONE[version], media)


def test_a_request_names_the_pbx_by_its_public_address_and_by_what_it_wrote() -> None:
    dialogue = pbx(4).client_says(from_phone(4, sdp(BEHIND, b"7000")))
    contact = b"<sip:100@" + OWN_PBX[4] + b";ob>"
    dialogue.server_says(from_pbx(b"200 OK", contact, sdp(PBX[4], b"16384")))
    dialogue.server_end.take()
    ack = message(
        b"ACK sip:100@" + PUBLIC[4] + b";ob SIP/2.0",
        method=b"ACK",
        via=PHONE_VIA,
        far=b"To: <sip:lee@example.org>;tag=pbx",
    )

    dialogue.client_says(ack).server_hears(ack.replace(PUBLIC[4], OWN_PBX[4], 1))


@both_families
def test_the_pbx_calls_a_telephone_that_has_registered(version: int) -> None:
    dialogue = pbx(version).client_says(from_phone(version, method=b"REGISTER"))
    dialogue.server_says(from_pbx(b"200 OK", b"", method=b"REGISTER"))
    for end in (dialogue.client_end, dialogue.server_end):
        end.take()
    via = b"SIP/2.0/UDP " + OWN_PBX[version] + b";branch=z9hG4bKpbx"
    said = message(
        b"INVITE sip:out@192.168.1.5:5062 SIP/2.0",
        b"<sip:100@" + OWN_PBX[version] + b">",
        sdp(PBX[version], b"16384"),
        via=via,
        own=b"From: <sip:100@x>;tag=pbx",
        far=b"To: <sip:out@x>",
    )
    dialogue.server_says(said)

    heard = dialogue.client_end.take()
    assert OWN_PBX[version] not in heard or version == 6
    assert b"Via: SIP/2.0/UDP " + PUBLIC[version] + b";branch=z9hG4bKpbx\r\n" in heard
    answer = message(
        b"SIP/2.0 200 OK",
        b"<sip:out@192.168.1.5:5062>",
        sdp(BEHIND if version == 4 else FAR[6], b"7000"),
        via=via.replace(OWN_PBX[version], PUBLIC[version]),
        own=b"From: <sip:100@x>;tag=pbx",
        far=b"To: <sip:out@x>;tag=phone",
    )
    dialogue.client_says(answer).server_hears(
        answer.replace(
            b"Via: SIP/2.0/UDP " + PUBLIC[version], b"Via: SIP/2.0/UDP " + OWN_PBX[version]
        )
    )
    media = "203.0.113.1:40542" if version == 4 else "[fd00:a::20]:16384"
    dialogue.datagram_arrives(PHONE[version], media)


@both_families
def test_p06_a_pbx_that_names_another_host_inside_is_refused(version: int) -> None:
    dialogue = pbx(version).client_says(from_phone(version, sdp(FAR[version], b"7000")))
    dialogue.server_says(from_pbx(b"200 OK", b"", sdp(OTHER[version], b"16384")))

    dialogue.client_hears(b"").pinholes().noted("media.refused", "media-to-another-host")


def test_a_telephone_outside_is_served_over_tcp_too() -> None:
    said = from_phone(4, sdp(FAR[4], b"7000")).replace(b"SIP/2.0/UDP", b"SIP/2.0/TCP")
    dialogue = pbx(4, "sip-server-tcp").client_says(said[:30], said[30:]).server_hears(said)
    contact = b"<sip:100@" + OWN_PBX[4] + b";transport=tcp>"
    answer = from_pbx(b"200 OK", contact, sdp(PBX[4], b"16384"))
    dialogue.server_says(answer.replace(b"SIP/2.0/UDP", b"SIP/2.0/TCP"))

    heard = dialogue.client_end.take()
    assert b"<sip:100@" + PUBLIC[4] + b";transport=tcp>" in heard
    dialogue.datagram_arrives("198.51.100.66:9", "203.0.113.1:40542")


def test_h04_a_stream_from_outside_that_is_none_of_sip_is_never_read() -> None:
    said = b"GET / HTTP/1.1\r\n\r\n"
    dialogue = pbx(4, "sip-server-tcp").client_says(said).server_hears(said)

    dialogue.client_says(from_phone(4)).server_hears(from_phone(4))
