"""AUTH, CCC and REIN: the stream becomes opaque and readable again (attacks F30, F31)."""

from dataclasses import replace

import pytest
from tests.filters.talk import (
    IPV4,
    IPV6,
    OK,
    Family,
    agreed,
    asked,
    both_families,
    forwarded,
    greeted,
    refused,
)

from sallyport import limits
from sallyport.filters.ftp import FTP, FTP_SERVER, FtpFilter
from sallyport.testing import Dialogue

HELLO = b"\x16\x03\x01\x00\x04hiya"
# As Java 6 and OpenSSL 0.9 begin: a record of SSL 2 that offers TLS.
OLD_HELLO = b"\x80\x07\x01\x03\x01hiya"
CIPHERED = b"\x17\x03\x03\x00\x06\x14PORT\n"
CLOSING = b"\x15\x03\x03\x00\x02ab"


def in_tls(family: Family = IPV4) -> Dialogue:
    """Return a dialogue in which both sides speak TLS."""
    dialogue = forwarded(greeted(family), b"AUTH TLS\r\n", b"234 Go ahead.\r\n")
    dialogue.client_says(HELLO).server_hears(HELLO).server_says(HELLO).client_hears(HELLO)
    return dialogue.noted("stream.opaque", "auth-tls")


def test_f30_plain_text_behind_auth_is_dropped_when_the_server_accepts() -> None:
    dialogue = (
        greeted().client_says(b"AUTH TLS\r\nUSER evil\r\nPASS x").server_hears(b"AUTH TLS\r\n")
    )

    dialogue.server_says(b"234 Go\r\n220 injected\r\n331 inj").client_hears(b"234 Go\r\n")
    dialogue.client_says(HELLO).server_hears(HELLO).server_says(HELLO).client_hears(HELLO)
    dialogue.time_passes(limits.PARTIAL_LINE_SECONDS).still_open()


def test_f30_what_was_dropped_does_not_come_back_after_ccc() -> None:
    dialogue = (
        greeted().client_says(b"AUTH TLS\r\nUSER evil\r\nPASS x").server_hears(b"AUTH TLS\r\n")
    )
    dialogue.server_says(b"234 Go\r\n331 inj").client_hears(b"234 Go\r\n")
    dialogue.client_says(HELLO).server_says(HELLO).client_hears(HELLO).server_hears(HELLO)

    forwarded(dialogue, b"NOOP\r\n")


def test_f30_plain_text_instead_of_a_handshake_ends_the_dialogue() -> None:
    dialogue = forwarded(greeted(), b"AUTH TLS\r\n", b"234 Go\r\n")

    dialogue.client_says(b"USER evil\r\n").was_reset("plain-text-after-auth").nothing_more()


@pytest.mark.parametrize("line", [b"AUTH SSL\r\n", b"auth tls-p\r\n", b"AUTH TLS-C\r\n"])
def test_f30_older_names_of_tls_make_the_stream_opaque_too(line: bytes) -> None:
    dialogue = forwarded(greeted(), line, b"234-Go\r\n234 Go\r\n")

    dialogue.client_says(HELLO, CIPHERED).server_hears(HELLO + CIPHERED)


@both_families
def test_f30_ciphertext_is_not_read_whatever_it_holds(family: Family) -> None:
    dialogue = in_tls(family)
    record = b"\x17\x03\x03" + len(family.ask).to_bytes(2, "big") + family.ask

    dialogue.client_says(record).server_hears(record).server_says(record).client_hears(record)
    dialogue.pinholes().still_open()


def test_f30_auth_withdraws_what_was_agreed_on_in_plain_text() -> None:
    forwarded(agreed(), b"AUTH TLS\r\n", b"234 Go\r\n").pinholes()


ACCEPTED_OTHERWISE = [b"334 More.\r\n", b"200 AUTH command ok\r\n"]


@pytest.mark.parametrize("reply", [b"504 No.\r\n", b"534 No\r\n", *ACCEPTED_OTHERWISE])
@both_families
def test_f30_after_a_refused_auth_commands_are_read_as_before(family: Family, reply: bytes) -> None:
    dialogue = greeted(family).client_says(b"AUTH TLS\r\n" + family.ask)
    dialogue.server_hears(b"AUTH TLS\r\n").server_says(reply).client_hears(reply)
    if reply in ACCEPTED_OTHERWISE:  # the client may still begin a handshake
        dialogue.nothing_more().time_passes(limits.FTP_SILENCE_SECONDS)

    dialogue.server_hears(family.heard).server_says(OK).pinholes(family.pinhole)


@pytest.mark.parametrize("argument", [b" GSSAPI", b" KERBEROS_V4", b" TLSX", b"", b" TLS "])
def test_f30_mechanisms_that_would_hide_single_commands_are_refused(argument: bytes) -> None:
    refused(greeted(), b"AUTH" + argument + b"\r\n", 504, "unknown-mechanism")


@both_families
def test_f31_after_ccc_commands_are_read_again(family: Family) -> None:
    dialogue = in_tls(family).client_says(CIPHERED, CLOSING).server_says(CIPHERED, CLOSING)
    dialogue.server_hears(CIPHERED + CLOSING).client_hears(CIPHERED + CLOSING)

    asked(family, dialogue).server_says(OK).client_hears(OK).pinholes(family.pinhole)


def test_f31_after_ccc_the_client_may_speak_first_and_start_tls_again() -> None:
    dialogue = in_tls().client_says(CIPHERED + b"NOOP\r\n").server_hears(CIPHERED + b"NOOP\r\n")
    dialogue.server_says(CIPHERED + OK).client_hears(CIPHERED + OK)

    forwarded(dialogue, b"AUTH TLS\r\n", b"234 Go\r\n")
    dialogue.client_says(HELLO).server_hears(HELLO).still_open()


@pytest.mark.parametrize("command", [b"REIN\r\n", b"USER other\r\n"])
@both_families
def test_f31_a_new_login_withdraws_the_pinhole(family: Family, command: bytes) -> None:
    forwarded(agreed(family), command, b"220 Again.\r\n").pinholes()


def test_ipv6_ciphertext_is_passed_after_a_split_header() -> None:
    in_tls(IPV6).client_says(CIPHERED[:3]).server_hears(b"").client_says(CIPHERED[3:]).server_hears(
        CIPHERED
    )


def test_a_fin_behind_lines_that_tls_drops_is_passed_on() -> None:
    dialogue = greeted().client_says(b"AUTH TLS\r\nNOOP\r\n").client_closes()

    dialogue.server_says(b"234 Go\r\n").server_hears(b"AUTH TLS\r\n").server_hears_end()


@pytest.mark.parametrize("reply", [*ACCEPTED_OTHERWISE, b"232 ok\r\n", b"200-a\r\n200 b\r\n"])
@pytest.mark.parametrize("command", [b"AUTH TLS\r\n", b"AUTH SSL\r\n"])
def test_a_client_that_begins_a_handshake_after_another_acceptance_has_switched(
    reply: bytes, command: bytes
) -> None:
    dialogue = forwarded(greeted(), command, reply).client_says(HELLO).server_hears(HELLO)

    dialogue.server_says(HELLO).client_hears(HELLO).noted("stream.opaque", "auth-tls")
    dialogue.client_says(CIPHERED).server_hears(CIPHERED).pinholes()


@pytest.mark.parametrize("reply", [b"234 Go\r\n", *ACCEPTED_OTHERWISE])
@both_families
def test_a_client_that_offers_ssl_2_as_well_begins_a_handshake(
    family: Family, reply: bytes
) -> None:
    dialogue = forwarded(greeted(family), b"AUTH TLS\r\n", reply)
    dialogue.client_says(OLD_HELLO[:1], OLD_HELLO[1:]).server_hears(OLD_HELLO)

    dialogue.server_says(HELLO).client_hears(HELLO).client_says(HELLO, CIPHERED)
    dialogue.server_hears(HELLO + CIPHERED).pinholes().still_open()


def test_a_sign_of_life_within_tls_is_ciphered_as_well() -> None:
    dialogue = in_tls()
    for heartbeat in (b"\x18\x03\x03\x00\x02ab", b"\x18\x03\x03\x00\x02\r\n"):
        dialogue.client_says(heartbeat).server_hears(heartbeat)
        dialogue.server_says(heartbeat).client_hears(heartbeat)


@pytest.mark.parametrize("reply", ACCEPTED_OTHERWISE)
def test_f30_what_was_sent_ahead_of_such_a_handshake_is_dropped(reply: bytes) -> None:
    dialogue = greeted().client_says(b"AUTH TLS\r\nUSER evil\r\n").server_hears(b"AUTH TLS\r\n")
    dialogue.server_says(reply).client_hears(reply).nothing_more()

    dialogue.client_says(HELLO).server_hears(HELLO).still_open()


@pytest.mark.parametrize("reply", ACCEPTED_OTHERWISE)
def test_a_client_that_goes_on_in_plain_text_is_read(reply: bytes) -> None:
    agreed(IPV4, forwarded(greeted(), b"AUTH TLS\r\n", reply))


def test_a_handshake_that_was_not_agreed_on_is_no_handshake() -> None:
    dialogue = forwarded(greeted(), b"NOOP\r\n").client_says(b"\x16\x03\x01\r\n")

    dialogue.server_hears(b"").client_hears(b"500 Syntax error, command unrecognized.\r\n")


# -- TLS from the first byte, as at port 990 -------------------------------------------------------


class ImplicitTls(FtpFilter):
    """The FTP filter of a port at which TLS comes first."""

    protocols = replace(FTP, spoken_at=990, is_in_tls=True), FTP_SERVER


def implicit() -> Dialogue:
    """Return a dialogue in which both sides have begun with TLS."""
    dialogue = Dialogue(ImplicitTls()).client_says(HELLO).server_hears(HELLO)
    return dialogue.server_says(HELLO, CIPHERED).client_hears(HELLO + CIPHERED)


def test_where_tls_comes_first_nothing_is_read() -> None:
    record = b"\x17\x03\x03" + len(IPV4.ask).to_bytes(2, "big") + IPV4.ask
    dialogue = implicit().client_says(record).server_hears(record).pinholes()

    dialogue.time_passes(limits.FTP_REPLY_SECONDS).still_open()


def test_where_tls_comes_first_plain_text_ends_the_dialogue() -> None:
    Dialogue(ImplicitTls()).client_says(IPV4.ask).was_reset("plain-text-after-auth").nothing_more()


def test_f31_where_tls_comes_first_commands_are_read_after_ccc() -> None:
    dialogue = implicit().client_says(CIPHERED, CLOSING).server_says(CIPHERED, CLOSING)
    dialogue.server_hears(CIPHERED + CLOSING).client_hears(CIPHERED + CLOSING)

    asked(IPV4, dialogue).server_says(OK).client_hears(OK).pinholes(IPV4.pinhole)
