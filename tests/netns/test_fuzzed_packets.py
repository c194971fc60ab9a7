"""Packets of every kind from outside: none gets inside, or makes the gateway write to inside."""

import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import chain

import pytest

from sallyport.lab.gateway import RunningGateway, forward
from sallyport.lab.host import Host
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns]

COUNTS = pytest.mark.parametrize("count", [8_000, pytest.param(500_000, marks=pytest.mark.soak)])

# A fault is found again by its seed, which a failure prints.
SEED = 20260101

# All that was let in has arrived after that.
SILENCE = 0.5

OUTGOING = 4  # PACKET_OUTGOING, linux/if_packet.h
# What IPv6 needs on any link: neighbours, routers, multicast listeners (RFC 4861, 3810).
LINK_LOCAL_TYPES = frozenset({130, 131, 132, 133, 134, 135, 136, 143})
IGMP, IGMP_REPORT, IGMP_ROUTERS = 2, 0x22, bytes([224, 0, 0, 22])  # RFC 3376 section 4.2

# Of every kind: strangers, the server, clients, the gateway inside and outside, loopback,
# link-local, multicast, unspecified, broadcast, mapped.
SOURCES = {
    version: text.split()
    for version, text in (
        (
            4,
            "203.0.113.66 203.0.113.9 10.0.0.8 10.0.0.9 10.0.0.1 203.0.113.1 127.0.0.1 169.254.1.1"
            " 224.0.0.1 0.0.0.0 255.255.255.255 198.51.100.7",
        ),
        (
            6,
            "2001:db8::66 2001:db8::9 fd00:a::8 fd00:a::9 fd00:a::1 2001:db8::1 ::1 fe80::1 ff02::1"
            " :: ::ffff:10.0.0.8 2001:db8:7::7",
        ),
    )
}
DESTINATIONS = {
    version: text.split()
    for version, text in (
        (
            4,
            "10.0.0.8 10.0.0.8 10.0.0.1 203.0.113.1 10.0.0.255 255.255.255.255 224.0.0.1 127.0.0.1"
            " 203.0.113.255",
        ),
        (6, "fd00:a::8 fd00:a::8 fd00:a::1 2001:db8::1 ff02::1 ff05::2 ::1 fd00:a::"),
    )
}
PORTS = [21, 69, 8080, 22, 53, 40000, 45000, 59999, 0, 65535]
PROTOCOLS = [6, 17, 1, 58, 132, 47, 50, 51, 4, 41, 2, 59, 255]


def header4(
    rng: random.Random, source: IPv4Address, to: IPv4Address, kind: int, body: bytes
) -> bytes:
    """An IPv4 header, with options, flags and offsets that may be odd."""
    # Record route, loose and strict source routes by way of the client, no-operation (RFC 791).
    options = rng.choice([
        b"", b"", b"", b"\x01" * 4, b"\x07\x07\x04" + bytes(4) + b"\x00",
        b"\x83\x07\x04\x0a\x00\x00\x08\x00", b"\x89\x07\x04\x0a\x00\x00\x08\x00",
    ])  # fmt: skip
    words = 5 + len(options) // 4
    flags = rng.choice([0, 0, 0, 0x4000, 0x2000, 0x2001, 0x0002, 0x1FFF])
    life = rng.choice([64, 64, 64, 1, 2, 255])
    length = words * 4 + len(body)
    fields = (0x40 | words, rng.choice([0, 0xB8]), length, rng.getrandbits(16), flags, life, kind)
    head = struct.pack(">BBHHHBBH", *fields, 0) + source.packed + to.packed + options
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + body


def header6(
    rng: random.Random, source: IPv6Address, to: IPv6Address, kind: int, body: bytes
) -> bytes:
    """An IPv6 header, with extension headers (RFC 8200 section 4)."""
    first = kind
    for extension in rng.choices([0, 60, 43, 44], k=rng.choice([0, 0, 0, 1, 2])):
        if extension == 44:
            offset = rng.choice([0, 1, 8 << 3, 8 << 3 | 1])
            piece = struct.pack(">BBHI", first, 0, offset, rng.getrandbits(32))
        elif extension == 43:
            # Routing types 0 (deprecated, RFC 5095) and 2, by way of the client.
            route = IPv6Address("fd00:a::8").packed
            piece = struct.pack(">BBBBI", first, 2, rng.choice([0, 2]), 1, 0) + route
        else:
            piece = struct.pack(">BB", first, 0) + b"\x01\x04" + bytes(4)
        body, first = piece + body, extension
    life = rng.choice([64, 64, 255, 1])
    head = struct.pack(">IHBB", 6 << 28 | rng.getrandbits(20), len(body), first, life)
    return head + source.packed + to.packed + body


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    data += bytes(len(data) & 1)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)


def payload(rng: random.Random, kind: int, pseudo: Callable[[int], bytes], inner: bytes) -> bytes:
    """What follows the header, mostly with a right checksum; ICMP errors hold `inner`."""
    ports = struct.pack(">HH", rng.choice(PORTS), rng.choice(PORTS))
    if kind == 6:
        numbers = struct.pack(">II", rng.getrandbits(32), rng.getrandbits(32))
        flags = rng.choice([0x02, 0x10, 0x12, 0x04, 0x14, 0x11, 0x01, 0x00, 0x29, 0xFF])
        made = ports + numbers + struct.pack(">BBHHH", 0x50, flags, 8192, 0, 0) + rng.randbytes(8)
        at = 16
    elif kind == 17:
        made, at = ports + struct.pack(">HH", 16, 0) + rng.randbytes(8), 6
    elif kind in {1, 58}:
        types = [8, 0, 3, 5, 11, 12, 13, 17, 128, 129, 1, 2, 3, 4, 133, 134, 135, 136, 137]
        made, at = (
            struct.pack(">BBHI", rng.choice(types), rng.choice([0, 1, 3, 4]), 0, 0) + inner,
            2,
        )
    else:
        return rng.randbytes(24)
    if rng.random() < 0.9:
        sum_ = checksum((pseudo(len(made)) if kind != 1 else b"") + made)
        made = made[:at] + struct.pack(">H", sum_) + made[at + 2 :]
    return made


def packet(rng: random.Random) -> tuple[int, bytes]:
    """One packet, and its EtherType."""
    version = rng.choice([4, 6])
    source, to = (
        ip_address(rng.choice(SOURCES[version])),
        ip_address(rng.choice(DESTINATIONS[version])),
    )
    kind = rng.choices(PROTOCOLS, weights=[6, 6, 3, 3, *([1] * (len(PROTOCOLS) - 4))])[0]

    def pseudo(size: int) -> bytes:
        tail = (
            struct.pack(">HH", kind, size)
            if version == 4
            else struct.pack(">IHBB", size, 0, 0, kind)
        )
        return source.packed + to.packed + tail

    if isinstance(source, IPv4Address) and isinstance(to, IPv4Address):
        # As if the client had sent something: an error about it may be related to a flow.
        inner = header4(random.Random(0), to, source, 17, bytes(8))  # noqa: S311 - no secret
        return 0x0800, header4(rng, source, to, kind, payload(rng, kind, pseudo, inner))
    assert isinstance(source, IPv6Address)
    assert isinstance(to, IPv6Address)
    inner = header6(random.Random(0), to, source, 17, bytes(8))  # noqa: S311 - no secret
    return 0x86DD, header6(rng, source, to, kind, payload(rng, kind, pseudo, inner))


def packets(host: Host, interface: str) -> socket.socket:
    """A socket for whole frames of one interface."""
    with host.entered():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
        sock.bind((interface, 0x0003))
    return sock


@contextmanager
def heard_inside(lab: Lab) -> Iterator[list[bytes]]:
    """Collect every IP packet that comes to the client, but for what a link needs."""
    found: list[bytes] = []
    with packets(lab.client, "eth0") as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        yield found
        time.sleep(SILENCE)
        sock.setblocking(False)
        while True:
            try:
                frame, (_, kind, direction, *_rest) = sock.recvfrom(2048)
            except BlockingIOError:
                return
            if direction == OUTGOING or kind not in {0x0800, 0x86DD}:
                continue
            if is_of_the_link(frame[14:]):
                continue
            found.append(frame[14:])


def is_of_the_link(packet: bytes) -> bool:
    """Return whether a packet is about neighbours or multicast listeners.

    A kernel that begins to forward joins groups of its link, and reports that (RFC 3376, 3810).
    """
    if packet[0] >> 4 == 4:
        report = packet[(packet[0] & 0xF) * 4 :]
        return packet[9] == IGMP and packet[16:20] == IGMP_ROUTERS and report[0] == IGMP_REPORT
    first, at = packet[6], 40
    if first == 0:
        first, at = packet[40], 40 + 8 + packet[41] * 8
    return bool(first == 58 and packet[at] in LINK_LOCAL_TYPES)


def mac_of(host: Host, interface: str) -> bytes:
    shown = host.run(["ip", "-o", "link", "show", interface]).stdout
    return bytes.fromhex(shown.split("link/ether ")[1].split()[0].replace(":", ""))


# A router solicitation behind two fragment headers, from a client to the gateway: one of half a
# million. The kernel answered the second header, and so wrote to the client.
FOUND = [
    bytes.fromhex(
        "6004211e00502cff fd00000a000000000000000000000008 fd00000a000000000000000000000001"
        "2c000000c95a0518 3a0000004bf49943 85033bc800000000"
        "600f728b00102cff fd00000a000000000000000000000001 fd00000a000000000000000000000008"
        "110000410a5d2f34 0000000000000000"
    )
]


def heard_of(lab: Lab, count: int) -> list[bytes]:
    """Send so many packets from outside, and return what comes to the client."""
    rng = random.Random(SEED + count)  # noqa: S311 - the same ones again, for the same count
    ends = mac_of(lab.gateway, "ext0") + mac_of(lab.stranger, "eth0")
    with heard_inside(lab) as found, packets(lab.stranger, "eth0") as out:
        for kind, made in chain(
            ((0x86DD, one) for one in FOUND), (packet(rng) for _ in range(count))
        ):
            out.send(ends + struct.pack(">H", kind) + made)
    return found


@COUNTS
def test_fuzzed_packets_from_outside_reach_nobody_inside(
    lab: Lab, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = RunningGateway(lab)
    try:
        found = heard_of(lab, count)
        status = gateway.ask("status")
    finally:
        gateway.stop()

    assert [one.hex() for one in found[:3]] == []
    assert status.returncode == 0
    with capsys.disabled():
        print(f"\n{count} packets from outside, {len(found)} inside")  # noqa: T201 - to look at


def test_without_a_gateway_many_of_them_do(lab: Lab) -> None:
    forward(lab.gateway)
    try:
        assert len(heard_of(lab, 1000)) > 100
    finally:
        lab.gateway.sysctl("net.ipv4.ip_forward", 0)
        lab.gateway.sysctl("net.ipv6.conf.all.forwarding", 0)
