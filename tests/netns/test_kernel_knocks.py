"""A pinhole that closes unused knows why: nothing came, or who came and what became of it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from msgspec.structs import replace
from tests.netns.kernel_bench import WAYS, Bench, Way, begin, datagrams, listen

from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import Missed
from sallyport.ipfilter import IpFilter
from sallyport.kernel.pins_table import pins_table
from sallyport.lab.host import Host

pytestmark = pytest.mark.netns

WAY = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)

# As long as a pinhole is in these tests, and longer.
AGE = 30.0


@contextmanager
def foreign_firewall(host: Host, rule: str, hook: str = "forward") -> Iterator[None]:
    """A table of somebody else's, behind ours."""
    chain = f"type filter hook {hook} priority 10; {rule}"
    script = f"table inet other {{\n chain c {{\n {chain}\n }}\n}}\n"
    host.run(["nft", "-f", "-"], stdin=script)
    try:
        yield
    finally:
        host.run(["nft", "delete", "table", "inet", "other"])


def has_come(bench: Bench, way: Way) -> bool:
    """Whether a flow has used something of the quota of the pinhole's door."""
    argv = ["nft", "list", "map", "inet", pins_table(0), f"exact{way.version}"]
    listing = bench.lab.gateway.run(argv).stdout
    return " used " in listing


@WAY
def test_nothing_came(bench: Bench, way: Way) -> None:
    bench.open(way.pinhole(bench.lab))

    assert bench.path.missed(1, AGE) is Missed.NOTHING_CAME


@WAY
@pytest.mark.parametrize("rule", ["policy drop;", "reject", "ct state new drop"])
def test_another_firewall_dropped_who_came(bench: Bench, way: Way, rule: str) -> None:
    bench.open(way.pinhole(bench.lab))
    with (
        foreign_firewall(bench.lab.gateway, rule),
        listen(bench.lab.client, way.target),
        begin(bench.lab.server, way.listen),
    ):
        assert has_come(bench, way)
        assert bench.path.missed(1, AGE) is Missed.DROPPED


@WAY
def test_a_stranger_came_alone(bench: Bench, way: Way) -> None:
    bench.open(way.pinhole(bench.lab))
    with listen(bench.lab.client, way.target), begin(bench.lab.stranger, way.listen):
        assert bench.path.missed(1, AGE) is Missed.STRANGER_CAME


@WAY
def test_a_stranger_who_came_before_the_pinhole_was_there_is_none_of_its(
    bench: Bench, way: Way
) -> None:
    with begin(bench.lab.stranger, way.listen):
        # The kernel counts in ticks: who came less than one before may have come to the pinhole.
        for _ in range(2):
            bench.sweep()
        bench.open(way.pinhole(bench.lab))

    assert bench.path.missed(1, 0.0) is Missed.NOTHING_CAME


@WAY
@pytest.mark.parametrize(
    "sources",
    [None, IpFilter.of("203.0.0.0/8", "2001:db8::/32")],
    ids=["anyone", "a range of peers"],
)
def test_whoever_may_come_is_counted(bench: Bench, way: Way, sources: IpFilter | None) -> None:
    bench.open(replace(way.pinhole(bench.lab), sources=sources))
    with (
        foreign_firewall(bench.lab.gateway, "policy drop;"),
        begin(bench.lab.server, way.listen),
    ):
        assert bench.path.missed(1, AGE) is Missed.DROPPED


@WAY
def test_the_client_does_not_listen(bench: Bench, way: Way) -> None:
    bench.open(way.pinhole(bench.lab))
    with begin(bench.lab.server, way.listen):
        assert bench.path.missed(1, AGE) is Missed.NOT_TAKEN


@WAY
def test_the_client_is_silent(bench: Bench, way: Way) -> None:
    bench.open(way.pinhole(bench.lab))
    with (
        foreign_firewall(bench.lab.client, "policy drop;", "input"),
        begin(bench.lab.server, way.listen),
    ):
        assert bench.path.missed(1, AGE) is Missed.NOT_TAKEN


@WAY
def test_a_client_that_refused_some_time_ago_is_remembered(bench: Bench, way: Way) -> None:
    bench.open(way.pinhole(bench.lab))
    with begin(bench.lab.server, way.listen):
        bench.until(lambda: ("refused", 1) in bench.sink.told)

    assert bench.path.missed(1, AGE) is Missed.NOT_TAKEN


@WAY
def test_another_firewall_dropped_a_datagram(bench: Bench, way: Way) -> None:
    bench.open(way.udp())
    with (
        foreign_firewall(bench.lab.gateway, "policy drop;"),
        datagrams(bench.lab.server, "0.0.0.0:0" if way.version == 4 else "[::]:0") as peer,
    ):
        to = Endpoint.parse(way.listen)
        peer.sendto(b"?", (str(to.address), to.port))

        assert bench.path.missed(1, AGE) is Missed.DROPPED


def test_a_pinhole_that_is_closed_or_used_is_not_asked(bench: Bench) -> None:
    way = WAYS[0]
    bench.open(way.udp())
    with (
        datagrams(bench.lab.client, way.target),
        datagrams(bench.lab.server, "0.0.0.0:0") as peer,
    ):
        to = Endpoint.parse(way.listen)
        peer.sendto(b"?", (str(to.address), to.port))
        bench.until(lambda: bool(bench.sink.told))

    assert bench.path.missed(1, AGE) is None
    bench.path.close([1])
    assert bench.path.missed(1, AGE) is None
