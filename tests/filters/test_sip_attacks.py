"""What a hostile provider, a toll-fraud attacker or a program inside tries with SIP."""

from typing import Any

import pytest
from tests.filters import test_sip_over_tcp as tcp
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
from sallyport.errors import QuotaExceeded
from sallyport.filters.sip import SipFilter
from sallyport.testing import Dialogue

AGAIN = b"SIP/2.0/UDP 203.0.113.9;branch=z9hG4bKagain"
MOVED = {4: b"198.51.100.7", 6: b"2001:db8::77"}


def far_request(
    method: bytes,
    body: bytes = b"",
    *,
    own: bytes = b"mine",
    far: bytes = b"far",
    via: bytes = AGAIN,
) -> bytes:
    """Return a request of the far side within the call that the telephone has begun."""
    return message(
        method + b" sip:kim@203.0.113.1:50001 SIP/2.0",
        body=body,
        method=method,
        cseq=7,
        via=via,
        own=b"From: <sip:lee@example.org>;tag=" + far,
        far=b"To: <sip:kim@10.0.0.8>;tag=" + own,
    )


def own_answer(code: bytes, body: bytes = b"", method: bytes = b"INVITE") -> bytes:
    return message(
        b"SIP/2.0 " + code,
        body=body,
        method=method,
        cseq=7,
        via=AGAIN,
        own=b"From: <sip:lee@example.org>;tag=far",
        far=b"To: <sip:kim@10.0.0.8>;tag=mine",
    )


# -- a far side that has a call ------------------------------------------------------------------


@both_families
@pytest.mark.parametrize("method", [b"INVITE", b"UPDATE"])
def test_p12_a_far_side_moves_its_media_only_when_the_telephone_agrees(
    version: int, method: bytes
) -> None:
    dialogue = talking(version).server_says(far_request(method, sdp(MOVED[version], b"7000")))
    dialogue.datagram_is_lost(STRANGER[version], RTP[version])
    refused = own_answer(b"488 No", method=method)
    dialogue.client_says(refused).datagram_is_lost(STRANGER[version], RTP[version])
    dialogue.datagram_arrives(MEDIA[version], RTP[version])

    moved = sdp(HOST[version], b"4000")
    dialogue = talking(version).server_says(far_request(method, sdp(MOVED[version], b"7000")))
    dialogue.client_says(own_answer(b"200 OK", moved, method))
    dialogue.datagram_arrives(STRANGER[version], RTP[version])


@both_families
@pytest.mark.parametrize(
    "tags", [{"own": b"other"}, {"far": b"other"}, {"own": b"other", "far": b"other"}]
)
def test_p12_a_request_that_does_not_know_the_dialog_moves_nothing(
    version: int, tags: dict[str, bytes]
) -> None:
    dialogue = talking(version)
    dialogue.server_says(far_request(b"INVITE", sdp(MOVED[version], b"7000"), **tags))
    dialogue.client_says(own_answer(b"200 OK", sdp(HOST[version], b"4000")))

    dialogue.datagram_is_lost(STRANGER[version], RTP[version])
    dialogue.datagram_arrives(MEDIA[version], RTP[version])


@both_families
def test_p12_a_call_cannot_be_joined_by_an_invite_of_its_name(version: int) -> None:
    said = far_request(b"INVITE", sdp(MOVED[version], b"7000")).replace(b">;tag=mine", b">")
    dialogue = talking(version).server_says(said)
    dialogue.client_says(own_answer(b"200 OK", sdp(HOST[version], b"4000")))

    dialogue.datagram_is_lost(STRANGER[version], RTP[version])


@both_families
def test_p12_a_strangers_invite_of_the_same_name_ends_no_call_that_rings(version: int) -> None:
    dialogue = calling(version)
    dialogue.server_says(reply(b"183 Progress", sdp(FAR[version], b"7000")))
    dialogue.server_says(far_request(b"INVITE", far=b"stranger").replace(b">;tag=mine", b">"))
    busy = own_answer(b"482 Loop").replace(b"tag=far", b"tag=stranger")
    dialogue.client_says(busy.replace(b">;tag=mine", b">;tag=merged"))

    dialogue.datagram_arrives(MEDIA[version], RTP[version])


@both_families
def test_p12_a_second_answer_of_another_branch_moves_nothing(version: int) -> None:
    late = reply(b"200 OK", sdp(MOVED[version], b"7000"), tag=b"late")
    dialogue = talking(version).server_says(late).client_hears(late)

    dialogue.datagram_is_lost(STRANGER[version], RTP[version])
    dialogue.datagram_arrives(MEDIA[version], RTP[version])


def forked(version: int) -> Dialogue:
    """Begin a call that rings at two telephones; both send media, and none has answered yet."""
    dialogue = calling(version)
    for host, tag in ((FAR, b"far"), (MOVED, b"other")):
        dialogue.server_says(reply(b"183 Progress", sdp(host[version], b"7000"), tag=tag))
    dialogue.datagram_arrives(MEDIA[version], RTP[version])
    return dialogue.datagram_arrives(STRANGER[version], RTP[version])


def acknowledgement(body: bytes = b"") -> bytes:
    far = b"To: <sip:l@x>;tag=far"
    return message(b"ACK sip:lee@x SIP/2.0", body=body, method=b"ACK", far=far)


@both_families
def test_p12_what_a_branch_sends_that_has_lost_ends_when_the_other_one_is_acknowledged(
    version: int,
) -> None:
    dialogue = forked(version).server_says(reply(b"200 OK", sdp(FAR[version], b"7000")))
    dialogue.client_says(acknowledgement())

    dialogue.datagram_is_lost(STRANGER[version], RTP[version])
    dialogue.datagram_arrives(MEDIA[version], RTP[version])


@both_families
def test_p12_it_ends_soon_where_the_acknowledgement_goes_another_way(version: int) -> None:
    dialogue = forked(version).server_says(reply(b"200 OK", sdp(FAR[version], b"7000")))
    dialogue.datagram_arrives(STRANGER[version], RTP[version])
    dialogue.time_passes(limits.SIP_LOOK_SECONDS)

    dialogue.datagram_is_lost(STRANGER[version], RTP[version])
    dialogue.datagram_arrives(MEDIA[version], RTP[version])


@both_families
def test_p12_a_branch_that_is_gone_before_anybody_answers_is_heard_no_more(version: int) -> None:
    for end in ("said by the provider", "said by the telephone"):
        dialogue = forked(version)
        if end == "said by the provider":
            dialogue.server_says(reply(b"199 Early Dialog Terminated", tag=b"other"))
        else:
            dialogue.client_says(bye(tag=b"other")).server_says(BYE_DONE)

        dialogue.datagram_is_lost(STRANGER[version], RTP[version])
        dialogue.datagram_arrives(MEDIA[version], RTP[version])
        dialogue.server_says(reply(b"200 OK", sdp(FAR[version], b"7000")))
        dialogue.datagram_arrives(MEDIA[version], RTP[version])


@both_families
def test_p12_when_the_only_branch_is_gone_nobody_is_heard_until_another_rings(version: int) -> None:
    dialogue = calling(version).server_says(reply(b"183 Progress", sdp(FAR[version], b"7000")))
    dialogue.datagram_arrives(MEDIA[version], RTP[version])
    dialogue.server_says(reply(b"199 Early Dialog Terminated"))
    dialogue.datagram_is_lost(MEDIA[version], RTP[version])

    dialogue.server_says(reply(b"183 Progress", sdp(MOVED[version], b"7000"), tag=b"other"))
    dialogue.datagram_arrives(STRANGER[version], RTP[version])


MUX = b"a=rtcp-mux\r\n"


@both_families
def test_p12_a_branch_that_has_lost_is_heard_no_more_where_rtcp_has_no_port_of_its_own(
    version: int,
) -> None:
    dialogue = calling(version, offer=sdp(HOST[version], b"4000", MUX))
    for host, tag in ((FAR, b"far"), (MOVED, b"other")):
        dialogue.server_says(reply(b"183 Progress", sdp(host[version], b"7000", MUX), tag=tag))
    dialogue.datagram_arrives(MEDIA[version], RTP[version])
    dialogue.datagram_arrives(STRANGER[version], RTP[version])
    dialogue.server_says(reply(b"200 OK", sdp(FAR[version], b"7000", MUX)))
    dialogue.client_says(acknowledgement())

    dialogue.datagram_is_lost(STRANGER[version], RTP[version])
    dialogue.datagram_arrives(MEDIA[version], RTP[version])


@both_families
def test_p12_words_go_on_where_an_operator_has_ended_the_media(version: int) -> None:
    dialogue = forked(version)
    for binding in [*dialogue.connection.session.bindings.values()]:
        binding.kill("killed-by-operator")
    dialogue.server_end.take()

    dialogue.client_says(bye(tag=b"other"))
    assert dialogue.server_end.take().startswith(b"BYE sip:lee@x SIP/2.0")


@both_families
def test_p12_an_update_before_the_answer_chooses_no_branch(version: int) -> None:
    dialogue = forked(version).server_says(far_request(b"UPDATE", sdp(FAR[version], b"7002")))
    dialogue.client_says(own_answer(b"200 OK", sdp(HOST[version], b"4000"), b"UPDATE"))
    dialogue.time_passes(limits.SIP_LOOK_SECONDS)

    dialogue.datagram_arrives(STRANGER[version], RTP[version])
    dialogue.datagram_arrives(MEDIA[version], RTP[version])


@both_families
def test_p12_the_host_that_a_call_has_moved_from_is_heard_until_the_move_is_acknowledged(
    version: int,
) -> None:
    moved = sdp(HOST[version], b"4000")
    dialogue = talking(version).server_says(far_request(b"INVITE", sdp(MOVED[version], b"7000")))
    dialogue.client_says(own_answer(b"200 OK", moved))
    dialogue.datagram_arrives(MEDIA[version], RTP[version])
    dialogue.server_says(far_request(b"ACK"))

    dialogue.datagram_is_lost(MEDIA[version], RTP[version])
    dialogue.datagram_arrives(STRANGER[version], RTP[version])


def test_p12_of_very_many_branches_the_later_ones_are_not_heard() -> None:
    dialogue = calling()
    for number in range(limits.MAX_SIP_BRANCHES + 1):
        early = sdp(b"198.51.100.%d" % (100 + number), b"7000")
        dialogue.server_says(reply(b"183 Progress", early, tag=b"%d" % number))

    last = 100 + limits.MAX_SIP_BRANCHES
    dialogue.datagram_arrives(f"198.51.100.{last - 1}:7000", RTP[4])
    dialogue.datagram_is_lost(f"198.51.100.{last}:7000", RTP[4])


def test_p12_a_bye_without_the_telephones_tag_ends_nothing() -> None:
    said = bye().replace(b";tag=mine", b"")
    done = BYE_DONE.replace(b";tag=mine", b"")

    assert talking().client_says(said).server_says(done).data_path.pinholes


# -- a provider that is told of ports ------------------------------------------------------------


@both_families
def test_h09_a_service_behind_a_registered_port_is_not_reached(version: int) -> None:
    dialogue = tcp.registered(version)
    flow = dialogue.transfer(tcp.PROVIDER[version], tcp.port(version))

    flow.client_says(b"SSH-2.0-OpenSSH_9.2\r\n").peer_hears(b"")
    flow.peer_says(b"SSH-2.0-attacker\r\n\r\n").client_hears(b"")
    dialogue.noted("message.dropped", "not-a-start-line")


def test_h09_datagrams_that_are_no_sip_do_not_pass_a_registered_port() -> None:
    said = tcp.register().replace(b";transport=tcp", b"").replace(b"SIP/2.0/TCP", b"SIP/2.0/UDP")
    answer = tcp.granted().replace(b";transport=tcp", b"").replace(b"SIP/2.0/TCP", b"SIP/2.0/UDP")
    dialogue = Dialogue(SipFilter()).client_says(said).server_says(answer)
    flow = dialogue.datagrams("203.0.113.9:5060", tcp.port(4), b"\r\n\r\n")
    stun = b"\0\1\0\0\x21\x12\xa4\x42" + bytes(12)

    flow.client_hears(b"\r\n\r\n").peer_says(b"\x02attack", stun).client_hears(stun)
    dialogue.noted("datagram.dropped", "not-sip")


def subscribe(expires: bytes) -> bytes:
    more = b"Event: message-summary\r\nExpires: " + expires
    return message(
        b"SUBSCRIBE sip:x SIP/2.0",
        tcp.contact(),
        method=b"SUBSCRIBE",
        call=b"watch@1",
        via=tcp.OWN_VIA,
        more=more,
    )


def test_p02_what_is_given_up_closes_no_port_that_something_else_needs() -> None:
    other = b"To: <sip:second@example.org>"
    dialogue = tcp.registered().client_says(subscribe(b"0"))
    granted = tcp.granted(expires=b"").replace(b"call@1", b"watch@1")
    dialogue.server_says(granted.replace(b"REGISTER", b"SUBSCRIBE"))
    assert tcp.signalling(dialogue) == [tcp.port(4)]

    line = b"To: <sip:lee@example.org>"
    gone = tcp.register(more=b"Expires: 0").replace(line, other).replace(b"1 REG", b"2 REG")
    done = tcp.granted(expires=b";expires=0").replace(line, other).replace(b"1 REG", b"2 REG")
    dialogue.client_says(gone).server_says(done)
    assert tcp.signalling(dialogue) == [tcp.port(4)]


def test_p02_a_request_that_registers_nothing_keeps_nothing() -> None:
    fetch = message(b"REGISTER sip:x SIP/2.0", method=b"REGISTER")
    dialogue = phone().client_says(fetch)
    dialogue.server_says(message(b"SIP/2.0 200 OK", method=b"REGISTER"))

    assert dialogue.connection.kept_until == dialogue.world.now()


def test_p02_the_shortest_of_very_many_registrations_gives_way() -> None:
    dialogue = phone()
    for number in range(limits.MAX_SIP_REGISTRATIONS + 2):
        far = b"To: <sip:%d@x>" % number
        more: dict[str, Any] = {"method": b"REGISTER", "cseq": number + 1, "far": far}
        expires = b"Expires: %d" % (100 + number)
        contact = b"<sip:kim@" + OWN[4] + b">"
        said = message(b"REGISTER sip:x SIP/2.0", contact, more=expires, **more)
        dialogue.client_says(said).server_says(message(b"SIP/2.0 200 OK", **more))

    most = 100 + limits.MAX_SIP_REGISTRATIONS + 1 + limits.SIP_ANSWER_SECONDS
    assert dialogue.connection.kept_until - dialogue.world.now() == most


# -- bounds --------------------------------------------------------------------------------------


def test_p08_calls_with_one_host_have_a_bound() -> None:
    mux = b"a=rtcp-mux\r\n"
    dialogue = phone()
    for number in range(limits.MAX_SIP_CALLS + 1):
        body = sdp(HOST[4], b"0", mux)
        via = b"SIP/2.0/UDP a;branch=z9hG4bK%d" % number
        dialogue.client_says(invite(4, body, call=b"call@%d" % number, via=via))

    heard = dialogue.client_end.take()
    assert heard.count(b"SIP/2.0 503 Service Unavailable\r\n") == 1


def test_p08_calls_that_are_refused_take_no_place() -> None:
    dialogue = phone()
    for number in range(limits.MAX_SIP_TRANSACTIONS + 1):
        via = b"SIP/2.0/UDP a;branch=z9hG4bK%d" % number
        dialogue.client_says(invite(4, sdp(HOST[4], b"22"), call=b"no@%d" % number, via=via))
    assert dialogue.client_end.take().count(b"SIP/2.0 403 ") == limits.MAX_SIP_TRANSACTIONS + 1

    dialogue.client_says(invite(4, sdp(HOST[4], b"4000")))
    assert bodies(dialogue.server_end.take()) == sdp(OUR[4], PORT[4])


def test_p08_long_requests_without_an_answer_have_a_bound() -> None:
    dialogue, filler = phone(), b"a=x:" + b"y" * 60000 + b"\r\n"
    for number in range(9):
        via = b"SIP/2.0/UDP a;branch=z9hG4bK%d" % number
        body = sdp(b"198.51.100.9", b"4000", filler)
        dialogue.client_says(invite(4, body, call=b"call@%d" % number, via=via))

    assert dialogue.client_end.take().count(b"SIP/2.0 503 ") == 1
    assert dialogue.server_end.take().count(b"INVITE sip:") == 8


def test_x02_a_call_whose_second_stream_finds_no_port_holds_none() -> None:
    dialogue = phone()
    more = b"m=video 22 RTP/AVP 31\r\n"
    dialogue.client_says(invite(4, sdp(HOST[4], b"4000", more))).server_hears(b"")

    assert dialogue.client_end.take().startswith(b"SIP/2.0 403 ")
    assert not dialogue.connection.session.bindings


@both_families
def test_p07_media_over_tcp_is_refused(version: int) -> None:
    body = sdp(HOST[version], b"4000", profile=b"TCP/MSRP *")
    dialogue = phone(version).client_says(invite(version, body)).server_hears(b"")

    assert dialogue.client_end.take().startswith(b"SIP/2.0 488 ")


def test_p11_rtcp_at_an_address_of_its_own_is_told_with_the_gateways() -> None:
    said = sdp(HOST[4], b"4000", b"a=rtcp:4001 IN IP4 10.0.0.8\r\n")
    dialogue = phone().client_says(invite(4, said))

    port = int(PORT[4]) + 1
    told = sdp(OUR[4], PORT[4], b"a=rtcp:%d IN IP4 203.0.113.1\r\n" % port)
    assert bodies(dialogue.server_end.take()) == told


# -- names ---------------------------------------------------------------------------------------


def test_a_call_with_an_identity_of_rfc_8224_is_a_call() -> None:
    said = invite(4, sdp(HOST[4], b"4000"), more=b"Identity: x;info=<https://x>;ppt=shaken")
    dialogue = phone().client_says(said)
    dialogue.server_end.take()

    dialogue.server_says(reply(b"200 OK", sdp(FAR[4], b"7000")))
    dialogue.datagram_arrives(MEDIA[4], RTP[4])


def test_p05_a_hop_of_another_host_is_left_alone() -> None:
    own = b"SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK1"
    said = message(b"OPTIONS sip:a@b SIP/2.0", method=b"OPTIONS", via=own)

    phone().client_says(said).server_hears(said)


@both_families
def test_p05_what_a_server_says_of_where_it_saw_a_telephone_opens_nothing(version: int) -> None:
    seen = b";received=10.0.0.99;rport=22"
    dialogue = calling(version)
    own = b"SIP/2.0/UDP 10.0.0.8:50000;rport;branch=z9hG4bK1"
    answer = reply(b"200 OK", sdp(FAR[version], b"7000"), via=own.replace(b";rport", b"") + seen)
    dialogue.server_says(answer)

    targets = {
        str(one.target.address) for one in dialogue.data_path.pinholes.values() if one.target
    }
    assert targets == {HOST[version].decode()}
    assert b"10.0.0.99" not in dialogue.client_end.take()


def test_of_very_many_changed_hops_the_latest_are_known() -> None:
    dialogue = phone()
    for number in range(limits.MAX_SIP_TRANSACTIONS + 1):
        more: dict[str, Any] = {
            "method": b"OPTIONS",
            "cseq": number,
            "via": b"SIP/2.0/UDP 10.0.0.8:50000;branch=z9hG4bK%d" % number,
        }
        dialogue.client_says(message(b"OPTIONS sip:a@b SIP/2.0", **more))
        told = more["via"].replace(OWN[4], b"203.0.113.1:50001")
        dialogue.server_says(message(b"SIP/2.0 200 OK", **(more | {"via": told})))
    dialogue.server_end.take()

    assert dialogue.client_end.take().count(OWN[4]) == limits.MAX_SIP_TRANSACTIONS + 1


def test_candidates_may_be_left_and_the_address_beside_them_told() -> None:
    candidate = b"a=candidate:1 1 UDP 1 10.0.0.8 4000 typ host\r\n"
    dialogue = phone(ice="default-candidate")
    dialogue.client_says(invite(4, sdp(HOST[4], b"4000", candidate)))

    assert bodies(dialogue.server_end.take()) == sdp(OUR[4], PORT[4], candidate)
    dialogue.server_says(reply(b"200 OK", sdp(FAR[4], b"7000")))
    dialogue.datagram_arrives(MEDIA[4], RTP[4])


# -- ends that come from elsewhere ---------------------------------------------------------------


@both_families
def test_x04_what_was_opened_for_a_host_ends_with_its_session(version: int) -> None:
    dialogue = tcp.registered(version).client_says(tcp.invite(version, cseq=2))
    answer = reply(b"200 OK", sdp(FAR[version], b"7000"), via=tcp.OWN_VIA, cseq=2)
    dialogue.server_says(answer).connection.session.kill("lease-is-over")

    dialogue.pinholes().transfers()


@both_families
def test_x04_what_an_absent_host_had_opened_is_closed_in_bounded_time(version: int) -> None:
    dialogue = tcp.talking(version).client_resets()
    seconds = limits.SIP_DEAD_CALL_SECONDS + 2 * limits.SIP_LOOK_SECONDS

    dialogue.time_passes(seconds).pinholes()


@both_families
def test_x05_ports_that_went_with_an_address_are_made_anew_when_they_are_needed(
    version: int,
) -> None:
    dialogue = tcp.registered(version).client_says(tcp.invite(version, cseq=2))
    answer = reply(b"200 OK", sdp(FAR[version], b"7000"), via=tcp.OWN_VIA, cseq=2)
    dialogue.server_says(answer)
    for binding in tuple(dialogue.connection.session.bindings.values()):
        binding.kill("external-address-has-gone")
    dialogue.pinholes().server_end.take()

    renewed = tcp.register(version).replace(b"1 REGISTER", b"3 REGISTER")
    dialogue.client_says(renewed).server_end.take()
    dialogue.server_says(tcp.granted(version).replace(b"1 REGISTER", b"3 REGISTER"))
    assert len(tcp.signalling(dialogue)) == 1
    again = b"SIP/2.0/TCP 10.0.0.8:5060;rport;branch=z9hG4bK4"
    changed = tcp.invite(version, cseq=4).replace(tcp.OWN_VIA, again)
    dialogue.client_says(changed.replace(b"lee@example.org>", b"lee@example.org>;tag=far"))
    dialogue.server_says(reply(b"200 OK", sdp(FAR[version], b"7000"), via=again, cseq=4))
    targets = {str(one.target) for one in dialogue.data_path.pinholes.values()}
    assert targets == {
        f"[{HOST[6].decode()}]:{p}" if version == 6 else f"10.0.0.8:{p}" for p in (4000, 4001)
    }


def test_a_quota_that_is_used_up_leaves_what_is_registered() -> None:
    dialogue = tcp.registered().next_bind_fails(QuotaExceeded("too-many-bindings"))
    dialogue.client_says(tcp.register(host=b"10.0.0.8:5070"))

    assert tcp.signalling(dialogue) == [tcp.port(4)]
