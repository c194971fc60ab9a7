"""What servers try (attacks V01-V10): only what the client asked for opens, at the server."""

import pytest
from tests.filters.talk import (
    ASK_SECOND,
    HEARD_SECOND,
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

from sallyport.filters.ftp import FtpFilter, FtpSettings
from sallyport.testing import Dialogue

NO_PASSIVE = b"425 Can't open passive connection.\r\n"


def passive_refused(family: Family, command: bytes, reply: bytes, reason: str) -> Dialogue:
    """Check that the reply to a passive command opens nothing and the client hears of a failure."""
    dialogue = greeted(family).client_says(command).server_hears(command).server_says(reply)
    dialogue.client_hears(NO_PASSIVE).nothing_more().pinholes().still_open()
    return dialogue.noted("passive.refused", reason)


@pytest.mark.parametrize("address", [b"198,51,100,7", b"10,0,0,9", b"10,0,0,8", b"192,168,0,1"])
def test_v01_a_227_naming_another_host_is_refused(address: bytes) -> None:
    reply = b"227 Entering Passive Mode (%b,19,137)\r\n" % address
    passive_refused(IPV4, b"PASV\r\n", reply, "passive-address-is-not-the-servers")


def test_v01_by_setting_the_address_is_replaced_by_the_servers_and_nothing_else_changes() -> None:
    dialogue = greeted(settings=FtpSettings(trust_pasv_address="replace"))
    dialogue.client_says(b"PASV\r\n").server_says(b"227 Go (172,17,0,2,19,137), please.\r\n")

    dialogue.client_hears(b"227 Go (203,0,113,9,19,137), please.\r\n").pinholes(
        IPV4.passive_pinhole
    )


def test_v01_what_the_server_said_before_a_replaced_address_is_heard() -> None:
    dialogue = greeted(settings=FtpSettings(trust_pasv_address="replace"))
    dialogue.client_says(b"PASV\r\n").server_says(b"227-Go\r\n227 (172,17,0,2,19,137)\r\n")

    dialogue.client_hears(b"227-Go\r\n227 (203,0,113,9,19,137)\r\n")


def test_v01_a_replaced_address_does_not_make_a_low_port_better() -> None:
    dialogue = greeted(settings=FtpSettings(trust_pasv_address="replace"))
    dialogue.client_says(b"PASV\r\n").server_says(b"227 (172,17,0,2,0,22)\r\n")

    dialogue.client_hears(NO_PASSIVE).pinholes().noted(
        "passive.refused", "server-port-below-minimum"
    )


def test_v01_a_227_on_an_ipv6_connection_that_names_an_ipv4_host_is_refused() -> None:
    passive_refused(IPV6, b"PASV\r\n", IPV4.reply_passive, "passive-address-is-not-the-servers")


@both_families
def test_v02_a_passive_reply_to_another_command_passes_and_opens_nothing(family: Family) -> None:
    for reply in (IPV4.reply_passive, IPV6.reply_passive):
        forwarded(greeted(family), b"NOOP\r\n", reply).pinholes()


def test_v02_a_promise_asks_for_no_port() -> None:
    forwarded(greeted(), b"EPSV ALL\r\n", IPV6.reply_passive).pinholes()


@both_families
def test_v03_a_passive_reply_in_a_banner_or_a_331_passes_and_opens_nothing(family: Family) -> None:
    banner = b"220-Welcome\r\n" + family.reply_passive + b"220 " + family.reply_passive
    dialogue = Dialogue(FtpFilter(), version=family.version).server_says(banner)
    dialogue.client_hears(banner)
    password = b"331-\r\n" + family.reply_passive + b"331 Password for 227 (1,2,3,4,5,6)?\r\n"
    forwarded(dialogue, b"USER 227\r\n", password).pinholes()


def test_v03_only_the_final_line_of_the_reply_to_pasv_counts() -> None:
    reply = b"227-Not (203,0,113,9,4,5)\r\n227-nor\r\n227 (203,0,113,9,19,137)\r\n"

    forwarded(greeted(), b"PASV\r\n", reply).pinholes(IPV4.passive_pinhole)


def test_v03_a_refusal_of_ours_replaces_the_whole_reply() -> None:
    passive_refused(
        IPV4,
        b"PASV\r\n",
        b"227-Listen\r\n227 (203,0,113,9,0,22)\r\n",
        "server-port-below-minimum",
    )


def test_v04_a_227_without_an_address_passes_untouched() -> None:
    forwarded(greeted(), b"PASV\r\n", b"227 Logout.\r\n").pinholes()


@pytest.mark.parametrize(
    "text",
    [
        b"=203,0,113,9,19,137",
        b"Entering Passive Mode 203,0,113,9,19,137",
        b"[203, 0, 113, 9, 19, 137] ok",
        b"2 is (203,0,113,9,19,137)",
        b"(203,000,113,009,019,137)",
    ],
)
def test_v05_a_227_is_read_with_tolerance_and_passes_untouched(text: bytes) -> None:
    forwarded(greeted(), b"PASV\r\n", b"227 " + text + b"\r\n").pinholes(IPV4.passive_pinhole)


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        (b"203,0,113,9,0019,137", "bad-227"),
        (b"203,0,113,9,256,1", "bad-227"),
        (b"203,0,113,9,19,137,1", "bad-227"),
        (b"203,0,113,9,0,0", "bad-port"),
        (b"203,0,113,9,19,137 203,0,113,9,19,138", "bad-227"),
        (b"203,0,113,9,0,22", "server-port-below-minimum"),
    ],
)
def test_v05_the_numbers_of_a_227_are_read_strictly(numbers: bytes, reason: str) -> None:
    passive_refused(IPV4, b"PASV\r\n", b"227 (" + numbers + b")\r\n", reason)


@pytest.mark.parametrize(
    ("inside", "reason"),
    [
        (b"|||70000|", "bad-port"),
        (b"|||65536|", "bad-port"),
        (b"|||0|", "bad-port"),
        (b"|||22|", "server-port-below-minimum"),
        (b"|||1023|", "server-port-below-minimum"),
        (b"|||", "bad-229"),
        (b"||||", "bad-229"),
        (b"|1|198.51.100.7|5001|", "bad-229"),
        (b"||198.51.100.7|5001|", "bad-229"),
        (b"|||5001|) or (|||5002|", "bad-229"),
    ],
)
@both_families
def test_v06_a_229_with_anything_but_a_fit_port_is_refused(
    family: Family, inside: bytes, reason: str
) -> None:
    passive_refused(family, b"EPSV\r\n", b"229 ok (" + inside + b")\r\n", reason)


@pytest.mark.parametrize(
    "text", [b"Extended Passive Mode (EPSV) (|||5001|)", b"(ok) (|||5001|) (now)", b"((|||5001|))"]
)
@both_families
def test_v06_the_port_of_a_229_may_stand_among_other_brackets(family: Family, text: bytes) -> None:
    # FileZilla, FluentFTP and .NET find it there.
    reply = b"229 " + text + b"\r\n"
    forwarded(greeted(family), b"EPSV\r\n", reply).pinholes(family.passive_pinhole)


def test_v07_a_code_within_a_multi_line_reply_ends_nothing() -> None:
    reply = b"211-Status\r\n227 (203,0,113,9,19,137)\r\n 211 padded\r\n211-more\r\n211 End\r\n"
    dialogue = greeted().client_says(b"STAT\r\nPASV\r\n").server_says(reply).client_hears(reply)
    dialogue.pinholes().server_says(IPV4.reply_passive).pinholes(IPV4.passive_pinhole)


@both_families
def test_v08_an_echoed_line_that_looks_like_a_reply_opens_nothing(family: Family) -> None:
    # The echo begins a segment of its own, as the attacker arranges it by MSS and ACK games.
    dialogue = greeted(family).client_says(b"STAT x\r\n").server_hears(b"STAT x\r\n")
    dialogue.server_says(b"213-Status of x:\r\n", family.reply_passive, b"213 End\r\n").pinholes()
    dialogue.still_open()


@both_families
def test_v08_an_echo_ahead_of_the_real_answer_does_not_reach_a_service(family: Family) -> None:
    dialogue = greeted(family).client_says(family.ask_passive)
    dialogue.server_says(b"227 (203,0,113,9,0,22)\r\n" if family is IPV4 else b"229 (|||22|)\r\n")
    dialogue.client_hears(NO_PASSIVE).pinholes()

    dialogue.server_says(family.reply_passive).pinholes().still_open()


@both_families
def test_v09_replies_that_were_not_asked_for_pass_and_open_nothing(family: Family) -> None:
    dialogue = greeted(family)
    for reply in (family.reply_passive, OK, OK, family.reply_passive):
        dialogue.server_says(reply).client_hears(reply).pinholes().still_open()


def test_v09_an_announced_end_is_never_stray() -> None:
    dialogue = greeted()
    for _ in range(3):
        dialogue.server_says(b"421 Going down.\r\n").client_hears(b"421 Going down.\r\n")

    dialogue.still_open()


def test_v09_a_reply_before_port_is_not_its_answer() -> None:
    dialogue = greeted().server_says(OK).client_hears(OK)

    asked(IPV4, dialogue).server_says(b"500 No.\r\n").pinholes()


@both_families
def test_v10_only_the_client_may_connect_to_the_passive_port(family: Family) -> None:
    other = "10.0.0.9:50000" if family is IPV4 else "[fd00:a::9]:50000"
    dialogue = forwarded(greeted(family), family.ask_passive, family.reply_passive)

    dialogue.cannot_connect(other, family.passive).pinholes(family.passive_pinhole)
    dialogue.connects(family.client, family.passive)


def test_v10_the_port_told_to_the_server_is_drawn_anew_for_each_transfer() -> None:
    agreed().client_says(ASK_SECOND).server_hears(HEARD_SECOND)


def test_a_refused_greeting_ends_the_dialogue_after_the_client_heard_it() -> None:
    dialogue = Dialogue(FtpFilter()).server_says(b"421 Too many users.\r\n")

    dialogue.client_hears(b"421 Too many users.\r\n").ended("greeting-refused")


def test_a_delayed_greeting_is_waited_for() -> None:
    dialogue = Dialogue(FtpFilter()).client_says(b"USER a\r\n").server_says(b"120 In 3 minutes\r\n")

    dialogue.server_hears(b"").server_says(READY).server_hears(b"USER a\r\n")
