"""The same conversation through the filter and directly: what differs are lines with addresses.

Conversations are made of what real programs say, in an order that no RFC foresees, with noise of a
server in between, cut into any segments. An oracle that knows no FTP but "who named which address"
says what may be open.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.filters import published
from tests.filters.published import NAT, PROXIED, Way
from tests.filters.talk import IPV4, IPV6, READY, Family

from sallyport import limits
from sallyport.filters.ftp import FtpFilter, FtpSettings
from sallyport.testing import Dialogue

# The long form (--soak) plays two thousand conversations of each kind.
pytestmark = pytest.mark.timeout(900)

Turn = tuple[str, bytes]

NAMES = st.binary(min_size=1, max_size=12).map(lambda raw: raw.translate(None, b"\r\n\0"))
WORDS = [b"NOOP", b"TYPE I", b"STAT", b"SYST", b"XSHA256 a", b"FEAT", b"HELP", b"QUIT", b"OPTS x"]
COMMANDS = st.one_of(
    st.sampled_from([word + b"\r\n" for word in WORDS]),
    st.sampled_from([b"\xff\xf4\xff\xf2ABOR\r\n", b"ABOR\r\n", b"USER a\r\n", b"REIN\r\n"]),
    st.tuples(st.sampled_from([b"RETR ", b"STOR ", b"DELE ", b"CWD "]), NAMES).map(
        lambda pair: b"".join(pair) + b"\r\n"
    ),
)
ERRORS = [425, 426, 450, 500, 501, 502, 530, 550]
CODES = st.sampled_from(
    [110, 125, 150, 200, 211, 213, 215, 220, 225, 226, 230, 250, 257, 331, 350, *ERRORS]
)
REPLIES = st.one_of(
    CODES.map(lambda code: b"%d text\r\n" % code),
    CODES.map(lambda code: b"%d\r\n" % code),
    st.tuples(CODES, CODES, NAMES).map(
        lambda t: b"%d-first\r\n %b\r\n%d inner\r\n%d last\r\n" % (t[0], t[2], t[1], t[0])
    ),
    st.tuples(CODES, CODES).map(lambda t: b"%d-first\r\n%d last\r\n" % t),
    st.sampled_from(
        [b"\r\n", b"no code\r\n", b"\xff\xfb\x01\r\n", b"x" * 5000 + b"\r\n", b" 1\r\n"]
    ),
)


# How often the two sides speak in a conversation, and how many lines at a time.
MOST_TURNS = 8
MOST_LINES = 4

ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\n"])


def _ended(line: bytes, end: bytes) -> bytes:
    return line.removesuffix(b"\r\n") + end


def _data_verbs(family: Family) -> list[bytes]:
    return [family.ask, family.ask_passive, family.ask.replace(b"1553", b"1554"), b"PASV\r\n"]


def conversations(
    asks: list[bytes], names: list[bytes]
) -> "st.SearchStrategy[list[tuple[str, list[bytes]]]]":
    said = st.one_of(
        st.tuples(st.just("client"), st.builds(_ended, COMMANDS | st.sampled_from(asks), ENDS)),
        st.tuples(st.just("server"), REPLIES | st.sampled_from(names)),
    )
    cuts = st.lists(st.integers(0, 5000), max_size=3)
    turn = st.tuples(st.lists(said, min_size=1, max_size=MOST_LINES), cuts).map(_cut)
    silence: list[tuple[str, list[bytes]]] = [("nobody", [])]
    return st.lists(turn | st.just(silence), min_size=1, max_size=MOST_TURNS).map(
        lambda turns: [one for turn in turns for one in turn]
    )


def _cut(turn: tuple[list[Turn], list[int]]) -> list[tuple[str, list[bytes]]]:
    """Join what one side says in a row, and cut it where segments end."""
    lines, cuts = turn
    cut = []
    for speaker in ("client", "server"):
        data = b"".join(line for who, line in lines if who == speaker)
        edges = [0, *sorted(at for at in cuts if at < len(data)), len(data)]
        cut.append((speaker, [data[a:b] for a, b in pairwise(edges) if a < b]))
    return cut


# An hour of ticks takes a second.
QUICK = FtpSettings(transfer_wait=20)

# Lines that carry an address, and what we say where one cannot be opened.
_ASKED = re.compile(rb"(?m)^(?:\xff[\xf4\xf2])*(PORT|EPRT) [0-9a-f,|.:]+(\r?)$")
_NAMED = re.compile(rb"(?m)^(227|228|229)[ -].*\r$")
_OURS = re.compile(rb"(?m)^(425 Can't open passive connection\.|22[789] Line too long\.)\r$")


def without_addresses(stream: bytes) -> bytes:
    """Return a stream with every line that may differ made the same."""
    return _OURS.sub(b"NAMED\r", _NAMED.sub(b"NAMED\r", _ASKED.sub(rb"ASKED\2", stream)))


def play(dialogue: Dialogue, turns: list[tuple[str, list[bytes]]]) -> Iterator[None]:
    """Play the turns; yield after each, and when everything that waited has passed."""
    dialogue.server_says(READY)
    for speaker, segments in turns:
        match speaker:
            case "client":
                dialogue.client_says(*segments)
            case "server":
                dialogue.server_says(*segments)
            case _:
                dialogue.time_passes(limits.FTP_SILENCE_SECONDS + 1)
        yield
    for _ in range(MOST_TURNS * MOST_LINES):  # each may wait alone for a server that is silent
        dialogue.time_passes(2 * limits.FTP_REPLY_SECONDS)
        yield


def said_by(who: str, turns: list[tuple[str, list[bytes]]]) -> bytes:
    return b"".join(b"".join(segments) for speaker, segments in turns if speaker == who)


@pytest.fixture(autouse=True)
def _quick_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten what is waited for: a day of ticks takes a second."""
    monkeypatch.setattr(limits, "ACCEPT_TIMEOUT_SECONDS", 20.0)
    monkeypatch.setattr(limits, "FTP_REPLY_SECONDS", 8.0)


def check(dialogue: Dialogue, turns: list[tuple[str, list[bytes]]], allowed: set[str]) -> None:
    for _ in play(dialogue, turns):
        open_now = {str(pinhole.target) for pinhole in dialogue.data_path.pinholes.values()}
        assert open_now <= allowed
        assert len(open_now) <= 1, "an agreement ends the one before"
    dialogue.still_open()
    heard_by_server = bytes(dialogue.server_end.heard)
    heard_by_client = bytes(dialogue.client_end.heard)
    assert without_addresses(heard_by_server) == without_addresses(said_by("client", turns))
    assert without_addresses(heard_by_client) == without_addresses(READY + said_by("server", turns))


OUTSIDE4 = [IPV4.reply_passive, IPV6.reply_passive, b"227 (0,0,0,0,19,137)\r\n"]
OUTSIDE6 = [IPV6.reply_passive, b"227 (0,0,0,0,19,137)\r\n", b"229 (x)\r\n"]


@settings(deadline=None)
@given(conversations(_data_verbs(IPV4), OUTSIDE4))
def test_a_client_inside_behind_nat(turns: list[tuple[str, list[bytes]]]) -> None:
    check(Dialogue(FtpFilter(QUICK)), turns, {"10.0.0.8:1553", "203.0.113.9:5001"})


@settings(deadline=None)
@given(conversations(_data_verbs(IPV6), OUTSIDE6))
def test_a_client_inside_routed(turns: list[tuple[str, list[bytes]]]) -> None:
    dialogue = Dialogue(FtpFilter(QUICK), version=6)
    check(dialogue, turns, {"[fd00:a::8]:1553", "[fd00:a::8]:1554", "[2001:db8::9]:5001"})


@pytest.mark.parametrize("way", [NAT, PROXIED], ids=["behind NAT", "full proxy"])
@settings(deadline=None)
@given(
    turns=conversations(
        [NAT.ask, NAT.ask_passive, b"EPSV\r\n"],
        [NAT.reply_passive, b"229 (|||5001|)\r\n", b"227 (0,0,0,0,19,137)\r\n"],
    )
)
def test_a_published_server(way: Way, turns: list[tuple[str, list[bytes]]]) -> None:
    dialogue = Dialogue(FtpFilter(QUICK), published=way.rule)
    allowed = {"10.0.0.8:5001", "203.0.113.9:1553"}
    if way is PROXIED:
        turns = [t for t in turns if NAT.ask not in b"".join(t[1])]  # rewritten, and so told anew
    check(dialogue, turns, allowed)
    assert b"(10,0,0,8" not in dialogue.client_end.heard


def test_published_dialogues_greet() -> None:
    published.greeted(NAT).still_open()
