"""The RTSP filter of the examples: RFC 2326 in a few lines of TOML."""

from pathlib import Path

import pytest

from sallyport.filters.declarative import load_declarative
from sallyport.testing import Dialogue, make_policy

FILE = Path(__file__).parents[2] / "examples" / "declarative" / "rtsp.toml"

# RFC 2326 section 14.1, with our addresses.
SETUP = (
    b"SETUP rtsp://audio.example.com/twister/audio.en RTSP/1.0\r\nCSeq: 1\r\nTransport: %s\r\n\r\n"
)
ANSWER = (
    b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nSession: 12345678\r\n"
    b"Transport: RTP/AVP/UDP;unicast;client_port=%s;server_port=5000-5001\r\n\r\n"
)
WITHOUT_TRANSPORT = b"SETUP rtsp://audio.example.com/twister/audio.en RTSP/1.0\r\nCSeq: 1\r\n\r\n"
RTP, RTCP = "203.0.113.1:40542", "203.0.113.1:40543"
PINHOLES = {
    4: (f"{RTP} -> 10.0.0.8:3056 from 203.0.113.9", f"{RTCP} -> 10.0.0.8:3057 from 203.0.113.9"),
    6: (
        "[fd00:a::8]:3056 -> [fd00:a::8]:3056 from 2001:db8::9",
        "[fd00:a::8]:3057 -> [fd00:a::8]:3057 from 2001:db8::9",
    ),
}
TOLD = {4: b"40542-40543", 6: b"3056-3057"}


def rtsp(version: int = 4) -> Dialogue:
    made = load_declarative(FILE.read_text(encoding="ascii"), FILE.name)
    policy = make_policy(protocols=frozenset({"rtsp-example"}))
    return Dialogue(made, version=version, policy=policy)


def set_up(transport: bytes = b"RTP/AVP/UDP;unicast;client_port=3056-3057") -> Dialogue:
    return rtsp().client_says(SETUP % transport)


def test_the_file_has_at_most_41_lines() -> None:
    assert len(FILE.read_text(encoding="ascii").splitlines()) <= 41


@pytest.mark.parametrize("version", [4, 6])
def test_setup_opens_a_pair_of_ports_and_the_client_finds_its_own_in_the_answer(
    version: int,
) -> None:
    transport = b"RTP/AVP/UDP;unicast;client_port=%s"
    dialogue = rtsp(version).client_says(SETUP % (transport % b"3056-3057"))

    dialogue.server_hears(SETUP % (transport % TOLD[version])).pinholes(*PINHOLES[version])
    dialogue.server_says(ANSWER % TOLD[version]).client_hears(ANSWER % b"3056-3057").nothing_more()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"RTP/AVP;unicast;client_port=3056-3057", b"RTP/AVP;unicast;client_port=40542-40543"),
        (
            b"rtp/avp;UNICAST;mode=play;client_port=3056-3057;ttl=1,RTP/AVP/TCP;interleaved=0-1",
            b"rtp/avp;UNICAST;mode=play;client_port=40542-40543;ttl=1,RTP/AVP/TCP;interleaved=0-1",
        ),
        (b"RTP/AVP;unicast;client_port=3056", b"RTP/AVP;unicast;client_port=40542"),
    ],
)
def test_the_ports_are_found_where_clients_write_them(said: bytes, told: bytes) -> None:
    set_up(said).server_hears(SETUP % told).pinholes(*PINHOLES[4])


def test_a_client_that_names_one_port_finds_the_pair_in_the_answer() -> None:
    dialogue = set_up(b"RTP/AVP;unicast;client_port=3056").server_says(ANSWER % TOLD[4])

    dialogue.client_hears(ANSWER % b"3056-3057")


def test_media_comes_from_the_server_only_and_is_reported_on() -> None:
    dialogue = set_up().datagram_is_lost("198.51.100.7:5000", RTP)

    dialogue.datagram_arrives("203.0.113.9:5000", RTP).datagram_arrives("203.0.113.9:5001", RTCP)
    dialogue.answer_arrives(RTCP, "203.0.113.9:5001")


def test_the_same_setup_with_a_password_takes_no_second_pair() -> None:
    dialogue = set_up().server_says(b"RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\n\r\n")

    dialogue.client_says(SETUP % b"RTP/AVP/UDP;unicast;client_port=3056-3057").pinholes(
        *PINHOLES[4]
    )


@pytest.mark.parametrize(
    "transport",
    [
        b"RTP/AVP;unicast;client_port=22-23",
        b"RTP/AVP;unicast;client_port=3057-3058",
        b"RTP/AVP;unicast;client_port=3057-3056",
        b"RTP/AVP;unicast;client_port=3056-3056",
        b"RTP/AVP;unicast;client_port=65534-65536",
        b"RTP/AVP;unicast;client_port=3056-",
        b"RTP/AVP;unicast;client_port=0-1",
        b"RTP/AVP;client_port=3056-3057",
        b"RTP/AVP;unicast;destination=10.0.0.9;client_port=3056-3057",
        b"RTP/AVP;unicast;client_port=3056-3057;destination=198.51.100.7",
        b"RTP/AVP;unicast;client_port=3056-3057; destination = 198.51.100.7",
        b'RTP/AVP;unicast;dest_addr="198.51.100.7:3056"',
        b"RTP/AVP;unicast;client_port = 3056-3057",
        b"RTP/AVP;unicast;client_port=3056-3057,RTP/AVP;unicast;client_port=3058-3059",
    ],
)
def test_r01_r02_r03_another_host_and_odd_or_several_ports_are_refused(transport: bytes) -> None:
    set_up(transport).server_hears(WITHOUT_TRANSPORT).pinholes().still_open()


def test_a_header_folded_to_hide_its_ports_is_refused() -> None:
    dialogue = rtsp().client_says(b"Transport: RTP/AVP;unicast;\r\n client_port=3056-3057\r\n\r\n")

    dialogue.server_hears(b"Transport: RTP/AVP;unicast;\r\n\r\n").pinholes()


@pytest.mark.parametrize(
    "hidden",
    [
        b" ;destination=198.51.100.7\r\n",
        b"\tdestination=198.51.100.7\r\n",
        b"Transport : RTP/AVP;unicast;destination=198.51.100.7;client_port=3056-3057\r\n",
    ],
)
def test_r01_another_host_is_refused_wherever_the_header_names_it(hidden: bytes) -> None:
    start = b"SETUP rtsp://audio.example.com/a RTSP/1.0\r\nCSeq: 1\r\n"

    rtsp().client_says(start + hidden + b"\r\n").server_hears(start + b"\r\n").pinholes()


def test_r04_a_stream_inside_the_connection_is_not_read() -> None:
    interleaved = b"Transport: RTP/AVP/TCP;interleaved=0-1\r\n\r\n"
    dialogue = rtsp().client_says(interleaved).server_hears(interleaved)
    dialogue.server_says(interleaved).client_hears(interleaved)

    frame = b"$\0\0\x40Transport: RTP/AVP;unicast;client_port=3056-3057\r\n"
    dialogue.client_says(frame).server_hears(frame).pinholes()
    dialogue.server_says(b"$\0\0\x04abcd").client_hears(b"$\0\0\x04abcd")


def test_r06_the_ports_close_with_the_connection_and_when_silent() -> None:
    set_up().client_resets().pinholes()
    set_up().time_passes(60).pinholes()


def test_r07_a_tunnel_through_http_opens_nothing() -> None:
    tunnel = b"GET /stream HTTP/1.0\r\n\r\n" + SETUP % b"RTP/AVP;unicast;client_port=3056-3057"

    rtsp().client_says(tunnel).server_hears(tunnel).pinholes()
