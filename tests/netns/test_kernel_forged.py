"""Forged segments in the agreed peer's name: they prove nothing, so they may spend nothing (F26).

The forger sends with the peer's address and the very port that the peer will use. It does not see
what the client answers, so it does not know the number that it would have to acknowledge.
"""

import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import product

import pytest
from msgspec.structs import replace
from tests.netns import kernel_bench
from tests.netns.kernel_bench import (
    ACK,
    FIN,
    PATIENCE,
    RST,
    SYN,
    WAYS,
    Bench,
    Segment,
    Way,
    dial,
    hush,
    listen,
    send_segment,
)

from sallyport.addresses import Endpoint
from sallyport.lab.host import Host
from sallyport.lab.network import Lab

pytestmark = pytest.mark.netns

NAT = pytest.mark.parametrize("way", WAYS[:2], ids=lambda way: way.name)

# The port an FTP server connects from is known: 20 (RFC 959 section 3.2).
PEER_PORT = 20

# What a forger can say. The sequence numbers are its own, the acknowledged one is a guess. A RST
# with the number 0 is good enough for conntrack, and the client ignores it.
SEGMENTS = {
    "syn": Segment(SYN, 7),
    "rst": Segment(RST, 8),
    "rst0": Segment(RST, 0),
    "ack": Segment(ACK, 8, 12345),
    "fin": Segment(FIN | ACK, 8, 12345),
}
SHORT = [c for n in (2, 3) for c in product(SEGMENTS, repeat=n)]
LONG = list(product(SEGMENTS, repeat=4))
COMBINATIONS = pytest.mark.parametrize(
    "combinations",
    [
        # A combination without a SYN never finds the pinhole; of four, those that begin with one.
        pytest.param([*SHORT, *(c for c in LONG if c[0] == "syn" and "rst" in c[1:3])], id="short"),
        pytest.param([*SHORT, *LONG], id="all", marks=pytest.mark.soak),
    ],
)

# From the forged SYN to the client's answer at the gateway: a round trip inside takes 0.1 ms.
ROUND_TRIP = 0.02


@pytest.fixture(scope="module")
def wires() -> Iterator[Lab]:
    with Lab.build("kdf") as lab:
        kernel_bench.make_gateway(lab)
        # Half-open connections of a thousand forged SYNs at once.
        lab.client.sysctl("net.ipv4.tcp_max_syn_backlog", 16384)
        lab.client.sysctl("net.core.somaxconn", 16384)
        lab.server.sysctl("net.ipv4.ip_unprivileged_port_start", 0)
        yield lab


def honest(bench: Bench, way: Way, at: Endpoint, source_port: int = PEER_PORT) -> socket.socket:
    """Begin the connection of the true peer."""
    with bench.lab.server.entered():
        sock = socket.socket(socket.AF_INET if way.version == 4 else socket.AF_INET6)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", source_port))
    sock.setblocking(False)
    sock.connect_ex((str(at.address), at.port))
    return sock


@dataclass
class Target:
    """One pinhole, what is forged at it, and both its true ends."""

    number: int
    combination: tuple[str, ...]
    at: Endpoint
    listener: socket.socket

    def refusal(self, peer: socket.socket) -> str:
        """Let the true peer speak; return what went wrong, or nothing."""
        try:
            peer.settimeout(PATIENCE)
            self.listener.settimeout(PATIENCE)
            client, _ = self.listener.accept()
            with client, peer:
                peer.sendall(b"x")
                client.settimeout(PATIENCE)
                return "" if client.recv(1) == b"x" else "no data"
        except OSError as error:
            return repr(error)


@contextmanager
def bare_acks_held(host: Host) -> Iterator[None]:
    """Hold back the packet that completes a handshake."""
    script = "table inet late {\n chain out {\n type filter hook output priority 0;\n"
    host.run(["nft", "-f", "-"], stdin=script + " tcp flags == ack drop\n }\n}\n")
    try:
        yield
    finally:
        host.run(["nft", "delete", "table", "inet", "late"])


@contextmanager
def targets(
    bench: Bench, way: Way, combinations: Sequence[tuple[str, ...]]
) -> Iterator[dict[int, Target]]:
    """Open a pinhole for each combination; its client listens at a port of its own."""
    listen_at, target_at = Endpoint.parse(way.listen), Endpoint.parse(way.target)
    bench.forget_flows()
    with ExitStack() as stack:
        found = {}
        for number, combination in enumerate(combinations):
            at, to = (e.with_port(e.port + number) for e in (listen_at, target_at))
            listener = stack.enter_context(listen(bench.lab.client, str(to)))
            bench.open(replace(way.pinhole(bench.lab, number), listen=at, target=to))
            found[at.port] = Target(number, combination, at, listener)
        yield found


def spent(bench: Bench, at: dict[int, Target]) -> list[str]:
    """Name the combinations that took the place of a pinhole."""
    bench.path.drain(10_000)
    numbers = {number for what, number in bench.sink.told if what == "established"}
    return ["+".join(one.combination) for one in at.values() if one.number in numbers]


def forge(bench: Bench, way: Way, at: dict[int, Target]) -> None:
    """Send all combinations at once, step by step, in the name of the server."""
    peer = Endpoint(bench.lab.server.address(way.version), PEER_PORT)
    for step in range(4):
        for one in at.values():
            if step < len(one.combination):
                send_segment(bench.lab.stranger, peer, one.at, SEGMENTS[one.combination[step]])
        time.sleep(ROUND_TRIP)


@NAT
@COMBINATIONS
@pytest.mark.parametrize("is_silent", [False, True], ids=["server answers", "server is silent"])
def test_f26_whatever_is_forged_the_true_peer_gets_in_afterwards(
    bench: Bench, way: Way, combinations: Sequence[tuple[str, ...]], is_silent: bool
) -> None:
    with targets(bench, way, combinations) as at:
        # A server behind a firewall does not reset what it never began.
        with hush(bench.lab.server, is_silent):
            forge(bench, way, at)
        taken = spent(bench, at)
        peers = {port: honest(bench, way, one.at) for port, one in at.items()}
        failed = [
            ("+".join(one.combination), why)
            for port, one in at.items()
            if (why := one.refusal(peers[port]))
        ]

    assert (taken, failed) == ([], [])


@NAT
@COMBINATIONS
def test_f26_what_is_forged_into_a_handshake_spends_nothing(
    bench: Bench, way: Way, combinations: Sequence[tuple[str, ...]]
) -> None:
    with targets(bench, way, combinations) as at:
        # The true peer has been answered; the packet that completes its handshake is held back.
        with bare_acks_held(bench.lab.server):
            peers = {port: honest(bench, way, one.at, PEER_PORT) for port, one in at.items()}
            time.sleep(ROUND_TRIP)
            forge(bench, way, at)
            taken = spent(bench, at)
        for peer in peers.values():
            with suppress(OSError):
                peer.send(b"x")
        time.sleep(ROUND_TRIP)
        # A forged reset may end this handshake, as it may end any; then the next one gets in.
        going_on = spent(bench, at)
        for port, one in at.items():
            if "+".join(one.combination) not in going_on:
                peers[port].close()
                peers[port] = honest(bench, way, one.at, PEER_PORT + 1)
        failed = [
            ("+".join(one.combination), why)
            for port, one in at.items()
            if (why := one.refusal(peers[port]))
        ]

    assert (taken, failed) == ([], [])


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_the_last_packet_of_a_handshake_may_bring_all_the_data_and_the_end(
    bench: Bench, way: Way
) -> None:
    bench.forget_flows()
    bench.open(way.pinhole(bench.lab))
    with (
        listen(bench.lab.client, way.target) as inside,
        bare_acks_held(bench.lab.server),
        dial(bench.lab.server, way.listen) as peer,
    ):
        # One segment, with the FIN: what was to come before it is lost.
        peer.send(b"all", socket.MSG_MORE)
        peer.shutdown(socket.SHUT_WR)
        client, _ = inside.accept()
        with client:
            client.settimeout(PATIENCE)
            assert (client.recv(8), client.recv(8)) == (b"all", b"")


# Acknowledgements beside the right number, and how conntrack's window lies around it
# (MAXACKWINCONST, nf_conntrack_proto_tcp.c): SECURITY.md derives its figure from this.
WINDOW = 66_000
FITTING, UNFIT = (0, -1, -WINDOW), (1, 2, -WINDOW - 1, -WINDOW - 2, 1 << 30, 1 << 31, -(1 << 30))


def test_f26_what_a_blind_acknowledgement_must_hit_is_as_small_as_we_say(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    way = WAYS[0]
    offsets = [(str(offset),) for offset in FITTING + UNFIT]
    peer = Endpoint(bench.lab.server.address(4), PEER_PORT)
    with targets(bench, way, offsets) as at, hush(bench.lab.server), heard(bench.lab.server) as raw:
        for one in at.values():
            send_segment(bench.lab.stranger, peer, one.at, Segment(SYN, 7))
            number = answered(raw, one.at.port) + 1 + int(one.combination[0])
            forged = Segment(ACK, 8, number & 0xFFFF_FFFF)
            send_segment(bench.lab.stranger, peer, one.at, forged)
        time.sleep(ROUND_TRIP)
        taken = spent(bench, at)

    assert sorted(map(int, taken)) == sorted(FITTING)
    with capsys.disabled():
        print(f"\none blind acknowledgement in {(1 << 32) // (WINDOW + 1)} spends a pinhole")  # noqa: T201


@contextmanager
def heard(host: Host) -> Iterator[socket.socket]:
    """Hear every IPv4 segment that comes to a host."""
    with host.entered():
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    with raw:
        raw.settimeout(PATIENCE)
        yield raw


def answered(raw: socket.socket, port: int) -> int:
    """Return the sequence number of the next SYN|ACK from a port; raises TimeoutError."""
    while True:
        packet = raw.recv(4096)
        segment = packet[(packet[0] & 15) * 4 :]
        source, sequence, flags = struct.unpack(">H2xI5xB", segment[:14])
        if (source, flags) == (port, SYN | ACK):
            return int(sequence)
