"""What every filter for IRC DCC keeps: the one that ships, and its short form of the examples.

Rows are those of the attack corpus, section IRC. What only one of them does is in its own file.
"""

import pytest
from tests.filters.dcc_talk import (
    ANYBODY,
    EXAMPLE,
    LISTEN,
    NOTICE,
    OFFER,
    OTHER,
    OWN,
    PINHOLE,
    PROXY,
    SHIPPED,
    TOLD,
    Kind,
    both_families,
    irc,
    offer,
)

from sallyport.api import Endpoint, Transport
from sallyport.testing import Dialogue

pytestmark = pytest.mark.parametrize("kind", [SHIPPED, EXAMPLE], ids=["shipped", "example"])


@both_families
def test_an_offer_names_the_gateway_and_leads_to_the_client(kind: Kind, version: int) -> None:
    dialogue = irc(kind, version).client_says(b"NICK me\r\n" + offer(version))

    dialogue.server_hears(b"NICK me\r\n" + OFFER % (PROXY[version], TOLD[version]))
    dialogue.pinholes(PINHOLE[version]).nothing_more()


@both_families
def test_an_offer_is_read_whole_wherever_segments_cut_it(kind: Kind, version: int) -> None:
    said = offer(version)
    for cut in range(1, len(said)):
        dialogue = irc(kind, version).client_says(said[:cut], said[cut:])
        dialogue.server_hears(OFFER % (PROXY[version], TOLD[version])).pinholes(PINHOLE[version])


@both_families
@pytest.mark.parametrize("what", [b"CHAT chat", b'SEND "two words.txt"', b"SSEND x"])
def test_chats_and_quoted_names_are_offers_too(kind: Kind, version: int, what: bytes) -> None:
    said = b"NOTICE bob :\x01DCC " + what + b" %s %s\x01\r\n"
    dialogue = irc(kind, version).client_says(said % (OWN[version], b"5000"))

    dialogue.server_hears(said % (PROXY[version], TOLD[version])).pinholes(PINHOLE[version])


def test_a_dotted_address_is_answered_with_a_dotted_one(kind: Kind) -> None:
    irc(kind).client_says(offer(4, address=b"10.0.0.8")).server_hears(
        OFFER % (b"203.0.113.1", b"40271")
    )


@both_families
@pytest.mark.parametrize("port", [b"22", b"1023"])
def test_i01_a_port_below_1024_is_refused(kind: Kind, version: int, port: bytes) -> None:
    dialogue = irc(kind, version).client_says(offer(version, port))

    dialogue.client_hears(NOTICE % b"client-port-below-minimum").pinholes().nothing_more()


@both_families
def test_i02_a_port_that_is_none_is_refused(kind: Kind, version: int) -> None:
    dialogue = irc(kind, version).client_says(offer(version, b"65558"))

    dialogue.client_hears(NOTICE % b"bad-dcc-port").pinholes().nothing_more()


@both_families
def test_i03_the_address_of_another_host_is_refused(kind: Kind, version: int) -> None:
    dialogue = irc(kind, version).client_says(offer(version, address=OTHER[version]))

    dialogue.client_hears(NOTICE % b"not-the-clients-address").pinholes().nothing_more()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (b"10.0.0.9", b"not-the-clients-address"),
        (b"0x0A000008", b"bad-dcc-grammar"),
        (b"4462739464", b"bad-dcc-address"),
        (b"012.0.0.8", b"bad-dcc-address"),
        (b"fd00:a::8", b"not-the-clients-address"),
        (b"::ffff:10.0.0.8", b"not-the-clients-address"),
    ],
)
def test_i03_an_address_in_another_writing_is_refused(
    kind: Kind, address: bytes, reason: bytes
) -> None:
    dialogue = irc(kind).client_says(offer(4, address=address))

    dialogue.client_hears(NOTICE % reason).pinholes().nothing_more()


@both_families
@pytest.mark.parametrize(
    "line",
    [
        b"QUIT :\x01DCC SEND a %s 5000 1\x01\r\n",
        b"PRIVMSG bob :DCC SEND a %s 5000 1\r\n",
        b"PRIVMSG bob :see \x01DCC SEND a %s 5000 1\x01\r\n",
        b"AWAY :PRIVMSG bob :\x01DCC SEND a %s 5000 1\x01\r\n",
        b"QUIT :x\rPRIVMSG bob :\x01DCC SEND a %s 5000 1\x01\r\n",
        b"QUIT :" + b"x" * 4602 + b"PRIVMSG bob :\x01DCC SEND a %s 5000 1\x01\r\n",
    ],
)
def test_i04_what_is_no_ctcp_message_passes_and_opens_nothing(
    kind: Kind, version: int, line: bytes
) -> None:
    said = line % OWN[version]
    dialogue = irc(kind, version).client_says(b"NICK me\r\n", said)

    dialogue.server_hears(b"NICK me\r\n" + said).pinholes().nothing_more()


@both_families
def test_i05_what_the_server_says_opens_nothing(kind: Kind, version: int) -> None:
    echo = b":me!u@h " + offer(version)
    dialogue = irc(kind, version).client_says(b"NICK me\r\n").server_hears(b"NICK me\r\n")

    dialogue.server_says(echo).client_hears(echo).pinholes().nothing_more()


@both_families
def test_i06_offers_are_refused_where_nobody_has_allowed_any_peer(kind: Kind, version: int) -> None:
    dialogue = irc(kind, version, any_peer=False).client_says(offer(version) + b"PING x\r\n")

    dialogue.client_hears(NOTICE % kind.unknown.encode()).server_hears(b"PING x\r\n").pinholes()
    dialogue.noted("dcc.refused", kind.unknown).still_open()


@both_families
def test_i06_one_peer_is_let_in_within_a_minute(kind: Kind, version: int) -> None:
    peer, listen = ANYBODY[version], LISTEN[version]
    dialogue = irc(kind, version).client_says(offer(version)).connects(peer, listen)
    dialogue.cannot_connect(peer, listen)

    irc(kind, version).client_says(offer(version)).time_passes(60).cannot_connect(peer, listen)


@both_families
def test_i06_a_transfer_outlives_the_connection_that_offered_it(kind: Kind, version: int) -> None:
    dialogue = (
        irc(kind, version).client_says(offer(version)).connects(ANYBODY[version], LISTEN[version])
    )

    dialogue.client_resets().transfers(ANYBODY[version])
    irc(kind, version).client_says(offer(version)).client_resets().pinholes()


@both_families
def test_i07_reverse_dcc_passes_and_opens_nothing(kind: Kind, version: int) -> None:
    said = b"PRIVMSG bob :\x01DCC SEND a.txt %s 0 1024 77\x01\r\n" % OWN[version]

    irc(kind, version).client_says(said).server_hears(said).pinholes().nothing_more()


@both_families
def test_i07_the_answer_to_reverse_dcc_is_an_offer(kind: Kind, version: int) -> None:
    said = b"PRIVMSG bob :\x01DCC SEND a.txt %s %s 1024 77\x01\r\n"
    dialogue = irc(kind, version).client_says(said % (OWN[version], b"5000"))

    dialogue.server_hears(said % (PROXY[version], TOLD[version])).pinholes(PINHOLE[version])


@both_families
def test_i08_the_ninth_channel_is_refused_and_the_others_stay(kind: Kind, version: int) -> None:
    dialogue = irc(kind, version)
    for i in range(kind.channels):
        dialogue.client_says(offer(version, b"%d" % (5000 + i)))
    dialogue.server_end.heard.clear()

    dialogue.client_says(offer(version, b"6000"))
    dialogue.client_hears(NOTICE % b"too-many-dcc-channels").nothing_more()
    assert len(dialogue.data_path.pinholes) == 8

    dialogue.time_passes(60).client_says(offer(version, b"6000"))
    assert len(dialogue.data_path.pinholes) == 1


def test_i08_channels_are_counted_over_all_connections_of_a_client(kind: Kind) -> None:
    first = irc(kind)
    for i in range(kind.channels):
        first.client_says(offer(4, b"%d" % (5000 + i)))
    second = Dialogue(kind.make(False), client="10.0.0.8:50009", beside=first)

    second.client_says(offer(4, b"6000")).client_hears(NOTICE % b"too-many-dcc-channels")


def test_i08_what_other_filters_hold_is_not_counted(kind: Kind) -> None:
    dialogue = irc(kind)
    primary = dialogue.connection
    for i in range(kind.channels):
        work = primary.session.bind_for_client(
            [Endpoint.parse(f"10.0.0.8:{7000 + i}")],
            transport=Transport.TCP,
            protocol=kind.protocol,
            primary=primary,
        )
        with pytest.raises(StopIteration):
            work.send(None)

    dialogue.client_says(offer(4)).client_hears(b"")
    assert len(dialogue.data_path.pinholes) == kind.channels + 1


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (b"POST / HTTP/1.1\r\n", "not-irc-http"),
        (b"\x16\x03\x01\x02\0\x01\0\x01", "not-irc-tls"),
    ],
)
def test_h03_a_browser_can_bind_nothing(kind: Kind, first: bytes, reason: str) -> None:
    dialogue = irc(kind).client_says(first, offer(4))

    dialogue.server_hears(b"").pinholes().was_reset(reason)


def test_after_starttls_nothing_is_read(kind: Kind) -> None:
    said = b"STARTTLS\r\n\x16\x03" + offer(4) + b"un"

    irc(kind).client_says(said, b"finished").server_hears(said + b"finished").pinholes()


def test_a_line_that_is_never_finished_is_passed_on_with_the_end(kind: Kind) -> None:
    irc(kind).client_says(b"QUI").client_closes().server_hears(b"QUI").server_hears_end()
