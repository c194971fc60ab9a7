"""What clients try (attacks F01-F11, F20-F29, H08): no pinhole, nothing heard, a reason."""

from dataclasses import replace

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
    refused,
)

from sallyport.addresses import PortRange
from sallyport.core.policy.terms import AllowedAddresses
from sallyport.filters.ftp import FtpFilter, FtpSettings
from sallyport.testing import Dialogue, make_policy

HERE = {4: b"10.0.0.8", 6: b"fd00:a::8"}


def eprt(address: bytes, port: bytes = b"1553") -> bytes:
    return b"EPRT |%d|%b|%b|\r\n" % (2 if b":" in address else 1, address, port)


@pytest.mark.parametrize(
    ("family", "line"),
    [
        (IPV4, b"PORT 10,0,0,9,6,17\r\n"),
        (IPV4, eprt(b"10.0.0.9")),
        (IPV6, eprt(b"fd00:a::9")),
    ],
)
def test_f01_another_inside_host_is_refused(family: Family, line: bytes) -> None:
    refused(greeted(family), line, 501, "not-the-clients-address")


@pytest.mark.parametrize(
    ("family", "line"),
    [
        (IPV4, b"PORT 198,51,100,7,6,17\r\n"),
        (IPV4, b"PORT 203,0,113,9,6,17\r\n"),
        (IPV6, eprt(b"2001:db8::7")),
        (IPV6, eprt(b"2001:db8::9")),
    ],
)
def test_f02_an_outside_host_is_refused(family: Family, line: bytes) -> None:
    refused(greeted(family), line, 501, "not-the-clients-address")


@pytest.mark.parametrize("port", [22, 25, 139, 445, 1, 1023])
@both_families
def test_f03_a_port_of_a_service_is_refused_with_504(family: Family, port: int) -> None:
    line = eprt(HERE[family.version], b"%d" % port)
    refused(greeted(family), line, 504, "client-port-below-minimum")


def test_f03_port_says_the_same_in_six_numbers() -> None:
    refused(greeted(), b"PORT 10,0,0,8,0,22\r\n", 504, "client-port-below-minimum")


def test_f03_a_rule_may_allow_low_ports() -> None:
    dialogue = greeted(policy=make_policy(client_ports=PortRange(20, 65535)))
    dialogue.client_says(b"PORT 10,0,0,8,0,22\r\n").server_hears(IPV4.heard)


@pytest.mark.parametrize("port", [b"0", b"65536", b"99999"])
@both_families
def test_f04_impossible_ports_are_refused(family: Family, port: bytes) -> None:
    refused(greeted(family), eprt(HERE[family.version], port), 501, "bad-port")


def test_f04_port_zero_in_six_numbers_is_refused() -> None:
    refused(greeted(), b"PORT 10,0,0,8,0,0\r\n", 501, "bad-port")


@pytest.mark.parametrize("ports", [b"0,8192", b"256,0", b"6,256"])
def test_f05_an_octet_too_large_is_refused(ports: bytes) -> None:
    refused(greeted(), b"PORT 10,0,0,8,%b\r\n" % ports, 501, "bad-port-argument")


@pytest.mark.parametrize("address", [b"0,0,0,167772168", b"4294967306,0,0,8"])
def test_f06_an_overflowing_address_is_refused(address: bytes) -> None:
    refused(greeted(), b"PORT %b,6,17\r\n" % address, 501, "bad-port-argument")


@both_families
def test_f07_a_port_that_would_wrap_to_22_is_refused(family: Family) -> None:
    refused(greeted(family), eprt(HERE[family.version], b"65558"), 501, "bad-port")


@pytest.mark.parametrize("argument", [b"|1|fd00:a::8|1553|", b"|2|10.0.0.8|1553|", b"|3|x|1553|"])
def test_f08_a_family_that_is_not_the_addresss_is_refused_with_522(argument: bytes) -> None:
    dialogue = refused(greeted(), b"EPRT " + argument + b"\r\n", 522, "unsupported-family")

    dialogue.client_says(b"EPSV 3\r\n")
    dialogue.client_hears(b"522 Network protocol not supported, use (1)\r\n")


@pytest.mark.parametrize("line", [b"PORT 10,0,0,8,6,17\r\n", eprt(b"10.0.0.8")])
def test_f08_the_other_family_is_refused_however_wide_the_rule(line: bytes) -> None:
    # IPv6 is routed: taken there, the inside IPv4 address would leave untranslated.
    policy = make_policy(allowed_addresses=AllowedAddresses.ALL)

    refused(greeted(IPV6, policy=policy), line, 522, "not-the-family-of-the-connection")


def test_f09_another_delimiter_is_accepted_and_written_canonically() -> None:
    greeted(IPV6).client_says(b"EPRT ~2~fd00:a::8~1553~\r\n").server_hears(IPV6.heard)


def test_f09_a_digit_as_delimiter_is_refused() -> None:
    refused(greeted(), b"EPRT 2120210.0.0.82155325\r\n", 501, "bad-eprt-argument")


@pytest.mark.parametrize("address", [b"fd00:a::8%eth0", b"::ffff:10.0.0.8"])
def test_f10_a_second_spelling_of_an_address_is_refused(address: bytes) -> None:
    refused(greeted(IPV6), eprt(address), 501, "bad-eprt-argument")


@pytest.mark.parametrize("address", [b"fe80::8", b"ff02::1", b"::", b"::1", b"fd00:a::1"])
def test_f10_an_address_that_is_not_the_clients_is_refused(address: bytes) -> None:
    refused(greeted(IPV6), eprt(address), 501, "not-the-clients-address")


@pytest.mark.parametrize("address", [b"224,0,0,1", b"0,0,0,0", b"127,0,0,1", b"10,0,0,1"])
def test_f10_the_same_in_ipv4(address: bytes) -> None:
    refused(greeted(), b"PORT %b,6,17\r\n" % address, 501, "not-the-clients-address")


@pytest.mark.parametrize(
    "argument",
    [
        b"+10,0,0,8,6,17",
        b"10,0,0,8,0006,17",
        b"1 0,0,0,8,6,17",
        b"10,0,0,8,6",
        b"10,0,0,8,6,17,1",
        b"10,0,0,8,6,17 trailing",
        "١٠,0,0,8,6,17".encode(),
        b"",
    ],
)
def test_f11_anything_but_six_plain_numbers_is_refused(argument: bytes) -> None:
    refused(greeted(), b"PORT %b\r\n" % argument, 501, "bad-port-argument")


@pytest.mark.parametrize(
    "argument",
    [b"010,000,000,008,006,017", b"10,0,0,8,6,17 ", b" 10,0,0,8,6,17", b"10, 0, 0, 8, 6, 17"],
)
def test_f11_zeros_and_blanks_are_read_as_servers_read_them_and_told_without(
    argument: bytes,
) -> None:
    # vsftpd and proftpd take them. Leading zeros are decimal, never octal: 017 is 17.
    dialogue = greeted().client_says(b"PORT %b\r\n" % argument).server_hears(IPV4.heard)

    dialogue.pinholes(IPV4.pinhole)


def test_f11_port_without_argument_is_refused() -> None:
    refused(greeted(), b"PORT\r\n", 501, "bad-port-argument")


@both_families
def test_f20_the_pinhole_closes_when_the_server_refuses(family: Family) -> None:
    # It was open to the server alone, which could as well have answered 200.
    asked(family).server_says(b"500 No.\r\n").client_hears(b"500 No.\r\n").pinholes()


@both_families
def test_f20_a_refusal_closes_what_the_server_has_used_already(family: Family) -> None:
    dialogue = asked(family).connects(family.server, family.listen).server_says(b"425 No.\r\n")

    dialogue.client_hears(b"425 No.\r\n").transfers().pinholes()
    assert dialogue.data_path.reserved == set()


@pytest.mark.parametrize(
    "reply", [b"150 Later.\r\n500 No.\r\n", b"331 Log in.\r\n", b"421 Bye.\r\n"]
)
def test_f20_only_a_2xx_keeps_it_open(reply: bytes) -> None:
    dialogue = asked().server_says(reply).client_hears(reply).pinholes()

    assert dialogue.data_path.reserved == set()


@both_families
def test_f21_answers_are_matched_in_order(family: Family) -> None:
    dialogue = greeted(family).client_says(b"NOOP\r\n" + family.ask)
    dialogue.server_hears(b"NOOP\r\n" + family.heard)

    dialogue.server_says(OK).client_hears(OK).pinholes(family.pinhole)
    dialogue.server_says(b"500 No.\r\n").client_hears(b"500 No.\r\n").pinholes()


@both_families
def test_f21_a_refusal_of_an_earlier_command_is_not_the_answer_to_port(family: Family) -> None:
    dialogue = greeted(family).client_says(b"SITE x\r\n" + family.ask)

    dialogue.server_says(b"500 No.\r\n", OK).client_hears(b"500 No.\r\n" + OK)
    dialogue.pinholes(family.pinhole)


@both_families
def test_f22_a_fin_closes_the_pinhole_at_once(family: Family) -> None:
    agreed(family).client_closes().server_hears_end().pinholes()


@both_families
def test_f22_a_reset_closes_the_pinhole_at_once(family: Family) -> None:
    agreed(family).client_resets().pinholes().was_reset("client-reset")
    agreed(family).server_resets().pinholes().was_reset("server-reset")
    agreed(family).server_closes().pinholes().ended("server-closed")


@both_families
def test_f22_a_transfer_under_way_outlives_its_control_connection(family: Family) -> None:
    dialogue = agreed(family).connects(family.server, family.listen).client_resets()

    dialogue.transfers(family.server).finishes(family.server)

    assert not list(dialogue.gateway.sessions)


def test_f22_nothing_opens_after_a_fin() -> None:
    asked().client_closes().pinholes().server_says(OK).pinholes().client_hears(OK)
    dialogue = greeted().client_says(b"PASV\r\n").client_closes().server_says(IPV4.reply_passive)
    dialogue.client_hears(b"425 Can't open passive connection.\r\n").pinholes()
    dialogue = greeted().client_says(b"AUTH TLS\r\n" + IPV4.ask).client_closes()
    dialogue.server_says(b"504 No.\r\n").server_hears(b"AUTH TLS\r\n").pinholes()


@both_families
def test_f23_the_quota_refuses_the_flooder_only(family: Family) -> None:
    # The neighbour in IPv6 is of the same /64, which one host has for itself by default.
    policy = replace(make_policy(max_bindings_per_client=1), ipv6_host_prefix=128)
    flooder = agreed(family, greeted(family, policy=policy))
    again = Dialogue(FtpFilter(), version=family.version, beside=flooder).server_says(READY)
    other = "10.0.0.9:50000" if family is IPV4 else "[fd00:a::9]:50000"
    victim = Dialogue(FtpFilter(), version=family.version, client=other, beside=flooder)

    again.client_hears(READY).client_says(eprt(HERE[family.version], b"1554"))
    again.client_hears(b"425 Can't open data connection.\r\n").server_hears(b"")
    again.noted("binding.refused", "too-many-bindings")

    victim.server_says(READY).client_hears(READY)
    victim.client_says(eprt(b"10.0.0.9" if family is IPV4 else b"fd00:a::9"))
    assert victim.server_end.heard.startswith(b"EPRT |")


@both_families
def test_f24_a_stranger_does_not_get_in_and_the_pinhole_stays(family: Family) -> None:
    stranger = "198.51.100.7:20" if family is IPV4 else "[2001:db8::7]:20"

    agreed(family).cannot_connect(stranger, family.listen).pinholes(family.pinhole)


@both_families
def test_f25_a_second_connection_of_the_right_peer_does_not_get_in(family: Family) -> None:
    dialogue = agreed(family).connects(family.server, family.listen)

    dialogue.cannot_connect(family.server.replace(":20", ":2020"), family.listen)


@both_families
def test_f26_a_syn_without_a_handshake_does_not_spend_the_pinhole(family: Family) -> None:
    dialogue = agreed(family).attempts(family.server, family.listen)

    dialogue.pinholes(family.pinhole).connects(family.server, family.listen)


@both_families
def test_f27_any_source_port_will_do_unless_the_mode_is_strict(family: Family) -> None:
    elsewhere = family.server.replace(":20", ":34567")
    strict = FtpSettings(strict_data_port=True)

    agreed(family).connects(elsewhere, family.listen)
    agreed(family, greeted(family, strict)).cannot_connect(elsewhere, family.listen).connects(
        family.server, family.listen
    )


@both_families
def test_f27_a_rule_may_be_stricter_than_the_filter(family: Family) -> None:
    elsewhere = family.server.replace(":20", ":34567")
    strict = make_policy(filters={"ftp": {"strict_data_port": True}})

    agreed(family, greeted(family, policy=strict)).cannot_connect(elsewhere, family.listen)


@both_families
def test_f28_after_epsv_all_nothing_but_epsv_is_accepted(family: Family) -> None:
    dialogue = forwarded(greeted(family), b"EPSV ALL\r\n")

    for line in (family.ask, b"PASV\r\n"):
        refused(dialogue, line, 501, "epsv-all")
    forwarded(dialogue, b"EPSV\r\n", IPV6.reply_passive).pinholes(family.passive_pinhole)


def test_f28_a_promise_that_the_server_refused_is_none() -> None:
    # RFC 2428 section 4 binds a server that has understood it.
    agreed(IPV4, forwarded(greeted(), b"EPSV ALL\r\n", b"500 What?\r\n"))


def test_f28_until_it_is_refused_the_promise_counts() -> None:
    dialogue = greeted().client_says(b"EPSV ALL\r\n" + IPV4.ask).server_hears(b"EPSV ALL\r\n")

    dialogue.noted("command.refused", "epsv-all").server_says(b"500 What?\r\n")
    dialogue.client_hears(b"500 What?\r\n501 Only EPSV is allowed after EPSV ALL.\r\n")


def test_f28_the_promise_outlives_a_new_login() -> None:
    dialogue = forwarded(greeted(), b"epsv all\r\n")

    refused(dialogue, IPV4.ask, 501, "epsv-all")
    forwarded(dialogue, b"REIN\r\n", b"220 Again.\r\n")
    refused(dialogue, IPV4.ask, 501, "epsv-all")


def test_h08_an_injected_port_on_its_own_line_gets_no_more_than_policy_gives() -> None:
    dialogue = greeted().client_says(b"CWD a\r\nPORT 10,0,0,8,0,22\r\n").server_hears(b"CWD a\r\n")

    dialogue.server_says(b"250 ok\r\n").client_hears(
        b"250 ok\r\n504 Command not implemented for that parameter.\r\n"
    )
    dialogue.pinholes().server_hears(b"").noted("binding.refused", "client-port-below-minimum")


def test_a_refused_command_says_its_verb_and_what_it_named() -> None:
    dialogue = greeted().client_says(b"EPSV ALL\r\n").server_says(OK).client_says(b"PASV\r\n")
    dialogue.client_says(b"PORT 10,0,0,8,6,17\r\n")

    records = [f for e, f in dialogue.world.journal.records if e == "command.refused"]
    assert [one["verb"] for one in records] == [b"PASV", b"PORT"]
    assert [one.get("named") for one in records] == [None, b"10,0,0,8,6,17"]


def test_a_password_is_in_no_record() -> None:
    dialogue = greeted().client_says(b"USER alice\r\nPASS s3cret\r\nPA\0SS s3cret\r\n")

    assert "s3cret" not in repr(dialogue.world.journal.records)
