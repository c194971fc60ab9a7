"""TFTP requests: what the RFCs show is read, and nothing that is not one (attack T01)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport import limits
from sallyport.errors import ProtocolError
from sallyport.wire import tftp
from sallyport.wire.tftp import (
    ErrorCode,
    NotARequest,
    Opcode,
    Request,
    block_bytes_of,
    parse_request,
)

WORDS = st.binary(min_size=1, max_size=20).filter(lambda word: b"\0" not in word)
OPTIONS = st.tuples(
    st.sampled_from([b"blksize", b"BlkSize", b"timeout", b"tsize", b"x-unknown"]),
    st.sampled_from([b"8", b"65464", b"0", b"x"]) | WORDS,
)
REQUESTS = st.builds(
    Request,
    st.sampled_from([Opcode.RRQ, Opcode.WRQ]),
    WORDS,
    st.sampled_from([b"octet", b"NETASCII", b"Octet"]),
    st.lists(OPTIONS, max_size=4).map(lambda options: tuple(w for o in options for w in o)),
)


def test_a_plain_read_request_is_read() -> None:
    request = parse_request(b"\0\x01boot/pxelinux.0\0octet\0")

    assert request == Request(Opcode.RRQ, b"boot/pxelinux.0", b"octet")
    assert not request.is_write


def test_a_write_request_in_any_case_of_letters_is_read() -> None:
    request = parse_request(b"\0\x02router.cfg\0NetASCII\0")

    assert request == Request(Opcode.WRQ, b"router.cfg", b"NetASCII")
    assert request.is_write


def test_the_request_of_rfc_7440_is_read_with_its_options() -> None:
    # RFC 7440 section 4: "|0x0001| foobar | 0 | octet | 0 | windowsize | 0 | 16 | 0 |"
    request = parse_request(b"\0\x01foobar\0octet\0windowsize\x0016\0")

    assert request.words == (b"windowsize", b"16")


def test_what_curl_really_sends_is_read() -> None:
    packet = b"\0\x01file.bin\0octet\0tsize\x000\0blksize\x00512\0timeout\x006\0"

    request = parse_request(packet)

    assert request.words == (b"tsize", b"0", b"blksize", b"512", b"timeout", b"6")
    assert request.value_of(b"timeout") == 6
    assert request.value_of(b"windowsize") is None
    assert request.asks_for(b"tsize")
    assert not request.asks_for(b"multicast")


def test_an_option_is_found_whatever_its_letters() -> None:
    assert parse_request(b"\0\x01a\0octet\0MultiCast\0\0").asks_for(b"multicast")


def test_an_option_nobody_knows_is_left_to_the_server() -> None:
    assert parse_request(b"\0\x01a\0octet\0rollover\x000\0").asks_for(b"rollover")


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"\0\x01", "no-mode"),  # T01: the kernel's helper is satisfied with these two bytes
        (b"\0\x01file", "no-mode"),
        (b"\0\x01file\0", "unknown-mode"),
        (b"\0\x01\0octet\0", "bad-file-name"),
        (b"\0\x01file\0\0", "unknown-mode"),
        (b"\0\x01file\0binary\0", "unknown-mode"),
        (b"\0\x01file\0octe", "unknown-mode"),
        (b"\0\x02user\0mail\0", "unknown-mode"),
        (b"\0\x01" + b"f" * 1464 + b"\0octet\0", "request-too-long"),
    ],
)
def test_t01_what_has_no_name_and_mode_is_no_request(packet: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        parse_request(packet)

    assert refused.value.reason == reason
    assert not isinstance(refused.value, NotARequest)


@pytest.mark.parametrize(
    ("tail", "oddity"),
    [
        (b"\0", None),
        (b"\0vendor\0\0", None),
        (b"\0tsize\0\0", None),
        (b"\0blksize\x0065535\0windowsize\x000\0", None),
        (b"", "no-terminator"),
        (b"\0blksize\x00512", "no-terminator"),
        (b"\0" * 41, "padding"),
        (b"\0blksize\x00512\0\0\0\0", "padding"),
        (b"\0blksize\0", "option-without-value"),
        (b"\0tsize\x000\0TSIZE\x000\0", "option-given-twice"),
        (b"\0v\0" + b"x" * 600 + b"\0", "longer-than-512-bytes"),
        (b"\0a\rb\0\xff\0", None),
    ],
)
def test_requests_that_real_servers_serve_are_read(tail: bytes, oddity: str | None) -> None:
    request = parse_request(b"\0\x01boot.bin\0octet" + tail)

    assert (request.name, request.mode, request.oddity) == (b"boot.bin", b"octet", oddity)


@pytest.mark.parametrize("padding", [b"", b"\0", b"\0\0"])
def test_t04_multicast_is_found_whatever_stands_before_it(padding: bytes) -> None:
    request = parse_request(b"\0\x01a\0octet\0" + padding + b"multicast\0\0")

    assert request.asks_for(b"multicast")


def test_a_request_as_long_as_a_frame_is_read() -> None:
    packet = b"\0\x01" + b"f" * (limits.MAX_TFTP_REQUEST - 9) + b"\0octet\0"

    assert len(packet) == limits.MAX_TFTP_REQUEST
    assert parse_request(packet).is_write is False


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\0",
        b"\x01",
        b"\0\0file\0octet\0",
        b"\0\x03\0\x01data",
        b"\0\x04\0\x01",
        b"\0\x05\0\x01gone\0",
        b"\0\x06tsize\x001\0",
        b"\x01\0file\0octet\0",
    ],
)
def test_t01_what_does_not_begin_like_a_request_is_told_apart(packet: bytes) -> None:
    with pytest.raises(NotARequest, match="not-a-request"):
        parse_request(packet)


def test_a_request_that_could_not_be_one_cannot_be_made() -> None:
    with pytest.raises(NotARequest):
        Request(Opcode.DATA, b"file", b"octet")


def test_an_error_packet_is_as_rfc_1350_draws_it() -> None:
    packet = tftp.error(ErrorCode.ILLEGAL_OPERATION, "Illegal TFTP operation.")

    assert packet == b"\0\x05\0\x04Illegal TFTP operation.\0"


@given(REQUESTS)
def test_every_request_survives_being_written_and_read(request: Request) -> None:
    assert parse_request(request.packet()) == request


@given(st.one_of(st.binary(max_size=80), st.binary(max_size=80).map(lambda tail: b"\0\x01" + tail)))
def test_any_bytes_are_read_or_refused(packet: bytes) -> None:
    try:
        request = parse_request(packet)
    except ProtocolError:
        return
    assert packet[2:].startswith(request.name + b"\0" + request.mode)
    if request.oddity != "no-terminator":
        assert request.packet() == packet


@given(REQUESTS, st.data())
def test_t01_no_part_of_a_request_counts_as_another_mode_or_longer_name(
    request: Request, data: st.DataObject
) -> None:
    packet = request.packet()
    cut = data.draw(st.integers(0, len(packet) - 1))

    try:
        shorter = parse_request(packet[:cut])
    except ProtocolError:
        return
    assert (shorter.name, shorter.mode) == (request.name, request.mode)


@pytest.mark.parametrize(
    ("from_server", "from_client", "expected"),
    [
        (4, 4, True),
        (104, 4, True),
        (104, 0, False),
        (516, 4, False),
        (516 + 4, 8, True),
        (516 + 515, 8, True),
        (3 * 516 + 100, 12, False),
        (3 * 516 + 100, 16, True),
        (4 * 516 + 100, 16, False),
        (0, 0, False),
    ],
)
def test_a_transfer_is_complete_when_its_short_block_was_acknowledged(
    from_server: int, from_client: int, *, expected: bool
) -> None:
    read, write = parse_request(b"\0\x01a\0octet\0"), parse_request(b"\0\x02a\0octet\0")

    assert read.is_complete(b"", from_server, from_client) is expected
    assert write.is_complete(b"", from_client + 4, from_server) is expected
    # A server that knows no options answers with its first block.
    asking = parse_request(b"\0\x01a\0octet\0tsize\x000\0")
    assert asking.is_complete(b"\0\x03\0\x01", from_server, from_client) is expected
    assert not asking.is_complete(b"", from_server, from_client)


OACK = b"\0\x06blksize\x001428\0tsize\x005000\0"
FULL = 1428 + 4


@pytest.mark.parametrize(
    ("blocks", "acknowledged", "expected"),
    [
        (0, 0, False),
        (4, 1, True),
        (105, 1, True),
        (105, 0, False),
        (FULL, 1, False),
        (FULL + 4, 2, True),
        (FULL + 4, 1, False),
        (3 * FULL + 720, 4, True),
        (3 * FULL + 720, 3, False),
        (3 * FULL + 720, 5, False),
    ],
)
def test_with_options_a_block_is_as_long_as_the_server_has_agreed(
    blocks: int, acknowledged: int, *, expected: bool
) -> None:
    read = parse_request(b"\0\x01a\0octet\0blksize\x001468\0tsize\x000\0")
    write = parse_request(b"\0\x02a\0octet\0blksize\x001468\0")
    said = acknowledged * 4

    assert read.is_complete(OACK, blocks + len(OACK), said + 4) is expected
    assert write.is_complete(OACK, said + len(OACK), blocks) is expected


@pytest.mark.parametrize("times", [1, 2, 5])
def test_an_agreement_that_is_repeated_is_not_taken_for_a_last_block(times: int) -> None:
    read = parse_request(b"\0\x01a\0octet\0blksize\x001468\0tsize\x000\0")

    # Acknowledged once more, beside two full blocks.
    assert not read.is_complete(OACK, (1 + times) * len(OACK) + 2 * FULL, 4 * 4)


def test_a_transfer_that_is_refused_at_once_is_over() -> None:
    for request in (b"\0\x01a\0octet\0", b"\0\x02a\0octet\0tsize\x009\0"):
        assert parse_request(request).is_complete(b"\0\x05\0\x01No file\0", 12, 0)


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (b"\0\x06", 512),
        (b"\0\x06tsize\x00700\0", 512),
        (b"\0\x06BlkSize\x008\0", 8),
        (b"\0\x06timeout\x002\0blksize\x0065464\0", 65464),
        (b"\0\x06blksize\x001428\0windowsize\x001\0", 1428),
        (b"\0\x06windowsize\x004\0", None),
        (b"\0\x06blksize\x007\0", None),
        (b"\0\x06blksize\x0065465\0", None),
        (b"\0\x06blksize\x00" + b"9" * 5000 + b"\0", None),
        (b"\0\x06blksize\0-8\0", None),
        (b"\0\x06blksize\0\xb2\0", None),
        (b"\0\x06blksize\x00512", None),
        (b"\0\x06blksize\0", None),
        (b"\0\x06blksize\x00512\0blksize\x008\0", None),
    ],
)
def test_what_a_server_agrees_on_is_read_only_where_it_is_whole(
    packet: bytes, expected: int | None
) -> None:
    assert block_bytes_of(packet) == expected
