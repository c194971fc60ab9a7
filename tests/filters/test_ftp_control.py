"""What waits for what, who answers when, and what becomes of an agreement."""

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
    asked,
    both_families,
    forwarded,
    greeted,
)

from sallyport import limits
from sallyport.filters.ftp import FtpFilter
from sallyport.testing import Dialogue

REFUSED = b"502 Command not implemented.\r\n"


def waits(dialogue: Dialogue) -> bool:
    """Whether what the client sends waits in its socket."""
    return dialogue.connection.chain.holds_accepted


@pytest.mark.parametrize("command", [b"AUTH TLS\r\n", b"PASV\r\n", b"EPSV\r\n"])
def test_commands_behind_a_barrier_wait_for_its_reply(command: bytes) -> None:
    dialogue = greeted().client_says(command + b"NOOP\r\n")
    assert b"NOOP" not in dialogue.server_end.heard

    dialogue.server_says(b"500 No.\r\n")
    assert dialogue.server_end.heard.endswith(b"NOOP\r\n")


def test_other_commands_do_not_wait() -> None:
    pipelined = b"TYPE I\r\nCWD a\r\nSIZE b\r\n"

    greeted().client_says(pipelined).server_hears(pipelined)


def test_two_transfers_sent_ahead_each_get_their_own_pinhole() -> None:
    dialogue = greeted().client_says(IPV4.ask + b"RETR a\r\n" + ASK_SECOND + b"RETR b\r\n")
    dialogue.server_hears(IPV4.heard + b"RETR a\r\n").server_says(OK).pinholes(IPV4.pinhole)

    dialogue.server_says(b"150 a\r\n").server_hears(b"").connects(IPV4.server, IPV4.listen)

    dialogue.server_hears(HEARD_SECOND + b"RETR b\r\n").pinholes(PINHOLE_SECOND)
    dialogue.server_says(b"226 a\r\n", OK, b"150 b\r\n").connects(IPV4.server, "203.0.113.1:40582")


@pytest.mark.parametrize("command", [b"REIN\r\n", b"user b\r\n", b"PASV\r\n", b"EPSV\r\n"])
def test_what_withdraws_a_pinhole_waits_for_the_transfer_that_needs_it(command: bytes) -> None:
    dialogue = agreed().client_says(b"LIST\r\n" + command).server_hears(b"LIST\r\n")
    dialogue.server_says(b"150 Here\r\n").pinholes(IPV4.pinhole).server_hears(b"")

    dialogue.server_says(b"425 No.\r\n").pinholes().server_hears(command)


def test_nothing_overtakes_a_line_that_waits() -> None:
    dialogue = agreed().client_says(b"RETR a\r\n").server_hears(b"RETR a\r\n")
    dialogue.client_says(b"PASV\r\n").client_says(b"NOOP\r\n").server_hears(b"")

    dialogue.server_says(b"226 a\r\n").server_hears(b"PASV\r\n")


@pytest.mark.parametrize("command", [b"ABOR\r\n", b"STAT\r\n", b"NOOP\r\n", b"QUIT\r\n"])
def test_what_may_be_said_during_a_transfer_reaches_the_server_at_once(command: bytes) -> None:
    dialogue = agreed().client_says(b"RETR a\r\n").server_hears(b"RETR a\r\n")

    dialogue.server_says(b"150 a\r\n").client_says(command).server_hears(command)


def test_an_aborted_transfer_leaves_the_order_of_replies_right() -> None:
    dialogue = agreed().client_says(b"RETR a\r\nABOR\r\n").server_hears(b"RETR a\r\nABOR\r\n")
    dialogue.server_says(b"150 a\r\n426 Aborted.\r\n226 ABOR ok.\r\n")
    dialogue.client_hears(b"150 a\r\n426 Aborted.\r\n226 ABOR ok.\r\n")

    dialogue.client_says(ASK_SECOND).server_hears(HEARD_SECOND).server_says(OK)
    dialogue.pinholes(PINHOLE_SECOND)


def test_a_status_within_a_transfer_does_not_move_a_later_agreement() -> None:
    status = b"213-Status\r\n half way\r\n213 End\r\n"
    dialogue = agreed().client_says(b"RETR a\r\nSTAT\r\n" + ASK_SECOND)
    dialogue.server_hears(b"RETR a\r\nSTAT\r\n").connects(IPV4.server, IPV4.listen)
    dialogue.server_says(b"150 a\r\n" + status + b"226 a\r\n")

    dialogue.client_hears(b"150 a\r\n" + status + b"226 a\r\n").server_hears(HEARD_SECOND)
    dialogue.server_says(OK).pinholes(PINHOLE_SECOND)


def test_an_answer_of_ours_comes_in_the_order_of_the_commands() -> None:
    dialogue = greeted().client_says(b"NOOP\r\nLPSV\r\nSYST\r\n").client_hears(b"")
    dialogue.server_hears(b"NOOP\r\nSYST\r\n")

    dialogue.server_says(b"200 a\r\n").client_hears(b"200 a\r\n" + REFUSED)
    dialogue.server_says(b"215 b\r\n").client_hears(b"215 b\r\n").nothing_more()


def test_an_answer_of_ours_does_not_split_a_reply_of_several_lines() -> None:
    dialogue = greeted().client_says(b"FEAT\r\nLPSV\r\n").server_says(b"211-Features\r\n")
    dialogue.client_hears(b"211-Features\r\n").server_says(b" UTF8\r\n211 End\r\n")

    dialogue.client_hears(b" UTF8\r\n211 End\r\n" + REFUSED)


def test_a_reply_of_several_lines_to_port_counts_with_its_last_line() -> None:
    dialogue = asked().server_says(b"500-No,\r\n").pinholes(IPV4.pinhole)

    dialogue.server_says(b"500 no\r\n").pinholes().client_hears(b"500-No,\r\n500 no\r\n")


def test_a_reply_to_port_is_heard_whole() -> None:
    reply = b"200-PORT\r\n is\r\n200 fine\r\n"

    asked().server_says(reply).client_hears(reply).pinholes(IPV4.pinhole)


@both_families
def test_a_passive_request_withdraws_an_active_agreement_and_the_reverse(family: Family) -> None:
    dialogue = agreed(family).client_says(family.ask_passive).pinholes()
    dialogue.server_says(family.reply_passive).pinholes(family.passive_pinhole)

    dialogue.client_says(family.ask)
    (pinhole,) = dialogue.data_path.pinholes.values()
    assert str(pinhole.listen) != family.passive


def test_a_passive_request_that_is_refused_by_us_withdraws_too() -> None:
    agreed().client_says(b"PASV now\r\n").pinholes().noted("command.refused", "bad-pasv-argument")
    agreed().client_says(b"EPSV now\r\n").pinholes().noted("command.refused", "bad-epsv-argument")


def test_only_one_agreement_is_pending_at_a_time() -> None:
    dialogue = greeted().client_says(b"PASV\r\n" + IPV4.ask).server_hears(b"PASV\r\n")
    dialogue.server_says(IPV4.reply_passive).server_hears(IPV4.heard).pinholes(IPV4.pinhole)


def test_a_client_that_runs_ahead_is_read_no_further_until_the_server_has_caught_up() -> None:
    ahead = b"NOOP\r\nSYST\r\n" * (limits.MAX_FTP_PIPELINE // 2)
    dialogue = greeted().client_says(ahead).server_hears(ahead)
    dialogue.client_says(ahead).nothing_more()
    assert not waits(dialogue)
    dialogue.client_says(b"PWD\r\n", b"QUIT\r\n").client_closes().nothing_more().still_open()
    assert waits(dialogue)

    dialogue.server_says(OK * limits.MAX_FTP_PIPELINE).server_hears(ahead).still_open()
    dialogue.server_says(OK).server_hears(b"PWD\r\n")
    assert not waits(dialogue)
    dialogue.server_says(OK).server_hears(b"QUIT\r\n").server_hears_end()


@both_families
def test_bytes_held_at_the_bound_make_the_client_wait_and_the_server_goes_on(
    family: Family,
) -> None:
    line = b"SIZE " + b"x" * 4000 + b"\r\n"
    dialogue = greeted(family).client_says(family.ask_passive).server_hears(family.ask_passive)
    for _ in range(200):
        dialogue.client_says(line)
    assert waits(dialogue)
    dialogue.server_says(b"Soon\r\n").client_hears(b"Soon\r\n").server_hears(b"")

    dialogue.server_says(family.reply_passive).client_hears(family.reply_passive)
    dialogue.server_hears(line * 200).pinholes(family.passive_pinhole)


def test_a_client_that_runs_ahead_of_a_server_that_is_silent_goes_on_some_day() -> None:
    ahead = b"NOOP\r\nSYST\r\n" * limits.MAX_FTP_PIPELINE
    dialogue = greeted().client_says(ahead, b"PWD\r\n")

    dialogue.time_passes(limits.FTP_REPLY_SECONDS + limits.FTP_SILENCE_SECONDS + 1)
    dialogue.server_hears(ahead).still_open().noted("reply.missing", "server-answered-less")
    dialogue.time_passes(limits.FTP_REPLY_SECONDS + limits.FTP_SILENCE_SECONDS + 1)
    dialogue.server_hears(b"PWD\r\n")


def test_a_line_that_was_begun_is_not_late_while_we_do_not_read_its_end() -> None:
    dialogue = greeted().client_says(b"PASV\r\n", b"x" * 140_000, b"\r\nPWD\r\nNO", b"OP\r\n")
    dialogue.client_says(*[b"SIZE " + b"x" * 4000 + b"\r\n"] * 40, b"PW", b"D\r\n")
    dialogue.time_passes(2 * limits.PARTIAL_LINE_SECONDS).still_open()

    dialogue.server_says(b"500 No.\r\n")
    assert dialogue.server_end.heard.endswith(b"x\r\nPWD\r\n")


def test_lines_held_at_the_bound_go_on_as_replies_come() -> None:
    ahead = b"NOOP\r\nSYST\r\n" * (limits.MAX_FTP_PIPELINE // 2)
    dialogue = greeted().client_says(ahead + b"PWD\r\n").server_hears(ahead)

    dialogue.server_says(OK).server_hears(b"PWD\r\n")


def test_keep_alives_ahead_of_their_replies_are_not_bounded() -> None:
    ahead = b"NOOP\r\n" * (2 * limits.MAX_FTP_PIPELINE)
    dialogue = greeted().client_says(ahead).server_hears(ahead)

    dialogue.server_says(OK * (2 * limits.MAX_FTP_PIPELINE)).still_open()
    forwarded(dialogue.client_hears(OK * (2 * limits.MAX_FTP_PIPELINE)), b"PWD\r\n")


def test_who_runs_ahead_with_what_we_answer_ourselves_waits_as_well() -> None:
    dialogue = greeted().client_says(b"RETR a\r\n").server_hears(b"RETR a\r\n")

    dialogue.client_says(b"LPSV\r\n" * 10_000, b"NOOP\r\n").nothing_more().still_open()
    assert waits(dialogue)
    dialogue.server_says(b"550 No.\r\n").client_hears(b"550 No.\r\n" + REFUSED * 10_000)
    dialogue.server_hears(b"NOOP\r\n")


def test_everything_said_before_a_fin_is_carried_out() -> None:
    script = b"USER a\r\nPASS b\r\nSTAT\r\nQUIT\r\n"
    dialogue = Dialogue(FtpFilter()).client_says(script).client_closes().nothing_more()

    dialogue.server_says(READY).client_hears(READY).server_hears(script).server_hears_end()
    dialogue.server_says(OK * 4).client_hears(OK * 4).server_closes().ended("server-closed")


def test_a_fin_waits_behind_a_line_that_waits() -> None:
    dialogue = greeted().client_says(b"EPSV\r\nQUIT\r\n").client_closes().server_hears(b"EPSV\r\n")
    assert not dialogue.server_end.is_shut

    dialogue.server_says(b"500 No.\r\n").server_hears(b"QUIT\r\n").server_hears_end()


def test_a_fin_within_tls_is_passed_on() -> None:
    dialogue = forwarded(greeted(), b"AUTH TLS\r\n", b"234 Go\r\n").client_closes()

    dialogue.server_hears_end().still_open()


def test_a_binding_that_timed_out_before_the_server_agreed_is_told_as_425() -> None:
    dialogue = asked().time_passes(limits.ACCEPT_TIMEOUT_SECONDS).server_says(OK)

    dialogue.client_hears(b"425 Can't open data connection.\r\n").pinholes().still_open()
