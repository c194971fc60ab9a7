"""SIP over UDP: what is told, what opens on whose word, what ends it. Rows: attack corpus, P."""

from typing import Any

import pytest
from tests.filters.sip_talk import (
    BYE_DONE,
    FAR,
    HOST,
    MEDIA,
    OUR,
    OWN,
    PORT,
    RTP,
    STRANGER,
    TOLD,
    bodies,
    both_families,
    bye,
    calling,
    invite,
    message,
    phone,
    reply,
    sdp,
    talking,
)

from sallyport import limits
from sallyport.errors import OutOfResources
from sallyport.filters.sip import SipFilter
from sallyport.testing import Dialogue, make_policy

# -- names ---------------------------------------------------------------------------------------


@both_families
def test_contact_names_the_gateway_and_everything_else_leaves_as_it_came(version: int) -> None:
    said = message(
        b"REGISTER sip:example.org SIP/2.0",
        b'"K" <sip:kim@' + OWN[version] + b";ob>;expires=60, <sip:kim@198.51.100.3>",
        method=b"REGISTER",
    )
    told = said.replace(b"sip:kim@" + OWN[version] + b";ob", b"sip:kim@" + TOLD[version] + b";ob")

    dialogue = phone(version).client_says(said).server_hears(told)
    answer = message(
        b"SIP/2.0 200 OK", b"<sip:kim@" + TOLD[version] + b";ob>;expires=60", method=b"REGISTER"
    )
    dialogue.server_says(answer).client_hears(answer.replace(TOLD[version], OWN[version]))
    dialogue.pinholes().nothing_more()


def test_a_via_without_rport_names_the_gateway_and_comes_back_byte_for_byte() -> None:
    own, told = (
        b"SIP/2.0/UDP 10.0.0.8:50000;branch=z9hG4bK1",
        b"SIP/2.0/UDP 203.0.113.1:50001;branch=z9hG4bK1",
    )
    said = message(b"OPTIONS sip:a@b SIP/2.0", method=b"OPTIONS", via=own)
    dialogue = phone().client_says(said).server_hears(said.replace(own, told))

    dialogue.server_says(message(b"SIP/2.0 200 OK", method=b"OPTIONS", via=told))
    dialogue.client_hears(message(b"SIP/2.0 200 OK", method=b"OPTIONS", via=own))


def test_a_telephone_reads_its_own_address_where_the_server_says_what_it_saw() -> None:
    sent = b"SIP/2.0/UDP 10.0.0.8:50000;rport;branch=z9hG4bK1"
    seen = b"SIP/2.0/UDP 10.0.0.8:50000;rport=50001;branch=z9hG4bK1;received=203.0.113.1"
    said = message(b"OPTIONS sip:a@b SIP/2.0", method=b"OPTIONS", via=sent)
    dialogue = phone().client_says(said).server_hears(said)

    dialogue.server_says(message(b"SIP/2.0 200 OK", method=b"OPTIONS", via=seen))
    believed = seen.replace(b"rport=50001", b"rport=50000").replace(b"203.0.113.1", b"10.0.0.8")
    dialogue.client_hears(message(b"SIP/2.0 200 OK", method=b"OPTIONS", via=believed))


def test_a_call_in_is_for_the_contact_that_the_telephone_wrote() -> None:
    registered = message(
        b"REGISTER sip:x SIP/2.0", b"<sip:kim@10.0.0.8:50000;ob>", method=b"REGISTER"
    )
    dialogue = phone().client_says(registered)
    dialogue.server_end.take()
    far_via = b"SIP/2.0/UDP 203.0.113.9;branch=z9hG4bKf"

    said = message(b"OPTIONS sip:kim@203.0.113.1:50001;ob SIP/2.0", method=b"OPTIONS", via=far_via)
    dialogue.server_says(said).client_hears(said.replace(b"203.0.113.1:50001", b"10.0.0.8:50000"))


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n",
        b"\0\1\0\0\x21\x12\xa4\x42" + bytes(12),
        b"REGISTER sip:x HTTP/1.1\r\n\r\n",
        message(
            b"INVITE sip:a@b SIP/2.0",
            b"<sip:kim@10.0.0.8:50000>",
            sdp(b"10.0.0.8", b"4000"),
            more=b"Identity: x\r\nIdentity-Info: <https://x>;alg=rsa-sha1",
        ),
        message(
            b"INVITE sip:a@b SIP/2.0", b"<sip:kim@203.0.113.1:6000>", sdp(b"203.0.113.1", b"6000")
        ),
        message(
            b"INVITE sip:a@b SIP/2.0", b"<sip:kim@198.51.100.3>", sdp(b"198.51.100.3", b"6000")
        ),
    ],
)
def test_h05_what_is_no_sip_or_not_ours_to_change_leaves_byte_for_byte(data: bytes) -> None:
    dialogue = phone().client_says(data).server_hears(data).pinholes()

    assert not dialogue.connection.session.bindings


def test_p11_candidates_leave_the_description_alone() -> None:
    candidate = b"a=candidate:1 1 UDP 1 10.0.0.8 4000 typ host\r\n"
    dialogue = phone().client_says(invite(4, sdp(HOST[4], b"4000", candidate)))

    assert bodies(dialogue.server_end.take()) == sdp(HOST[4], b"4000", candidate)
    assert not dialogue.connection.session.bindings


# -- calls out -----------------------------------------------------------------------------------


@both_families
def test_an_offer_reserves_and_the_answer_of_the_far_side_opens(version: int) -> None:
    dialogue = phone(version).client_says(invite(version, sdp(HOST[version], b"4000")))
    heard = dialogue.server_end.take()
    assert bodies(heard) == sdp(OUR[version], PORT[version])
    assert b"Content-Length: %d\r\n" % len(bodies(heard)) in heard
    dialogue.pinholes()

    answer = reply(b"200 OK", sdp(FAR[version], b"7000"))
    dialogue.server_says(answer).client_hears(answer)
    dialogue.datagram_arrives(MEDIA[version], RTP[version])
    dialogue.datagram_is_lost(STRANGER[version], RTP[version])


@both_families
@pytest.mark.parametrize("code", [b"486 Busy Here", b"487 Request Terminated", b"407 Auth"])
def test_p12_a_call_that_is_refused_or_cancelled_opens_nothing(version: int, code: bytes) -> None:
    early = reply(b"183 Progress", sdp(FAR[version], b"7000"))
    dialogue = calling(version).server_says(early).datagram_arrives(MEDIA[version], RTP[version])

    dialogue.server_says(reply(code)).pinholes().transfers()
    assert not dialogue.connection.session.bindings


@both_families
def test_p12_after_bye_not_one_datagram_arrives(version: int) -> None:
    dialogue = talking(version).client_says(bye())
    dialogue.datagram_arrives(MEDIA[version], RTP[version])

    dialogue.server_says(BYE_DONE).pinholes().transfers()
    dialogue.datagram_is_lost(MEDIA[version], RTP[version])


def test_p12_a_bye_that_is_not_answered_counts_after_32_seconds() -> None:
    dialogue = talking().client_says(bye()).time_passes(16)
    assert dialogue.data_path.pinholes

    dialogue.time_passes(32).pinholes()


def test_p12_a_bye_of_the_far_side_ends_the_call_when_the_telephone_has_answered() -> None:
    via = b"SIP/2.0/UDP 203.0.113.9;branch=z9hG4bKf"
    request = message(
        b"BYE sip:kim@203.0.113.1:50001 SIP/2.0",
        method=b"BYE",
        cseq=7,
        via=via,
        own=b"From: <sip:lee@example.org>;tag=far",
        far=b"To: <sip:kim@10.0.0.8>;tag=mine",
    )
    dialogue = talking().server_says(request)
    assert dialogue.data_path.pinholes

    dialogue.client_says(
        request.replace(b"BYE sip:kim@203.0.113.1:50001 SIP/2.0", b"SIP/2.0 200 OK")
    ).pinholes()


def test_p12_a_bye_with_other_tags_ends_nothing() -> None:
    dialogue = talking().client_says(bye(tag=b"other"))

    dialogue.server_says(BYE_DONE.replace(b"tag=far", b"tag=other"))
    assert dialogue.data_path.pinholes


@both_families
def test_p03_an_answer_to_another_request_opens_nothing(version: int) -> None:
    answer = reply(b"200 OK", sdp(FAR[version], b"7000"))
    for other in (
        answer.replace(b"call@1", b"call@2"),
        answer.replace(b"CSeq: 1", b"CSeq: 2"),
        answer.replace(b"z9hG4bK1", b"z9hG4bK2"),
    ):
        calling(version).server_says(other).pinholes()


def test_p12_of_a_forked_call_the_losers_are_shut_out() -> None:
    dialogue = calling()
    dialogue.server_says(reply(b"183 Progress", sdp(b"198.51.100.7", b"7000"), tag=b"one"))
    dialogue.server_says(reply(b"183 Progress", sdp(b"198.51.100.66", b"7000"), tag=b"two"))
    dialogue.server_says(reply(b"200 OK", sdp(b"198.51.100.66", b"7000"), tag=b"two"))

    dialogue.datagram_arrives(MEDIA[4], RTP[4]).datagram_is_lost(STRANGER[4], RTP[4])


def test_a_hold_closes_nothing_and_a_new_offer_keeps_its_ports() -> None:
    dialogue = talking()
    again = b"SIP/2.0/UDP 10.0.0.8:50000;rport;branch=z9hG4bK2"
    hold = sdp(HOST[4], b"4000", b"a=sendonly\r\n")
    dialogue.client_says(invite(4, hold, cseq=2, via=again))
    assert bodies(dialogue.server_end.take()) == sdp(OUR[4], PORT[4], b"a=sendonly\r\n")

    held = sdp(b"0.0.0.0", b"7000", b"a=recvonly\r\n")
    dialogue.server_says(reply(b"200 OK", held, cseq=2, via=again))
    dialogue.datagram_arrives(MEDIA[4], RTP[4])


def test_a_change_that_is_refused_leaves_all_as_it_was() -> None:
    dialogue = talking()
    again = b"SIP/2.0/UDP 10.0.0.8:50000;rport;branch=z9hG4bK2"
    dialogue.client_says(invite(4, sdp(HOST[4], b"4100"), cseq=2, via=again))
    assert len(dialogue.connection.session.bindings) == 2

    dialogue.server_says(reply(b"488 No", cseq=2, via=again))
    assert len(dialogue.connection.session.bindings) == 1
    dialogue.datagram_arrives(MEDIA[4], RTP[4])


def test_a_change_that_is_agreed_to_replaces_the_ports() -> None:
    dialogue = talking()
    again = b"SIP/2.0/UDP 10.0.0.8:50000;rport;branch=z9hG4bK2"
    dialogue.client_says(invite(4, sdp(HOST[4], b"4100"), cseq=2, via=again))
    dialogue.server_says(reply(b"200 OK", sdp(FAR[4], b"7000"), cseq=2, via=again))

    assert {str(one.target) for one in dialogue.data_path.pinholes.values()} == {
        "10.0.0.8:4100",
        "10.0.0.8:4101",
    }


def test_a_request_that_is_repeated_is_told_the_same_and_binds_nothing_twice() -> None:
    dialogue = phone()
    for _ in range(3):
        dialogue.client_says(invite(4, sdp(HOST[4], b"4000")))
        assert bodies(dialogue.server_end.take()) == sdp(OUR[4], PORT[4])

    assert len(dialogue.connection.session.bindings) == 1


def test_video_and_fax_have_ports_of_their_own_and_a_stream_of_port_0_has_none() -> None:
    more = b"m=video 4200 RTP/AVP 31\r\n", b"m=image 4301 udptl t38\r\n", b"m=audio 0 RTP/AVP 0\r\n"
    dialogue = calling(offer=sdp(HOST[4], b"4000", *more))
    far = sdp(FAR[4], b"7000", b"m=video 7002 RTP/AVP 31\r\n", b"m=image 7004 udptl t38\r\n")

    dialogue.server_says(reply(b"200 OK", far))
    assert {str(one.target) for one in dialogue.data_path.pinholes.values()} == {
        "10.0.0.8:4000",
        "10.0.0.8:4001",
        "10.0.0.8:4200",
        "10.0.0.8:4201",
        "10.0.0.8:4301",
    }


def test_p11_rtcp_elsewhere_is_told_beside_and_another_hosts_is_refused() -> None:
    dialogue = phone().client_says(invite(4, sdp(HOST[4], b"4000", b"a=rtcp:4999\r\n")))
    assert b"m=audio 40542 RTP/AVP 0\r\na=rtcp:40543\r\n" in dialogue.server_end.take()
    dialogue.server_says(reply(b"200 OK", sdp(FAR[4], b"7000")))
    assert {str(one.target) for one in dialogue.data_path.pinholes.values()} == {
        "10.0.0.8:4000",
        "10.0.0.8:4999",
    }

    refused(sdp(HOST[4], b"4000", b"a=rtcp:4001 IN IP4 10.0.0.9\r\n"), b"488 Not Acceptable Here")


def test_p11_rtcp_mux_that_both_want_opens_one_port() -> None:
    mux = b"a=rtcp-mux\r\n"
    dialogue = calling(offer=sdp(HOST[4], b"4000", mux))

    dialogue.server_says(reply(b"200 OK", sdp(FAR[4], b"7000", mux)))
    assert [str(one.target) for one in dialogue.data_path.pinholes.values()] == ["10.0.0.8:4000"]


def refused(body: bytes, status: bytes, version: int = 4) -> Dialogue:
    """Check that a call is answered in the server's place, and that nothing leaves."""
    dialogue = phone(version).client_says(invite(version, body)).server_hears(b"").pinholes()
    assert dialogue.client_end.take().startswith(b"SIP/2.0 " + status + b"\r\n")
    assert not dialogue.connection.session.bindings
    return dialogue


@both_families
def test_p06_p14_media_at_another_host_inside_or_nowhere_is_refused(version: int) -> None:
    other = b"10.0.0.9" if version == 4 else b"fd00:a::9"
    for host in (other, b"239.1.1.1", b"127.0.0.1", b"phone.example"):
        refused(sdp(host, b"4000"), b"488 Not Acceptable Here", version)
    refused(b"v=0\r\nm=audio 4000 RTP/AVP 0\r\n", b"488 Not Acceptable Here", version)


@both_families
@pytest.mark.parametrize("port", [b"4001", b"65535", b"65534/2"])
def test_p07_ports_that_are_no_pair_are_refused(version: int, port: bytes) -> None:
    refused(sdp(HOST[version], port), b"488 Not Acceptable Here", version)


@both_families
def test_p07_a_port_below_1024_is_refused_and_layers_take_more_pairs(version: int) -> None:
    refused(sdp(HOST[version], b"22"), b"403 Forbidden", version)
    dialogue = calling(version, offer=sdp(HOST[version], b"4000/2"))
    (binding,) = dialogue.connection.session.bindings.values()
    assert len(binding.connections) == 4


def test_p08_many_streams_and_many_calls_are_refused() -> None:
    refused(
        sdp(HOST[4], b"4000", *[b"m=audio 4000 RTP/AVP 0\r\n"] * 200), b"488 Not Acceptable Here"
    )
    policy = make_policy(protocols=frozenset({"sip"}), max_bindings_per_client=4)
    dialogue = Dialogue(SipFilter(), policy=policy)
    for n in range(3):
        more: dict[str, Any] = {
            "call": b"call@%d" % n,
            "via": b"SIP/2.0/UDP a;branch=z9hG4bK%d" % n,
        }
        dialogue.client_says(invite(4, sdp(HOST[4], b"%d" % (4000 + 2 * n)), **more))

    heard = dialogue.client_end.take()
    assert heard.startswith(b"SIP/2.0 503 Service Unavailable\r\n")
    assert b"\r\nRetry-After: 30\r\n" in heard
    assert len(dialogue.connection.session.bindings) == 2


def test_p08_requests_without_an_answer_have_a_bound_and_answered_ones_make_room() -> None:
    dialogue = phone()
    for n in range(2 * limits.MAX_SIP_TRANSACTIONS):
        more: dict[str, Any] = {
            "method": b"OPTIONS",
            "cseq": n,
            "via": b"SIP/2.0/UDP a;branch=z9hG4bK%d" % n,
        }
        dialogue.client_says(message(b"OPTIONS sip:a@b SIP/2.0", **more))
        if n < limits.MAX_SIP_TRANSACTIONS:
            dialogue.server_says(message(b"SIP/2.0 200 OK", **more))
    dialogue.client_end.take()

    more = {"method": b"OPTIONS", "cseq": 9999, "via": b"SIP/2.0/UDP a;branch=z9hG4bKlast"}
    dialogue.client_says(message(b"OPTIONS sip:a@b SIP/2.0", **more))
    assert dialogue.client_end.take().startswith(b"SIP/2.0 503 ")


@both_families
@pytest.mark.parametrize(
    "spoil",
    [
        lambda one: one.replace(b"Content-Length: ", b"Content-Length: 9"),
        lambda one: one.replace(b"Content-Length: ", b"Content-Length: -"),
        lambda one: one.replace(b"Content-Length: ", b"Content-Length: 7\r\nContent-Length: "),
        lambda one: one.replace(b"CSeq: 1", b"CSeq: 1\rContact: x"),
    ],
)
def test_p09_p10_a_message_that_could_be_read_in_two_ways_does_not_leave(
    version: int, spoil: object
) -> None:
    assert callable(spoil)
    said = spoil(invite(version, sdp(HOST[version], b"4000")))

    dialogue = phone(version).client_says(said).server_hears(b"").pinholes()
    is_told = dialogue.client_end.take().startswith(b"SIP/2.0 400 Bad Request\r\n")
    assert is_told is (b"\rContact" not in said)
    assert not dialogue.connection.session.bindings
    dialogue.server_says(spoil(reply(b"200 OK", sdp(FAR[version], b"7000")))).client_hears(b"")


PART = b"--x\r\nContent-Type: application/sdp\r\n\r\n"
FIRST = b"--x\r\nContent-Type: text/plain\r\n\r\n10.0.0.8\r\n"


def in_parts(body: bytes, kind: bytes = b"multipart/mixed;boundary=x") -> bytes:
    said = invite(4, body)
    return said.replace(b"application/sdp\r\nContent-Length", kind + b"\r\nContent-Length")


def test_p10_a_description_among_other_parts_is_told_and_the_others_leave_as_they_came() -> None:
    body = FIRST + PART + sdp(HOST[4], b"4000") + b"\r\n--x--\r\n"
    dialogue = phone().client_says(in_parts(body))

    heard = dialogue.server_end.take()
    assert bodies(heard) == FIRST + PART + sdp(OUR[4], PORT[4]) + b"\r\n--x--\r\n"
    assert b"Content-Length: %d\r\n" % len(bodies(heard)) in heard
    far = FIRST + PART + sdp(FAR[4], b"7000") + b"\r\n--x--\r\n"
    answer = reply(b"200 OK", far).replace(
        b"application/sdp\r\n", b"multipart/mixed;boundary=x\r\n", 1
    )
    dialogue.server_says(answer).client_hears(answer).datagram_arrives(MEDIA[4], RTP[4])


@pytest.mark.parametrize(
    "said",
    [
        in_parts(PART + sdp(HOST[4], b"4000") + b"\r\n" + PART + b"v=0\r\n\r\n--x--\r\n"),
        in_parts(PART + sdp(HOST[4], b"4000")),
        in_parts(PART + sdp(HOST[4], b"4000") + b"--x--", b"multipart/mixed"),
        in_parts(PART.replace(b"Type", b"Length: 5\r\nContent-Type") + b"v=0\r\n\r\n--x--"),
        in_parts(PART[:-2] + b"Content-Encoding: gzip\r\n\r\nv=0\r\n\r\n--x--"),
    ],
)
def test_p10_parts_that_could_be_read_in_two_ways_are_refused(said: bytes) -> None:
    dialogue = phone().client_says(said).server_hears(b"")

    assert dialogue.client_end.take().startswith(b"SIP/2.0 488 ")


@both_families
@pytest.mark.parametrize(
    "host", [b"10.0.0.9", b"203.0.113.1", b"239.1.1.1", b"127.0.0.1", b"fd00:a::9"]
)
def test_p06_p13_a_far_side_that_names_no_host_outside_opens_nothing(
    version: int, host: bytes
) -> None:
    dialogue = calling(version).server_says(reply(b"200 OK", sdp(host, b"7000")))

    dialogue.pinholes().noted("media.refused", "peer-is-not-outside")


def test_media_may_be_held_to_the_signalling_server() -> None:
    dialogue = calling(media_peers="signalling")

    dialogue.server_says(reply(b"200 OK", sdp(FAR[4], b"7000")))
    dialogue.datagram_is_lost(MEDIA[4], RTP[4]).datagram_arrives("203.0.113.9:7000", RTP[4])


def test_x02_no_port_left_is_answered_with_503_and_live_calls_go_on() -> None:
    dialogue = talking()
    dialogue.data_path.fail_next = None
    dialogue.next_bind_fails(OutOfResources("no-free-port"))

    dialogue.client_says(invite(4, sdp(HOST[4], b"4100"), call=b"call@2"))
    dialogue.datagram_arrives(MEDIA[4], RTP[4])
