"""Servers and clients that step outside RFC 959: everything passes, and only what counts opens.

The situations are those of public bug reports about real programs; each works without a gateway.
"""

import pytest
from tests.filters import published
from tests.filters.published import NAT, PROXIED, Way
from tests.filters.talk import (
    ASK_SECOND,
    HEARD_SECOND,
    IPV4,
    IPV6,
    OK,
    PINHOLE_SECOND,
    READY,
    Family,
    agreed,
    asked,
    both_families,
    forwarded,
    greeted,
)

from sallyport import limits
from sallyport.filters.ftp import FtpFilter, FtpSettings
from sallyport.reasons import REASONS
from sallyport.testing import Dialogue

DONE = b"226 done\r\n"
GO = b"150 go\r\n"


def retrieving(family: Family = IPV4, dialogue: Dialogue | None = None) -> Dialogue:
    """Return a dialogue in which a transfer runs."""
    dialogue = forwarded(agreed(family, dialogue), b"RETR a\r\n", GO)
    return dialogue.connects(family.server, family.listen)


def again(family: Family, dialogue: Dialogue) -> Dialogue:
    """Check that a dialogue agrees on another data connection, and carries out a transfer."""
    dialogue.client_says(family.ask)
    assert dialogue.server_end.heard[:4] == family.verb
    dialogue.server_end.take()
    dialogue.server_says(OK).client_hears(OK)
    (pinhole,) = dialogue.data_path.pinholes.values()
    forwarded(dialogue, b"RETR b\r\n", GO).connects(
        family.server.replace(":20", ":21000"), str(pinhole.listen)
    )
    return dialogue.server_says(DONE).client_hears(DONE).still_open()


# -- bytes of names ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        b"\xec\xff\xf1\xee",
        b"\xff\xf0",
        b"\xe2\xe7\xff\xf2",
        b"\xff\xfe\xec\xee\xf0",
        b"\xff\xff\xff",
        b"\xea\xee\xed\xfc\xff",
        b"\xff\xfa\xff\xf0",
        b"\xff",
        b"\xff\xfb",
        "日本語".encode("utf-16-le").replace(b"\0", b"x"),
        "ÿ".encode("latin-1") * 5,
    ],
)
@pytest.mark.parametrize("verb", [b"DELE", b"MKD", b"USER", b"PASS", b"STOR", b"SITE"])
def test_every_byte_of_an_argument_arrives(verb: bytes, name: bytes) -> None:
    forwarded(greeted(), verb + b" " + name + b"\r\n")


@pytest.mark.parametrize("text", [b"\xff\xf1", b"\xff\xf4\xff\xf2", b"\xff\xff", b"\xff\xfb\x01x"])
def test_every_byte_of_a_reply_arrives(text: bytes) -> None:
    forwarded(greeted(), b"PWD\r\n", b'257 "' + text + b'"\r\n')
    forwarded(greeted(), b"STAT\r\n", b"213-" + text + b"\r\n" + text + b"\r\n213 end\r\n")


# -- replies that are missing --------------------------------------------------------------------


@both_families
def test_a_keep_alive_that_is_swallowed_during_a_transfer_stops_nothing(family: Family) -> None:
    dialogue = retrieving(family).client_says(b"NOOP\r\n").server_hears(b"NOOP\r\n")
    dialogue.server_says(DONE).client_hears(DONE)

    for _ in range(3):
        again(family, dialogue)


@both_families
def test_two_keep_alives_that_get_one_reply_stop_nothing(family: Family) -> None:
    dialogue = retrieving(family).client_says(b"NOOP\r\nNOOP\r\n").server_says(b"500 What?\r\n")
    dialogue.client_hears(b"500 What?\r\n").server_hears(b"NOOP\r\nNOOP\r\n")
    dialogue.server_says(DONE).client_hears(DONE)

    again(family, again(family, dialogue))


@pytest.mark.parametrize("swallowed", [b"NOOP\r\n", b"STAT\r\n", b"ABOR\r\n", b"SITE x\r\n"])
@both_families
def test_passive_mode_goes_on_after_a_swallowed_command(family: Family, swallowed: bytes) -> None:
    dialogue = retrieving(family).client_says(swallowed).server_hears(swallowed)
    dialogue.server_says(DONE).client_hears(DONE)

    forwarded(dialogue, family.ask_passive, family.reply_passive)
    dialogue.pinholes(family.passive_pinhole)
    forwarded(dialogue, b"STOR b\r\n", GO).connects(family.client, family.passive)


def test_f20_out_of_step_a_refusal_that_may_be_ports_closes_its_pinhole() -> None:
    dialogue = retrieving().client_says(b"NOOP\r\n").server_hears(b"NOOP\r\n")
    dialogue.server_says(DONE).client_hears(DONE)
    dialogue.client_says(ASK_SECOND).server_hears(HEARD_SECOND).pinholes(PINHOLE_SECOND)

    dialogue.server_says(b"500 No.\r\n").client_hears(b"500 No.\r\n").pinholes()
    again(IPV4, dialogue)


def test_f20_a_shift_by_one_never_leaves_a_refused_pinhole_open() -> None:
    dialogue = retrieving().client_says(b"NOOP\r\n").server_says(DONE)
    dialogue.client_says(b"PWD\r\n").server_says(OK).client_says(b"PWD\r\n").server_says(OK)
    dialogue.server_end.take()
    dialogue.client_end.take()

    dialogue.client_says(ASK_SECOND).server_hears(HEARD_SECOND).server_says(b"500 No.\r\n")
    dialogue.pinholes()


def test_an_answer_of_ours_does_not_wait_for_a_reply_that_never_comes() -> None:
    dialogue = retrieving().client_says(b"NOOP\r\n").server_says(DONE).client_hears(DONE)
    dialogue.client_says(b"PORT 10,0,0,9,6,17\r\n").client_hears(b"")

    dialogue.time_passes(limits.FTP_SILENCE_SECONDS)
    dialogue.client_hears(b"501 Address not allowed.\r\n")
    dialogue.noted("reply.missing", "server-answered-less")


def test_a_reply_that_has_begun_is_waited_for_and_no_answer_of_ours_stands_within_it() -> None:
    # The server lists a folder, and takes its time over each line.
    dialogue = retrieving().client_says(b"STAT\r\n").server_hears(b"STAT\r\n")
    dialogue.server_says(DONE).client_hears(DONE)
    dialogue.client_says(b"PORT 10,0,0,9,6,17\r\n").server_says(b"213-a\r\n")
    dialogue.time_passes(limits.FTP_REPLY_SECONDS - 1).client_hears(b"213-a\r\n")

    dialogue.server_says(b"213 end\r\n")
    dialogue.client_hears(b"213 end\r\n501 Address not allowed.\r\n")
    again(IPV4, dialogue)


def test_a_reply_that_was_given_up_may_end_all_the_same() -> None:
    dialogue = retrieving().client_says(b"STAT\r\n").server_hears(b"STAT\r\n")
    dialogue.server_says(DONE, b"213-a\r\n")
    dialogue.client_says(b"PORT 10,0,0,9,6,17\r\n").time_passes(limits.FTP_REPLY_SECONDS)
    dialogue.client_hears(DONE + b"213-a\r\n501 Address not allowed.\r\n")

    dialogue.server_says(b"213 end\r\n").client_hears(b"213 end\r\n")
    again(IPV4, dialogue)


def test_a_server_that_owes_a_reply_is_given_time_and_then_given_up() -> None:
    dialogue = greeted().client_says(b"HELP\r\nLPSV\r\n").client_hears(b"")
    dialogue.time_passes(limits.FTP_REPLY_SECONDS - 1).client_hears(b"")

    dialogue.time_passes(limits.FTP_SILENCE_SECONDS + 2)
    dialogue.client_hears(b"502 Command not implemented.\r\n").still_open()


def test_lines_behind_an_unanswered_pasv_go_on_some_day() -> None:
    dialogue = greeted().client_says(b"PASV\r\nNOOP\r\n").server_hears(b"PASV\r\n")

    dialogue.time_passes(limits.FTP_REPLY_SECONDS + limits.FTP_SILENCE_SECONDS + 1)
    dialogue.server_hears(b"NOOP\r\n").still_open().noted("reply.missing", "no-reply-in-time")


@pytest.mark.parametrize("verb", [b"", b"AUTH TLS\r\n"])
def test_a_server_that_says_nothing_at_all_ends_with_a_421(verb: bytes) -> None:
    dialogue = Dialogue(FtpFilter()) if not verb else greeted().client_says(verb)
    dialogue.client_says(b"NOOP\r\n").time_passes(limits.FTP_REPLY_SECONDS)

    dialogue.ended("no-reply-in-time")
    assert dialogue.client_end.heard.startswith(b"421 ")


def test_waiting_lines_do_not_wait_while_the_server_talks() -> None:
    dialogue = Dialogue(FtpFilter()).client_says(b"USER a\r\n")
    for _ in range(10):
        dialogue.server_says(b"120 Soon\r\n").time_passes(limits.FTP_REPLY_SECONDS - 1)

    dialogue.still_open().server_says(READY).server_hears(b"USER a\r\n")


# -- replies that are too many --------------------------------------------------------------------


@both_families
def test_two_replies_to_one_command_pass_as_often_as_they_come(family: Family) -> None:
    twice = b"500 Unknown option: MLST\r\n500 Unknown option: OPTS UTF8\r\n"
    dialogue = greeted(family)
    for _ in range(5):
        forwarded(dialogue, b"OPTS MLST type;size;\r\n", twice)

    again(family, dialogue)


def test_a_transfer_that_is_ended_twice_opens_nothing_more() -> None:
    dialogue = retrieving().server_says(DONE, DONE).client_hears(DONE + DONE).pinholes()

    again(IPV4, dialogue)


def test_several_greetings_pass() -> None:
    dialogue = Dialogue(FtpFilter()).server_says(READY, READY, b"220-a\r\n220 b\r\n")

    again(IPV4, dialogue.client_hears(READY + READY + b"220-a\r\n220 b\r\n"))


def test_a_refusal_too_many_closes_what_was_just_agreed_on() -> None:
    agreed().server_says(b"500 No.\r\n").client_hears(b"500 No.\r\n").pinholes().still_open()


@pytest.mark.parametrize(
    "replies",
    [
        (b"426 aborted\r\n", b"226 abort ok\r\n"),
        (b"226 abort ok\r\n",),
        (b"426 aborted\r\n",),
        (b"225 nothing to abort\r\n", b"226 done\r\n"),
        (b"226 done\r\n", b"225 nothing to abort\r\n"),
        (),
    ],
)
@both_families
def test_abort_is_answered_twice_once_or_not_at_all(
    family: Family, replies: tuple[bytes, ...]
) -> None:
    dialogue = retrieving(family).client_says(b"\xff\xf4\xff", b"\xf2ABOR\r\n")
    dialogue.server_hears(b"\xff\xf4\xff\xf2ABOR\r\n").server_says(*replies)
    dialogue.client_hears(b"".join(replies))

    again(family, dialogue)


@both_families
def test_who_has_aborted_need_not_wait_for_a_connection_that_does_not_come(family: Family) -> None:
    # The BSD family looks at ABOR when its own attempt to connect has ended.
    dialogue = forwarded(agreed(family), b"RETR a\r\n", GO).client_says(b"ABOR\r\n")
    dialogue.server_hears(b"ABOR\r\n").client_says(family.ask_passive)
    dialogue.server_hears(family.ask_passive).pinholes()

    said = b"425 No data connection\r\n225 ABOR ok\r\n" + family.reply_passive
    dialogue.server_says(said).client_hears(said).pinholes(family.passive_pinhole)


# -- lines that belong to no reply ----------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        b"Network device, firmware 1.2\r\n",
        b"\r\n",
        "Ünïcode wëlcome\r\n".encode(),
        b"Bienvenue \xe0 tous\n",
        b"\xff\xfb\x01\r\n",
    ],
)
@both_families
def test_text_before_the_greeting_passes(family: Family, text: bytes) -> None:
    dialogue = Dialogue(FtpFilter(), version=family.version).client_says(b"USER a\r\n")
    dialogue.server_says(text).client_hears(text).server_hears(b"").server_says(READY)

    dialogue.client_hears(READY).server_hears(b"USER a\r\n").server_says(b"331 x\r\n")
    again(family, dialogue.client_hears(b"331 x\r\n"))


@pytest.mark.parametrize("greeting", [b"230 You are in\r\n", b"331 Say who you are\r\n"])
@both_families
def test_any_greeting_that_refuses_nothing_is_one(family: Family, greeting: bytes) -> None:
    dialogue = Dialogue(FtpFilter(), version=family.version).server_says(greeting)

    again(family, dialogue.client_hears(greeting))


@pytest.mark.parametrize(
    "noise", [b"\r\n", b"hello\r\n", b"20 ok\r\n", b" 200 ok\r\n", b"\xff\xf1\r\n", b"x" * 9000]
)
@both_families
def test_text_between_replies_passes_and_moves_nothing(family: Family, noise: bytes) -> None:
    noise = noise if noise.endswith(b"\n") else noise + b"\r\n"
    dialogue = greeted(family).client_says(b"SYST\r\n").server_hears(b"SYST\r\n")
    answer = noise + b"215 UNIX\r\n" + noise
    dialogue.server_says(answer).client_hears(answer)

    dialogue = asked(family, dialogue).server_says(noise).client_hears(noise)
    dialogue.server_says(b"500 No.\r\n").client_hears(b"500 No.\r\n").pinholes()


def test_a_code_without_text_counts() -> None:
    dialogue = asked().server_says(b"200\r\n").client_hears(b"200\r\n").pinholes(IPV4.pinhole)

    forwarded(dialogue, b"RETR a\r\n", b"150\r\n226\r\n")


@both_families
def test_a_listing_of_30000_lines_passes(family: Family) -> None:
    listing = b"".join(b" -rw-r--r-- file%d\r\n" % n for n in range(30_000))
    forwarded(greeted(family), b"STAT -l\r\n", b"213-status\r\n" + listing + b"213 end\r\n")


@both_families
def test_200_keep_alives_during_one_transfer_are_answered_behind_it(family: Family) -> None:
    dialogue = retrieving(family)
    for _ in range(200):
        dialogue.client_says(b"NOOP\r\n").time_passes(30)
    dialogue.server_hears(b"NOOP\r\n" * 200)

    dialogue.server_says(DONE + OK * 200).client_hears(DONE + OK * 200)
    again(family, dialogue)


def test_hundreds_of_pipelined_commands_reach_the_server() -> None:
    lines = b"".join(
        b"%b file%d\r\n" % (verb, n) for n in range(400) for verb in (b"MDTM", b"SIZE")
    )
    dialogue = greeted().client_says(lines).server_hears(lines)

    replies = b"213 1\r\n" * 800
    dialogue.server_says(replies).client_hears(replies)
    again(IPV4, dialogue)


# -- lines of a client that ends them twice -------------------------------------------------------


def doubled(line: bytes, gap: bytes) -> bytes:
    return line.removesuffix(b"\r\n") + gap


@pytest.mark.parametrize("gap", [b"\r\n\r\n", b"\r\r\n", b"\r\n\n"])
@both_families
def test_a_line_that_is_ended_twice_passes_and_counts_once(family: Family, gap: bytes) -> None:
    # vsftpd takes no notice of an empty line, and strips every CR before LF.
    dialogue = greeted(family)
    dialogue.client_says(b"SYST\n").server_says(OK).client_hears(OK).server_hears(b"SYST\n")
    forwarded(dialogue, doubled(b"USER a\r\n", gap), b"331 x\r\n")
    forwarded(dialogue, doubled(b"PASS b\r\n", gap), b"230 y\r\n")
    for port in (b"1553", b"1554"):
        ask = family.ask.replace(b"1553", port)
        dialogue.client_says(doubled(ask, gap)).server_says(OK).client_hears(OK)
        assert dialogue.server_end.heard.strip().startswith(family.verb)
        dialogue.server_end.take()
        (pinhole,) = dialogue.data_path.pinholes.values()
        forwarded(dialogue, doubled(b"RETR a\r\n", gap), GO)
        dialogue.connects(family.server, str(pinhole.listen)).finishes(family.server)
        dialogue.server_says(DONE).client_hears(DONE)
    ask = doubled(family.ask_passive, gap)
    dialogue.client_says(ask).server_says(family.reply_passive).server_hears(ask)
    dialogue.client_hears(family.reply_passive).pinholes(family.passive_pinhole)


@both_families
def test_a_server_that_answers_an_empty_line_says_it_in_its_own_words(family: Family) -> None:
    dialogue = greeted(family)
    for _ in range(3):
        forwarded(dialogue, b"\r\n", b"500 Invalid command: try being more creative\r\n")

    again(family, dialogue)


@pytest.mark.parametrize("at_once", [True, False])
def test_signals_before_an_empty_line_pass_with_it(*, at_once: bool) -> None:
    line = b"\xff\xf4\xff\xf2\r\n"
    segments = [line] if at_once else [line[n : n + 1] for n in range(len(line))]

    forwarded(greeted(), b"NOOP\r\n").client_says(*segments).server_hears(line)


@pytest.mark.parametrize("line", [b"\xff\xfa\r\n", b"\xff\xfb\r\n"], ids=["SB", "WILL CR"])
def test_a_line_whose_end_a_telnet_command_takes_does_not_pass_as_an_empty_one(line: bytes) -> None:
    dialogue = forwarded(greeted(), b"NOOP\r\n").client_says(line).server_hears(b"")
    assert bytes(dialogue.client_end.heard).startswith(b"500 Syntax error")


def test_thousands_of_empty_lines_that_are_not_answered_cost_no_more_than_one() -> None:
    lines = b"\r\n" * (limits.MAX_FTP_PIPELINE - 1) + b"NOOP\r\n"
    dialogue = forwarded(greeted(), b"NOOP\r\n", OK).client_says(lines).server_hears(lines)
    dialogue.server_says(OK).client_hears(OK).still_open()


def test_an_empty_line_that_is_not_answered_holds_nothing_back() -> None:
    dialogue = greeted().client_says(b"\r\nPASV\r\n").server_hears(b"\r\nPASV\r\n")
    dialogue.server_says(b"500 No.\r\n").client_hears(b"500 No.\r\n")

    asked(IPV4, dialogue)


def test_f20_a_refusal_that_may_be_of_an_empty_line_or_of_port_closes_its_pinhole() -> None:
    dialogue = greeted().client_says(b"\r\n" + IPV4.ask).server_hears(b"\r\n" + IPV4.heard)

    dialogue.pinholes(IPV4.pinhole).server_says(b"500 No.\r\n").pinholes()


# -- replies that end with another code -----------------------------------------------------------

ENDED_OTHERWISE = b"553-\r\n553- Directory excluded (precheck).\r\n"


@both_families
def test_a_reply_that_ends_with_another_code_stops_nothing(family: Family) -> None:
    dialogue = forwarded(greeted(family), family.ask_passive, family.reply_passive)
    forwarded(dialogue, b"STOR x\r\n", ENDED_OTHERWISE + GO).connects(family.client, family.passive)
    dialogue.server_says(DONE).client_hears(DONE).finishes(family.client).pinholes()

    forwarded(dialogue, family.ask_passive, family.reply_passive)
    dialogue.pinholes(family.passive_pinhole)
    forwarded(dialogue, b"STOR x\r\n", GO).connects(family.client, family.passive)


@both_families
def test_where_the_answer_to_passive_mode_ends_so_the_client_need_not_wait(family: Family) -> None:
    refusal = b"550-Not here:\r\n500 no passive mode\r\n"
    dialogue = forwarded(greeted(family), family.ask_passive, refusal).client_says(family.ask)

    dialogue.server_hears(b"").time_passes(limits.FTP_SILENCE_SECONDS)
    dialogue.server_hears(family.heard).pinholes(family.pinhole)
    dialogue.noted("reply.missing", "server-answered-less")
    dialogue.server_says(OK).client_hears(OK)
    forwarded(dialogue, b"RETR a\r\n", GO).connects(family.server, family.listen)


@both_families
def test_where_a_greeting_ends_so_the_client_need_not_wait(family: Family) -> None:
    greeting = b"220-Welcome\r\n230 you are logged in\r\n"
    dialogue = Dialogue(FtpFilter(), version=family.version).server_says(greeting)
    dialogue.client_hears(greeting).client_says(b"SYST\r\n").server_hears(b"")

    dialogue.time_passes(limits.FTP_SILENCE_SECONDS).server_hears(b"SYST\r\n")
    again(family, dialogue.server_says(OK).client_hears(OK))


def test_f30_where_the_answer_to_auth_ends_so_nothing_in_plain_text_goes_on() -> None:
    dialogue = greeted().client_says(b"AUTH TLS\r\nUSER evil\r\n")
    dialogue.server_says(b"234-Go\r\n500 on\r\n").time_passes(limits.FTP_REPLY_SECONDS - 1)

    dialogue.server_hears(b"AUTH TLS\r\n")


@pytest.mark.parametrize("way", [NAT, PROXIED], ids=["behind NAT", "full proxy"])
def test_v08_after_such_a_reply_a_published_server_opens_nothing_by_its_text(way: Way) -> None:
    # The client has the server list a file named "150 x" and one named like a 227.
    dialogue = published.greeted(way).client_says(b"STAT x\r\n").server_says(b"213-x:\r\n150 x\r\n")
    dialogue.client_says(way.ask_passive).server_says(way.reply_passive).pinholes()
    assert b"10,0,0,8" not in dialogue.client_end.heard
    dialogue.noted("passive.refused", "reply-within-a-reply").still_open()

    dialogue.client_says(way.ask_passive).server_says(way.reply_passive).pinholes()
    dialogue.server_says(b"213 end\r\n")
    dialogue.client_says(way.ask_passive).server_says(way.reply_passive)
    dialogue.pinholes(way.passive_pinhole)


def test_v07_text_within_a_reply_is_no_answer_to_a_command_that_was_sent_ahead() -> None:
    dialogue = greeted().client_says(b"STAT\r\nPASV\r\n")

    dialogue.server_says(b"211-Status\r\n150 x\r\n", IPV4.reply_passive, b"211 End\r\n").pinholes()
    dialogue.server_says(IPV4.reply_passive).pinholes(IPV4.passive_pinhole)


# -- time ---------------------------------------------------------------------------------------


@both_families
@pytest.mark.parametrize("beginning", [b"", b"125-waiting\r\n", b"150 Recalled from tape\r\n"])
def test_a_data_connection_may_come_minutes_after_its_transfer_was_asked_for(
    family: Family, beginning: bytes
) -> None:
    dialogue = agreed(family).client_says(b"RETR migrated\r\n").server_says(beginning)

    dialogue.time_passes(1800).connects(family.server, family.listen)


@both_families
def test_a_transfer_that_never_begins_lets_go_in_the_end(family: Family) -> None:
    dialogue = agreed(family).client_says(b"RETR migrated\r\n").pinholes(family.pinhole)

    dialogue.time_passes(limits.TRANSFER_START_SECONDS).pinholes().still_open()


def test_a_transfer_that_was_refused_leaves_the_usual_minute() -> None:
    dialogue = forwarded(agreed(), b"RETR a\r\n", b"550 No.\r\n").time_passes(59)
    dialogue.pinholes(IPV4.pinhole)

    dialogue.time_passes(1).pinholes()


def test_a_slow_answer_to_port_is_waited_for_as_long_as_its_pinhole() -> None:
    dialogue = asked().time_passes(50).server_says(OK).client_hears(OK).time_passes(50)

    dialogue.pinholes(IPV4.pinhole).time_passes(10).pinholes()


# -- the first and the last bytes -----------------------------------------------------------------


@pytest.mark.parametrize("last", [b"421 Too many users, try later", b"500 OOPS: child died", b"22"])
def test_last_words_without_a_line_end_arrive(last: bytes) -> None:
    Dialogue(FtpFilter()).server_says(last).server_closes().client_hears(last)
    dialogue = greeted().client_says(b"PWD\r\n").server_says(last).server_closes()

    dialogue.client_hears(last).ended("server-closed")


def test_the_last_words_of_a_published_server_do_not_say_where_it_is() -> None:
    dialogue = published.greeted().client_says(b"PASV\r\n").server_says(b"227 (10,0,0,8,19,137)")

    dialogue.server_closes().client_hears(b"227 (203,0,113,1,19,137)")


@pytest.mark.parametrize("last", [b"QUIT", b"NOOP", b"STAT x"])
def test_a_last_command_without_a_line_end_arrives(last: bytes) -> None:
    forwarded(greeted(), b"PWD\r\n").client_says(last).client_closes().server_hears(last)


@pytest.mark.parametrize("last", [b"PORT 10,0,0,8,6,17", b"RETR a", b"X 1,2", b" PORT 10,0,0,8"])
def test_a_last_command_that_could_carry_an_address_does_not(last: bytes) -> None:
    forwarded(greeted(), b"PWD\r\n").client_says(last).client_closes().server_hears(b"")


@both_families
def test_quit_and_the_end_behind_a_transfer_leave_it_its_connection(family: Family) -> None:
    dialogue = agreed(family).client_says(b"RETR a\r\nQUIT\r\n").client_closes()
    dialogue.server_hears(b"RETR a\r\nQUIT\r\n").server_hears_end().pinholes(family.pinhole)

    dialogue.server_says(GO).connects(family.server, family.listen).server_says(DONE)
    dialogue.client_hears(GO + DONE)


@both_families
def test_a_whole_script_and_its_end_in_one_segment_is_carried_out(family: Family) -> None:
    script = b"USER a\r\nPASS b\r\n" + family.ask + b"RETR a\r\nQUIT\r\n"
    dialogue = Dialogue(FtpFilter(), version=family.version).client_says(script).client_closes()
    dialogue.server_says(READY).server_hears(script.replace(family.ask, family.heard))

    dialogue.pinholes(family.pinhole).server_says(b"331 x\r\n", b"230 y\r\n", OK, GO)
    dialogue.connects(family.server, family.listen).server_says(DONE, b"221 bye\r\n")


def test_f22_after_the_end_what_was_answered_closes() -> None:
    dialogue = agreed().client_says(b"RETR a\r\n").client_closes().pinholes(IPV4.pinhole)

    dialogue.server_says(b"550 No.\r\n").client_hears(b"550 No.\r\n").pinholes()


# -- where a passive reply leads ------------------------------------------------------------------


@pytest.mark.parametrize("address", [b"0,0,0,0", b"127,0,0,1"])
@pytest.mark.parametrize("command", [b"PASV\r\n", b"EPSV\r\n"])
def test_an_address_that_can_only_be_the_server_is_the_server(
    command: bytes, address: bytes
) -> None:
    dialogue = greeted().client_says(command).server_says(b"227 Go (%b,19,137).\r\n" % address)

    dialogue.client_hears(b"227 Go (203,0,113,9,19,137).\r\n").pinholes(IPV4.passive_pinhole)


@pytest.mark.parametrize("family", [IPV4, IPV6], ids=["ipv4", "ipv6"])
def test_either_reply_answers_either_command(family: Family) -> None:
    forwarded(greeted(family), b"PASV\r\n", IPV6.reply_passive).pinholes(family.passive_pinhole)
    reply = IPV4.reply_passive if family is IPV4 else b"227 (0,0,0,0,19,137)\r\n"
    forwarded(greeted(family), b"EPSV\r\n", reply).pinholes(family.passive_pinhole)
    forwarded(greeted(family), b"PASV\r\n", reply).pinholes(family.passive_pinhole)


def test_on_ipv6_a_227_of_another_address_may_be_taken_for_the_server_by_setting() -> None:
    dialogue = greeted(IPV6, FtpSettings(trust_pasv_address="replace")).client_says(b"PASV\r\n")

    dialogue.server_says(b"227 (10,1,1,1,19,137)\r\n").client_hears(b"227 (0,0,0,0,19,137)\r\n")
    dialogue.pinholes(IPV6.passive_pinhole)


@pytest.mark.parametrize("address", [b"10,0,0,8", b"203,0,113,1", b"0,0,0,0", b"127,0,0,1"])
@pytest.mark.parametrize("command", [b"PASV\r\n", b"EPSV\r\n"])
@pytest.mark.parametrize("way", [NAT, PROXIED], ids=["behind NAT", "full proxy"])
def test_a_published_server_means_itself_by_any_of_its_names(
    way: Way, command: bytes, address: bytes
) -> None:
    dialogue = published.greeted(way).client_says(command)
    dialogue.server_says(b"227 Go (%b,19,137)\r\n" % address)

    dialogue.client_hears(b"227 Go (203,0,113,1,157,79)\r\n").pinholes(way.passive_pinhole)


def test_a_refused_passive_reply_has_a_reason_that_names_the_setting() -> None:
    dialogue = greeted().client_says(b"PASV\r\n").server_says(b"227 (192,168,0,1,19,137)\r\n")

    dialogue.noted("passive.refused", "passive-address-is-not-the-servers")
    assert "trust_pasv_address" in REASONS["passive-address-is-not-the-servers"].remedy


@pytest.mark.parametrize(
    "reply",
    [
        b"227 Go (10,0,0,8,19,137)\r\n",
        b"227 Go (10, 0, 0, 8, 19, 137)\r\n",
        b"227 Go (010,000,000,008,019,137)\r\n",
        b"229 Go (|1|10.0.0.8|5001|)\r\n",
        b"228 Long (4,4,10,0,0,8,2,19,137)\r\n",
        b"227-Go (10,0,0,8,19,137)\r\n227 10,0,0,8,19\r\n",
        b"227 " + b"x" * 5000 + b"(10,0,0,8,19,137)\r\n",
        b"211-\r\n227 " + b"x" * 5000 + b"(10,0,0,8,19,137)\r\n211 end\r\n",
        b"227-\r\n227-" + b"x" * 5000 + b"(10,0,0,8,19,137)\r\n227 end\r\n",
        b"227 (10,0,0,8,19,137) (10,0,0,8,19,138)\r\n",
    ],
)
@pytest.mark.parametrize("command", [b"PASV\r\n", b"EPSV\r\n", b"NOOP\r\n", b"EPSV ALL\r\n", b""])
def test_no_reply_says_where_a_published_server_is(command: bytes, reply: bytes) -> None:
    dialogue = published.greeted().client_says(command).server_says(reply, reply)

    heard = bytes(dialogue.client_end.heard).replace(b" ", b"")
    assert b"10,0,0,8" not in heard
    assert b"010,000,000,008" not in heard
    assert b"10.0.0.8" not in heard
