"""The IRC DCC filter that ships; rows are those of the attack corpus. The real server: interop.

What it shares with the example is in test_dcc_offers.py.
"""

from tests.filters.dcc_talk import (
    ANYBODY,
    LISTEN,
    NOTICE,
    OFFER,
    PINHOLE,
    PROXY,
    SHIPPED,
    TOLD,
    both_families,
    irc,
    offer,
)

from sallyport.filters.dcc import DccFilter, DccSettings
from sallyport.limits import MAX_IRC_NICKNAMES
from sallyport.testing import Dialogue, make_policy

TAKER = {4: "198.51.100.7", 6: "2001:db8::77"}
TO_TAKER = {
    4: "203.0.113.1:40271 -> 10.0.0.8:5000 from 198.51.100.7",
    6: "[fd00:a::8]:5000 -> [fd00:a::8]:5000 from 2001:db8::77",
}


def test_any_peer_is_off_by_default() -> None:
    assert DccSettings().any_peer is False


def test_after_starttls_the_servers_side_passes_in_pieces_as_it_comes() -> None:
    dialogue = irc(SHIPPED).client_says(b"STARTTLS\r\n")

    dialogue.server_says(b"\x16\x03 no end").client_hears(b"\x16\x03 no end")
    dialogue.server_says(b" of line").client_hears(b" of line")


def test_a_notice_stands_between_lines_of_the_server() -> None:
    dialogue = irc(SHIPPED, any_peer=False).server_says(b":x PRIVMSG me :he").client_says(offer(4))

    dialogue.client_hears(NOTICE % b"taker-is-unknown")
    dialogue.server_says(b"llo\r\nPI").client_hears(b":x PRIVMSG me :hello\r\n")


@both_families
def test_i06_an_offer_opens_to_the_host_that_the_server_names_for_the_taker(version: int) -> None:
    seen = b":Bob!~b@%s JOIN #x\r\n" % TAKER[version].encode()
    dialogue = irc(SHIPPED, version, any_peer=False).server_says(seen).client_hears(seen)

    dialogue.client_says(offer(version)).pinholes(TO_TAKER[version])
    dialogue.cannot_connect(
        "198.51.100.8:1024" if version == 4 else "[2001:db8::78]:1", LISTEN[version]
    )
    dialogue.connects(ANYBODY[version], LISTEN[version])


def test_i06_the_latest_word_counts_and_a_hidden_host_is_no_address() -> None:
    dialogue = irc(SHIPPED, any_peer=False).server_says(b":bob!b@198.51.100.7 JOIN #x\r\n")
    dialogue.server_says(b":bob!b@cloak.example PRIVMSG #x :hi\r\n").client_says(offer(4))

    dialogue.pinholes().noted("dcc.refused", "taker-is-unknown")


def test_i06_an_offer_to_a_channel_is_made_to_nobody_certain() -> None:
    dialogue = irc(SHIPPED, any_peer=False).server_says(b":bob!b@198.51.100.7 JOIN #x\r\n")

    dialogue.client_says(offer(4).replace(b"bob", b"#x")).pinholes()


def test_a_flood_of_nicknames_forgets_the_oldest() -> None:
    dialogue = irc(SHIPPED, any_peer=False).server_says(b":bob!b@198.51.100.7 JOIN #x\r\n")
    for n in range(MAX_IRC_NICKNAMES):
        dialogue.server_says(b":n%d!b@198.51.100.7 JOIN #x\r\n" % n)

    dialogue.client_says(offer(4)).pinholes()


def test_a_transfer_goes_on_by_the_port_that_each_side_knows() -> None:
    resume = b":bob!b@h PRIVMSG me :\x01DCC RESUME notes.txt %s 512\x01\r\n"
    accept = b"PRIVMSG bob :\x01DCC ACCEPT notes.txt %s 512\x01\r\n"
    dialogue = irc(SHIPPED).client_says(offer(4)).server_hears(OFFER % (PROXY[4], TOLD[4]))

    dialogue.server_says(resume % TOLD[4]).client_hears(resume % b"5000")
    dialogue.client_says(accept % b"5000").server_hears(accept % TOLD[4])


def test_of_several_offers_the_one_that_goes_on_is_found_by_its_port() -> None:
    accept = b"PRIVMSG bob :\x01DCC ACCEPT notes.txt %s 512\x01\r\n"
    dialogue = irc(SHIPPED).client_says(offer(4))
    dialogue.server_end.heard.clear()
    dialogue.client_says(offer(4, b"6000"))
    told = dialogue.server_end.take().split()[-2]

    dialogue.client_says(accept % b"6000").server_hears(accept % told)
    dialogue.client_says(accept % b"5000").server_hears(accept % TOLD[4])


def test_the_port_of_an_offer_that_is_over_is_nobodys() -> None:
    resume = b":bob!b@h PRIVMSG me :\x01DCC RESUME notes.txt 40271 512\x01\r\n"
    dialogue = irc(SHIPPED).client_says(offer(4)).time_passes(60)

    dialogue.server_says(resume).client_hears(resume)
    mine = b"PRIVMSG bob :\x01DCC RESUME theirs.txt 6000 512\x01\r\n"
    dialogue.client_says(mine).server_hears(OFFER % (PROXY[4], TOLD[4]) + mine)


def test_what_the_server_never_finishes_is_passed_on_with_its_end() -> None:
    irc(SHIPPED).server_says(b":srv NOT").server_closes().client_hears(b":srv NOT")


def test_a_rule_may_let_anybody_take_what_its_clients_offer() -> None:
    policy = make_policy(protocols=frozenset({"irc"}), filters={"dcc": {"any_peer": True}})

    Dialogue(DccFilter(), policy=policy).client_says(offer(4)).pinholes(PINHOLE[4])
