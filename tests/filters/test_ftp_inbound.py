"""A published FTP server: what opens at it, for whom, and what outside clients and echoes try."""

from dataclasses import replace

import pytest
from tests.filters.published import NAT, PROXIED, ROUTED, Way, every_way, greeted, passive
from tests.filters.talk import OK, READY, forwarded, refused

from sallyport.errors import OutOfResources
from sallyport.filters.ftp import FtpFilter, FtpSettings
from sallyport.flags import BindFlags, ConnectionFlags
from sallyport.testing import Dialogue

NO_PASSIVE = b"425 Can't open passive connection.\r\n"
OTHER = {4: "203.0.113.66:50000", 6: "[2001:db8::66]:50000"}


def passive_refused(way: Way, command: bytes, reply: bytes, reason: str) -> Dialogue:
    """Check that the reply to a passive command opens nothing and the client hears of a failure."""
    dialogue = greeted(way).client_says(command).server_hears(command).server_says(reply)
    dialogue.client_hears(NO_PASSIVE).nothing_more().pinholes().still_open()
    return dialogue.noted("passive.refused", reason)


@every_way
def test_the_servers_answer_opens_a_port_for_the_client_before_it_is_heard(way: Way) -> None:
    dialogue = passive(way).pinholes(way.passive_pinhole)

    dialogue.connects(way.client, way.passive).pinholes().transfers(way.client)


@every_way
def test_x01_a_port_that_cannot_be_opened_is_never_announced(way: Way) -> None:
    dialogue = greeted(way).next_bind_fails(OutOfResources("full"))

    dialogue.client_says(way.ask_passive).server_says(way.reply_passive)
    dialogue.client_hears(NO_PASSIVE).pinholes()


def test_f27_the_strict_data_port_is_about_servers_and_not_about_clients_outside() -> None:
    dialogue = passive(NAT, greeted(NAT, FtpSettings(strict_data_port=True)))

    dialogue.connects(NAT.client, NAT.passive)


@every_way
def test_the_port_ends_with_the_control_connection(way: Way) -> None:
    passive(way).client_resets().pinholes()


def test_only_the_numbers_of_a_227_and_the_port_of_a_229_change() -> None:
    passive(NAT)
    dialogue = greeted().client_says(b"EPSV\r\n")

    dialogue.server_says(b"229-so\r\n229 Go  to (|||5001|) , please\r\n")
    dialogue.client_hears(b"229-so\r\n229 Go  to (|||40271|) , please\r\n")


def test_full_proxy_is_inherited_by_the_binding_and_by_nothing_else() -> None:
    for way, expected in ((NAT, False), (PROXIED, True), (ROUTED, False)):
        dialogue = passive(way)
        (binding,) = dialogue.gateway.bindings()

        assert (BindFlags.PROXY_MODE in binding.flags) == expected
        translated = ConnectionFlags.INTERNAL_ADDRESS_TRANSLATION
        assert (translated in dialogue.connection.flags) == expected
        assert (translated in binding.connections[0].flags) == expected


@every_way
def test_the_session_belongs_to_the_published_server(way: Way) -> None:
    session = greeted(way).connection.session

    assert session.client_address == way.rule.server.address


@every_way
def test_port_opens_the_way_out_for_the_server(way: Way) -> None:
    dialogue = greeted(way).client_says(way.ask).server_hears(way.heard)

    dialogue.pinholes(way.active_pinhole).server_says(OK).client_hears(OK)
    dialogue.pinholes(way.active_pinhole)
    dialogue.connects(way.server, way.active).pinholes().transfers(way.server)


@every_way
def test_f20_the_way_out_closes_when_the_server_refuses(way: Way) -> None:
    dialogue = greeted(way).client_says(way.ask).server_hears(way.heard)

    dialogue.server_says(b"500 No.\r\n").client_hears(b"500 No.\r\n").pinholes()
    assert not dialogue.data_path.reserved
    assert not dialogue.connection.session.openings


@every_way
def test_nobody_but_the_server_may_use_the_way_out(way: Way) -> None:
    dialogue = greeted(way).client_says(way.ask).server_says(OK)
    other = "10.0.0.9:20" if way.rule.server.version == 4 else "[fd00:a::9]:20"

    dialogue.cannot_connect(other, way.active).pinholes(way.active_pinhole)


def test_full_proxy_gives_the_port_back_when_the_transfer_is_over() -> None:
    dialogue = greeted(PROXIED).client_says(PROXIED.ask).server_says(OK)
    assert len(dialogue.data_path.reserved) == 1

    dialogue.connects(PROXIED.server, PROXIED.active).finishes(PROXIED.server).transfers()
    assert not dialogue.data_path.reserved


@pytest.mark.parametrize(
    "line",
    [
        b"PORT 10,0,0,8,6,17\r\n",
        b"PORT 198,51,100,7,6,17\r\n",
        b"PORT 203,0,113,1,6,17\r\n",
        b"PORT 127,0,0,1,6,17\r\n",
        b"EPRT |1|203.0.113.66|1553|\r\n",
    ],
)
@pytest.mark.parametrize("way", [NAT, PROXIED], ids=["behind NAT", "full proxy"])
def test_f02_the_server_is_nobodys_hand_against_a_third_host(way: Way, line: bytes) -> None:
    refused(greeted(way), line, 501, "not-the-clients-address")


@pytest.mark.parametrize("line", [b"PORT 203,0,113,9,0,22\r\n", b"EPRT |1|203.0.113.9|1023|\r\n"])
def test_f03_the_server_does_not_dial_service_ports(line: bytes) -> None:
    refused(greeted(), line, 504, "server-port-below-minimum")


@pytest.mark.parametrize(
    ("line", "code", "reason"),
    [
        (b"PORT 203,0,113,9,0,8192\r\n", 501, "bad-port-argument"),
        (b"PORT 203,0,113,9,0,0\r\n", 501, "bad-port"),
        (b"EPRT |1|203.0.113.9|65558|\r\n", 501, "bad-port"),
        (b"EPRT |2|2001:db8::9|1553|\r\n", 522, "not-the-family-of-the-connection"),
        (b"EPRT |3|203.0.113.9|1553|\r\n", 522, "unsupported-family"),
        (b"EPRT |1|203.0.113.9%eth0|1553|\r\n", 501, "bad-eprt-argument"),
    ],
)
def test_f04_to_f11_arguments_are_read_as_strictly_as_from_inside(
    line: bytes, code: int, reason: str
) -> None:
    refused(greeted(), line, code, reason)


@pytest.mark.parametrize("address", [b"198,51,100,7", b"10,0,0,9", b"203,0,113,9"])
def test_v01_a_server_that_names_another_host_is_refused(address: bytes) -> None:
    reply = b"227 Entering Passive Mode (%b,19,137)\r\n" % address
    passive_refused(NAT, b"PASV\r\n", reply, "passive-address-is-not-the-servers")


def test_v01_by_setting_a_foreign_address_is_taken_for_the_servers_own() -> None:
    dialogue = greeted(settings=FtpSettings(trust_pasv_address="replace"))

    dialogue.client_says(b"PASV\r\n").server_says(b"227 (203,0,113,1,19,137)\r\n")
    dialogue.client_hears(b"227 (203,0,113,1,157,79)\r\n").pinholes(NAT.passive_pinhole)


@every_way
def test_v02_an_answer_to_another_command_opens_nothing_and_names_no_inside_host(way: Way) -> None:
    for reply in (NAT.reply_passive, ROUTED.reply_passive, b"229 (|1|10.0.0.8|5001|)\r\n"):
        dialogue = greeted(way).client_says(b"NOOP\r\n").server_says(reply).pinholes()

        is_hidden = way.rule.server.version == 4
        heard = bytes(dialogue.client_end.heard)
        assert heard.startswith(reply[:4])
        assert (
            is_hidden is not (b"10,0,0,8" in heard or b"10.0.0.8" in heard) or reply[:3] == b"229"
        )


@every_way
def test_v03_an_answer_in_a_banner_opens_nothing_and_names_no_inside_host(way: Way) -> None:
    banner = b"220-Welcome\r\n" + way.reply_passive + b"220 " + way.reply_passive

    dialogue = Dialogue(FtpFilter(), published=way.rule).server_says(banner).pinholes()
    assert b"10,0,0,8" not in dialogue.client_end.heard.splitlines()[1]
    if way is ROUTED:
        dialogue.client_hears(banner)


def test_v04_a_227_without_an_address_passes_untouched() -> None:
    forwarded(greeted(), b"PASV\r\n", b"227 Logout.\r\n").pinholes()


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        (b"PASV\r\n", b"227 (10,0,0,8,0,22)\r\n"),
        (b"EPSV\r\n", b"229 (|||22|)\r\n"),
        (b"EPSV\r\n", b"229 (|||1023|)\r\n"),
    ],
)
def test_v06_a_service_port_of_the_server_is_never_opened(command: bytes, reply: bytes) -> None:
    passive_refused(NAT, command, reply, "client-port-below-minimum")


@pytest.mark.parametrize("inside", [b"|||70000|", b"||||", b"|1|10.0.0.8|5001|"])
def test_v06_a_229_with_anything_but_a_port_is_refused(inside: bytes) -> None:
    reply = b"229 ok (" + inside + b")\r\n"
    reason = "bad-port" if b"7" in inside else "bad-229"

    passive_refused(NAT, b"EPSV\r\n", reply, reason)


@every_way
def test_v08_an_echo_of_the_attackers_line_opens_nothing_at_the_server(way: Way) -> None:
    # VU#328867: the outside client makes the server say "227 …", at the start of a segment.
    dialogue = greeted(way).client_says(b"STAT x\r\n").server_hears(b"STAT x\r\n")

    dialogue.server_says(b"213-Status of x:\r\n", way.reply_passive, b"213 End\r\n")
    dialogue.pinholes().still_open()


@every_way
def test_v08_an_echo_within_the_answer_to_pasv_opens_nothing(way: Way) -> None:
    dialogue = greeted(way).client_says(way.ask_passive)
    dialogue.server_says(b"500-Not understood:\r\n", way.reply_passive, b"500 End\r\n")

    dialogue.pinholes().still_open()


@every_way
def test_v09_answers_that_were_not_asked_for_open_nothing(way: Way) -> None:
    dialogue = greeted(way)
    for _ in range(3):
        dialogue.server_says(way.reply_passive).pinholes().still_open()

    assert b"10,0,0,8" not in dialogue.client_end.heard


@every_way
def test_v10_another_client_cannot_steal_the_port(way: Way) -> None:
    dialogue = passive(way).cannot_connect(OTHER[way.rule.listen.version], way.passive)

    dialogue.pinholes(way.passive_pinhole).connects(way.client, way.passive)


def test_v12_a_client_that_does_not_speak_ftp_never_reaches_the_server() -> None:
    dialogue = Dialogue(FtpFilter(), published=NAT.rule).server_says(READY).client_hears(READY)

    dialogue.client_says(b"POST / HTTP/1.1\r\n").server_hears(b"").was_reset("not-ftp-http")


def test_f22_a_client_that_has_closed_cannot_have_anything_opened() -> None:
    dialogue = greeted().client_says(b"PASV\r\n").client_closes()

    dialogue.server_says(NAT.reply_passive).client_hears(NO_PASSIVE).pinholes()
    greeted().client_says(NAT.ask).client_closes().pinholes().server_says(OK).pinholes()


def test_f23_one_client_at_its_quota_leaves_the_others_theirs() -> None:
    way = replace(NAT, rule=replace(NAT.rule, max_bindings_per_client=1))
    first = passive(way)

    again = Dialogue(FtpFilter(), published=way.rule, beside=first).server_says(READY)
    again.client_hears(READY).client_says(b"PASV\r\n").server_says(NAT.reply_passive)
    again.client_hears(NO_PASSIVE).noted("passive.refused", "too-many-bindings")

    other = Dialogue(FtpFilter(), published=way.rule, beside=first, client=OTHER[4])
    other.server_says(READY).client_says(b"EPSV\r\n").server_says(b"229 (|||5002|)\r\n")
    assert len(other.data_path.pinholes) == 2
