"""What a rule may set for FTP: reading only, verbs that are denied, TLS, peers, time."""

from dataclasses import replace

import pytest
from tests.filters import published
from tests.filters.published import NAT
from tests.filters.talk import (
    IPV4,
    IPV6,
    OK,
    READY,
    Family,
    agreed,
    both_families,
    forwarded,
    greeted,
    refused,
)

from sallyport.core.policy.rules import Policy
from sallyport.core.policy.terms import Peers
from sallyport.filters.ftp import FTP, FTP_SERVER, FtpFilter, FtpSettings
from sallyport.testing import Dialogue
from sallyport.testing.world import make_policy

READ_ONLY = FtpSettings(read_only=True)


def with_rule(**keys: object) -> Policy:
    """Return the usual policy; its rule sets these keys of FTP otherwise."""
    policy = make_policy(protocols=frozenset({"ftp"}))
    rules = tuple(replace(rule, filters={"ftp": keys}) for rule in policy.access_rules)
    return replace(policy, access_rules=rules)


WRITES = [
    (b"STOR a\r\n", 553),
    (b"stou\r\n", 553),
    (b"APPE a\r\n", 553),
    (b"RNTO a\r\n", 553),
    (b"RNFR a\r\n", 550),
    (b"DELE a\r\n", 550),
    (b"MKD a\r\n", 550),
    (b"XMKD a\r\n", 550),
    (b"RMD a\r\n", 550),
    (b"XRMD a\r\n", 550),
    (b"RMDA a\r\n", 550),
    (b"MFMT 20260101000000 a\r\n", 550),
    (b"MFF modify=20260101000000; a\r\n", 550),
    (b"MDTM 20260101000000 a\r\n", 550),
    (b"MDTM 20260101000000.123 a\r\n", 550),
    (b"SITE CHMOD 777 a\r\n", 502),
    (b"COMB a b\r\n", 502),
    (b"XYZZY a\r\n", 502),
    (b"D\xff\xf4ELE a\r\n", 550),
]
READS = (
    b"RETR a|LIST|NLST|MLSD|MLST a|SIZE a|MDTM a|MDTM 20260101000000|CWD a|CDUP|PWD|STAT a|"
    b"XSHA256 a|HASH a|REST 100|TYPE I|MODE Z|OPTS UTF8 ON|FEAT|NOOP|ALLO 1|ABOR|QUIT"
).split(b"|")


@pytest.mark.parametrize(("line", "code"), WRITES)
def test_a_client_that_may_only_read_is_refused_in_the_words_of_the_protocol(
    line: bytes, code: int
) -> None:
    refused(greeted(settings=READ_ONLY), line, code, "rule-is-read-only")


@pytest.mark.parametrize("line", READS)
@both_families
def test_a_client_that_may_only_read_reads(family: Family, line: bytes) -> None:
    forwarded(greeted(family, READ_ONLY), line + b"\r\n")


@both_families
def test_a_client_that_may_only_read_gets_its_files(family: Family) -> None:
    dialogue = agreed(family, greeted(family, READ_ONLY))
    refused_upload = b"553 Read-only, says the gateway.\r\n"
    dialogue.client_says(b"STOR a\r\n").client_hears(refused_upload)

    forwarded(dialogue, b"RETR a\r\n", b"150 go\r\n").connects(family.server, family.listen)


def test_a_last_line_without_its_end_writes_nothing() -> None:
    greeted(settings=READ_ONLY).client_says(b"DELE a").client_closes().server_hears(b"")
    greeted().client_says(b"DELE a").client_closes().server_hears(b"DELE a")


@pytest.mark.parametrize("verb", [b"SITE", b"DELE", b"RETR", b"PASV", b"PORT", b"XSHA"])
def test_a_verb_that_is_denied_is_refused_and_others_pass(verb: bytes) -> None:
    settings = FtpSettings(deny=(verb.decode(),))
    dialogue = greeted(settings=settings).client_says(verb.lower() + b" a\r\n").server_hears(b"")
    assert dialogue.client_end.take()[:3] in {b"502", b"550"}
    dialogue.noted("command.refused", "verb-is-denied").pinholes()

    forwarded(dialogue, b"NOOP\r\n")


def test_a_password_is_in_no_record_though_its_verb_is_denied() -> None:
    dialogue = greeted(settings=FtpSettings(deny=("PASS",))).client_says(b"PASS geheim\r\n")

    assert dialogue.client_end.heard.startswith(b"502 ")
    assert "geheim" not in repr(dialogue.world.journal.records)


FEATURES = [
    b" MDTM",
    b" MFMT",
    b" SITE MKDIR",
    b" AUTH TLS",
    b" PBSZ",
    b" PROT",
    b" SIZE",
    b" TVFS",
]


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        (FtpSettings(), FEATURES),
        (READ_ONLY, [b" MDTM", b" SIZE", b" TVFS"]),
        (FtpSettings(deny=("SIZE",)), [b" MDTM", b" MFMT", b" SITE MKDIR", b" TVFS"]),
        (FtpSettings(tls="refuse"), [b" MDTM", b" MFMT", b" SITE MKDIR", b" SIZE", b" TVFS"]),
    ],
)
def test_what_is_refused_is_not_offered(settings: FtpSettings, left: list[bytes]) -> None:
    dialogue = greeted(settings=settings).client_says(b"FEAT\r\n")
    for line in (b"211-Features:", *FEATURES, b"211 End"):
        dialogue.server_says(line + b"\r\n")

    dialogue.client_hears(b"\r\n".join((b"211-Features:", *left, b"211 End", b"")))


@pytest.mark.parametrize(
    "settings", [FtpSettings(tls="refuse"), READ_ONLY, FtpSettings(deny=("SITE",))]
)
@pytest.mark.parametrize("line", [b"AUTH TLS\r\n", b"auth ssl\r\n", b"AUTH TLS-C\r\n"])
def test_tls_is_refused_where_commands_must_stay_readable(
    settings: FtpSettings, line: bytes
) -> None:
    dialogue = greeted(settings=settings)
    refused(dialogue, line, 534, "tls-is-refused")

    dialogue.client_says(b"\x16\x03\x01\x00\x04hiya\r\n")
    assert dialogue.server_end.heard == b""


@pytest.mark.parametrize("settings", [FtpSettings(tls="refuse"), READ_ONLY])
def test_a_connection_that_begins_with_tls_is_refused_there_too(settings: FtpSettings) -> None:
    implicit = replace(FTP, spoken_at=990, is_in_tls=True)

    class Implicit(FtpFilter):
        protocols = implicit, FTP_SERVER

    dialogue = Dialogue(Implicit(settings)).noted("connect.refused", "tls-is-refused")
    assert not dialogue.connection.is_open


@both_families
def test_a_rule_sets_them_otherwise_for_what_it_allows(family: Family) -> None:
    policy = with_rule(read_only=True)
    dialogue = greeted(family, policy=policy)
    dialogue.client_says(b"STOR a\r\n").client_hears(b"553 Read-only, says the gateway.\r\n")

    forwarded(greeted(family, READ_ONLY, with_rule(read_only=False)), b"STOR a\r\n")


@both_families
def test_where_the_rule_says_any_peer_another_host_of_the_server_may_connect(
    family: Family,
) -> None:
    dialogue = greeted(family, FtpSettings(any_peer=True))
    dialogue.client_says(family.ask).server_hears(family.heard).server_says(OK)
    other = family.server.replace("203.0.113.9", "203.0.113.10").replace("::9", "::10")

    dialogue.connects(other, family.listen)


def test_where_the_rule_says_any_peer_a_227_may_name_another_host() -> None:
    reply = b"227 Entering Passive Mode (203,0,113,10,19,137).\r\n"
    asked = greeted(settings=FtpSettings(any_peer=True)).client_says(b"PASV\r\n")
    asked.server_says(reply).client_hears(reply)
    asked.pinholes("203.0.113.10:5001 -> 203.0.113.10:5001 from 10.0.0.8")

    greeted().client_says(b"PASV\r\n").server_says(reply).pinholes()


def test_any_peer_lets_no_client_name_a_third_host() -> None:
    settings = FtpSettings(any_peer=True)
    refused(greeted(settings=settings), b"PORT 10,0,0,9,6,17\r\n", 501, "not-the-clients-address")
    outside = published.greeted(NAT, settings).client_says(b"PORT 203,0,113,10,6,17\r\n")
    assert outside.client_end.heard.startswith(b"501 ")


def test_any_peer_is_less_than_pinned_peers() -> None:
    policy = make_policy(protocols=frozenset({"ftp"}))
    pinned = tuple(replace(rule, peers=Peers.PINNED) for rule in policy.access_rules)
    dialogue = greeted(
        settings=FtpSettings(any_peer=True), policy=replace(policy, access_rules=pinned)
    )

    dialogue.client_says(IPV4.ask).client_hears(b"425 Can't open data connection.\r\n").pinholes()
    dialogue.noted("binding.refused", "peers-are-not-named")


@both_families
def test_a_pending_transfer_waits_as_long_as_its_rule_says(family: Family) -> None:
    dialogue = agreed(family, greeted(family, FtpSettings(transfer_wait=90)))
    dialogue.client_says(b"RETR migrated\r\n").time_passes(89).pinholes(family.pinhole)

    dialogue.time_passes(1).pinholes().still_open()


def test_the_greeting_of_a_restricted_dialogue_passes() -> None:
    dialogue = Dialogue(FtpFilter(READ_ONLY), version=6).server_says(READY).client_hears(READY)
    assert IPV6.version == dialogue.connection.client.version
