"""The stream below the dialogue (attacks F12-F19, H01, H02, H07, V11, V12)."""

import pytest
from tests.filters.talk import (
    ASK_SECOND,
    HEARD_SECOND,
    IPV4,
    OK,
    PINHOLE_SECOND,
    READY,
    Family,
    agreed,
    both_families,
    forwarded,
    greeted,
    refused,
)

from sallyport import limits
from sallyport.filters.ftp import FtpFilter
from sallyport.testing import Dialogue


@both_families
def test_f12_a_command_may_be_split_anywhere(family: Family) -> None:
    for cut in range(1, len(family.ask)):
        dialogue = greeted(family).client_says(family.ask[:cut]).server_hears(b"")
        dialogue.client_says(family.ask[cut:]).server_hears(family.heard).server_says(OK)
        dialogue.client_hears(OK).pinholes(family.pinhole)


@both_families
def test_f12_a_passive_reply_may_be_split_anywhere(family: Family) -> None:
    for cut in range(1, len(family.reply_passive)):
        dialogue = greeted(family).client_says(family.ask_passive)
        dialogue.server_says(family.reply_passive[:cut]).pinholes().client_hears(b"")
        dialogue.server_says(family.reply_passive[cut:]).client_hears(family.reply_passive)
        dialogue.pinholes(family.passive_pinhole)


@both_families
def test_f13_every_line_of_a_segment_is_read(family: Family) -> None:
    dialogue = greeted(family).client_says(b"NOOP\r\n" + family.ask + b"LIST\r\n")

    dialogue.server_hears(b"NOOP\r\n" + family.heard + b"LIST\r\n").server_says(OK, OK)
    dialogue.client_hears(OK + OK).pinholes(family.pinhole)


def test_f13_of_two_ports_in_one_segment_the_first_is_withdrawn() -> None:
    dialogue = greeted().client_says(IPV4.ask + ASK_SECOND).server_hears(IPV4.heard + HEARD_SECOND)

    dialogue.pinholes(PINHOLE_SECOND).server_says(OK, OK).client_hears(OK + OK)
    dialogue.pinholes(PINHOLE_SECOND)


@both_families
def test_f14_a_port_before_the_greeting_waits_for_it(family: Family) -> None:
    dialogue = Dialogue(FtpFilter(), version=family.version).client_says(family.ask)
    dialogue.nothing_more().pinholes()

    dialogue.server_says(READY).client_hears(READY).server_hears(family.heard)
    dialogue.server_says(OK).pinholes(family.pinhole)


def test_f15_a_leading_blank_makes_no_verb() -> None:
    refused(greeted(), b" " + IPV4.ask, 500, "bad-command")


@pytest.mark.parametrize(
    "telnet", [b"\xff\xf4", b"\xff\xf4\xff\xf2", b"\xff\xfb\x01", b"\xff\xfa\x18\0xterm\xff\xf0"]
)
@both_families
def test_f15_telnet_commands_hide_nothing_wherever_they_stand(
    family: Family, telnet: bytes
) -> None:
    for cut in (2, 4, 7, len(family.ask) - 1):
        line = family.ask[:cut] + telnet + family.ask[cut:]
        greeted(family).client_says(line).server_hears(family.heard)


@both_families
def test_f15_what_stands_before_the_verb_hides_nothing_and_signals_pass(family: Family) -> None:
    for telnet, passed in (
        (b"\xff\xf4", b"\xff\xf4"),
        (b"\xff\xf4\xff\xf2", b"\xff\xf4\xff\xf2"),
        (b"\xff\xfb\x01", b""),
        (b"\xff\xfa\x18\0xterm\xff\xf0", b""),
    ):
        greeted(family).client_says(telnet + family.ask).server_hears(passed + family.heard)


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfbPORT 10,0,0,8,6,17\r\n",
        b"\xff\xfaPORT 10,0,0,8,6,17\r\n",
        b"\xff\xfa\xff\xf0\xff\xfdPORT 10,0,0,8,6,17\r\n",
        b"N\xff\xfbPORT 10,0,0,8,6,17\r\n",
    ],
)
def test_f15_readers_of_telnet_that_disagree_do_not_hear_an_address(line: bytes) -> None:
    # Some take a negotiation, or a subnegotiation, for two bytes and would read a PORT there.
    dialogue = greeted().client_says(line).time_passes(1).pinholes()

    assert b"PORT" not in dialogue.server_end.heard
    assert b"10,0,0,8" not in dialogue.server_end.heard


def test_f15_nothing_hides_behind_pasv_either() -> None:
    dialogue = greeted().client_says(b"PASV\xff\xfa\r\nPORT 10,0,0,8,6,17\r\n").time_passes(1)

    assert b"10,0,0,8" not in dialogue.server_end.heard
    greeted().client_says(b"PA\xff\xfb\x01SV\r\n").server_hears(b"PASV\r\n")


def test_f15_an_abort_reaches_the_server_with_its_telnet_signals() -> None:
    dialogue = greeted().client_says(b"NOOP\r\n").server_hears(b"NOOP\r\n")
    dialogue.client_says(b"\xff\xf4\xff").server_hears(b"\xff\xf4").client_says(b"\xf2")

    # Before the line is whole, so that the urgent mark leaves with the last of them.
    dialogue.server_hears(b"\xff\xf2").client_says(b"ABOR\r\n").server_hears(b"ABOR\r\n")
    dialogue.still_open()


def test_f15_a_subnegotiation_without_end_is_a_line_without_end() -> None:
    dialogue = greeted().client_says(b"NOOP\r\n").server_hears(b"NOOP\r\n")

    dialogue.client_says(b"\xff\xfa" + b"x" * 600).nothing_more()
    dialogue.time_passes(limits.PARTIAL_LINE_SECONDS).was_reset("partial-line")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"NOOP\rPORT 10,0,0,8,6,17\r\n", "bare-cr"),
        (b"RETR a\r\0PORT 10,0,0,8,6,17\r\n", "cr-nul"),
        (b"PORT 10,0,0,8\0,6,17\r\n", "nul"),
    ],
)
def test_f16_another_line_end_is_refused_and_the_second_one_ends(line: bytes, reason: str) -> None:
    dialogue = greeted().client_says(b"NOOP\r\n").server_hears(b"NOOP\r\n").server_says(OK)
    dialogue.client_hears(OK).client_says(line).server_hears(b"")
    dialogue.client_hears(b"500 Syntax error, line is not well formed.\r\n").still_open()

    dialogue.client_says(line).ended(reason).server_hears(b"").pinholes()
    dialogue.client_hears(b"500 Syntax error, closing control connection.\r\n")


# A bare LF ends a line for many servers, and for some it does not. What is protected is that the
# gateway and its server agree: what follows waits until the server has answered what stands before.


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_f16_what_follows_a_bare_lf_waits_until_the_server_has_taken_it_for_an_end(
    end: bytes,
) -> None:
    hidden = IPV4.ask.removesuffix(b"\r\n") + end
    told = IPV4.heard.removesuffix(b"\r\n") + end
    dialogue = greeted().client_says(b"NOOP\n" + hidden).server_hears(b"NOOP\n").pinholes()

    dialogue.server_says(OK).server_hears(told).server_says(OK).client_hears(OK + OK)
    dialogue.pinholes(IPV4.pinhole)


def test_f16_a_server_that_takes_no_lf_for_an_end_gets_no_address_that_hides_behind_one() -> None:
    dialogue = greeted().client_says(b"NOOP\n" + IPV4.ask).server_hears(b"NOOP\n")

    dialogue.time_passes(limits.FTP_REPLY_SECONDS - 1).nothing_more().pinholes().still_open()


def test_f16_a_line_that_ends_in_lf_passes_when_nothing_else_is_unanswered() -> None:
    dialogue = greeted().client_says(b"PWD\r\n", b"SYST\n").server_hears(b"PWD\r\n")

    dialogue.server_says(OK).client_hears(OK).server_hears(b"SYST\n")


def test_f16_once_the_server_has_answered_one_lines_that_end_in_lf_pass_at_once() -> None:
    dialogue = greeted().client_says(b"NOOP\n").server_says(OK).client_hears(OK)

    dialogue.server_hears(b"NOOP\n").client_says(b"PWD\nSYST\nTYPE I\r\n")
    dialogue.server_hears(b"PWD\nSYST\nTYPE I\r\n")


def test_f16_a_transfer_that_was_asked_for_in_such_a_line_may_be_aborted() -> None:
    dialogue = greeted().client_says(IPV4.ask).server_says(OK).client_says(b"RETR a\n", b"ABOR\n")
    dialogue.server_hears(IPV4.heard + b"RETR a\n").server_says(b"150 Here\r\n")

    dialogue.server_hears(b"ABOR\n").client_hears(OK + b"150 Here\r\n")


def test_f16_an_empty_line_that_may_end_nothing_at_the_server_is_answered_here() -> None:
    dialogue = greeted()
    for _ in range(3):
        dialogue.client_says(b"\n")
        dialogue.client_hears(b"500 Syntax error, command unrecognized.\r\n").server_hears(b"")
    dialogue.still_open()


def test_f17_a_line_too_long_is_answered_with_500_and_its_rest_is_discarded() -> None:
    # What is protected is memory: no more than the limit is kept, however long the line gets.
    dialogue = greeted().client_says(b"NOOP\r\n").server_hears(b"NOOP\r\n").server_says(OK)
    dialogue.client_hears(OK).client_says(b"CWD " + b"x" * limits.MAX_FTP_LINE)
    dialogue.client_hears(b"500 Syntax error, command line too long.\r\n").server_hears(b"")

    dialogue.client_says(b"x" * 100_000, b"\r\n").nothing_more()
    forwarded(dialogue, b"PWD\r\n").noted("command.refused", "line-too-long")


def test_f17_a_line_too_long_that_never_ends_is_cut_off() -> None:
    dialogue = greeted().client_says(b"NOOP\r\n")
    for _ in range(59):
        dialogue.client_says(b"x" * 10_000).time_passes(1)

    dialogue.still_open().time_passes(1).was_reset("partial-line")


@pytest.mark.parametrize("verb", [b"SIZE", b"RETR", b"XSHA512"])
def test_f17_a_path_as_long_as_the_system_allows_passes(verb: bytes) -> None:
    forwarded(greeted(), verb + b" " + b"d" * 4095 + b"\r\n", b"550 No.\r\n")


def test_f17_the_longest_line_passes() -> None:
    forwarded(greeted(), b"CWD " + b"x" * (limits.MAX_FTP_LINE - 6) + b"\r\n")


@pytest.mark.parametrize("before", [b"", b"NOOP\r\n"])
def test_f17_a_line_never_finished_ends_after_a_minute_however_slowly_it_grows(
    before: bytes,
) -> None:
    dialogue = greeted().client_says(before, b"C")
    for _ in range(59):
        dialogue.time_passes(1).client_says(b"W")

    dialogue.still_open().time_passes(1).was_reset("partial-line")


def test_f17_a_finished_line_stops_the_clock() -> None:
    dialogue = greeted().client_says(b"NO").time_passes(59).client_says(b"OP\r\n")

    dialogue.server_hears(b"NOOP\r\n").time_passes(3600).still_open()


def test_f17_each_line_has_a_clock_of_its_own() -> None:
    dialogue = greeted().client_says(b"NO").time_passes(59).client_says(b"OP\r\nNO")

    dialogue.time_passes(59).still_open().time_passes(1).was_reset("partial-line")


def test_f19_a_byte_once_read_cannot_be_said_again() -> None:
    # TCP ends at us: what a retransmission or an overlap says differently is never read. Left to
    # show is that a line is settled by its first reading.
    dialogue = greeted().client_says(b"NOOP\r").client_says(b"\nPORT 10,0,0,9,6,17\r\n")

    dialogue.server_hears(b"NOOP\r\n").pinholes()


@pytest.mark.parametrize(
    "path", [b"/", b"/PORT%2010,0,0,8,0,22", b"/" + b"x" * 300, b"http://192.0.2.1/"]
)
@pytest.mark.parametrize("method", [b"POST", b"GET", b"fetch"])
def test_h01_a_session_that_begins_with_http_can_never_bind(method: bytes, path: bytes) -> None:
    dialogue = greeted().client_says(b"%b %b HTTP/1.1\r\nHost: x\r\n\r\n" % (method, path))

    dialogue.was_reset("not-ftp-http").client_says(b"PORT 10,0,0,8,0,22\r\n").nothing_more()
    dialogue.pinholes()


def test_h01_the_request_may_come_in_pieces_and_before_the_greeting() -> None:
    pieces = [b"PO", b"ST / HT", b"TP/1.1\r\n", b"PORT 10,0,0,8,0,22\r\n"]

    Dialogue(FtpFilter()).client_says(*pieces).was_reset("not-ftp-http").nothing_more().pinholes()


def test_h02_a_high_port_in_a_request_body_does_not_bind_either() -> None:
    dialogue = greeted().client_says(b"POST / HTTP/1.1\r\n\r\n", IPV4.ask).nothing_more()

    dialogue.was_reset("not-ftp-http").pinholes()


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (b"\x16\x03\x01\x02\x00\x01PORT 10,0,0,8,6,17\r\n", "not-ftp-tls"),
        (b"GET /chat HTTP/1.1\r\nUpgrade: websocket\r\n", "not-ftp-http"),
        (b"SSH-2.0-x\r\n", "not-ftp-ssh"),
        (b"\x00\x01PORT 10,0,0,8,6,17\r\n", "not-ftp-unknown"),
        (b"x" * limits.MAX_FTP_LINE, "not-ftp-unknown"),
    ],
)
def test_h07_another_protocols_first_bytes_end_the_session(first: bytes, reason: str) -> None:
    greeted().client_says(first).was_reset(reason).nothing_more().pinholes()


def test_v11_a_reply_line_of_64_kib_passes_in_parts_and_is_not_kept() -> None:
    dialogue = greeted().client_says(b"NOOP\r\n").server_says(b"200 " + b"x" * 65536)
    heard = len(dialogue.client_end.heard)
    assert heard > 65536 - limits.MAX_FTP_REPLY_LINE

    dialogue.server_says(b"\r\n").client_hears(b"200 " + b"x" * 65536 + b"\r\n")
    agreed(IPV4, dialogue.server_hears(b"NOOP\r\n"))


def test_v11_a_hundred_thousand_continuation_lines_pass_and_are_not_kept() -> None:
    listing = b"x\r\n" * 100_000
    dialogue = greeted().client_says(b"STAT -l\r\n").server_hears(b"STAT -l\r\n")
    dialogue.server_says(b"213-\r\n", listing).client_hears(b"213-\r\n" + listing)

    forwarded(dialogue.server_says(b"213 end\r\n").client_hears(b"213 end\r\n"), b"NOOP\r\n")


@pytest.mark.parametrize("command", [b"PASV\r\n", b"EPSV\r\n"])
def test_v11_a_reply_that_is_kept_back_is_kept_back_within_bounds(command: bytes) -> None:
    dialogue = greeted().client_says(command).server_says(b"227-\r\n" + b"x" * 98 + b"\r\n")
    for _ in range(limits.MAX_HELD_BYTES // 100):
        dialogue.server_says(b"x" * 98 + b"\r\n")

    dialogue.ended("reply-too-long").client_hears(b"").pinholes()


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (b"\x16\x03\x03\x00\x02", "not-ftp-tls"),
        (b"\x15\x03\x03\x00\x02", "not-ftp-tls"),
        (b"HTTP/1.1 200 OK\r\n", "not-ftp-http"),
        (b"SSH-2.0-x\r\n", "not-ftp-ssh"),
        (b"\x00", "not-ftp-unknown"),
    ],
)
@both_families
def test_v12_a_server_that_speaks_another_protocol_ends_the_session(
    family: Family, first: bytes, reason: str
) -> None:
    dialogue = Dialogue(FtpFilter(), version=family.version).client_says(family.ask)

    dialogue.server_says(first).was_reset(reason).nothing_more().pinholes()


def test_v12_text_that_is_no_reply_passes_and_lets_no_command_through() -> None:
    dialogue = Dialogue(FtpFilter()).client_says(IPV4.ask).server_says(b"* OK IMAP4\r\n")

    dialogue.client_hears(b"* OK IMAP4\r\n").server_hears(b"").pinholes()
    dialogue.time_passes(limits.FTP_REPLY_SECONDS).ended("no-reply-in-time")


def test_v12_a_banner_has_an_end() -> None:
    line = b"* 1 FETCH\r\n"
    dialogue = Dialogue(FtpFilter()).server_says(line * limits.MAX_FTP_BANNER_LINES).still_open()

    dialogue.server_says(line).ended("not-a-reply")


def test_an_idle_dialogue_ends_and_a_used_one_does_not() -> None:
    dialogue = greeted().time_passes(limits.CONTROL_IDLE_SECONDS - 1)
    forwarded(dialogue, b"NOOP\r\n").time_passes(limits.CONTROL_IDLE_SECONDS).still_open()

    dialogue.time_passes(2 * limits.CONTROL_IDLE_SECONDS).was_reset("idle")


def test_a_word_from_either_side_is_use() -> None:
    for_client = greeted().time_passes(limits.CONTROL_IDLE_SECONDS).client_says(b"NOOP\r\n")
    for_server = greeted().time_passes(limits.CONTROL_IDLE_SECONDS).server_says(OK)

    for dialogue in (for_client, for_server):
        dialogue.time_passes(limits.CONTROL_IDLE_SECONDS).still_open()


def test_an_unfinished_line_dies_with_the_clients_fin() -> None:
    dialogue = greeted().client_says(b"NOOP\r\nPORT 10,0").client_closes()

    dialogue.server_hears(b"NOOP\r\n").server_hears_end()
    dialogue.time_passes(limits.PARTIAL_LINE_SECONDS).still_open()
    dialogue.server_says(OK).client_hears(OK)


@pytest.mark.parametrize("begun", [b"G", b"SS"])
def test_what_may_begin_another_protocol_and_is_not_finished_dies_with_the_clients_fin(
    begun: bytes,
) -> None:
    dialogue = Dialogue(FtpFilter()).server_says(READY).client_hears(READY).client_says(begun)
    dialogue.server_hears(b"").client_closes().server_hears(b"").server_hears_end()

    dialogue.time_passes(limits.PARTIAL_LINE_SECONDS).server_hears(b"").still_open()


@pytest.mark.parametrize("begun", [b"S", b"SSH"])
def test_a_greeting_that_is_cut_off_is_heard_and_the_dialogue_ends(begun: bytes) -> None:
    dialogue = Dialogue(FtpFilter()).server_says(begun).client_hears(b"").server_closes()

    dialogue.client_hears(begun).ended("server-closed")
