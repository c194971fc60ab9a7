"""IRC DCC; rows are those of the attack corpus, section IRC. The real server: interop."""

import pytest

from sallyport.api import Endpoint, Transport
from sallyport.filters.dcc import IRC, DccFilter, DccSettings
from sallyport.limits import MAX_DCC_CHANNELS, MAX_IRC_NICKNAMES
from sallyport.testing import Dialogue, make_policy

OFFER = b"PRIVMSG bob :\x01DCC SEND notes.txt %s %s 1024\x01\r\n"
OWN = {4: b"167772168", 6: b"fd00:a::8"}
PROXY = {4: b"3405803777", 6: b"fd00:a::8"}
TOLD = {4: b"40271", 6: b"5000"}
PINHOLE = {
    4: "203.0.113.1:40271 -> 10.0.0.8:5000 from None",
    6: "[fd00:a::8]:5000 -> [fd00:a::8]:5000 from None",
}
LISTEN = {4: "203.0.113.1:40271", 6: "[fd00:a::8]:5000"}
ANYBODY = {4: "198.51.100.7:1024", 6: "[2001:db8::77]:1024"}
OTHER = {4: b"167772169", 6: b"fd00:a::9"}
NOTICE = b":sallyport NOTICE * :DCC is refused: %s\r\n"

both_families = pytest.mark.parametrize("version", [4, 6])


def irc(version: int = 4, *, any_peer: bool = True) -> Dialogue:
    return Dialogue(DccFilter(DccSettings(any_peer=any_peer)), version=version)


def offer(version: int, port: bytes = b"5000", address: bytes = b"") -> bytes:
    return OFFER % (address or OWN[version], port)


def test_any_peer_is_off_by_default() -> None:
    assert DccSettings().any_peer is False


@both_families
def test_an_offer_names_the_gateway_and_leads_to_the_client(version: int) -> None:
    dialogue = irc(version).client_says(b"NICK me\r\n" + offer(version))

    dialogue.server_hears(b"NICK me\r\n" + OFFER % (PROXY[version], TOLD[version]))
    dialogue.pinholes(PINHOLE[version]).nothing_more()


@both_families
def test_an_offer_is_read_whole_wherever_segments_cut_it(version: int) -> None:
    said = offer(version)
    for cut in range(1, len(said)):
        dialogue = irc(version).client_says(said[:cut], said[cut:])
        dialogue.server_hears(OFFER % (PROXY[version], TOLD[version])).pinholes(PINHOLE[version])


@both_families
@pytest.mark.parametrize("kind", [b"CHAT chat", b'SEND "two words.txt"', b"SSEND x"])
def test_chats_and_quoted_names_are_offers_too(version: int, kind: bytes) -> None:
    said = b"NOTICE bob :\x01DCC " + kind + b" %s %s\x01\r\n"
    dialogue = irc(version).client_says(said % (OWN[version], b"5000"))

    dialogue.server_hears(said % (PROXY[version], TOLD[version])).pinholes(PINHOLE[version])


def test_a_dotted_address_is_answered_with_a_dotted_one() -> None:
    irc().client_says(offer(4, address=b"10.0.0.8")).server_hears(
        OFFER % (b"203.0.113.1", b"40271")
    )


@both_families
@pytest.mark.parametrize("port", [b"22", b"1023"])
def test_i01_a_port_below_1024_is_refused(version: int, port: bytes) -> None:
    dialogue = irc(version).client_says(offer(version, port))

    dialogue.client_hears(NOTICE % b"client-port-below-minimum").pinholes().nothing_more()


@both_families
def test_i02_a_port_that_is_none_is_refused(version: int) -> None:
    dialogue = irc(version).client_says(offer(version, b"65558"))

    dialogue.client_hears(NOTICE % b"bad-dcc-port").pinholes().nothing_more()


@both_families
def test_i03_the_address_of_another_host_is_refused(version: int) -> None:
    dialogue = irc(version).client_says(offer(version, address=OTHER[version]))

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
def test_i03_an_address_in_another_writing_is_refused(address: bytes, reason: bytes) -> None:
    dialogue = irc().client_says(offer(4, address=address))

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
def test_i04_what_is_no_ctcp_message_passes_and_opens_nothing(version: int, line: bytes) -> None:
    said = line % OWN[version]
    dialogue = irc(version).client_says(b"NICK me\r\n", said)

    dialogue.server_hears(b"NICK me\r\n" + said).pinholes().nothing_more()


@both_families
def test_i05_what_the_server_says_opens_nothing(version: int) -> None:
    echo = b":me!u@h " + offer(version)
    dialogue = irc(version).client_says(b"NICK me\r\n").server_hears(b"NICK me\r\n")

    dialogue.server_says(echo).client_hears(echo).pinholes().nothing_more()


@both_families
def test_i06_offers_are_refused_where_nobody_has_allowed_any_peer(version: int) -> None:
    dialogue = irc(version, any_peer=False).client_says(offer(version) + b"PING x\r\n")

    dialogue.client_hears(NOTICE % b"taker-is-unknown").server_hears(b"PING x\r\n").pinholes()
    dialogue.noted("dcc.refused", "taker-is-unknown").still_open()


@both_families
def test_i06_one_peer_is_let_in_within_a_minute(version: int) -> None:
    peer, listen = ANYBODY[version], LISTEN[version]
    dialogue = irc(version).client_says(offer(version)).connects(peer, listen)
    dialogue.cannot_connect(peer, listen)

    irc(version).client_says(offer(version)).time_passes(60).cannot_connect(peer, listen)


@both_families
def test_i06_a_transfer_outlives_the_connection_that_offered_it(version: int) -> None:
    dialogue = irc(version).client_says(offer(version)).connects(ANYBODY[version], LISTEN[version])

    dialogue.client_resets().transfers(ANYBODY[version])
    irc(version).client_says(offer(version)).client_resets().pinholes()


@both_families
def test_i07_reverse_dcc_passes_and_opens_nothing(version: int) -> None:
    said = b"PRIVMSG bob :\x01DCC SEND a.txt %s 0 1024 77\x01\r\n" % OWN[version]

    irc(version).client_says(said).server_hears(said).pinholes().nothing_more()


@both_families
def test_i07_the_answer_to_reverse_dcc_is_an_offer(version: int) -> None:
    said = b"PRIVMSG bob :\x01DCC SEND a.txt %s %s 1024 77\x01\r\n"
    dialogue = irc(version).client_says(said % (OWN[version], b"5000"))

    dialogue.server_hears(said % (PROXY[version], TOLD[version])).pinholes(PINHOLE[version])


@both_families
def test_i08_the_ninth_channel_is_refused_and_the_others_stay(version: int) -> None:
    dialogue = irc(version)
    for i in range(MAX_DCC_CHANNELS):
        dialogue.client_says(offer(version, b"%d" % (5000 + i)))
    dialogue.server_end.heard.clear()

    dialogue.client_says(offer(version, b"6000"))
    dialogue.client_hears(NOTICE % b"too-many-dcc-channels").nothing_more()
    assert len(dialogue.data_path.pinholes) == 8

    dialogue.time_passes(60).client_says(offer(version, b"6000"))
    assert len(dialogue.data_path.pinholes) == 1


def test_i08_channels_are_counted_over_all_connections_of_a_client() -> None:
    first = irc()
    for i in range(MAX_DCC_CHANNELS):
        first.client_says(offer(4, b"%d" % (5000 + i)))
    second = Dialogue(DccFilter(), client="10.0.0.8:50009", beside=first)

    second.client_says(offer(4, b"6000")).client_hears(NOTICE % b"too-many-dcc-channels")


def test_i08_what_other_filters_hold_is_not_counted() -> None:
    dialogue = irc()
    primary = dialogue.connection
    for i in range(MAX_DCC_CHANNELS):
        work = primary.session.bind_for_client(
            [Endpoint.parse(f"10.0.0.8:{7000 + i}")],
            transport=Transport.TCP,
            protocol=IRC,
            primary=primary,
        )
        with pytest.raises(StopIteration):
            work.send(None)

    dialogue.client_says(offer(4)).client_hears(b"")
    assert len(dialogue.data_path.pinholes) == MAX_DCC_CHANNELS + 1


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (b"POST / HTTP/1.1\r\n", "not-irc-http"),
        (b"\x16\x03\x01\x02\0\x01\0\x01", "not-irc-tls"),
    ],
)
def test_h03_a_browser_can_bind_nothing(first: bytes, reason: str) -> None:
    dialogue = irc().client_says(first, offer(4))

    dialogue.server_hears(b"").pinholes().was_reset(reason)


def test_after_starttls_nothing_is_read() -> None:
    said = b"STARTTLS\r\n\x16\x03" + offer(4) + b"un"

    irc().client_says(said, b"finished").server_hears(said + b"finished").pinholes()


def test_after_starttls_the_servers_side_passes_in_pieces_as_it_comes() -> None:
    dialogue = irc().client_says(b"STARTTLS\r\n")

    dialogue.server_says(b"\x16\x03 no end").client_hears(b"\x16\x03 no end")
    dialogue.server_says(b" of line").client_hears(b" of line")


def test_a_notice_stands_between_lines_of_the_server() -> None:
    dialogue = irc(any_peer=False).server_says(b":x PRIVMSG me :he").client_says(offer(4))

    dialogue.client_hears(NOTICE % b"taker-is-unknown")
    dialogue.server_says(b"llo\r\nPI").client_hears(b":x PRIVMSG me :hello\r\n")


def test_a_line_that_is_never_finished_is_passed_on_with_the_end() -> None:
    irc().client_says(b"QUI").client_closes().server_hears(b"QUI").server_hears_end()


TAKER = {4: "198.51.100.7", 6: "2001:db8::77"}
TO_TAKER = {
    4: "203.0.113.1:40271 -> 10.0.0.8:5000 from 198.51.100.7",
    6: "[fd00:a::8]:5000 -> [fd00:a::8]:5000 from 2001:db8::77",
}


@both_families
def test_i06_an_offer_opens_to_the_host_that_the_server_names_for_the_taker(version: int) -> None:
    seen = b":Bob!~b@%s JOIN #x\r\n" % TAKER[version].encode()
    dialogue = irc(version, any_peer=False).server_says(seen).client_hears(seen)

    dialogue.client_says(offer(version)).pinholes(TO_TAKER[version])
    dialogue.cannot_connect(
        "198.51.100.8:1024" if version == 4 else "[2001:db8::78]:1", LISTEN[version]
    )
    dialogue.connects(ANYBODY[version], LISTEN[version])


def test_i06_the_latest_word_counts_and_a_hidden_host_is_no_address() -> None:
    dialogue = irc(any_peer=False).server_says(b":bob!b@198.51.100.7 JOIN #x\r\n")
    dialogue.server_says(b":bob!b@cloak.example PRIVMSG #x :hi\r\n").client_says(offer(4))

    dialogue.pinholes().noted("dcc.refused", "taker-is-unknown")


def test_i06_an_offer_to_a_channel_is_made_to_nobody_certain() -> None:
    dialogue = irc(any_peer=False).server_says(b":bob!b@198.51.100.7 JOIN #x\r\n")

    dialogue.client_says(offer(4).replace(b"bob", b"#x")).pinholes()


def test_a_flood_of_nicknames_forgets_the_oldest() -> None:
    dialogue = irc(any_peer=False).server_says(b":bob!b@198.51.100.7 JOIN #x\r\n")
    for n in range(MAX_IRC_NICKNAMES):
        dialogue.server_says(b":n%d!b@198.51.100.7 JOIN #x\r\n" % n)

    dialogue.client_says(offer(4)).pinholes()


def test_a_transfer_goes_on_by_the_port_that_each_side_knows() -> None:
    resume = b":bob!b@h PRIVMSG me :\x01DCC RESUME notes.txt %s 512\x01\r\n"
    accept = b"PRIVMSG bob :\x01DCC ACCEPT notes.txt %s 512\x01\r\n"
    dialogue = irc().client_says(offer(4)).server_hears(OFFER % (PROXY[4], TOLD[4]))

    dialogue.server_says(resume % TOLD[4]).client_hears(resume % b"5000")
    dialogue.client_says(accept % b"5000").server_hears(accept % TOLD[4])


def test_of_several_offers_the_one_that_goes_on_is_found_by_its_port() -> None:
    accept = b"PRIVMSG bob :\x01DCC ACCEPT notes.txt %s 512\x01\r\n"
    dialogue = irc().client_says(offer(4))
    dialogue.server_end.heard.clear()
    dialogue.client_says(offer(4, b"6000"))
    told = dialogue.server_end.take().split()[-2]

    dialogue.client_says(accept % b"6000").server_hears(accept % told)
    dialogue.client_says(accept % b"5000").server_hears(accept % TOLD[4])


def test_the_port_of_an_offer_that_is_over_is_nobodys() -> None:
    resume = b":bob!b@h PRIVMSG me :\x01DCC RESUME notes.txt 40271 512\x01\r\n"
    dialogue = irc().client_says(offer(4)).time_passes(60)

    dialogue.server_says(resume).client_hears(resume)
    mine = b"PRIVMSG bob :\x01DCC RESUME theirs.txt 6000 512\x01\r\n"
    dialogue.client_says(mine).server_hears(OFFER % (PROXY[4], TOLD[4]) + mine)


def test_what_the_server_never_finishes_is_passed_on_with_its_end() -> None:
    irc().server_says(b":srv NOT").server_closes().client_hears(b":srv NOT")


def test_a_rule_may_let_anybody_take_what_its_clients_offer() -> None:
    policy = make_policy(protocols=frozenset({"irc"}), filters={"dcc": {"any_peer": True}})

    Dialogue(DccFilter(), policy=policy).client_says(offer(4)).pinholes(PINHOLE[4])
