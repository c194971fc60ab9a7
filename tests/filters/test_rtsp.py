"""RTSP: what opens on which answer, and what ends it. Rows are those of the attack corpus, R."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.filters import published

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.errors import OutOfResources
from sallyport.filters.rtsp import RTSP_SERVER, RtspFilter, RtspSettings
from sallyport.testing import Dialogue, make_policy

SETUP = b"SETUP rtsp://cam.example/%s RTSP/1.0\r\nCSeq: %d\r\nTransport: %s\r\n\r\n"
OK = b"RTSP/1.0 200 OK\r\nCSeq: %d\r\nSession: 12345678;timeout=60\r\nTransport: %s\r\n\r\n"
TEARDOWN = b"TEARDOWN rtsp://cam.example/%s RTSP/1.0\r\nCSeq: %d\r\nSession: 12345678\r\n\r\n"
DONE = b"RTSP/1.0 200 OK\r\nCSeq: %d\r\n\r\n"

OFFER = b"RTP/AVP;unicast;client_port=%s"
ANSWER = OFFER + b";server_port=6970-6971"
OWN = b"3056-3057"

TOLD = {4: b"40542-40543", 6: OWN}
PAIR = {
    4: (
        "203.0.113.1:40542 -> 10.0.0.8:3056 from 203.0.113.9",
        "203.0.113.1:40543 -> 10.0.0.8:3057 from 203.0.113.9",
    ),
    6: (
        "[fd00:a::8]:3056 -> [fd00:a::8]:3056 from 2001:db8::9",
        "[fd00:a::8]:3057 -> [fd00:a::8]:3057 from 2001:db8::9",
    ),
}
RTP = {4: "203.0.113.1:40542", 6: "[fd00:a::8]:3056"}
MEDIA = {4: "203.0.113.9:6970", 6: "[2001:db8::9]:6970"}
STRANGER = {4: "198.51.100.7:6970", 6: "[2001:db8::77]:6970"}

both_families = pytest.mark.parametrize("version", [4, 6])


def rtsp(version: int = 4, **settings: tuple[str, ...]) -> Dialogue:
    return Dialogue(RtspFilter(RtspSettings(**settings)), version=version)


def asked(version: int = 4, transport: bytes = OFFER % OWN) -> Dialogue:
    """Say a SETUP; what the server heard is not looked at."""
    dialogue = rtsp(version).client_says(SETUP % (b"1", 1, transport))
    dialogue.server_end.take()
    return dialogue


def playing(version: int = 4) -> Dialogue:
    """Set one stream up, and let one datagram of it arrive."""
    dialogue = asked(version).server_says(OK % (1, ANSWER % TOLD[version]))
    dialogue.client_hears(OK % (1, ANSWER % OWN)).pinholes(*PAIR[version])
    return dialogue.datagram_arrives(MEDIA[version], RTP[version])


def refused(transport: bytes, code: bytes, version: int = 4) -> Dialogue:
    """Check that a SETUP is answered in the server's place."""
    dialogue = rtsp(version).client_says(SETUP % (b"1", 7, transport))
    return dialogue.client_hears(b"RTSP/1.0 " + code + b"\r\nCSeq: 7\r\n\r\n").pinholes()


@both_families
def test_setup_reserves_and_the_answer_alone_opens(version: int) -> None:
    dialogue = rtsp(version).client_says(SETUP % (b"1", 1, OFFER % OWN))
    dialogue.server_hears(SETUP % (b"1", 1, OFFER % TOLD[version])).pinholes()

    dialogue.server_says(OK % (1, ANSWER % TOLD[version]))
    dialogue.client_hears(OK % (1, ANSWER % OWN)).pinholes(*PAIR[version]).nothing_more()


@both_families
def test_it_is_the_same_wherever_segments_cut_it(version: int) -> None:
    said, answer = SETUP % (b"1", 1, OFFER % OWN), OK % (1, ANSWER % TOLD[version])
    for cut in range(1, len(said)):
        dialogue = rtsp(version).client_says(said[:cut], said[cut:])
        dialogue.server_says(answer[:cut], answer[cut:])
        dialogue.client_hears(OK % (1, ANSWER % OWN)).pinholes(*PAIR[version])


@both_families
def test_media_comes_from_the_server_alone_from_any_of_its_ports(version: int) -> None:
    dialogue = playing(version).datagram_is_lost(STRANGER[version], RTP[version])

    dialogue.datagram_arrives(MEDIA[version].replace("6970", "7000"), RTP[version])
    dialogue.answer_arrives(RTP[version], MEDIA[version])


@both_families
@pytest.mark.parametrize("code", [b"454 Session Not Found", b"401 Unauthorized", b"302 Moved"])
def test_r03_a_setup_that_is_refused_opens_nothing(version: int, code: bytes) -> None:
    dialogue = asked(version).server_says(b"RTSP/1.0 " + code + b"\r\nCSeq: 1\r\n\r\n")

    dialogue.pinholes().datagram_is_lost(MEDIA[version], RTP[version])
    assert not dialogue.connection.session.bindings


@both_families
def test_r03_a_setup_that_is_not_answered_gives_its_ports_back(version: int) -> None:
    dialogue = asked(version).time_passes(limits.RTSP_ANSWER_SECONDS + limits.RTSP_LOOK_SECONDS)

    assert not dialogue.connection.session.bindings
    dialogue.server_says(OK % (1, ANSWER % TOLD[version])).pinholes()


@both_families
def test_r03_of_two_offers_the_chosen_one_opens_alone(version: int) -> None:
    both = b"RTP/AVP;unicast;client_port=3056-3057,RTP/SAVP;unicast;client_port=3060-3061"
    dialogue = rtsp(version).client_says(SETUP % (b"1", 1, both))
    heard = dialogue.server_end.take()
    second = heard.rpartition(b"client_port=")[2].partition(b"\r")[0]

    dialogue.server_says(OK % (1, b"RTP/SAVP;unicast;client_port=" + second))
    dialogue.client_hears(OK % (1, b"RTP/SAVP;unicast;client_port=3060-3061"))
    assert [str(one.target) for one in dialogue.data_path.pinholes.values()] == (
        ["10.0.0.8:3060", "10.0.0.8:3061"]
        if version == 4
        else ["[fd00:a::8]:3060", "[fd00:a::8]:3061"]
    )


@both_families
def test_r03_interleaved_chosen_of_two_offers_opens_nothing(version: int) -> None:
    dialogue = asked(version, OFFER % OWN + b",RTP/AVP/TCP;unicast;interleaved=0-1")
    answer = OK % (1, b"RTP/AVP/TCP;unicast;interleaved=0-1")

    dialogue.server_says(answer).client_hears(answer).pinholes()
    assert not dialogue.connection.session.bindings


def test_r03_an_answer_that_names_no_ports_chooses_the_only_offer_and_none_of_two() -> None:
    asked().server_says(OK % (1, b"RTP/AVP;unicast")).pinholes(*PAIR[4])
    both = b"RTP/AVP;unicast;client_port=3056-3057,RTP/AVP;unicast;client_port=3060-3061"
    asked(4, both).server_says(OK % (1, b"RTP/AVP;unicast")).pinholes()


@both_families
def test_r01_media_for_another_host_is_refused(version: int) -> None:
    for name in (b"destination=198.51.100.7", b"destination=10.0.0.9", b"destination=2001:db8::7"):
        refused(OFFER % OWN + b";" + name, b"403 Forbidden", version)
    refused(b'RTP/AVP;unicast;dest_addr="198.51.100.7:3056"', b"403 Forbidden", version)
    refused(OFFER % OWN + b";destination=victim.example", b"400 Bad Request", version)


def test_r01_the_clients_own_address_is_not_told_and_is_given_back() -> None:
    dialogue = rtsp().client_says(SETUP % (b"1", 1, OFFER % OWN + b";destination=10.0.0.8"))

    dialogue.server_hears(SETUP % (b"1", 1, OFFER % TOLD[4]))
    dialogue.server_says(OK % (1, OFFER % TOLD[4] + b";destination=203.0.113.1"))
    dialogue.client_hears(OK % (1, OFFER % OWN + b";destination=10.0.0.8"))


@both_families
@pytest.mark.parametrize(
    "ports", [b"3057-3058", b"3056-3055", b"3056-3058", b"65535-65536", b"0-1", b"x", b"1-2-3"]
)
def test_r02_ports_that_are_no_even_pair_are_refused(version: int, ports: bytes) -> None:
    refused(OFFER % ports, b"461 Unsupported Transport", version)


@both_families
def test_r02_a_port_below_1024_is_refused(version: int) -> None:
    dialogue = refused(OFFER % b"22-23", b"403 Forbidden", version)

    dialogue.noted("binding.refused", "client-port-below-minimum").nothing_more()


def test_r02_one_port_takes_the_pair() -> None:
    dialogue = rtsp().client_says(SETUP % (b"1", 1, OFFER % b"3056"))

    dialogue.server_hears(SETUP % (b"1", 1, OFFER % b"40542"))
    dialogue.server_says(OK % (1, ANSWER % b"40542-40543"))
    dialogue.client_hears(OK % (1, ANSWER % b"3056-3057")).pinholes(*PAIR[4])


@both_families
def test_r04_frames_are_skipped_by_length_in_both_directions(version: int) -> None:
    inner = SETUP % (b"1", 1, OFFER % OWN)
    frame = b"$\0" + len(inner).to_bytes(2, "big") + inner
    options = b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n"
    dialogue = rtsp(version).client_says(options, frame).server_hears(options + frame)

    answer = OK % (1, ANSWER % TOLD[version])
    fake = b"$\1" + len(answer).to_bytes(2, "big") + answer
    dialogue.server_says(fake).client_hears(fake).pinholes()
    dialogue.client_says(SETUP % (b"1", 2, OFFER % OWN)).server_says(fake).pinholes()


@both_families
def test_r05_an_answer_with_another_number_opens_nothing(version: int) -> None:
    answer = OK % (2, ANSWER % TOLD[version])

    asked(version).server_says(answer).client_hears(answer).pinholes()


@both_families
@pytest.mark.parametrize("said", [b";source=%s", b';src_addr="%s"'])
def test_r05_media_from_another_host_opens_only_what_the_operator_lists(
    version: int, said: bytes
) -> None:
    other = STRANGER[version].rpartition(":")[0].strip("[]")
    written = b"[%s]" % other.encode() if version == 6 and b"src" in said else other.encode()
    answer = OK % (1, ANSWER % TOLD[version] + said % written)
    dialogue = asked(version).server_says(answer)

    dialogue.pinholes().noted("media.refused", "media-from-another-host")
    listed = rtsp(version, media_sources=(other,)).client_says(SETUP % (b"1", 1, OFFER % OWN))
    listed.server_says(answer).datagram_arrives(STRANGER[version], RTP[version])
    listed.datagram_is_lost(MEDIA[version], RTP[version])


def test_r05_the_source_that_is_the_server_itself_is_nothing_new() -> None:
    answer = ANSWER % TOLD[4] + b";source=203.0.113.9"

    asked().server_says(OK % (1, answer)).pinholes(*PAIR[4])


@both_families
def test_r06_teardown_closes_at_once_when_the_server_agrees(version: int) -> None:
    dialogue = playing(version).client_says(TEARDOWN % (b"1", 2))
    dialogue.pinholes(*PAIR[version]).server_says(DONE % 2).client_hears(DONE % 2)

    dialogue.pinholes().transfers().datagram_is_lost(MEDIA[version], RTP[version])
    assert not dialogue.connection.session.bindings


def test_r06_a_teardown_that_is_refused_closes_nothing() -> None:
    dialogue = playing().client_says(TEARDOWN % (b"1", 2))

    dialogue.server_says(b"RTSP/1.0 455 Method Not Valid\r\nCSeq: 2\r\n\r\n").pinholes(*PAIR[4])


@both_families
@pytest.mark.parametrize(
    "end", ["client_closes", "server_closes", "client_resets", "server_resets"]
)
def test_r06_the_end_of_the_connection_ends_what_plays(version: int, end: str) -> None:
    dialogue = getattr(playing(version), end)()

    dialogue.pinholes().transfers().datagram_is_lost(MEDIA[version], RTP[version])


@both_families
def test_r06_a_silent_session_ends_after_twice_its_timeout(version: int) -> None:
    dialogue = playing(version).time_passes(115).pinholes(*PAIR[version])

    dialogue.time_passes(20).pinholes().transfers()
    dialogue.client_says(
        b"PLAY rtsp://cam.example/1 RTSP/1.0\r\nCSeq: 9\r\nSession: 12345678\r\n\r\n"
    )
    dialogue.client_hears(b"RTSP/1.0 454 Session Not Found\r\nCSeq: 9\r\n\r\n")


def test_r06_a_client_whose_sessions_are_over_costs_no_more_time() -> None:
    dialogue = playing()
    assert dialogue.gateway.deadlines.next is not None

    dialogue.time_passes(3600)

    assert dialogue.gateway.deadlines.next is None


@both_families
def test_a_pause_of_any_length_closes_nothing_while_requests_come(version: int) -> None:
    dialogue = playing(version)
    for n in range(20):
        dialogue.time_passes(60).client_says(b"OPTIONS * RTSP/1.0\r\nCSeq: %d\r\n\r\n" % n)

    dialogue.pinholes(*PAIR[version]).datagram_arrives(MEDIA[version], RTP[version])


def test_media_is_a_sign_of_life() -> None:
    dialogue = playing()
    for _ in range(5):
        dialogue.time_passes(100).datagram_arrives(MEDIA[4], RTP[4], b"x")

    dialogue.pinholes(*PAIR[4])


def test_a_timeout_of_a_day_counts_as_five_minutes() -> None:
    answer = (OK % (1, ANSWER % TOLD[4])).replace(b"timeout=60", b"timeout=86400")

    asked().server_says(answer).time_passes(590).pinholes(*PAIR[4]).time_passes(20).pinholes()


def test_r06_a_session_of_two_streams_ends_as_a_whole_or_by_stream() -> None:
    second = b"RTP/AVP;unicast;client_port=3060-3061"
    dialogue = playing().client_says(SETUP % (b"2", 2, second))
    heard = dialogue.server_end.take().rpartition(b"=")[2].strip()
    dialogue.server_says(OK % (2, OFFER % heard))
    assert len(dialogue.data_path.pinholes) == 4

    dialogue.client_says(TEARDOWN % (b"2", 3)).server_says(DONE % 3).pinholes(*PAIR[4])
    dialogue.client_says(TEARDOWN % (b"", 4)).server_says(DONE % 4).pinholes()


def test_a_server_may_end_a_session_itself() -> None:
    request = TEARDOWN % (b"", 1)

    playing().server_says(request).client_hears(request).pinholes()


@both_families
def test_r07_a_tunnel_through_http_opens_nothing(version: int) -> None:
    tunnel = b"GET /stream HTTP/1.0\r\nx-sessioncookie: 1\r\n\r\n" + SETUP % (b"1", 1, OFFER % OWN)
    dialogue = rtsp(version).client_says(tunnel).server_hears(tunnel).pinholes()

    answer = OK % (1, ANSWER % TOLD[version])
    dialogue.server_says(answer).client_hears(answer).pinholes()
    dialogue.noted("stream.opaque", "foreign-http")


NEW = SETUP.replace(b"RTSP/1.0", b"RTSP/2.0")
NEW_OK = OK.replace(b"RTSP/1.0", b"RTSP/2.0")


@pytest.mark.parametrize("said", [b'":3056"/":3057"', b'"10.0.0.8:3056"/"10.0.0.8:3057"'])
def test_r07_version_2_names_addresses_and_gets_its_own_back(said: bytes) -> None:
    told = b'"203.0.113.1:40542"/"203.0.113.1:40543"'
    dialogue = rtsp().client_says(NEW % (b"1", 1, b"RTP/AVP;unicast;dest_addr=" + said))

    dialogue.server_hears(NEW % (b"1", 1, b"RTP/AVP;unicast;dest_addr=" + told)).pinholes()
    dialogue.server_says(NEW_OK % (1, b"RTP/AVP;unicast;dest_addr=" + told))
    dialogue.client_hears(NEW_OK % (1, b"RTP/AVP;unicast;dest_addr=" + said)).pinholes(*PAIR[4])


@pytest.mark.parametrize(
    "transport",
    [
        b"RTP/AVP;multicast;ttl=2;port=5000-5001",
        b"RTP/AVP;multicast;destination=239.1.1.1;client_port=5000-5001",
        b"RTP/AVP/TCP;unicast;interleaved=0-1",
        b"RTP/AVP/UDP;unicast",
        b'D-ICE/RTP/AVP;unicast;candidates="1 1 UDP 1 10.0.0.8 3056 typ host"',
        b"x-real-rdt/udp;client_port=6970;mode=play",
    ],
)
def test_what_asks_for_no_port_passes_and_binds_nothing(transport: bytes) -> None:
    said = SETUP % (b"1", 1, transport)
    dialogue = rtsp().client_says(said).server_hears(said)

    answer = OK % (1, transport)
    dialogue.server_says(answer).client_hears(answer).pinholes()
    assert not dialogue.connection.session.bindings


def test_record_has_the_pair_for_what_the_server_reports() -> None:
    record = OFFER % OWN + b";mode=record"
    dialogue = asked(4, record).server_says(OK % (1, ANSWER % TOLD[4] + b";mode=record"))

    dialogue.pinholes(*PAIR[4]).datagram_arrives("203.0.113.9:6971", "203.0.113.1:40543")


def test_a_setup_repeated_with_a_password_opens_by_its_own_answer() -> None:
    dialogue = asked().server_says(b"RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\n\r\n")
    dialogue.client_says(SETUP % (b"1", 2, OFFER % OWN))
    told = dialogue.server_end.take().rpartition(b"=")[2].strip()

    dialogue.server_says(OK % (2, ANSWER % told))
    assert len(dialogue.data_path.pinholes) == 2


def test_r02_version_2_offers_no_more_than_a_pair() -> None:
    refused(b'RTP/AVP;unicast;dest_addr=":3056"/":3057"/":3058"', b"461 Unsupported Transport")


@both_families
@pytest.mark.parametrize(
    "transport",
    [b'RTP/AVP;unicast;client_port=%s;mode="PLAY', b"RTP/AVP;unicast;client_port=%s;client_port=1"],
)
def test_r03_an_answer_that_cannot_be_read_passes_and_gives_the_ports_back(
    version: int, transport: bytes
) -> None:
    answer = OK % (1, transport % TOLD[version])
    dialogue = asked(version).server_says(answer).client_hears(answer).pinholes().still_open()

    assert not dialogue.connection.session.bindings
    dialogue.server_says(OK % (1, ANSWER % TOLD[version])).pinholes()


@both_families
def test_what_the_server_asks_and_the_client_answers_passes_and_changes_nothing(
    version: int,
) -> None:
    dialogue, question = playing(version), TEARDOWN.replace(b"TEARDOWN", b"OPTIONS") % (b"1", 1)
    dialogue.server_end.take()

    dialogue.server_says(question).client_hears(question)
    dialogue.client_says(DONE % 1).server_hears(DONE % 1).pinholes(*PAIR[version])


def test_a_setup_that_offers_nothing_passes_and_so_does_its_answer() -> None:
    said = b"SETUP rtsp://cam.example/1 RTSP/1.0\r\nCSeq: 1\r\n\r\n"
    dialogue = rtsp().client_says(said).server_hears(said)

    dialogue.server_says(OK % (1, ANSWER % TOLD[4])).pinholes().still_open()


@pytest.mark.parametrize(
    "head",
    [
        b"SETUP rtsp://a RTSP/1.0\r\nTransport: RTP/AVP;unicast;client_port=3056-3057\r\n\r\n",
        SETUP % (b"1", 7, OFFER % OWN + b";client_port=1024-1025"),
        SETUP % (b"1", 7, b'RTP/AVP;unicast;client_port=3056-3057;mode="PLAY'),
        (SETUP % (b"1", 7, OFFER % OWN)).replace(b"\r\n\r\n", b"\r\nTransport: RTP/AVP\r\n\r\n"),
        (SETUP % (b"1", 7, OFFER % OWN)).replace(
            b"\r\n\r\n", b"\r\nTransport: " + OFFER % OWN + b"\r\n\r\n"
        ),
        SETUP % (b"1", 7, b",".join([OFFER % OWN] * 5)),
    ],
)
def test_a_setup_that_could_be_read_in_two_ways_is_answered_with_400(head: bytes) -> None:
    dialogue = rtsp().client_says(head).server_hears(b"").pinholes()

    assert dialogue.client_end.take().startswith(b"RTSP/1.0 400 Bad Request\r\n")
    assert not dialogue.connection.session.bindings


def test_an_answer_of_ours_waits_until_a_frame_of_the_server_has_passed() -> None:
    dialogue = rtsp().client_says(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n")
    dialogue.server_says(b"$\0\0\x04ab").client_says(SETUP % (b"1", 7, OFFER % b"3057-3058"))
    dialogue.client_hears(b"$\0\0\x04ab")

    dialogue.server_says(b"cd").client_hears(
        b"cdRTSP/1.0 461 Unsupported Transport\r\nCSeq: 7\r\n\r\n"
    )


def test_what_cannot_be_read_passes_unread_and_opens_nothing_more() -> None:
    bad = b"PLAY * RTSP/1.0\r\nno header\r\n\r\n"
    dialogue = playing()
    dialogue.server_end.take()
    dialogue.client_says(bad + SETUP % (b"2", 3, OFFER % b"4000-4001"))

    dialogue.server_hears(bad + SETUP % (b"2", 3, OFFER % b"4000-4001")).pinholes(*PAIR[4])
    dialogue.noted("stream.opaque", "not-a-header").client_resets().pinholes()


def test_x02_no_port_left_is_answered_and_what_plays_goes_on() -> None:
    dialogue = playing().next_bind_fails(OutOfResources("no-free-port"))
    dialogue.server_end.take()

    dialogue.client_says(SETUP % (b"2", 2, OFFER % b"4000-4001"))
    dialogue.server_says(OK % (2, OFFER % dialogue.server_end.take().rpartition(b"=")[2].strip()))
    dialogue.pinholes(*PAIR[4]).still_open()


def test_one_connection_has_a_bound_on_its_sessions_and_requests() -> None:
    dialogue = rtsp()
    for n in range(limits.MAX_RTSP_PIPELINE + 1):
        dialogue.client_says(SETUP % (b"%d" % n, n, b"RTP/AVP/TCP;interleaved=0-1"))

    dialogue.client_hears(b"RTSP/1.0 453 Not Enough Bandwidth\r\nCSeq: 32\r\n\r\n")


def in_session(name: bytes) -> bytes:
    """Return SETUP of a further stream of this session."""
    return SETUP.replace(b"\r\n\r\n", b"\r\nSession: " + name + b"\r\n\r\n")


def plays_one_more(dialogue: Dialogue, n: int, session: bytes) -> None:
    """Set stream `n` up in a session of this name; answered as SETUPs are."""
    ports = b"%d-%d" % (4000 + 2 * n, 4001 + 2 * n)
    dialogue.client_says(in_session(session) % (b"%d" % n, n, OFFER % ports))
    told = dialogue.server_end.take().partition(b"client_port=")[2].partition(b"\r")[0]
    dialogue.server_says((OK % (n, ANSWER % told)).replace(b"12345678", session))
    assert dialogue.client_end.take().startswith(b"RTSP/1.0 200 OK\r\n")


@pytest.mark.parametrize(
    ("most", "session"),
    [
        (limits.MAX_RTSP_SETUPS, lambda _n: b"alone"),
        (limits.MAX_RTSP_SESSIONS, lambda n: b"number%d" % n),
    ],
    ids=["streams of a session", "sessions of a connection"],
)
def test_what_is_beyond_a_bound_is_refused_and_what_plays_goes_on(
    most: int, session: Callable[[int], bytes]
) -> None:
    policy = make_policy(protocols=frozenset({"rtsp"}), max_bindings_per_client=200)
    dialogue = Dialogue(RtspFilter(), policy=policy)
    for n in range(most):
        plays_one_more(dialogue, n, session(n))

    dialogue.client_says(in_session(session(most)) % (b"more", 99, OFFER % b"6000-6001"))
    dialogue.server_hears(b"")
    dialogue.client_hears(b"RTSP/1.0 453 Not Enough Bandwidth\r\nCSeq: 99\r\n\r\n")
    assert len(dialogue.data_path.pinholes) == 2 * most


# -- servers inside ------------------------------------------------------------------------------

CAMERA = replace(
    published.NAT.rule,
    name="our camera",
    protocol="rtsp-server",
    listen=Endpoint.parse("203.0.113.1:554"),
    server=Endpoint.parse("10.0.0.20:554"),
)
ROUTED_CAMERA = replace(
    published.ROUTED.rule,
    name="our camera",
    protocol="rtsp-server",
    listen=Endpoint(published.ROUTED.rule.listen.address, 554),
    server=Endpoint(published.ROUTED.rule.server.address, 554),
)


def camera(rule: object = CAMERA) -> Dialogue:
    assert RTSP_SERVER.name == "rtsp-server"
    return Dialogue(RtspFilter(), published=rule)  # type: ignore[arg-type]


def test_a_published_camera_is_reached_at_ports_of_the_gateway() -> None:
    said = SETUP % (b"1", 1, OFFER % b"5000-5001")
    dialogue = camera().client_says(said).server_hears(said).pinholes()
    answer = b"RTP/AVP;unicast;client_port=5000-5001;server_port=6970-6971;source=10.0.0.20"

    dialogue.server_says(OK % (1, answer))
    heard = dialogue.client_end.take()
    assert b"10.0.0.20" not in heard
    assert b"source=203.0.113.1" in heard
    told = heard.partition(b"server_port=")[2].partition(b";")[0]
    first = int(told.partition(b"-")[0])
    dialogue.pinholes(
        f"203.0.113.1:{first} -> 10.0.0.20:6970 from 203.0.113.9",
        f"203.0.113.1:{first + 1} -> 10.0.0.20:6971 from 203.0.113.9",
    )
    dialogue.client_says(TEARDOWN % (b"1", 2)).server_says(DONE % 2).pinholes()


def test_a_routed_camera_is_told_nothing_else() -> None:
    said = SETUP % (b"1", 1, OFFER % b"5000-5001")
    answer = OK % (1, OFFER % b"5000-5001" + b";server_port=6970-6971")
    dialogue = camera(ROUTED_CAMERA).client_says(said).server_hears(said)

    dialogue.server_says(answer).client_hears(answer)
    assert len(dialogue.data_path.pinholes) == 2


@pytest.mark.parametrize(
    "chosen",
    [
        b"RTP/AVP;multicast;destination=239.1.1.1;server_port=6970-6971",
        b"RTP/AVP;unicast;client_port=5000-5001",
        b"RTP/AVP/TCP;unicast;interleaved=0-1;server_port=6970-6971",
    ],
    ids=["media for a group", "no port of its own", "media within the connection"],
)
def test_a_published_camera_is_opened_no_port_that_its_media_does_not_need(
    chosen: bytes,
) -> None:
    said = SETUP % (b"1", 1, OFFER % b"5000-5001")
    dialogue = camera().client_says(said).server_hears(said)

    dialogue.server_says(OK % (1, chosen)).client_hears(OK % (1, chosen)).pinholes()


def test_behind_a_full_proxy_a_camera_sees_the_gateway_alone() -> None:
    said = SETUP % (b"1", 1, OFFER % b"5000-5001")
    dialogue = camera(replace(CAMERA, full_proxy=True)).client_says(said).server_hears(said)

    dialogue.server_says(OK % (1, OFFER % b"5000-5001" + b";server_port=6970-6971"))
    assert [one.is_proxied for one in dialogue.data_path.pinholes.values()] == [True, True]


def test_r01_a_client_outside_turns_no_camera_of_ours_against_another_host() -> None:
    dialogue = camera().client_says(
        SETUP % (b"1", 7, OFFER % b"5000-5001;destination=198.51.100.7")
    )

    dialogue.server_hears(b"").client_hears(b"RTSP/1.0 403 Forbidden\r\nCSeq: 7\r\n\r\n")


def test_a_source_that_is_no_address_is_told_when_the_filter_is_made() -> None:
    with pytest.raises(ValueError, match="address"):
        RtspFilter(RtspSettings(media_sources=("cam.example",)))
