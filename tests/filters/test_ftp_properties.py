"""What holds for any bytes, cut anywhere."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from tests.filters import published
from tests.filters.talk import ASK_SECOND, IPV4, IPV6, OK, READY, Family, greeted

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.filters.ftp import FtpFilter, FtpSettings
from sallyport.filters.ftp.verbs import DATA_VERBS, KNOWN_VERBS
from sallyport.testing import Dialogue

Turn = tuple[str, bytes]

# Whole conversations: who says what, in turns; each turn may be cut into any segments.
CONVERSATIONS: list[list[Turn]] = [
    [
        ("server", b"220-Welcome\r\n227 (203,0,113,9,4,5)\r\n220 ready\r\n"),
        ("client", b"USER a\r\nPASS b\r\n\xff\xf4\xff\xf2ABOR\r\n"),
        ("server", b"331 Password\r\n230-Hi\r\n there\r\n230 In\r\n226 Nothing to abort\r\n"),
        ("client", IPV4.ask + b"RETR a\r\n" + ASK_SECOND + b"LPSV\r\nLIST\r\n"),
        ("server", b"200-ok\r\n200 ok\r\n150 a\r\n226 a\r\n200 ok\r\n"),
        ("server", b"150 b\r\n226 b\r\n"),
        ("client", b"PASV\r\nSTOR c\r\n"),
        ("server", b"227-Now\r\n227 Entering (203,0,113,9,19,137)\r\n150 c\r\n226 c\r\n"),
        ("client", b"EPSV ALL\r\nPORT 10,0,0,8,6,17\r\nEPSV\r\nNO\xffOP\r\nQUIT\r\n"),
        ("server", b"200 ok\r\n229 Entering (|||5002|)\r\n221 Bye\r\n"),
    ],
    [
        ("server", READY),
        ("client", b"PORT 10,0,0,9,6,17\r\nPORT 10,0,0,8,0,22\r\nEPRT |1|10.0.0.8|1553|\r\n"),
        ("server", OK),
        ("client", b"AUTH TLS\r\n"),
        ("server", b"234 Go\r\n"),
        ("client", b"\x16\x03\x01\x00\x0410,0\x17\x03\x03\x00\x00"),
        ("server", b"\x16\x03\x03\x00\x0aPORT 10,0,\x15\x03\x03\x00\x01x"),
        ("client", b"PWD\r\nPASV\r\n"),
        ("server", b'257 "/"\r\n227 (203,0,113,9,19,137)\r\n'),
        ("client", b"CWD " + b"x" * limits.MAX_FTP_LINE + b"\r\nNOOP\r\n"),
    ],
    [
        ("server", READY),
        ("client", b"NOOP\nPORT 10,0,0,8,6,17\r\nNOOP\r\0\r\nPORT 10,0,0,8,6,18\r\n"),
        ("server", OK),
    ],
    [("client", b"POST / HTTP/1.1\r\nPORT 10,0,0,8,6,17\r\n"), ("server", READY)],
    [("server", READY), ("server", OK + b"227 (203,0,113,9,19,137)\r\n" + OK)],
    [("server", b"HTTP/1.1 400 Bad Request\r\n\r\n")],
]


def play(turns: Sequence[tuple[str, Sequence[bytes]]]) -> tuple[bytes, bytes, str | None, object]:
    """Return what client and server heard, how it ended, and every pinhole there ever was."""
    dialogue = Dialogue(FtpFilter())
    for speaker, segments in turns:
        say = dialogue.client_says if speaker == "client" else dialogue.server_says
        say(*segments)
    opened = [
        (event, fields.get("proxy"), fields.get("client"), fields.get("reason"))
        for event, fields in dialogue.world.journal.records
        if event != "connect.closed"
    ]
    heard = bytes(dialogue.client_end.heard), bytes(dialogue.server_end.heard)
    pinholes = sorted(map(str, dialogue.data_path.pinholes.values()))
    return *heard, dialogue.link.ended, (opened, pinholes)


@st.composite
def cut_conversations(draw: st.DrawFn) -> tuple[list[Turn], list[tuple[str, list[bytes]]]]:
    turns = draw(st.sampled_from(CONVERSATIONS))
    cut = []
    for speaker, data in turns:
        cuts = sorted(draw(st.sets(st.integers(0, len(data)), max_size=12)))
        edges = [0, *cuts, len(data)]
        cut.append((speaker, [data[a:b] for a, b in pairwise(edges)]))
    return turns, cut


@given(cut_conversations())
def test_any_split_gives_the_same_bytes_and_the_same_pinholes(
    example: tuple[list[Turn], list[tuple[str, list[bytes]]]],
) -> None:
    whole, cut = example

    assert play(cut) == play([(speaker, [data]) for speaker, data in whole])


def test_byte_by_byte_gives_the_same_too() -> None:
    for turns in CONVERSATIONS:
        whole = play([(speaker, [data]) for speaker, data in turns])
        singly = play([(who, [data[i : i + 1] for i in range(len(data))]) for who, data in turns])

        assert singly == whole


# Fragments rather than bytes: short examples that are full of commands, codes and line ends. No
# verb that passes with an argument is among them, nor a whole agreement on TLS: what a client says
# in file names or in ciphertext is its own.
CLIENT_FRAGMENTS = [
    *(b"PORT ", b"EPRT ", b"LPRT ", b"PASV\r\n", b"EPSV\r\n", b"EPSV ALL\r\n", b"NOOP\r\n"),
    *(IPV4.ask, IPV4.ask, IPV6.ask, ASK_SECOND, b"EPRT |1|10.0.0.8|1553|\r\n", b"REIN\r\n"),
    *(b"10,0,0,8", b",6,17", b",0,22", b"|1|10.0.0.8|", b"22|", b"1553|", b"10.0.0.8", b" "),
    *(b"\r\n", b"\r", b"\n", b"\0", b"\t", b"\xff", b"\xff\xf4", b"\xff\xfb\x01", b"\xff\xfa"),
    *(b"\xff\xf0", b"\x16\x03\x01", b"AUTH X\r\n", b"x" * 300, b"GET / HTTP/1.1\r\n"),
]
SERVER_FRAGMENTS = [
    *(READY, OK, OK, OK, b"227 ", b"229 ", b"227-", b"200-", b"200 ", b"150 \r\n", b"500 no\r\n"),
    *(b"(203,0,113,9,19,137)", b"(203,0,113,9,0,22)", b"(|||5001|)", b"(|||22|)", b"(10,0,0,8,"),
    *(b"198,51,100,7,19,137", b"\r\n", b"\n", b"\r", b"\0", b"\xff", b"\x15\x03", b"x" * 5000),
    *(IPV4.reply_passive, IPV6.reply_passive, b"421 bye\r\n"),
]
EVENTS = st.one_of(
    st.tuples(
        st.just("client"),
        st.lists(st.sampled_from(CLIENT_FRAGMENTS), max_size=8).map(b"".join),
    ),
    st.tuples(
        st.just("server"),
        st.lists(st.sampled_from(SERVER_FRAGMENTS), max_size=6).map(b"".join),
    ),
    st.tuples(st.sampled_from(["client", "server"]), st.binary(max_size=40)),
    st.tuples(st.sampled_from(["client closes", "server closes", "time"]), st.just(b"")),
)


PUBLISHED_EVENTS = st.one_of(
    st.tuples(
        st.just("client"),
        st.sampled_from([published.NAT.ask, published.ROUTED.ask, b"PASV\r\n", b"EPSV\r\n"]),
    ),
    st.tuples(
        st.just("server"),
        st.sampled_from([OK, published.NAT.reply_passive, published.ROUTED.reply_passive]),
    ),
)


def hear(dialogue: Dialogue, event: Turn) -> None:
    match event:
        case "client", data:
            dialogue.client_says(data)
        case "server", data:
            dialogue.server_says(data)
        case "client closes", _:
            dialogue.client_closes()
        case "server closes", _:
            dialogue.server_closes()
        case _:
            dialogue.time_passes(20)


def check_pinholes(dialogue: Dialogue, client: Endpoint, server: Endpoint) -> None:
    """Check that every open pinhole joins this client and this server, at ports of their own."""
    for pinhole in dialogue.data_path.pinholes.values():
        assert pinhole.sources is not None
        assert pinhole.target is not None
        ends = {pinhole.target.address, *(pinhole.sources.single_addresses or ())}
        assert ends == {client.address, server.address}
        assert pinhole.target.port >= limits.MIN_CLIENT_PORT
        assert pinhole.single


@given(
    st.sampled_from([IPV4, IPV6]),
    st.booleans(),
    st.booleans(),
    st.lists(EVENTS, max_size=12),
)
def test_no_bytes_break_the_filter_or_open_too_much_or_leak_the_client(
    family: Family, is_lax: bool, is_greeted: bool, events: list[Turn]
) -> None:
    ftp_settings = FtpSettings(trust_pasv_address="replace" if is_lax else "server")
    dialogue = Dialogue(FtpFilter(ftp_settings), version=family.version)
    if is_greeted:
        dialogue.server_says(READY)
    for number, event in enumerate(events):
        if (f"{event[0]} closes", b"") in events[:number]:
            continue  # who has closed says no more
        hear(dialogue, event)
        check_pinholes(dialogue, dialogue.connection.client, dialogue.connection.server)
        if not dialogue.connection.is_open:
            dialogue.pinholes()

    assert "filter.failed" not in dialogue.world.journal.events()
    for spelling in (b"10,0,0,8", b"10.0.0.8"):
        assert spelling not in dialogue.server_end.heard


@given(
    st.sampled_from([published.NAT, published.PROXIED, published.ROUTED]),
    st.booleans(),
    st.lists(EVENTS | PUBLISHED_EVENTS, max_size=12),
)
def test_no_bytes_open_anything_but_between_an_outside_client_and_its_published_server(
    way: published.Way, is_lax: bool, events: list[Turn]
) -> None:
    ftp_settings = FtpSettings(trust_pasv_address="replace" if is_lax else "server")
    dialogue = Dialogue(FtpFilter(ftp_settings), published=way.rule).server_says(READY)
    for number, event in enumerate(events):
        if (f"{event[0]} closes", b"") in events[:number]:
            continue  # who has closed says no more
        hear(dialogue, event)
        check_pinholes(dialogue, dialogue.connection.client, dialogue.connection.server)
        if not dialogue.connection.is_open:
            dialogue.pinholes()

    assert "filter.failed" not in dialogue.world.journal.events()


# Anything but what makes a line malformed, or is taken out as Telnet.
ARGUMENTS = st.binary(max_size=60).map(
    lambda raw: raw.translate(None, delete=b"\r\n\0").replace(b"\xff", b"\xff\xff")
)


@given(st.sampled_from(sorted(KNOWN_VERBS - DATA_VERBS - {b"AUTH"})), ARGUMENTS, st.booleans())
def test_commands_without_addresses_pass_identical(
    verb: bytes, argument: bytes, is_lower: bool
) -> None:
    line = (verb.lower() if is_lower else verb) + b" " + argument + b"\r\n"
    dialogue = greeted().client_says(b"NOOP\r\n").server_hears(b"NOOP\r\n")

    dialogue.client_says(line).server_hears(line).still_open()


@given(ARGUMENTS)
def test_replies_without_addresses_pass_identical(text: bytes) -> None:
    reply = b"250-" + text + b"\r\n" + text + b"\r\n250 " + text + b"\r\n"
    dialogue = greeted().client_says(b"CWD a\r\n").server_says(reply)

    dialogue.client_hears(reply).pinholes().still_open()
