"""One place and many who want it, on two CPUs; and a gateway full of pinholes."""

import socket
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import count, islice
from statistics import median

import pytest
from msgspec.structs import replace
from tests.netns import kernel_bench, kernel_race
from tests.netns.kernel_bench import WAYS, Bench, datagrams, listen

from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import Pinhole
from sallyport.flags import Transport
from sallyport.lab.network import Lab

pytestmark = pytest.mark.netns

NAT = WAYS[0]

# In rounds of a thousand: 8 000 sockets are as many as a process may have on a modest host.
PORTS = range(40000, 41000)
# Of the source ports each is used once: what was closed rests in TIME_WAIT, for other tests too.
FIRST_SOURCES = count(1024, 2 * kernel_race.SOURCE_PORTS)
ROUNDS = pytest.mark.parametrize("rounds", [1, pytest.param(10, marks=pytest.mark.soak)])


@pytest.fixture(scope="module")
def wires() -> Iterator[Lab]:
    with Lab.build("kdx") as lab:
        kernel_bench.make_gateway(lab)
        # Thousands of handshakes at once, and none is to wait for a free place.
        lab.client.sysctl("net.ipv4.tcp_max_syn_backlog", 16384)
        lab.client.sysctl("net.core.somaxconn", 16384)
        yield lab


def pinholes(transport: Transport, ports: range) -> list[Pinhole]:
    listener, target = Endpoint.parse(NAT.listen), Endpoint.parse(NAT.target)
    return [Pinhole(p, transport, listener.with_port(p), target, None) for p in ports]


def admitted(bench: Bench) -> Counter[int]:
    """How often each pinhole admitted a flow."""
    return Counter(port for what, port in bench.sink.told if what == "established")


@ROUNDS
def test_f25_of_eight_connections_from_two_cpus_exactly_one_gets_in(
    bench: Bench, rounds: int
) -> None:
    hosts = [bench.lab.server, bench.lab.stranger]
    for first in islice(FIRST_SOURCES, rounds):
        with listen(bench.lab.client, NAT.target) as inside:
            inside.listen(16384)
            bench.open(*pinholes(Transport.TCP, PORTS))
            with kernel_race.rush(kernel_race.connect, hosts, PORTS, first) as rush:
                sources = rush.sources()
                winners = [inside.accept() for _ in PORTS]
                inside.settimeout(kernel_bench.SILENCE)
                with pytest.raises(TimeoutError):
                    inside.accept()
            bench.until(lambda: admitted(bench).total() >= len(PORTS))

        assert Counter(sources[peer] for _, peer in winners) == dict.fromkeys(PORTS, 1)
        assert admitted(bench) == dict.fromkeys(PORTS, 1)
        for client, _ in winners:
            client.close()
        bench.until(lambda: len(bench.sink.ended) == len(PORTS))
        bench.sink.ended.clear()
        bench.sink.told.clear()


@ROUNDS
def test_of_eight_sources_of_datagrams_from_two_cpus_exactly_one_gets_in(
    bench: Bench, rounds: int
) -> None:
    hosts = [bench.lab.server, bench.lab.stranger]
    for _ in range(rounds):
        bench.open(*pinholes(Transport.UDP, PORTS))
        heard: dict[int, set[object]] = defaultdict(set)
        with datagrams(bench.lab.client, NAT.target) as inside:
            # Twice 1 000 datagrams of 800 bytes of kernel memory each.
            inside.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
            with kernel_race.rush(kernel_race.throw, hosts, PORTS, 20000) as rush:
                # The daemon narrows pinholes while they are being rushed at.
                bench.until(lambda: admitted(bench).total() >= len(PORTS))
                rush.sources()
            inside.setblocking(False)
            while True:
                try:
                    data, source = inside.recvfrom(64)
                except BlockingIOError:
                    break
                heard[int(data)].add(source)

        assert {port: len(sources) for port, sources in heard.items()} == dict.fromkeys(PORTS, 1)
        assert admitted(bench) == dict.fromkeys(PORTS, 1)
        bench.path.kill(PORTS)
        bench.until(lambda: len(bench.sink.ended) == len(PORTS))
        bench.sink.ended.clear()
        bench.sink.told.clear()


SIXTY_THOUSAND = [
    Endpoint.parse(f"203.0.113.{host}:{port}") for host in (2, 3, 4) for port in range(40000, 60000)
]


def speed(bench: Bench) -> float:
    """Open and close one pinhole a thousand times; the median in microseconds."""
    pinhole = NAT.pinhole(bench.lab)
    taken = []
    for _ in range(1000):
        start = time.perf_counter()
        bench.open_now(pinhole)
        bench.path.close([pinhole.id])
        taken.append(time.perf_counter() - start)
        bench.path.drain()
    return median(taken) * 1e6


def test_beside_sixty_thousand_pinholes_one_more_opens_and_closes(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    # One external address has 20 000 ports: three more of them, and fewer descriptors than ports.
    for host in (2, 3, 4):
        bench.lab.gateway.run(["ip", "addr", "add", f"203.0.113.{host}/24", "dev", "ext0"])
    alone = speed(bench)
    tcp = NAT.pinhole(bench.lab)
    made = [replace(tcp, id=at_number, listen=at) for at_number, at in enumerate(SIXTY_THOUSAND, 2)]
    with bench.lab.gateway.entered():
        for pinhole in made:
            bench.path.reserve(Transport.TCP, pinhole.listen)
    for start in range(0, len(made), 500):
        bench.open(*made[start : start + 500])
    crowded = speed(bench)

    assert bench.path.live_pinholes == len(made)
    assert bench.size_of("once") == len(made)
    bench.path.close([pinhole.id for pinhole in made])
    assert bench.size_of("once") == 0
    with capsys.disabled():
        print(  # noqa: T201 - a figure to look at, not to test
            f"\nopen and close: {alone:.0f} us alone, {crowded:.0f} us beside {len(made)}"
        )
