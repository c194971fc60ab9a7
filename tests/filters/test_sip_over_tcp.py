"""SIP over TCP: how a stream is cut into messages, and which connections speak of one call."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.filters.sip_talk import (
    FAR,
    HOST,
    MEDIA,
    OUR,
    RTP,
    SERVER,
    STRANGER,
    bodies,
    both_families,
    message,
    reply,
    sdp,
)

from sallyport import limits
from sallyport.filters.sip import SipFilter, SipSettings
from sallyport.filters.sip.filter import SIP_OVER_TCP
from sallyport.testing import Dialogue

CONTACT = {4: b"10.0.0.8:5060", 6: b"[fd00:a::8]:5060"}
# What stands for it: a port of the gateway; on a routed relation the telephone's own.
TOLD = {4: b"203.0.113.1:40271", 6: b"[fd00:a::8]:5060"}
LATER = {4: b"40588", 6: b"4000"}
OWN_VIA = b"SIP/2.0/TCP 10.0.0.8:5060;rport;branch=z9hG4bK1"
PROVIDER = {4: "203.0.113.9:31000", 6: "[2001:db8::9]:31000"}


def phone(version: int = 4, **settings: Any) -> Dialogue:  # noqa: ANN401 - keys of the filter
    settings_ = SipSettings(**settings)
    return Dialogue(SipFilter(settings_), version=version, protocol=SIP_OVER_TCP)


def contact(version: int = 4, host: bytes = b"") -> bytes:
    return b"<sip:kim@" + (host or CONTACT[version]) + b";transport=tcp>"


def register(version: int = 4, host: bytes = b"", more: bytes = b"Expires: 600") -> bytes:
    return message(
        b"REGISTER sip:x SIP/2.0",
        contact(version, host),
        method=b"REGISTER",
        via=OWN_VIA,
        more=more,
    )


def granted(version: int = 4, expires: bytes = b";expires=600", host: bytes = b"") -> bytes:
    said = contact(version, host or TOLD[version]) + expires
    return message(b"SIP/2.0 200 OK", said, method=b"REGISTER", via=OWN_VIA)


def registered(version: int = 4, **settings: Any) -> Dialogue:  # noqa: ANN401 - keys of the filter
    dialogue = phone(version, **settings).client_says(register(version))
    dialogue.server_hears(register(version, TOLD[version])).pinholes()
    return dialogue.server_says(granted(version)).client_hears(
        granted(version, host=CONTACT[version])
    )


def invite(version: int = 4, **more: Any) -> bytes:  # noqa: ANN401 - parts of `message`
    first, body = b"INVITE sip:lee@example.org SIP/2.0", sdp(HOST[version], b"4000")
    return message(first, contact(version), body, via=OWN_VIA, **more)


def port(version: int) -> str:
    return TOLD[version].decode()


def signalling(dialogue: Dialogue) -> list[str]:
    """Where the telephone is called."""
    return [str(one.listen) for one in dialogue.user_path.pinholes.values()]


# -- streams -------------------------------------------------------------------------------------


@both_families
@pytest.mark.parametrize("size", [1, 7, 100])
def test_p10_a_call_is_told_the_same_wherever_segments_cut_it(version: int, size: int) -> None:
    said, answer = invite(version), reply(b"200 OK", sdp(FAR[version], b"7000"), via=OWN_VIA)
    dialogue = phone(version)
    dialogue.client_says(*(said[i : i + size] for i in range(0, len(said), size)))

    heard = dialogue.server_end.take()
    assert bodies(heard) == sdp(OUR[version], LATER[version])
    assert b"Contact: " + contact(version, TOLD[version]) + b"\r\n" in heard
    dialogue.server_says(*(answer[i : i + size] for i in range(0, len(answer), size)))
    dialogue.client_hears(answer)
    rtp = "203.0.113.1:40588" if version == 4 else RTP[6]
    dialogue.datagram_arrives(MEDIA[version], rtp).datagram_is_lost(STRANGER[version], rtp)


def test_p10_several_messages_and_keep_alives_in_one_segment_pass_in_their_order() -> None:
    options = message(b"OPTIONS sip:a@b SIP/2.0", method=b"OPTIONS", via=OWN_VIA)
    other = options.replace(b"z9hG4bK1", b"z9hG4bK2")
    dialogue = phone().client_says(b"\r\n\r\n" + options + b"\r\n" + other + b"\r\n\r\n")

    dialogue.server_hears(b"\r\n\r\n" + options + b"\r\n" + other + b"\r\n\r\n")
    dialogue.server_says(b"\r\n").client_hears(b"\r\n").still_open()


@both_families
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda one: one.replace(b"Content-Length", b"X-Length"), "no-content-length"),
        (lambda one: one.replace(b"Length: ", b"Length: 429496732800"), "bad-content-length"),
        (lambda one: one.replace(b"Length: ", b"Length: 99999"), "body-too-long"),
        (
            lambda one: one.replace(b"Content-Length: ", b"l: 7\r\nContent-Length: "),
            "header-twice",
        ),
    ],
)
def test_p09_a_stream_whose_next_message_is_not_known_ends_with_an_answer(
    version: int,
    spoil: Callable[[bytes], bytes],
    reason: str,
) -> None:
    dialogue = phone(version).client_says(spoil(invite(version))).server_hears(b"").pinholes()

    assert dialogue.client_end.take().startswith(b"SIP/2.0 400 Bad Request\r\n")
    dialogue.noted("message.dropped", reason).ended("closed-by-filter")
    assert not dialogue.connection.session.bindings


def test_p09_a_message_that_only_looks_like_sip_ends_its_stream_without_an_answer() -> None:
    dialogue = phone().client_says(b"OPTIONS * RTSP/1.0\r\nContent-Length: 0\r\n\r\n")

    dialogue.nothing_more().noted("message.dropped", "not-sip").ended("closed-by-filter")


@pytest.mark.parametrize(
    "first", [b"POST / HTTP/1.1\r\nContent-Length: 900\r\n\r\n", b"\x16\x03\1"]
)
@both_families
def test_h04_h07_a_stream_that_begins_as_another_protocol_is_never_read(
    version: int, first: bytes
) -> None:
    dialogue = phone(version).client_says(first[:9], first[9:], register(version))

    dialogue.server_hears(first + register(version))
    dialogue.server_says(granted(version)).client_hears(granted(version)).pinholes()
    assert not dialogue.connection.session.bindings


def test_an_end_passes_and_what_was_cut_off_does_not() -> None:
    dialogue = phone().client_says(invite()[:50]).client_closes().server_hears(b"")
    dialogue.server_hears_end().server_closes().ended("closed")


# -- where the telephone is called ---------------------------------------------------------------


@both_families
def test_p01_a_registration_that_is_granted_opens_a_port_to_its_server_alone(version: int) -> None:
    dialogue = registered(version)

    assert signalling(dialogue) == [port(version)]
    dialogue.cannot_connect(STRANGER[version], port(version))
    call = message(
        b"OPTIONS sip:kim@" + TOLD[version] + b";transport=tcp SIP/2.0",
        method=b"OPTIONS",
        via=b"SIP/2.0/TCP " + SERVER[version] + b";branch=z9hG4bKf" if version == 4 else OWN_VIA,
    )
    flow = dialogue.transfer(PROVIDER[version], port(version)).peer_says(call[:40], call[40:])
    flow.client_hears(call.replace(TOLD[version], CONTACT[version]))


@both_families
def test_p01_p03_a_registration_that_is_not_granted_opens_nothing(version: int) -> None:
    for answer in (
        granted(version).replace(b"200 OK", b"403 No"),
        granted(version).replace(b"call@1", b"call@2"),
        granted(version).replace(b"z9hG4bK1", b"z9hG4bK2"),
        granted(version).replace(b"CSeq: 1 ", b"CSeq: 2 "),
    ):
        phone(version).client_says(register(version)).server_says(answer).pinholes()


@pytest.mark.parametrize(
    ("answered", "seconds"),
    [
        (b";expires=60", 60),
        (b";expires=86400", 600),
        (b";expires=4294967296", 600),
        (b";expires=-1", 600),
        (b"", 600),
    ],
)
def test_p02_its_port_lives_as_long_as_both_sides_want(answered: bytes, seconds: int) -> None:
    dialogue = phone().client_says(register()).server_says(granted(expires=answered))
    dialogue.client_closes().server_closes()

    dialogue.time_passes(seconds)
    assert signalling(dialogue) == [port(4)]
    dialogue.time_passes(limits.SIP_ANSWER_SECONDS + limits.SIP_LOOK_SECONDS).pinholes()


def test_p02_the_operator_sets_the_longest_and_a_registration_that_is_given_up_closes_it() -> None:
    dialogue = registered(max_registration=100)
    dialogue.time_passes(100 + limits.SIP_ANSWER_SECONDS + limits.SIP_LOOK_SECONDS).pinholes()

    dialogue = registered().client_says(register(more=b"Expires: 0").replace(b"1 REG", b"2 REG"))
    dialogue.server_says(granted(expires=b";expires=0").replace(b"1 REG", b"2 REG")).pinholes()


def test_a_registration_that_is_renewed_keeps_its_port() -> None:
    dialogue = registered()
    for number in range(2, 6):
        dialogue.time_passes(500)
        cseq = b"%d REGISTER" % number
        dialogue.client_says(register().replace(b"1 REGISTER", cseq))
        dialogue.server_hears(register(host=TOLD[4]).replace(b"1 REGISTER", cseq))
        dialogue.server_says(granted().replace(b"1 REGISTER", cseq)).client_end.take()

    assert signalling(dialogue) == [port(4)]


@both_families
def test_p04_each_contact_is_judged_alone_and_those_of_others_get_no_port(version: int) -> None:
    others = contact(version, b"10.0.0.9:5060") + b", " + contact(version, b"198.51.100.3:5060")
    said = register(version).replace(contact(version), others + b", " + contact(version))
    dialogue = phone(version).client_says(said)

    dialogue.server_hears(said.replace(contact(version), contact(version, TOLD[version])))
    assert len(dialogue.connection.session.bindings) == 1


@both_families
@pytest.mark.parametrize("host", [b"10.0.0.8:22", b"[fd00:a::8]:22"])
def test_p04_a_contact_at_a_service_of_the_host_is_refused(version: int, host: bytes) -> None:
    if (b"[" in host) is not (version == 6):
        return
    dialogue = phone(version).client_says(register(version, host)).server_hears(b"").pinholes()

    assert dialogue.client_end.take().startswith(b"SIP/2.0 403 Forbidden\r\n")


def test_p08_many_contacts_are_refused() -> None:
    dialogue = phone()
    for number in range(limits.MAX_SIP_CONTACTS + 1):
        dialogue.client_says(register(host=b"10.0.0.8:%d" % (5060 + number)))

    heard = dialogue.client_end.take()
    assert heard.count(b"SIP/2.0 503 Service Unavailable\r\n") == 1
    assert len(dialogue.connection.session.bindings) == limits.MAX_SIP_CONTACTS


def test_what_asks_for_no_later_call_gets_no_port() -> None:
    options = message(b"OPTIONS sip:a@b SIP/2.0", contact(), method=b"OPTIONS", via=OWN_VIA)

    told = options.replace(contact(), contact(host=b"203.0.113.1:50001"))
    phone().client_says(options).server_hears(told)


def test_a_contact_over_tls_is_left_alone() -> None:
    said = register().replace(b"transport=tcp", b"transport=tls")

    phone().client_says(said).server_hears(said)


def test_a_telephone_registers_by_udp_where_it_is_called_by_tcp() -> None:
    said = register().replace(b"SIP/2.0/TCP", b"SIP/2.0/UDP")
    dialogue = Dialogue(SipFilter()).client_says(said)

    dialogue.server_hears(said.replace(contact(), contact(host=TOLD[4])))
    dialogue.server_says(granted().replace(b"SIP/2.0/TCP", b"SIP/2.0/UDP"))
    dialogue.connects(PROVIDER[4], port(4))


def test_datagrams_for_another_port_of_the_telephone_reach_the_same_filter() -> None:
    said = register().replace(b";transport=tcp", b"").replace(b"SIP/2.0/TCP", b"SIP/2.0/UDP")
    answer = granted().replace(b";transport=tcp", b"").replace(b"SIP/2.0/TCP", b"SIP/2.0/UDP")
    dialogue = Dialogue(SipFilter()).client_says(said).server_says(answer)
    call = message(
        b"INVITE sip:kim@203.0.113.1:40271 SIP/2.0",
        b"",
        sdp(FAR[4], b"7000"),
        own=b"From: <sip:lee@x>;tag=far",
        via=b"SIP/2.0/UDP x;branch=z9hG4bKin",
    )

    flow = dialogue.datagrams("203.0.113.9:5060", port(4), call)
    flow.client_hears(call.replace(TOLD[4], CONTACT[4]))


@both_families
def test_a_contact_that_names_no_transport_is_called_by_udp_whatever_it_was_said_over(
    version: int,
) -> None:
    said = register(version).replace(b";transport=tcp", b"")
    dialogue = phone(version).client_says(said)
    dialogue.server_hears(said.replace(b"@" + CONTACT[version], b"@" + TOLD[version]))
    dialogue.server_says(granted(version).replace(b";transport=tcp", b""))

    call = message(
        b"INVITE sip:kim@" + TOLD[version] + b" SIP/2.0",
        b"",
        sdp(FAR[version], b"7000"),
        own=b"From: <sip:lee@x>;tag=far",
        via=b"SIP/2.0/UDP x;branch=z9hG4bKin",
    )
    flow = dialogue.datagrams(PROVIDER[version], port(version), call)
    flow.client_hears(call.replace(TOLD[version], CONTACT[version], 1))


# -- one call, several connections ---------------------------------------------------------------


def talking(version: int = 4) -> Dialogue:
    dialogue = phone(version).client_says(invite(version))
    dialogue.server_says(reply(b"200 OK", sdp(FAR[version], b"7000"), via=OWN_VIA))
    dialogue.server_end.take()
    dialogue.client_end.take()
    return dialogue


def media(version: int) -> str:
    return "203.0.113.1:40588" if version == 4 else RTP[6]


@both_families
def test_a_call_outlives_its_connection_and_its_provider_ends_it_by_another(version: int) -> None:
    dialogue = talking(version).client_closes().server_closes()
    dialogue.datagram_arrives(MEDIA[version], media(version))

    bye = message(
        b"BYE sip:kim@" + TOLD[version] + b" SIP/2.0",
        method=b"BYE",
        via=b"SIP/2.0/TCP provider;branch=z9hG4bKbye",
        own=b"From: <sip:lee@example.org>;tag=far",
        far=b"To: <sip:kim@x>;tag=mine",
    )
    flow = dialogue.transfer(PROVIDER[version], port(version)).peer_says(bye)
    flow.client_hears(bye.replace(TOLD[version], CONTACT[version], 1))
    done = bye.replace(bye.partition(b"\r\n")[0], b"SIP/2.0 200 OK")
    flow.client_says(done).peer_hears(done)
    dialogue.datagram_is_lost(MEDIA[version], media(version))
    dialogue.time_passes(limits.SIP_DEAD_CALL_SECONDS + limits.SIP_LOOK_SECONDS).pinholes()


def test_a_call_that_began_over_udp_goes_on_over_tcp() -> None:
    said = invite().replace(b";transport=tcp", b"").replace(CONTACT[4], b"10.0.0.8:50000")
    dialogue = Dialogue(SipFilter()).client_says(said)
    dialogue.server_says(reply(b"200 OK", sdp(FAR[4], b"7000"), via=OWN_VIA))
    rtp = RTP[4]
    dialogue.datagram_arrives(MEDIA[4], rtp)

    other = Dialogue(
        dialogue.gateway.roster.current.filters[0], beside=dialogue, protocol=SIP_OVER_TCP
    )
    bye = message(
        b"BYE sip:lee@x SIP/2.0", method=b"BYE", cseq=2, via=OWN_VIA, far=b"To: <sip:l@x>;tag=far"
    )
    other.client_says(bye).server_hears(bye)
    other.server_says(reply(b"200 OK", method=b"BYE", cseq=2, via=OWN_VIA))
    dialogue.datagram_is_lost(MEDIA[4], rtp)


def test_an_answer_may_come_by_another_connection_to_the_same_host() -> None:
    dialogue = phone().client_says(invite())
    dialogue.server_end.take()
    filters = dialogue.gateway.roster.current.filters
    other = Dialogue(filters[0], beside=dialogue, client="10.0.0.8:50002", protocol=SIP_OVER_TCP)

    other.server_says(reply(b"200 OK", sdp(FAR[4], b"7000"), via=OWN_VIA))
    dialogue.datagram_arrives(MEDIA[4], media(4))


def test_p05_an_answer_of_another_host_opens_nothing() -> None:
    dialogue = phone().client_says(invite())
    filters = dialogue.gateway.roster.current.filters
    other = Dialogue(
        filters[0], beside=dialogue, server="198.51.100.66:5060", protocol=SIP_OVER_TCP
    )

    other.server_says(reply(b"200 OK", sdp(FAR[4], b"7000"), via=OWN_VIA))
    dialogue.datagram_is_lost(MEDIA[4], media(4))


@both_families
def test_a_call_of_which_nothing_is_heard_ends_without_its_connection(version: int) -> None:
    dialogue = talking(version).client_closes().server_closes()

    dialogue.time_passes(limits.SIP_DEAD_CALL_SECONDS - limits.SIP_LOOK_SECONDS)
    dialogue.datagram_arrives(MEDIA[version], media(version))
    dialogue.time_passes(2 * limits.SIP_DEAD_CALL_SECONDS).pinholes()


def test_x07_an_operator_who_ends_the_connection_ends_its_calls() -> None:
    dialogue = registered().client_says(invite(cseq=2))
    answer = reply(b"200 OK", sdp(FAR[4], b"7000"), via=OWN_VIA, cseq=2)
    dialogue.server_says(answer).connection.abandon("killed")

    dialogue.pinholes().transfers()
