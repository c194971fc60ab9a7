"""Whole conversations, as real clients and servers hold them."""

import pytest
from tests.filters.talk import (
    IPV4,
    IPV6,
    OK,
    READY,
    Family,
    agreed,
    asked,
    both_families,
    forwarded,
    greeted,
)

from sallyport.errors import OutOfResources
from sallyport.filters.ftp import FtpFilter, FtpSettings
from sallyport.testing import Dialogue


def logged_in(family: Family) -> Dialogue:
    dialogue = greeted(family)
    forwarded(dialogue, b"USER anonymous\r\n", b"331 Password, please.\r\n")
    return forwarded(dialogue, b"PASS guest@\r\n", b"230 Welcome.\r\n")


@both_families
def test_an_active_download_runs_from_login_to_farewell(family: Family) -> None:
    dialogue = logged_in(family)
    forwarded(dialogue, b"TYPE I\r\n")
    agreed(family, dialogue)
    dialogue.client_says(b"RETR readme\r\n").server_hears(b"RETR readme\r\n")
    dialogue.server_says(b"150 Here it comes.\r\n").client_hears(b"150 Here it comes.\r\n")
    dialogue.connects(family.server, family.listen).transfers(family.server).pinholes()
    dialogue.finishes(family.server).transfers()
    dialogue.server_says(b"226 Done.\r\n").client_hears(b"226 Done.\r\n")
    forwarded(dialogue, b"QUIT\r\n", b"221 Goodbye.\r\n")
    dialogue.server_closes().ended("server-closed")

    assert not list(dialogue.gateway.sessions)
    assert dialogue.data_path.reserved == set()


@both_families
def test_a_passive_upload_runs_from_login_to_farewell(family: Family) -> None:
    dialogue = logged_in(family)
    forwarded(dialogue, family.ask_passive, family.reply_passive)
    dialogue.pinholes(family.passive_pinhole)
    dialogue.client_says(b"STOR new\r\n").server_hears(b"STOR new\r\n")
    dialogue.connects(family.client, family.passive).transfers(family.client).pinholes()
    dialogue.server_says(b"150 Send it.\r\n", b"226 Got it.\r\n")
    dialogue.client_hears(b"150 Send it.\r\n226 Got it.\r\n").finishes(family.client)
    forwarded(dialogue, b"QUIT\r\n", b"221 Goodbye.\r\n")
    dialogue.server_closes().ended("server-closed")

    assert not list(dialogue.gateway.sessions)


@both_families
def test_a_server_may_connect_before_it_answers_port(family: Family) -> None:
    dialogue = asked(family).connects(family.server, family.listen).pinholes()

    dialogue.server_says(OK).client_hears(OK).transfers(family.server)
    forwarded(dialogue, b"RETR a\r\n", b"150 a\r\n226 a\r\n").transfers(family.server)


def test_eprt_works_behind_nat_and_hides_the_client_too() -> None:
    dialogue = greeted(IPV4).client_says(b"EPRT |1|10.0.0.8|1553|\r\n")
    dialogue.server_hears(b"EPRT |1|203.0.113.1|40271|\r\n").server_says(OK).client_hears(OK)
    dialogue.pinholes(IPV4.pinhole)


def test_epsv_works_behind_nat() -> None:
    forwarded(greeted(IPV4), IPV6.ask_passive, IPV6.reply_passive).pinholes(IPV4.passive_pinhole)


@pytest.mark.parametrize("argument", [b" 1", b" 2"])
def test_epsv_with_a_family_passes_and_its_229_opens(argument: bytes) -> None:
    command = b"EPSV" + argument + b"\r\n"
    forwarded(greeted(IPV6), command, IPV6.reply_passive).pinholes(IPV6.passive_pinhole)


def test_verbs_are_read_in_any_case() -> None:
    greeted().client_says(b"pOrT 10,0,0,8,6,17\r\n").server_hears(IPV4.heard)
    forwarded(greeted(), b"pasv\r\n", IPV4.reply_passive).pinholes(IPV4.passive_pinhole)


def test_bytes_of_commands_without_addresses_pass_identical() -> None:
    dialogue = greeted()
    for command in (
        b"cwd  two  blanks \r\n",
        b"RETR na\xefve \xff\xff.txt\r\n",
        b"STOR (1,2,3)\r\n",
    ):
        forwarded(dialogue, command)


def test_a_kernel_without_room_is_told_to_the_client_as_425() -> None:
    dialogue = greeted().next_bind_fails(OutOfResources("sets-are-full")).client_says(IPV4.ask)

    dialogue.client_hears(b"425 Can't open data connection.\r\n").server_hears(b"").pinholes()
    dialogue.noted("binding.refused", "sets-are-full").still_open()


def test_the_client_may_go_on_after_a_passive_answer_was_refused() -> None:
    dialogue = greeted().next_bind_fails(OutOfResources("sets-are-full")).client_says(b"PASV\r\n")
    dialogue.server_hears(b"PASV\r\n").server_says(IPV4.reply_passive)
    dialogue.client_hears(b"425 Can't open passive connection.\r\n").pinholes()

    agreed(IPV4, dialogue)


def test_an_unused_pinhole_closes_after_a_minute_and_the_dialogue_goes_on() -> None:
    dialogue = agreed().time_passes(59).pinholes(IPV4.pinhole).time_passes(1).pinholes()

    forwarded(dialogue.still_open(), b"NOOP\r\n")


def test_two_control_connections_of_one_client_do_not_mix() -> None:
    first = agreed()
    second = Dialogue(FtpFilter(), client="10.0.0.8:50009", beside=first)
    second.server_says(READY).client_hears(READY)

    second.client_says(b"PASV\r\n").client_says(b"QUIT\r\n").client_resets()

    first.pinholes(IPV4.pinhole).still_open()


def test_the_strict_data_port_is_a_setting_and_off_by_default() -> None:
    assert FtpSettings().strict_data_port is False
    assert FtpSettings().trust_pasv_address == "server"
