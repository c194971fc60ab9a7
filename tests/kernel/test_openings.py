"""Pinholes as elements: which sets, which keys, and that removal names what addition made."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.addresses import Endpoint
from sallyport.core.datapath import Pinhole
from sallyport.errors import InvalidArgument
from sallyport.flags import Transport
from sallyport.ipfilter import IpFilter
from sallyport.kernel.openings import Opening, additions, removals
from sallyport.wire import nftset

OUTSIDE = Endpoint.parse("203.0.113.1:40000")
INSIDE = Endpoint.parse("10.0.0.8:1553")
ROUTED = Endpoint.parse("[fd00:a::8]:1553")
SERVER = IpFilter.of("203.0.113.9")
MARK = bytes.fromhex("05000080")


def opening(
    listen: Endpoint, target: Endpoint, sources: IpFilter | None, *, single: bool = True
) -> Opening:
    return Opening(Pinhole(1, Transport.TCP, listen, target, sources, single), generation=5)


def test_a_translated_pinhole_for_one_server_is_three_elements() -> None:
    key = bytes.fromhex("cb007109 cb007101 06000000 9c400000")

    assert additions([opening(OUTSIDE, INSIDE, SERVER)]) == {
        "exact4": [nftset.pair_element(key, MARK)],
        "target4": [nftset.pair_element(MARK, bytes.fromhex("0a000008 06110000"))],
        "once": [nftset.key_element(MARK)],
    }


def test_a_routed_pinhole_has_no_target() -> None:
    peers = IpFilter.of("2001:db8::9")

    assert list(additions([opening(ROUTED, ROUTED, peers)])) == ["exact6", "once"]


def test_a_pinhole_for_anyone_is_keyed_by_listener_alone() -> None:
    elements = additions([opening(OUTSIDE, INSIDE, None)])

    assert elements["any4"] == [
        nftset.pair_element(bytes.fromhex("cb007101 06000000 9c400000"), MARK)
    ]


def test_a_pinhole_for_many_has_no_single_place() -> None:
    elements = additions([opening(OUTSIDE, INSIDE, SERVER, single=False)])

    assert "once" not in elements
    assert elements["many"] == [nftset.key_element(MARK)]


def test_sources_of_the_other_ip_version_get_no_element() -> None:
    mixed = IpFilter.of("203.0.113.9", "203.0.113.10", "2001:db8::9")

    assert len(additions([opening(OUTSIDE, INSIDE, mixed)])["exact4"]) == 2
    assert len(additions([opening(ROUTED, ROUTED, mixed)])["exact6"]) == 1


def test_a_small_range_is_its_addresses() -> None:
    few = IpFilter.of("203.0.113.8/30")

    assert len(additions([opening(OUTSIDE, INSIDE, few)])["exact4"]) == 4


def test_source_ports_narrow_the_key() -> None:
    pinhole = Pinhole(1, Transport.TCP, OUTSIDE, INSIDE, SERVER, source_ports=frozenset({20, 2120}))
    key = bytes.fromhex("cb007109 cb007101 06000000 9c400000")

    assert additions([Opening(pinhole, 5)])["narrow4"] == [
        nftset.pair_element(key + bytes.fromhex("00140000"), MARK),
        nftset.pair_element(key + bytes.fromhex("08480000"), MARK),
    ]


def test_nobody_means_no_key_at_all() -> None:
    assert additions([opening(OUTSIDE, INSIDE, IpFilter())])["exact4"] == []


def test_udp_and_ranges_are_refused_by_name() -> None:
    anyone = Pinhole(1, Transport.TCP, OUTSIDE, INSIDE, None, source_ports=frozenset({20}))
    with pytest.raises(InvalidArgument, match="source-ports-of-anyone-not-built"):
        additions([Opening(anyone, 5)])
    udp = Opening(Pinhole(1, Transport.UDP, OUTSIDE, INSIDE, SERVER), 5)
    with pytest.raises(InvalidArgument, match="udp-not-built"):
        additions([udp])
    with pytest.raises(InvalidArgument, match="source-ranges-not-built"):
        additions([opening(OUTSIDE, INSIDE, IpFilter.of("203.0.113.0/24"))])


_SOURCES = st.sampled_from([None, SERVER, IpFilter.of("203.0.113.9", "2001:db8::9"), IpFilter()])


@given(st.sampled_from([(OUTSIDE, INSIDE), (ROUTED, ROUTED)]), _SOURCES, st.booleans())
def test_removal_names_every_element_that_addition_made(
    ends: tuple[Endpoint, Endpoint], sources: IpFilter | None, single: bool
) -> None:
    made = [opening(*ends, sources, single=single)]

    added = {name: len(elements) for name, elements in additions(made).items()}

    assert {name: len(elements) for name, elements in removals(made).items()} == added
