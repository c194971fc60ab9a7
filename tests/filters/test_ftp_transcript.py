"""What an operator sees of an FTP dialogue, and what never."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.api import Hop
from sallyport.filters.ftp.dialogue import FtpDialogue
from sallyport.filters.ftp.settings import FtpSettings
from sallyport.filters.ftp.transcript import CommandTranscript, FtpTranscript, ReplyTranscript


def commands(*, is_running: bool = False, shows_users: bool = False) -> FtpTranscript:
    return CommandTranscript(
        is_running=is_running, is_ciphered=lambda: False, shows_users=shows_users
    )


def replies(*, shows_users: bool = False) -> FtpTranscript:
    return ReplyTranscript(is_running=False, is_ciphered=lambda: False, shows_users=shows_users)


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        (b"PORT 10,0,0,8,6,17\r\n", "PORT 10,0,0,8,6,17"),
        (b"RETR a b\r\n", "RETR a b"),
        (b"quit\r\n", "quit"),
        (b"PASS hunter2\r\n", "PASS ***"),
        (b"pass hunter2\n", "pass ***"),
        (b"ACCT hunter2\r\n", "ACCT ***"),
        (b"USER alice\r\n", "USER ***"),
        (b"\xff\xf4\xff\xf2PASS hunter2\r\n", "PASS ***"),
        (b"SITE PSWD old new\r\n", "SITE PSWD ***"),
        (b"SITE IDLE\r\n", "SITE IDLE"),
        (b"hunter2\r\n", "(9 bytes)"),
        (b"PASS\thunter2\r\n", "(14 bytes)"),
        (b"XPSW hunter2\r\n", "XPSW ***"),
        (b"CWD a\x1b[2J\r\n", "CWD a\\x1b[2J"),
        (b"CWD \xf0\r\n", "CWD \\xf0"),
    ],
)
def test_a_command_is_seen_without_what_is_secret(line: bytes, seen: str) -> None:
    assert commands().lines(line) == [seen]


def test_names_of_users_are_seen_where_the_policy_lets_them() -> None:
    assert commands(shows_users=True).lines(b"USER alice\r\nPASS x\r\n") == [
        "USER alice",
        "PASS ***",
    ]
    assert replies(shows_users=True).lines(b"331 Password for alice\r\n") == [
        "331 Password for alice"
    ]


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        (b"227 Entering (1,2,3,4,5,6)\r\n", ["227 Entering (1,2,3,4,5,6)"]),
        (b"331 Password for alice\r\n", ["331 ***"]),
        (b"230-Hello alice\r\n be good\r\n230 Done\r\n", ["230-***", "230-***", "230 ***"]),
        (b"211-Features\r\n EPSV\r\n211 End\r\n", ["211-Features", " EPSV", "211 End"]),
        (b"hello?\r\n", ["(8 bytes)"]),
    ],
)
def test_a_reply_is_seen_without_the_name_of_a_user(said: bytes, seen: list[str]) -> None:
    assert replies().lines(said) == seen


def test_what_is_ciphered_is_counted() -> None:
    for kind in (CommandTranscript, ReplyTranscript):
        made = kind(is_running=False, is_ciphered=lambda: True, shows_users=True)
        assert made.lines(b"PASS x\r\n") == ["(8 bytes)"]


def test_a_trace_that_begins_within_a_line_shows_the_lines_after_it() -> None:
    made = commands(is_running=True)

    assert made.lines(b"SS hunter2") == ["(10 bytes)"]
    assert made.lines(b"\r\nNOOP\r\n") == ["(2 bytes)", "NOOP"]


@given(
    cuts=st.lists(st.integers(1, 40), max_size=12),
    head=st.sampled_from([b"", b"NOOP\r\n", b"USER a\r\n", b"\xff\xf1", b"x" * 5000 + b"\r\n"]),
    is_running=st.booleans(),
)
def test_no_cut_of_the_stream_shows_a_password(
    cuts: list[int], head: bytes, *, is_running: bool
) -> None:
    said = head + b"PASS hunter2\r\nNOOP\r\n"
    made = commands(is_running=is_running)
    seen: list[str] = []
    for cut in cuts:
        seen += made.lines(said[:cut])
        said = said[cut:]
    seen += made.lines(said)

    assert not any("hunter" in line or "er2" in line for line in seen)


@pytest.mark.parametrize("hop", list(Hop))
def test_the_words_of_each_side_are_read_as_that_sides(hop: Hop) -> None:
    dialogue = object.__new__(FtpDialogue)
    dialogue._settings = FtpSettings()
    transcript = dialogue.transcript(hop, is_running=True)

    assert isinstance(transcript, CommandTranscript if hop.is_of_client else ReplyTranscript)
