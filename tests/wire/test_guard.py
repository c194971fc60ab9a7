import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.wire.guard import FirstBytes, foreign_protocol, foreign_server

HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# The start of a real ClientHello: record header, handshake header, version.
CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"

OPENINGS = st.sampled_from(
    [
        b"USER anonymous\r\nPASS x\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        HTTP2_PREFACE,
        CLIENT_HELLO,
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"220 ready\r\n",
        b"\x15\x03\x03\x00\x02\x02\x0a",
    ]
) | st.binary(max_size=30)


@pytest.mark.parametrize(
    "first",
    [
        b"USER anonymous\r\n",
        b"AUTH TLS\r\n",
        b"\r\n",
        b" PORT 1\r\n",
        b"FEAT\n",
        b"STOR a b HTTP\n",
    ],
)
def test_a_line_of_text_is_ours(first: bytes) -> None:
    assert foreign_protocol(first) is FirstBytes.OURS


@pytest.mark.parametrize(
    "first",
    [
        b"POST / HTTP/1.1\r\nHost: a\r\n\r\nPORT 192,0,2,1,0,22\r\n",
        b"GET /PORT%20192,0,2,1,0,22 HTTP/1.0\r\n",
        b"lower-case!token /x HTTP/1.1",
        b"CONNECT 192.0.2.1:21 HTTP/1.1\r\n",
        HTTP2_PREFACE,
    ],
)
def test_h01_h02_an_http_request_is_foreign_whatever_follows(first: bytes) -> None:
    assert foreign_protocol(first) is FirstBytes.HTTP


def test_h07_a_websocket_request_is_foreign() -> None:
    assert foreign_protocol(b"GET /chat HTTP/1.1\r\nUpgrade: websocket\r\n") is FirstBytes.HTTP


def test_h07_a_client_hello_is_foreign_whatever_its_extensions_hold() -> None:
    assert foreign_protocol(CLIENT_HELLO + b"\r\nPORT 192,0,2,1,0,22\r\n") is FirstBytes.TLS


@pytest.mark.parametrize("first", [b"\x00\x1d", b"\x80\x2e\x01\x03\x01", b"\x16\x02", b"\x1b[A"])
def test_binary_is_foreign(first: bytes) -> None:
    assert foreign_protocol(first) is FirstBytes.UNKNOWN


def test_an_ssh_banner_is_foreign_on_either_side() -> None:
    assert foreign_protocol(b"SSH-2.0-x\r\n") is FirstBytes.SSH
    assert foreign_server(b"SSH-2.0-x\r\n") is FirstBytes.SSH


@pytest.mark.parametrize("first", [b"", b"U", b"USER anon", b"S", b"SSH", b"\x16", b"GET / HTTP"])
def test_more_bytes_are_asked_for_until_it_can_be_told(first: bytes) -> None:
    assert foreign_protocol(first) is FirstBytes.UNDECIDED


def test_an_http_request_line_after_the_first_line_is_not_an_opening() -> None:
    assert foreign_protocol(b"NOOP\r\nGET / HTTP/1.1\r\n") is FirstBytes.OURS


def test_a_first_line_without_end_is_decided_at_the_limit() -> None:
    assert foreign_protocol(b"x" * 511) is FirstBytes.UNDECIDED
    assert foreign_protocol(b"x" * 512) is FirstBytes.UNKNOWN
    assert foreign_protocol(b"x" * 512 + b"\r\n") is FirstBytes.UNKNOWN
    assert foreign_protocol(b"GET /" + b"x" * 512 + b" HTTP/1.1\r\n") is FirstBytes.UNKNOWN


@pytest.mark.parametrize("first", [b"2", b"220 ready\r\n", b"HTTPS is not spoken", b"SST"])
def test_a_server_that_begins_with_text_is_ours(first: bytes) -> None:
    assert foreign_server(first) is FirstBytes.OURS


@pytest.mark.parametrize(
    ("first", "opening"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", FirstBytes.HTTP),
        (b"\x16\x03\x03\x00\x7a\x02", FirstBytes.TLS),
        (b"\x15\x03\x03\x00\x02\x02\x0a", FirstBytes.TLS),
        (b"\x00\x00\x00\x2f", FirstBytes.UNKNOWN),
    ],
)
def test_v12_a_server_of_another_protocol_is_foreign(first: bytes, opening: FirstBytes) -> None:
    assert foreign_server(first) is opening


@pytest.mark.parametrize("first", [b"", b"HTTP", b"\x15", b"\x16", b"SSH"])
def test_a_server_is_undecided_while_its_bytes_fit_another_protocol(first: bytes) -> None:
    assert foreign_server(first) is FirstBytes.UNDECIDED


@pytest.mark.parametrize("opening", FirstBytes)
def test_only_a_decided_opening_of_another_protocol_is_foreign(opening: FirstBytes) -> None:
    assert opening.is_foreign == (opening.value in {"http", "tls", "ssh", "unknown"})


@given(OPENINGS)
def test_a_decision_never_changes_as_bytes_arrive(data: bytes) -> None:
    for ask in (lambda first: foreign_protocol(first, limit=20), foreign_server):
        answers = [ask(data[:end]) for end in range(len(data) + 1)]
        decided = [answer for answer in answers if answer is not FirstBytes.UNDECIDED]
        assert len(set(decided)) <= 1
        assert answers[len(answers) - len(decided) :] == decided
