"""What the kernel tests share: a gateway with both tables in a lab, ends that talk through it."""

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_network

from sallyport.addresses import Endpoint, IpAddress, PortRange, parse_address
from sallyport.core.pinholes.datapath import Arrival, FlowCounters, Pinhole
from sallyport.core.policy.rules import Network, NetworkRule, Policy, Relation
from sallyport.flags import Transport
from sallyport.io.fair_poller import FairPoller
from sallyport.ipfilter import IpFilter
from sallyport.kernel import marks, table
from sallyport.kernel.base_table import (
    GUARD_TABLES,
    GatewayRules,
    render_base,
    render_guard,
    render_removal,
)
from sallyport.kernel.conntrack import ConntrackRequests
from sallyport.kernel.datapath import KernelDataPath
from sallyport.kernel.element_writer import SWEEP_SECONDS
from sallyport.kernel.pins_table import pins_table
from sallyport.lab.host import Host
from sallyport.lab.network import Lab

# Long enough for a loaded machine, and never waited for when things go well.
PATIENCE = 20.0
# How long we watch before we say that nothing comes. SYNs that are let through arrive in 1 ms.
SILENCE = 0.3

POLICY = Policy(
    networks=(
        Network("internal", ("int0",), (ip_network("10.0.0.0/24"), ip_network("fd00:a::/64"))),
        Network("external", ("ext0",)),
    ),
    network_rules=(NetworkRule("internal", "external", Relation.NAT, Relation.ROUTE),),
)
RULES = GatewayRules(PortRange(40000, 59999))


def both_guards(policy: Policy, rules: GatewayRules) -> str:
    """Write the script of base and guard table, as a daemon has them, but owned by nobody."""
    guard = GUARD_TABLES[0]
    return (
        render_base(policy, rules)
        + render_removal(guard)
        + render_guard(policy, rules, guard, is_owned=False)
    )


@dataclass(frozen=True)
class Way:
    """One kind of relation: where peers connect, and where the client listens."""

    name: str
    listen: str
    target: str

    @property
    def version(self) -> int:
        """4 or 6."""
        return Endpoint.parse(self.listen).version

    def pinhole(
        self, lab: Lab, number: int = 1, *, single: bool = True, sources: IpFilter | None = None
    ) -> Pinhole:
        """A pinhole for the lab's server, or for `sources`."""
        listen, target = Endpoint.parse(self.listen), Endpoint.parse(self.target)
        allowed = sources or IpFilter.of(lab.server.address(listen.version))
        return Pinhole(number, Transport.TCP, listen, target, allowed, single)

    def udp(self, *, single: bool = True, is_answered: bool = True) -> Pinhole:
        """A UDP pinhole for anyone."""
        listen, target = Endpoint.parse(self.listen), Endpoint.parse(self.target)
        return Pinhole(1, Transport.UDP, listen, target, None, single, is_answered=is_answered)


WAYS = (
    Way("nat4", "203.0.113.1:40000", "10.0.0.8:1553"),
    Way("nat6", "[2001:db8::1]:40000", "[fd00:a::8]:1553"),
    Way("route4", "10.0.0.8:1553", "10.0.0.8:1553"),
    Way("route6", "[fd00:a::8]:1553", "[fd00:a::8]:1553"),
)


@dataclass
class Recorder:
    """A sink that keeps what it is told."""

    told: list[tuple[str, int]] = field(default_factory=list)
    ended: list[FlowCounters] = field(default_factory=list)
    peers: list[Endpoint] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def flow_arrived(self, pinhole_id: int, peer: Endpoint, arrival: Arrival) -> None:
        raise AssertionError("the kernel lets peers in by itself")

    def flow_established(self, pinhole_id: int, peer: Endpoint) -> None:
        self.told.append(("established", pinhole_id))
        self.peers.append(peer)
        self.news.set()

    def flow_refused(self, pinhole_id: int, peer: Endpoint) -> None:
        self.told.append(("refused", pinhole_id))
        self.peers.append(peer)
        self.news.set()

    def flow_turned_away(self, pinhole_id: int, peer: Endpoint) -> None:
        raise AssertionError("the kernel turns nobody away")

    def flow_ended(self, pinhole_id: int, counters: FlowCounters) -> None:
        self.told.append(("ended", pinhole_id))
        self.ended.append(counters)
        self.news.set()


@dataclass
class Bench:
    """A running data path in the lab's gateway."""

    lab: Lab
    path: KernelDataPath
    loop: asyncio.AbstractEventLoop
    sink: Recorder

    def open(self, *pinholes: Pinhole) -> None:
        self.loop.run_until_complete(self.path.open(pinholes))

    def open_now(self, pinhole: Pinhole) -> None:
        """Open without a turn of the loop: the data path never waits."""
        with suppress(StopIteration):
            self.path.open([pinhole]).send(None)

    def until(self, condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Let the data path work until `condition` about what was told holds, or fail."""

        async def wait() -> None:
            while not condition():
                self.sink.news.clear()
                await self.sink.news.wait()

        self.loop.run_until_complete(asyncio.wait_for(wait(), seconds))

    def sweep(self) -> None:
        """Let the data path work until what is used up has been swept."""
        self.loop.run_until_complete(asyncio.sleep(2 * SWEEP_SECONDS))

    def elements(self) -> list[object]:
        """Every element in the pins table, by nft's own listing."""
        listing = json.loads(self.lab.gateway.run(["nft", "-j", "list", "ruleset"]).stdout)
        found: list[object] = []
        for item in listing["nftables"]:
            body = item.get("set") or item.get("map")
            if body and body["table"] == pins_table(0):
                found += body.get("elem", [])
        return found

    def size_of(self, name: str) -> int:
        """How many elements one set of marks holds."""
        argv = ["nft", "list", "set", "inet", pins_table(0), name]
        return self.lab.gateway.run(argv).stdout.count("0x")

    def forget_flows(self) -> None:
        """Let conntrack forget flows, as if they had idled out."""
        with self.lab.gateway.entered():
            requests = ConntrackRequests()
        for report in list(requests.dump(marks.PIN, marks.PIN)):
            requests.delete(report.original)
        requests.close()

    def strangers(self) -> int:
        """How many packets the base table dropped because no pinhole was theirs."""
        argv = ["nft", "-j", "list", "counter", "inet", "sallyport", "strangers"]
        listing = json.loads(self.lab.gateway.run(argv).stdout)
        packets: int = listing["nftables"][1]["counter"]["packets"]
        return packets


@contextmanager
def running(lab: Lab, idle_seconds: int = 60) -> Iterator[Bench]:
    """Both tables and a data path in the lab's gateway, gone at the end."""
    sink, loop = Recorder(), asyncio.new_event_loop()
    poller = FairPoller(loop)
    with lab.gateway.entered():
        table.load(both_guards(POLICY, RULES))
        path = KernelDataPath.start(idle_seconds)
    try:
        path.attach(sink)
        path.run_in(loop, poller)
        yield Bench(lab, path, loop, sink)
    finally:
        path.stop()
        poller.close()
        loop.close()
        for name in ("sallyport", GUARD_TABLES[0]):
            lab.gateway.run(["nft", "delete", "table", "inet", name])


def make_gateway(lab: Lab) -> None:
    """Let the lab's gateway forward and count, and tell outside hosts the way in."""
    lab.gateway.sysctl("net.ipv4.ip_forward", 1)
    lab.gateway.sysctl("net.ipv6.conf.all.forwarding", 1)
    # Appears in a namespace with its first conntrack rule.
    lab.gateway.run(["nft", "-f", "-"], stdin=both_guards(POLICY, RULES))
    lab.gateway.sysctl("net.netfilter.nf_conntrack_acct", 1)
    for host in (lab.server, lab.stranger):
        host.run(["ip", "route", "add", "10.0.0.0/24", "via", "203.0.113.1"])


def _stream(address: IpAddress) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.settimeout(PATIENCE)
    return sock


def listen(host: Host, at: str) -> socket.socket:
    """A listener in a host."""
    endpoint = Endpoint.parse(at)
    with host.entered():
        sock = _stream(endpoint.address)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((str(endpoint.address), endpoint.port))
    sock.listen(64)
    return sock


def datagrams(host: Host, at: str) -> socket.socket:
    """A UDP socket in a host; the port may be 0."""
    endpoint = Endpoint.parse(at)
    family = socket.AF_INET if endpoint.version == 4 else socket.AF_INET6
    with host.entered():
        sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.settimeout(PATIENCE)
    sock.bind((str(endpoint.address), endpoint.port))
    return sock


def begin(host: Host, to: str) -> socket.socket:
    """A connection that was begun and not waited for."""
    endpoint = Endpoint.parse(to)
    with host.entered():
        sock = _stream(endpoint.address)
    sock.setblocking(False)
    sock.connect_ex((str(endpoint.address), endpoint.port))
    return sock


def dial(host: Host, to: str, seconds: float = PATIENCE, *, source_port: int = 0) -> socket.socket:
    """A connection; raises TimeoutError or ConnectionError."""
    endpoint = Endpoint.parse(to)
    with host.entered():
        sock = _stream(endpoint.address)
    sock.settimeout(seconds)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(("", source_port))
        sock.connect((str(endpoint.address), endpoint.port))
    except OSError:
        sock.close()
        raise
    sock.settimeout(PATIENCE)
    return sock


# Of the flags of a segment (RFC 9293 section 3.1).
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10


def send_syn(host: Host, source: str, to: str, options: bytes = b"") -> None:
    """One SYN with a source address of our choice; nobody finishes the handshake."""
    segment = Segment(SYN, sequence=7, options=options)
    send_segment(host, Endpoint(parse_address(source), 20), Endpoint.parse(to), segment)


@dataclass(frozen=True)
class Segment:
    """What a segment without data says."""

    flags: int
    sequence: int
    acknowledges: int = 0
    options: bytes = b""

    def packed(self, source: Endpoint, to: Endpoint) -> bytes:
        """Write it with its checksum."""
        size = 20 + len(self.options)

        def with_checksum(checksum: int) -> bytes:
            numbers = self.sequence, self.acknowledges
            head = (source.port, to.port, *numbers, size // 4 << 4, self.flags, 8192, checksum, 0)
            return struct.pack(">HHIIBBHHH", *head) + self.options

        ends = source.address.packed + to.address.packed
        data = ends + struct.pack(">HH", 6, size) + with_checksum(0)
        total = sum(struct.unpack(f">{len(data) // 2}H", data))
        while total > 0xFFFF:
            total = (total & 0xFFFF) + (total >> 16)
        return with_checksum(~total & 0xFFFF)


@contextmanager
def hush(host: Host, is_silent: bool = True) -> Iterator[None]:
    """Keep a host from resetting what it never began, as its own firewall would."""
    if not is_silent:
        yield
        return
    script = "table inet hush {\n chain out {\n type filter hook output priority 0;\n"
    script += " tcp flags rst drop\n }\n}\n"
    host.run(["nft", "-f", "-"], stdin=script)
    try:
        yield
    finally:
        host.run(["nft", "delete", "table", "inet", "hush"])


def raw_socket(host: Host, version: int) -> socket.socket:
    """A socket that sends past the host's own TCP, from any source."""
    with host.entered():
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        return socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)


def packet(source: Endpoint, to: Endpoint, segment: Segment) -> bytes:
    """Write a segment as a packet, which such a socket sends as it is."""
    body, ends = segment.packed(source, to), source.address.packed + to.address.packed
    if to.version == 4:
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, 6, 0)
    else:
        head = struct.pack(">IHBB", 6 << 28, len(body), 6, 64)
    return head + ends + body


def send_segment(host: Host, source: Endpoint, to: Endpoint, segment: Segment) -> None:
    """Send one segment past the host's own TCP, from any source."""
    with raw_socket(host, to.version) as raw:
        raw.sendto(packet(source, to, segment), (str(to.address), 0))
