"""Conntrack messages: events recorded from a kernel, requests as literals, a filter in a model."""

import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.addresses import Endpoint
from sallyport.errors import ProtocolError
from sallyport.wire import conntrack, netlink
from sallyport.wire.conntrack import FlowTuple
from sallyport.wire.netlink import Family

# 203.0.113.9:37670 to 203.0.113.1:40000, translated to 10.0.0.8:1553: an update of the mark.
ORIGINAL4 = bytes.fromhex(
    "3400 0180  1400 0180  0800 0100 cb007109  0800 0200 cb007101"
    "1c00 0280  0500 0100 06000000  0600 0200 93260000  0600 0300 9c400000"
)
REPLY4 = bytes.fromhex(
    "3400 0280  1400 0180  0800 0100 0a000008  0800 0200 cb007109"
    "1c00 0280  0500 0100 06000000  0600 0200 06110000  0600 0300 93260000"
)
EVENT4 = bytes.fromhex(
    f"cc000000 0001 0000 00000000 00000000 02000000 {ORIGINAL4.hex()} {REPLY4.hex()}"
    "08000c00 685574f7  08000300 000001ae  08000700 00069780"
    "3000 0480 2c00 0180 05000100 03000000 05000200 0a000000 05000300 0a000000"
    "06000400 23000000 06000500 23000000  08000800 c0eae67a"
)
# The same over IPv6, from 2001:db8::9 port 45574 to 2001:db8::1 port 40000, to fd00:a::8.
EVENT6 = bytes.fromhex(
    "fc000000 0001 0000 00000000 00000000 0a000000"
    "4c00 0180  2c00 0180  1400 0300 20010db8000000000000000000000009"
    "1400 0400 20010db8000000000000000000000001"
    "1c00 0280  05000100 06000000  06000200 b2060000  06000300 9c400000"
    "4c00 0280  2c00 0180  1400 0300 fd00000a000000000000000000000008"
    "1400 0400 20010db8000000000000000000000009"
    "1c00 0280  05000100 06000000  06000200 06110000  06000300 b2060000"
    "08000c00 b4533291  08000300 000001ae  08000700 00069780"
    "3000 0480 2c00 0180 05000100 03000000 05000200 0a000000 05000300 0a000000"
    "06000400 23000000 06000500 23000000  08000800 c0eae67b"
)


def destroyed(sent: int, received: int) -> bytes:
    counters = b"".join(
        netlink.nested(
            kind,
            netlink.attribute(1, (9).to_bytes(8, "big")),
            netlink.attribute(2, count.to_bytes(8, "big")),
        )
        for kind, count in ((9, sent), (10, received))
    )
    payload = ORIGINAL4 + REPLY4 + counters + netlink.attribute(8, bytes.fromhex("c0000001"))
    return netlink.message(0x102, 0, 0, Family.IPV4, payload)


def test_an_update_gives_the_mark_and_both_tuples() -> None:
    report = conntrack.read_report(EVENT4)

    assert report is not None
    assert (report.is_destroyed, report.mark) == (False, 0xC0EAE67A)
    assert (report.original, report.reply) == (ORIGINAL4, REPLY4)
    assert (report.sent, report.received) == (0, 0)
    assert conntrack.read_seconds_left(EVENT4) == 432_000


def test_a_destroyed_flow_gives_its_bytes_each_way() -> None:
    report = conntrack.read_report(destroyed(100_360, 2_052))

    assert report is not None
    assert report.is_destroyed
    # Nine packets: 52 bytes of headers in each, and 8 bytes of options more in the first one.
    assert (report.sent, report.received) == (99_884, 1_576)


@pytest.mark.parametrize(
    ("protocol", "header", "first"), [(6, 52, 8), (17, 28, 0)], ids=["TCP", "UDP"]
)
def test_headers_are_no_payload(protocol: int, header: int, first: int) -> None:
    tcp, other = bytes.fromhex("05000100 06000000"), bytes([5, 0, 1, 0, protocol, 0, 0, 0])
    size = 9 * header + first
    report = conntrack.read_report(destroyed(size + 1234, size - 1).replace(tcp, other))

    assert report is not None
    assert (report.sent, report.received) == (1234, 0)


def test_an_answer_gives_its_bytes_each_way_and_zeros_where_nobody_counts() -> None:
    assert conntrack.read_counters(destroyed(100_360, 2_052)) == (99_884, 1_576)
    assert conntrack.read_counters(EVENT4) == (0, 0)
    assert conntrack.read_seconds_left(destroyed(1, 2)) is None


@pytest.mark.parametrize("kind", [1, 2], ids=["packets alone", "bytes alone"])
def test_counters_that_lack_one_half_count_nothing(kind: int) -> None:
    half = netlink.nested(9, netlink.attribute(kind, (900).to_bytes(8, "big")))
    message = netlink.message(0x102, 0, 0, Family.IPV4, ORIGINAL4 + REPLY4 + half)

    # Bytes without packets say nothing about payload: how many headers are among them?
    assert conntrack.read_counters(message) == (0, 0)


@pytest.mark.parametrize(
    ("state", "is_over"),
    [(1, False), (3, False), (4, False), (5, False), (6, True), (7, True), (8, True)],
)
def test_a_connection_that_has_ended_is_told_from_one_that_runs(state: int, is_over: bool) -> None:
    established = bytes.fromhex("05000100 03000000")
    assert EVENT4.count(established) == 1
    event = EVENT4.replace(established, bytes([5, 0, 1, 0, state, 0, 0, 0]))

    assert conntrack.is_over(event) == is_over
    assert not conntrack.is_over(destroyed(1, 2))
    assert not conntrack.is_over(event[:-4])


def test_a_report_is_read_where_it_starts() -> None:
    assert conntrack.read_report(EVENT6 + EVENT4, len(EVENT6)) == conntrack.read_report(EVENT4)


def test_tuples_name_who_sends_to_whom() -> None:
    six = conntrack.read_report(EVENT6)

    assert conntrack.read_tuple(ORIGINAL4) == FlowTuple(
        6, Endpoint.parse("203.0.113.9:37670"), Endpoint.parse("203.0.113.1:40000")
    )
    assert conntrack.read_tuple(REPLY4) == FlowTuple(
        6, Endpoint.parse("10.0.0.8:1553"), Endpoint.parse("203.0.113.9:37670")
    )
    assert six is not None
    assert conntrack.read_tuple(six.original) == FlowTuple(
        6, Endpoint.parse("[2001:db8::9]:45574"), Endpoint.parse("[2001:db8::1]:40000")
    )


@pytest.mark.parametrize("raw", [ORIGINAL4, REPLY4])
def test_the_source_alone_is_read_as_in_the_whole(raw: bytes) -> None:
    assert conntrack.read_source(raw) == conntrack.read_tuple(raw).source


def test_a_written_tuple_is_what_the_kernel_writes() -> None:
    flow = FlowTuple(6, Endpoint.parse("203.0.113.9:37670"), Endpoint.parse("203.0.113.1:40000"))

    assert conntrack.write_tuple(flow) == ORIGINAL4


@pytest.mark.parametrize(
    "message",
    [
        netlink.message(0x103, 0, 0, Family.IPV4, ORIGINAL4 + REPLY4),
        netlink.message(0x100, 0, 0, Family.INET, ORIGINAL4 + REPLY4),
        netlink.message(0x100, 0, 0, Family.IPV4, REPLY4 + ORIGINAL4),
        netlink.message(0x100, 0, 0, Family.IPV4, ORIGINAL4 + ORIGINAL4),
        netlink.message(0x100, 0, 0, Family.IPV4, ORIGINAL4),
        netlink.message(0x100, 0, 0, Family.IPV4, ORIGINAL4 + REPLY4 + b"\x02\0\x08\0"),
        EVENT4[:-4],
        b"",
    ],
    ids=["type", "family", "order", "twice", "half", "attribute", "cut", "empty"],
)
def test_what_is_not_a_flow_as_we_know_it_is_none(message: bytes) -> None:
    assert conntrack.read_report(message) is None
    assert conntrack.read_counters(message) is None
    assert conntrack.read_seconds_left(message) is None


@pytest.mark.parametrize("raw", [b"", ORIGINAL4[:-1], bytes(52), b"\x34\0\x03\x80" + ORIGINAL4[4:]])
def test_a_tuple_of_another_shape_is_refused(raw: bytes) -> None:
    with pytest.raises(ProtocolError, match="conntrack-tuple"):
        conntrack.read_tuple(raw)


_PORTS = st.integers(0, 65535)
_PAIRS4 = st.builds(Endpoint, st.builds(IPv4Address, st.integers(0, 2**32 - 1)), _PORTS)
_PAIRS6 = st.builds(Endpoint, st.builds(IPv6Address, st.integers(0, 2**128 - 1)), _PORTS)


@given(
    st.builds(FlowTuple, st.integers(0, 255), _PAIRS4, _PAIRS4)
    | st.builds(FlowTuple, st.integers(0, 255), _PAIRS6, _PAIRS6)
)
def test_tuples_round_trip(flow: FlowTuple) -> None:
    assert conntrack.read_tuple(conntrack.write_tuple(flow)) == flow


@given(st.binary(max_size=300))
def test_any_bytes_are_a_report_or_none(data: bytes) -> None:
    for read in (conntrack.read_report, conntrack.read_counters, conntrack.read_seconds_left):
        assert read(data) is None or len(data) >= 124


@given(st.integers(0, len(EVENT4) - 1), st.integers(0, 255))
def test_a_damaged_event_never_crashes(at: int, value: int) -> None:
    damaged = EVENT4[:at] + bytes([value]) + EVENT4[at + 1 :]

    report = conntrack.read_report(damaged)

    assert report is None or len(report.original) == len(report.reply) == 52


@given(st.binary(max_size=80))
def test_any_bytes_are_a_tuple_or_a_protocol_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        conntrack.read_tuple(data)


def test_requests_name_the_flow_by_its_own_bytes() -> None:
    header = "48000000 {} 03000000 00000000 02000000"

    assert conntrack.get_request(ORIGINAL4, 3) == (
        bytes.fromhex(header.format("0101 0100")) + ORIGINAL4
    )
    assert conntrack.delete_request(ORIGINAL4, 3) == (
        bytes.fromhex(header.format("0201 0500")) + ORIGINAL4
    )


def test_a_mark_request_changes_only_the_bits_under_its_mask() -> None:
    request = conntrack.mark_request(ORIGINAL4, 0x20000000, 0x20000000, 3)

    assert request == (
        bytes.fromhex("58000000 0001 0500 03000000 00000000 02000000")
        + ORIGINAL4
        + bytes.fromhex("0800 0800 20000000  0800 1500 20000000")
    )


def test_a_dump_asks_the_kernel_to_sift_by_mark() -> None:
    assert conntrack.dump_request(0x80000000, 0x80000000, 3) == bytes.fromhex(
        "24000000 0101 0103 03000000 00000000 00000000 0800 0800 80000000  0800 1500 80000000"
    )


# -- the socket filter, run by a small model of the machine ---------------------------------------

BITS = OURS, PROVEN, ENDS, TOLD, IDENTITY = (
    0x80000000, 0x40000000, 0x18000000, 0x01000000, 0x00FFFFFF
)  # fmt: skip
PART = SERIES, THEIRS = 0x00F00000, 0x00300000


def is_kept(message: bytes) -> bool:
    program = list(struct.iter_unpack("=HBBI", conntrack.event_filter(*BITS, PART)))
    a = x = at = 0
    while True:
        operation, on_true, on_false, k = program[at]
        at += 1
        if operation == 0x06:
            return bool(k)
        if operation == 0x00:
            a = k
        elif operation == 0x01:
            x = k
        elif operation == 0x07:
            x = a
        elif operation == 0x20:
            assert k == 0xFFFFF00C
            a = _find_attribute(message, a, x)
        elif operation == 0x30:
            a = message[k]
        elif operation == 0x40:
            a = int.from_bytes(message[x + k : x + k + 4], "big")
        elif operation == 0x54:
            a &= k
        elif operation == 0x15:
            at += on_true if a == k else on_false
        elif operation == 0x45:
            at += on_true if a & k else on_false
        else:
            raise AssertionError(f"instruction {operation:#x} is not in the model")


def _find_attribute(message: bytes, start: int, wanted: int) -> int:
    at = start
    while at + 4 <= len(message):
        size, kind = struct.unpack_from("=HH", message, at)
        if kind & 0x3FFF == wanted:
            return at
        at += size + (-size & 3)
    return 0


def event(kind: int, mark: int | None) -> bytes:
    attribute = b"" if mark is None else netlink.attribute(8, mark.to_bytes(4, "big"))
    return netlink.message(kind, 0, 0, Family.IPV4, ORIGINAL4 + REPLY4 + attribute)


@pytest.mark.parametrize(
    ("what", "kind", "mark", "kept"),
    [
        ("won", 0x100, OURS | PROVEN | THEIRS | 1, True),
        ("both sides have closed", 0x100, OURS | PROVEN | ENDS | THEIRS | 1, True),
        ("one side has closed", 0x100, OURS | PROVEN | 0x10000000 | THEIRS | 1, False),
        ("the other side has closed", 0x100, OURS | PROVEN | 0x08000000 | THEIRS | 1, False),
        ("half-open", 0x100, OURS | THEIRS | 1, False),
        ("destroyed without having won", 0x102, OURS | THEIRS | 1, True),
        ("destroyed with one side closed", 0x102, OURS | PROVEN | 0x10000000 | THEIRS | 1, True),
        ("its end is told", 0x100, OURS | PROVEN | ENDS | TOLD | THEIRS | 1, False),
        ("destroyed after that", 0x102, OURS | PROVEN | ENDS | TOLD | THEIRS | 1, False),
        ("a timed UDP flow destroyed", 0x102, OURS | PROVEN | TOLD | THEIRS | 1, True),
        ("another worker's flow", 0x100, OURS | PROVEN | 0x00400000 | 1, False),
        ("another worker's end", 0x102, OURS | PROVEN | 0x00200000 | 1, False),
        ("a control connection", 0x102, OURS, False),
        ("somebody else's mark", 0x102, THEIRS | 1, False),
        ("no mark", 0x102, None, False),
    ],
)
def test_the_filter_keeps_what_is_worth_waking_up_for(
    what: str, kind: int, mark: int | None, kept: bool
) -> None:
    assert is_kept(event(kind, mark)) is kept, what
