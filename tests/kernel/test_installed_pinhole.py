"""Pinholes as elements: which sets, which keys, and what a change deletes and adds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import Pinhole
from sallyport.flags import Transport
from sallyport.ipfilter import IpFilter
from sallyport.kernel import marks
from sallyport.kernel.installed_pinhole import (
    Elements,
    InstalledPinhole,
    additions,
    difference,
    held,
    may_speak,
    removals,
    wanted,
)
from sallyport.wire import nftset

OUTSIDE = Endpoint.parse("203.0.113.1:40000")
INSIDE = Endpoint.parse("10.0.0.8:1553")
ROUTED = Endpoint.parse("[fd00:a::8]:1553")
SERVER = IpFilter.of("203.0.113.9")
PEER = Endpoint.parse("203.0.113.9:7000")
MARK = bytes.fromhex("05000080")
LISTENER = bytes.fromhex("cb007101 06000000 9c400000")
KEY = bytes.fromhex("cb007109") + LISTENER

TCP = Pinhole(1, Transport.TCP, OUTSIDE, INSIDE, SERVER)
UDP = replace(TCP, transport=Transport.UDP, sources=None)


def written(elements: list[Elements]) -> dict[str, list[bytes]]:
    return {name: list(changes) for name, changes in additions(elements)}


def sets(pinhole: Pinhole, owner: Endpoint | None = None) -> dict[str, list[bytes]]:
    return written([wanted(InstalledPinhole(pinhole, 5, owner=owner))])


def mark_of(pinhole: Pinhole, owner: Endpoint | None = None) -> int:
    (name,) = (name for name in sets(pinhole, owner) if name.startswith("target"))
    return int.from_bytes(sets(pinhole, owner)[name][0][12:16], "little")


def test_a_translated_pinhole_for_one_server_is_three_elements() -> None:
    assert sets(TCP) == {
        "exact4": [nftset.element(KEY, MARK)],
        "target4": [nftset.element(MARK, bytes.fromhex("0a000008 06110000"))],
        "once": [nftset.element(MARK)],
    }


def test_a_routed_pinhole_has_no_target() -> None:
    routed = replace(TCP, listen=ROUTED, target=ROUTED, sources=IpFilter.of("2001:db8::9"))

    assert list(sets(routed)) == ["exact6", "once"]


def test_a_pinhole_for_anyone_is_keyed_by_listener_alone() -> None:
    assert sets(replace(TCP, sources=None))["any4"] == [nftset.element(LISTENER, MARK)]


def test_a_pinhole_for_many_has_no_single_place() -> None:
    many = sets(replace(TCP, single=False))

    assert "once" not in many
    assert many["many"] == [nftset.element(MARK)]


MANY = replace(UDP, single=False, is_answered=True)


def spoken(pinhole: Pinhole) -> dict[str, list[bytes]]:
    elements = written([wanted(InstalledPinhole(pinhole, 5, may_speak=True))])
    return {
        name: elements[name]
        for name in elements
        if name[:-1] in ("spoken", "spokenwide", "speaks", "listen")
    }


def test_what_a_client_says_first_is_looked_up_by_its_port_and_leaves_from_the_listener() -> None:
    value = wanted(InstalledPinhole(MANY, 5))[0][2]
    service = bytes.fromhex("11000000 06110000")

    assert spoken(MANY) == {
        "speaks4": [nftset.element(bytes.fromhex("0a000008") + service, value)],
        "listen4": [nftset.element(value, bytes.fromhex("cb007101 9c400000"))],
    }
    assert spoken(replace(MANY, sources=SERVER))["spoken4"] == [
        nftset.element(bytes.fromhex("0a000008 cb007109") + service, value)
    ]


def test_what_a_client_says_first_does_not_take_the_one_place_of_a_single_pinhole() -> None:
    single = InstalledPinhole(replace(MANY, single=True), 5, may_speak=True)
    before = written([wanted(single)])
    single.owner = Endpoint.parse("203.0.113.9:9000")

    assert spoken(replace(MANY, single=True)) == spoken(MANY)
    assert "once" in before
    after = written([wanted(single)])
    assert [after[name] for name in ("speaks4", "listen4")] == [
        before[name] for name in ("speaks4", "listen4")
    ]


def test_a_routed_client_leaves_from_its_own_port() -> None:
    routed = replace(MANY, listen=ROUTED, target=ROUTED, sources=IpFilter.of("2001:db8::9"))

    assert list(spoken(routed)) == ["spoken6"]


def test_a_range_of_peers_is_looked_up_as_one_element() -> None:
    found = spoken(replace(MANY, sources=IpFilter.of("198.51.100.0/24")))

    assert [(name, len(elements)) for name, elements in found.items()] == [
        ("spokenwide4", 1),
        ("listen4", 1),
    ]


@pytest.mark.parametrize(
    ("pinhole", "expected"),
    [
        (MANY, True),
        (replace(MANY, single=True), True),
        (replace(MANY, is_answered=False), False),
        (replace(MANY, is_proxied=True), False),
        (replace(MANY, target=None), False),
        (replace(MANY, transport=Transport.TCP), False),
    ],
)
def test_a_client_may_speak_first_to_whom_it_may_answer(pinhole: Pinhole, expected: bool) -> None:
    assert may_speak(pinhole) is expected


def test_without_a_target_there_is_nothing() -> None:
    assert sets(replace(TCP, target=None)) == {}


def test_sources_of_the_other_ip_version_get_no_element() -> None:
    mixed = IpFilter.of("203.0.113.9", "203.0.113.10", "2001:db8::9")

    assert len(sets(replace(TCP, sources=mixed))["exact4"]) == 2
    assert len(sets(replace(TCP, listen=ROUTED, target=ROUTED, sources=mixed))["exact6"]) == 1
    wide = IpFilter.of("203.0.113.0/24", "2001:db8::/32")
    assert len(sets(replace(TCP, sources=wide))["wide4"]) == 1


@pytest.mark.parametrize(("prefix", "exact", "wide"), [("26", 64, 0), ("25", 0, 1)])
def test_few_addresses_are_one_by_one_and_many_are_a_range(
    prefix: str, exact: int, wide: int
) -> None:
    found = sets(replace(TCP, sources=IpFilter.of(f"203.0.113.0/{prefix}")))

    assert (len(found.get("exact4", [])), len(found.get("wide4", []))) == (exact, wide)


def test_a_range_is_of_addresses_and_of_ports() -> None:
    ends = KEY[:3] + b"\0" + LISTENER, KEY[:3] + b"\xff" + LISTENER
    prefix = IpFilter.of("203.0.113.0/24")
    ports = frozenset({20, 21, 2120})

    assert sets(replace(TCP, sources=prefix))["wide4"] == [
        nftset.element((ends[0] + bytes(4), ends[1] + b"\xff\xff\0\0"), MARK)
    ]
    assert sets(replace(TCP, sources=prefix, source_ports=ports))["wide4"] == [
        nftset.element((ends[0] + b"\0\x14\0\0", ends[1] + b"\0\x15\0\0"), MARK),
        nftset.element((ends[0] + b"\x08\x48\0\0", ends[1] + b"\x08\x48\0\0"), MARK),
    ]


def test_ports_of_anyone_are_a_range_of_all_addresses() -> None:
    anyone = replace(TCP, sources=None, source_ports=frozenset({20}))
    ends = bytes(4) + LISTENER + b"\0\x14\0\0", b"\xff" * 4 + LISTENER + b"\0\x14\0\0"

    assert sets(anyone)["wide4"] == [nftset.element(ends, MARK)]


def test_source_ports_narrow_the_key() -> None:
    assert sets(replace(TCP, source_ports=frozenset({2120, 20})))["narrow4"] == [
        nftset.element(KEY + bytes.fromhex("00140000"), MARK),
        nftset.element(KEY + bytes.fromhex("08480000"), MARK),
    ]


def test_nobody_means_no_key_at_all() -> None:
    assert list(sets(replace(TCP, sources=IpFilter()))) == ["target4", "once"]
    assert list(sets(replace(TCP, source_ports=frozenset()))) == ["target4", "once"]


@pytest.mark.parametrize(
    ("pinhole", "bits"),
    [
        (TCP, 0),
        (replace(TCP, is_proxied=True), marks.PROXIED),
        (UDP, marks.ONE_WAY),
        (replace(UDP, is_answered=True), 0),
        (replace(UDP, is_answered=True, idle_seconds=60), marks.TIMED),
        (replace(UDP, is_answered=True, single=False), marks.WON),
    ],
)
def test_the_mark_says_how_the_flow_is_treated(pinhole: Pinhole, bits: int) -> None:
    assert mark_of(pinhole) == marks.PIN | bits | 5


def test_datagrams_compete_for_a_place_only_until_somebody_has_it() -> None:
    assert list(sets(UDP)) == ["any4", "target4", "once"]
    assert list(sets(replace(UDP, single=False))) == ["any4", "target4"]
    assert list(sets(UDP, owner=PEER)) == ["narrow4", "target4"]


def test_a_pinhole_that_was_narrowed_marks_flows_unlike_before() -> None:
    # Or the place of a second source, looked up just before, would be found after it.
    assert mark_of(UDP, owner=PEER) == mark_of(UDP) | marks.WON


@pytest.mark.parametrize(
    "pinhole",
    [replace(UDP, sources=IpFilter.of("192.0.2.1")), replace(UDP, source_ports=frozenset({20}))],
)
def test_an_owner_that_may_no_longer_come_is_not_looked_up(pinhole: Pinhole) -> None:
    assert list(sets(pinhole, owner=PEER)) == ["target4"]


def test_other_sources_leave_the_place_and_the_target_alone() -> None:
    two = IpFilter.of("203.0.113.9", "203.0.113.10")
    old, new = (
        wanted(InstalledPinhole(TCP, 5)),
        wanted(InstalledPinhole(replace(TCP, sources=two), 5)),
    )

    gone, come = difference(old, new)
    assert (removals([gone]), [name for name, _ in additions([come])]) == ([], ["exact4"])
    gone, come = difference(new, old)
    assert ([name for name, _ in removals([gone])], additions([come])) == (["exact4"], [])


def test_a_key_with_another_value_is_deleted_and_added() -> None:
    ports = replace(UDP, sources=SERVER, source_ports=frozenset({PEER.port}))
    old, new = wanted(InstalledPinhole(ports, 5)), wanted(InstalledPinhole(ports, 5, owner=PEER))

    gone, come = difference(old, new)
    assert [name for name, _ in removals([gone])] == ["narrow4", "target4", "once"]
    assert [name for name, _ in additions([come])] == ["narrow4", "target4"]


def test_the_kernel_holds_what_it_was_last_told() -> None:
    installed = InstalledPinhole(UDP, 5)
    assert held(installed) == []

    installed.note_installed()
    before = wanted(installed)
    installed.owner = PEER

    assert held(installed) == before
    assert wanted(installed) != before


_PINHOLES = st.builds(
    Pinhole,
    st.just(1),
    st.sampled_from(Transport),
    st.sampled_from([OUTSIDE, ROUTED]),
    st.sampled_from([None, ROUTED]),
    st.sampled_from([None, SERVER, IpFilter(), IpFilter.of("203.0.113.0/24", "2001:db8::/64")]),
    st.booleans(),
    st.sampled_from([None, frozenset({20}), frozenset({20, 21, 7000})]),
)


@given(_PINHOLES, _PINHOLES, st.sampled_from([None, PEER]))
def test_a_difference_leads_from_one_set_of_elements_to_the_other(
    one: Pinhole, other: Pinhole, owner: Endpoint | None
) -> None:
    old, new = wanted(InstalledPinhole(one, 5)), wanted(InstalledPinhole(other, 5, owner=owner))
    gone, come = difference(old, new)
    stays = [element for element in old if element not in gone]

    assert not {element[:2] for element in stays} & {element[:2] for element in come}
    assert sorted(stays + come, key=repr) == sorted(new, key=repr)
    assert [(name, len(named)) for name, named in removals([new])] == [
        (name, len(elements)) for name, elements in additions([new])
    ]
