"""What somebody outside can try who writes segments by hand, or remembers an old connection."""

import socket
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from tests.netns import kernel_race
from tests.netns.kernel_bench import (
    ACK,
    PATIENCE,
    RST,
    SILENCE,
    SYN,
    WAYS,
    Bench,
    Segment,
    Way,
    dial,
    listen,
    packet,
    raw_socket,
    send_segment,
)

from sallyport.addresses import Endpoint
from sallyport.kernel import marks, netlink_socket
from sallyport.kernel.conntrack import ConntrackRequests
from sallyport.lab.host import Host
from sallyport.wire import conntrack

pytestmark = pytest.mark.netns

NAT = WAYS[0]
WAY = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)

# Any one that no kernel chooses by itself: below net.ipv4.ip_local_port_range.
SOURCE_PORT = 6666


@WAY
def test_an_old_peer_does_not_come_back_by_the_entry_of_its_connection(
    bench: Bench, way: Way
) -> None:
    bench.open(way.pinhole(bench.lab))
    with listen(bench.lab.client, way.target) as inside:
        with dial(bench.lab.server, way.listen, source_port=SOURCE_PORT) as peer:
            client, _ = inside.accept()
            # Out of an entry that the other side has reset conntrack makes a new connection when
            # a SYN and its answer come by.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            with pytest.raises(ConnectionResetError):
                peer.recv(1)
        bench.until(lambda: bool(bench.sink.ended))

        with pytest.raises(TimeoutError):
            dial(bench.lab.server, way.listen, SILENCE, source_port=SOURCE_PORT)


@contextmanager
def silent_about(host: Host, port: int) -> Iterator[None]:
    """Keep a host's own TCP from resetting what we forge."""
    script = "table inet mute {\n chain out {\n type filter hook output priority 0;\n"
    script += f" tcp sport {port} tcp flags rst drop\n }}\n}}\n"
    host.run(["nft", "-f", "-"], stdin=script)
    try:
        yield
    finally:
        host.run(["nft", "delete", "table", "inet", "mute"])


def segments(host: Host) -> socket.socket:
    """Hear every segment that comes to a host."""
    with host.entered():
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    raw.settimeout(PATIENCE)
    return raw


def sequence_of(raw: socket.socket, port: int, flags: int) -> int:
    """Wait for a segment to a port; raises TimeoutError."""
    while True:
        packet = raw.recv(4096)
        segment = packet[(packet[0] & 15) * 4 :]
        to, sequence, found = struct.unpack(">2xHI5xB", segment[:14])
        if (to, found) == (port, flags):
            return int(sequence)


def test_f25_a_handshake_cannot_end_with_another_syn(bench: Bench) -> None:
    bench.open(NAT.pinhole(bench.lab))
    host, to = bench.lab.server, Endpoint.parse(NAT.listen)
    source, target = Endpoint(host.address(4), SOURCE_PORT + 1), Endpoint.parse(NAT.target)
    with (
        listen(bench.lab.client, NAT.target),
        segments(bench.lab.client) as arriving,
        segments(host) as answers,
        silent_about(host, source.port),
    ):
        send_segment(host, source, to, Segment(SYN, 7))
        assert sequence_of(arriving, target.port, SYN) == 7
        theirs = sequence_of(answers, source.port, SYN | ACK)
        send_segment(host, source, to, Segment(SYN | ACK, 7, theirs + 1))

        # The gateway's answer, and not the client's, which would acknowledge.
        assert sequence_of(answers, source.port, RST) == theirs + 1
        arriving.settimeout(SILENCE)
        with pytest.raises(TimeoutError):
            sequence_of(arriving, target.port, SYN | ACK)


# linux/tcp.h: closing a socket in this mode tells the other end nothing.
TCP_REPAIR = 19

# Rules read a mark and write it within some tenths of a microsecond. Of so many notes, each made in
# the middle of a flood of resets, a dozen fall between the two.
NOTES = 20_000


def mark_of(flow: bytes, kernel: socket.socket) -> int:
    """Read the mark of one flow; a dump would go through the flows of the whole machine."""
    kernel.send(conntrack.get_request(flow, 1))
    report = conntrack.read_report(kernel.recv(netlink_socket.RECEIVE_SIZE))
    assert report is not None
    return report.mark


def test_no_reset_of_a_vanished_peer_takes_away_the_note_that_an_end_is_recorded(
    bench: Bench,
) -> None:
    bench.forget_flows()
    bench.open(NAT.pinhole(bench.lab))
    to, target = Endpoint.parse(NAT.listen), Endpoint.parse(NAT.target)
    source = Endpoint(bench.lab.server.address(4), SOURCE_PORT + 2)
    with (
        listen(bench.lab.client, NAT.target) as inside,
        segments(bench.lab.client) as arriving,
        dial(bench.lab.server, NAT.listen, source_port=source.port) as peer,
    ):
        client, _ = inside.accept()
        peer.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        peer.close()
        with client:
            client.send(b"one segment")
            reset = packet(source, to, Segment(RST, sequence_of(arriving, target.port, RST)))
    bench.until(lambda: bool(bench.sink.ended))
    ended = marks.ENDS | marks.TOLD

    with bench.lab.gateway.entered(), closing(ConntrackRequests()) as requests:
        (flow,) = [one.original for one in requests.dump(ended, ended)]
        with (
            closing(netlink_socket.connect()) as kernel,
            raw_socket(bench.lab.server, 4) as raw,
            kernel_race.repeated(raw, reset, str(to.address)),
        ):
            for _ in range(NOTES):
                requests.set_bits(flow, 0, marks.TOLD)
                requests.conclude(flow, marks.TOLD)
                assert mark_of(flow, kernel) & marks.TOLD
