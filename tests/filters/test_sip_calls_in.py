"""Calls to a telephone, registrations and silence, by SIP over UDP. Rows: attack corpus, P."""

from typing import Any

import pytest
from tests.filters.sip_talk import (
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
    invite,
    message,
    phone,
    reply,
    sdp,
    talking,
)

from sallyport import limits
from sallyport.filters.sip.answers import answer
from sallyport.testing import Dialogue
from sallyport.wire.sip.messages import read_datagram

# -- calls in ------------------------------------------------------------------------------------


@both_families
def test_a_call_in_opens_when_the_telephone_has_answered(version: int) -> None:
    via = b"SIP/2.0/UDP example.org;branch=z9hG4bKin"
    tags: dict[str, Any] = {"own": b"From: <sip:lee@x>;tag=far", "via": via}
    request = message(
        b"INVITE sip:kim@" + TOLD[version] + b" SIP/2.0",
        b"<sip:lee@example.org>",
        sdp(FAR[version], b"7000"),
        far=b"To: <sip:kim@x>",
        **tags,
    )
    dialogue = phone(version).server_says(request).pinholes()
    dialogue.client_hears(request.replace(TOLD[version], OWN[version], 1))

    answer = message(
        b"SIP/2.0 200 OK",
        b"<sip:kim@" + OWN[version] + b">",
        sdp(HOST[version], b"4000"),
        far=b"To: <sip:kim@x>;tag=mine",
        **tags,
    )
    for _ in range(2):  # the answer is repeated until ACK
        dialogue.client_says(answer)
        assert bodies(dialogue.server_end.take()) == sdp(OUR[version], PORT[version])
    dialogue.datagram_arrives(MEDIA[version], RTP[version])
    assert len(dialogue.connection.session.bindings) == 1


def test_a_call_in_that_the_telephone_refuses_opens_nothing() -> None:
    tags: dict[str, Any] = {
        "own": b"From: <sip:lee@x>;tag=far",
        "via": b"SIP/2.0/UDP x;branch=z9hG4bKin",
    }
    request = message(
        b"INVITE sip:kim@203.0.113.1:50001 SIP/2.0", b"", sdp(FAR[4], b"7000"), **tags
    )
    dialogue = phone().server_says(request)

    dialogue.client_says(
        message(b"SIP/2.0 486 Busy", far=b"To: <sip:k@x>;tag=mine", **tags)
    ).pinholes()


def test_an_offer_that_comes_late_is_answered_in_the_ack() -> None:
    dialogue = phone().client_says(invite())
    dialogue.server_end.take()
    dialogue.server_says(reply(b"200 OK", sdp(FAR[4], b"7000"))).pinholes()
    dialogue.datagram_is_lost(MEDIA[4], RTP[4])
    ack = message(
        b"ACK sip:l@x SIP/2.0",
        b"",
        sdp(HOST[4], b"4000"),
        method=b"ACK",
        far=b"To: <sip:lee@example.org>;tag=far",
    )

    dialogue.client_says(ack)
    assert bodies(dialogue.server_end.take()) == sdp(OUR[4], PORT[4])
    dialogue.datagram_arrives(MEDIA[4], RTP[4]).datagram_is_lost(STRANGER[4], RTP[4])


# -- registrations and silence -------------------------------------------------------------------


def registered(
    asked: bytes,
    answered: bytes,
    **settings: Any,  # noqa: ANN401 - keys of the filter
) -> Dialogue:
    dialogue = phone(**settings)
    dialogue.client_says(
        message(b"REGISTER sip:x SIP/2.0", b"<sip:kim@10.0.0.8:50000>" + asked, method=b"REGISTER")
    )
    return dialogue.server_says(
        message(b"SIP/2.0 200 OK", b"<sip:kim@203.0.113.1:50001>" + answered, method=b"REGISTER")
    )


def kept(dialogue: Dialogue) -> float:
    return dialogue.connection.kept_until - dialogue.world.now()


@pytest.mark.parametrize(
    ("asked", "answered", "seconds"),
    [
        (b";expires=600", b";expires=600", 632),
        (b";expires=4", b";expires=86400", limits.DATAGRAM_IDLE_SECONDS),
        (b"", b"", 3632),
        (b";expires=86400", b";expires=86400", 3632),
        (b";expires=600", b";expires=4294967296", 632),
        (b";expires=600", b";expires=-1", 632),
        (b";expires=0", b";expires=0", limits.DATAGRAM_IDLE_SECONDS),
    ],
)
def test_p01_p02_a_registration_is_kept_as_long_as_both_sides_and_the_operator_want(
    asked: bytes, answered: bytes, seconds: float
) -> None:
    assert kept(registered(asked, answered)) == pytest.approx(seconds)


def test_p01_p02_no_answer_keeps_nothing_and_the_operator_sets_the_longest() -> None:
    dialogue = phone().client_says(
        message(b"REGISTER sip:x SIP/2.0", b"<sip:kim@10.0.0.8:50000>", method=b"REGISTER")
    )
    assert kept(dialogue) == 0
    assert kept(registered(b"", b"", max_registration=300)) == 332


def test_p04_a_star_ends_the_registration() -> None:
    dialogue = registered(b";expires=600", b";expires=600")
    star = message(b"REGISTER sip:x SIP/2.0", b"*", method=b"REGISTER", cseq=2, more=b"Expires: 0")
    dialogue.client_says(star)
    dialogue.server_says(message(b"SIP/2.0 200 OK", method=b"REGISTER", cseq=2))

    assert kept(dialogue) == limits.DATAGRAM_IDLE_SECONDS


def test_a_call_keeps_its_conversation_and_media_its_call() -> None:
    dialogue = talking()
    for _ in range(10):
        dialogue.time_passes(250).datagram_arrives(MEDIA[4], RTP[4], b"sound")

    assert kept(dialogue) > 100
    dialogue.time_passes(limits.SIP_DEAD_CALL_SECONDS + 32).pinholes()


@both_families
def test_the_end_of_the_conversation_ends_its_calls(version: int) -> None:
    dialogue = talking(version)
    dialogue.connection.close("idle")

    dialogue.pinholes().transfers()


@pytest.mark.parametrize(
    ("far", "has_own"),
    [
        (b"To: <sip:lee@example.org>", False),
        (b"To: <sip:lee@example.org>;tag=far", True),
        (b'To: "tag=1" <sip:lee@example.org>', False),
        (b"To: <sip:lee@example.org;tag=1>", False),
        (b"To: <<sip:lee", False),
    ],
)
def test_rfc_3261_section_8_2_6_2_an_answer_of_ours_has_one_tag(far: bytes, has_own: bool) -> None:
    refused = read_datagram(message(b"INVITE sip:lee@example.org SIP/2.0", far=far))

    said = answer(refused, 403) or b""

    tail = b"" if has_own else b";tag=refused-by-gateway"
    assert far + tail + b"\r\n" in said
