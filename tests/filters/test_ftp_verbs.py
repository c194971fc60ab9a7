import pytest
from tests.filters.talk import IPV6, Family, both_families, forwarded, greeted, refused

from sallyport.filters.ftp import verbs


@pytest.mark.parametrize(
    "line",
    [
        b"LPRT 4,4,10,0,0,8,2,6,17\r\n",
        b"LPSV\r\n",
        b"SPSV\r\n",
        b"CPSV\r\n",
        b"SPRT 1553\r\n",
        b"XPRT |1|10.0.0.8|1553|\r\n",
        b"ADAT AAAA\r\n",
        b"MIC AAAA\r\n",
        b"ENC AAAA\r\n",
    ],
)
def test_f29_a_verb_that_could_carry_an_address_is_refused(line: bytes) -> None:
    refused(greeted(), line, 502, "verb-carries-an-address")


@pytest.mark.parametrize(
    "line",
    [
        b"XYZZY 10,0,0,8,6,17\r\n",
        b"XPORTAL99 10,0,0,8,6,17\r\n",
        b"XYZZY (10, 0, 0, 8, 6, 17)\r\n",
        b"XYZZY |1|10.0.0.8|1553|\r\n",
        b"XYZZY 4,4,10,0,0,8,2,6,17\r\n",
    ],
)
def test_f29_a_verb_we_do_not_know_passes_no_address(line: bytes) -> None:
    refused(greeted(), line, 502, "verb-carries-an-address")


@pytest.mark.parametrize(
    "verb",
    [b"XYZZY", b"XSHA", b"XSHA1", b"XSHA256", b"XSHA512", b"XMD5", b"MD5", b"MMD5", b"X1", b"HSH2"],
)
@both_families
def test_f29_a_verb_we_do_not_know_passes(family: Family, verb: bytes) -> None:
    forwarded(greeted(family), verb + b" a\r\n", b"250 a1b2\r\n").pinholes()
    forwarded(greeted(family), verb + b"\r\n", b"500 What?\r\n").pinholes()


@pytest.mark.parametrize("begin", [b" ", b"211-", b"211- "])
def test_f29_what_is_refused_is_not_offered(begin: bytes) -> None:
    lines = (
        b"Features", b"XSHA512", b"LPSV", b"lprt", b"AUTH GSSAPI",
        b"AUTH TLS;SSL", b"EPSV", b"REST STREAM", b"211 End",
    )  # fmt: skip
    features = [begin + line + b"\r\n" for line in lines]
    features[0], features[-1] = b"211-Features\r\n", b"211 End\r\n"
    dialogue = greeted().client_says(b"FEAT\r\n").server_says(*features)

    dialogue.client_hears(b"".join(features[i] for i in (0, 1, 5, 6, 7, 8)))


def test_f29_the_ipv6_form_of_lprt_is_refused_too() -> None:
    line = b"LPRT 6,16,253,0,0,10,0,0,0,0,0,0,0,0,0,0,0,8,2,6,17\r\n"

    refused(greeted(IPV6), line, 502, "verb-carries-an-address")


@pytest.mark.parametrize("line", [b"HOST ftp.example\r\n", b"LANG de\r\n", b"LANG\r\n"])
@both_families
def test_f29_verbs_of_later_standards_pass(family: Family, line: bytes) -> None:
    forwarded(greeted(family), line).pinholes()


@pytest.mark.parametrize("verb", sorted(verbs.KNOWN_VERBS - verbs.DATA_VERBS - {b"AUTH"}))
def test_every_known_verb_passes(verb: bytes) -> None:
    forwarded(greeted(), verb + b" x\r\n")


@pytest.mark.parametrize(
    "line",
    [
        b"SITE X PORT 10,0,0,8,6,17\r\n",
        b"RETR PORT 10,0,0,8,6,17\r\n",
        b"STOR EPRT |1|10.0.0.8|1553|\r\n",
        b"CWD \tPASV\r\n",
    ],
)
def test_f18_a_verb_is_the_first_word_of_a_line_and_nothing_else(line: bytes) -> None:
    dialogue = forwarded(greeted(), line).pinholes()

    assert dialogue.data_path.reserved == set()


@pytest.mark.parametrize(
    "line", [b"PORT\t10,0,0,8,6,17\r\n", b"PORT,10,0,0,8,6,17\r\n", b"X-PORT 1\r\n"]
)
def test_f18_a_line_without_a_proper_first_word_is_refused(line: bytes) -> None:
    refused(greeted(), line, 500, "bad-command")


def test_f18_a_file_name_with_a_line_end_in_it_is_refused() -> None:
    refused(greeted(), b"STOR x\r\0PORT 10,0,0,8,6,17\r\n", 500, "cr-nul")


def test_no_verb_that_passes_blindly_has_a_meaning_of_its_own() -> None:
    special = verbs.WITHDRAWING | verbs.TRANSFERS | {b"AUTH"}

    assert not verbs.REFUSED_VERBS & verbs.KNOWN_VERBS
    assert special <= verbs.KNOWN_VERBS
