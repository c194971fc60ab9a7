from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.addresses import IpAddress
from sallyport.ipfilter import IpFilter

# Few addresses, both families, so that ranges meet, touch and overlap.
SMALL = [ip_address(n) for n in range(16)] + [ip_address(n.to_bytes(16)) for n in range(16)]
ADDRESSES = st.sampled_from(SMALL)


@st.composite
def spans(draw: st.DrawFn) -> tuple[IpAddress, IpAddress]:
    first = draw(ADDRESSES)
    last = draw(ADDRESSES.filter(lambda a: a.version == first.version and int(a) >= int(first)))
    return first, last


SPANS = st.lists(spans(), max_size=5)


def filter_of(ranges: list[tuple[IpAddress, IpAddress]]) -> IpFilter:
    found = IpFilter()
    for first, last in ranges:
        found = found.include_range(first, last)
    return found


def members(ranges: list[tuple[IpAddress, IpAddress]]) -> set[IpAddress]:
    return {
        address
        for address in SMALL
        for first, last in ranges
        if address.version == first.version and int(first) <= int(address) <= int(last)
    }


def found_in(ip_filter: IpFilter) -> set[IpAddress]:
    return {address for address in SMALL if address in ip_filter}


@given(SPANS)
def test_a_filter_holds_exactly_what_was_put_in(ranges: list[tuple[IpAddress, IpAddress]]) -> None:
    assert found_in(filter_of(ranges)) == members(ranges)


@given(SPANS, spans())
def test_excluding_a_range_takes_out_exactly_that(
    ranges: list[tuple[IpAddress, IpAddress]], hole: tuple[IpAddress, IpAddress]
) -> None:
    assert found_in(filter_of(ranges).exclude_range(*hole)) == members(ranges) - members([hole])


@given(SPANS, SPANS)
def test_filters_can_be_added_and_taken_away(
    ours: list[tuple[IpAddress, IpAddress]], theirs: list[tuple[IpAddress, IpAddress]]
) -> None:
    one, two = filter_of(ours), filter_of(theirs)

    assert found_in(one.include_filter(two)) == members(ours) | members(theirs)
    assert found_in(one.exclude_filter(two)) == members(ours) - members(theirs)


@given(SPANS)
def test_the_same_members_make_the_same_filter(
    ranges: list[tuple[IpAddress, IpAddress]],
) -> None:
    assert filter_of(ranges) == IpFilter.of(*members(ranges)) == filter_of(ranges[::-1])


def test_an_empty_filter_lets_nobody_in_and_is_told_from_a_full_one() -> None:
    everyone = IpFilter.of("0.0.0.0/0", "::/0")

    assert not IpFilter()
    assert everyone
    assert str(IpFilter()) == "none"
    assert not [address for address in SMALL if address in IpFilter()]
    assert all(address in everyone for address in SMALL)
    assert IpFilter().single_addresses == ()


def test_addresses_and_networks_may_be_text_or_values() -> None:
    assert IpFilter.of("198.51.100.9", "2001:db8::/64") == IpFilter.of(
        ip_address("198.51.100.9"), ip_network("2001:db8::/64")
    )


@pytest.mark.parametrize("text", ["", "host.example", "198.51.100.9/24", "198.51.100.0/33"])
def test_text_that_is_neither_address_nor_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"appear to be an IPv4 or IPv6|host bits set"):
        IpFilter.of(text)


@pytest.mark.parametrize(
    ("first", "last"), [("198.51.100.9", "198.51.100.8"), ("198.51.100.9", "2001:db8::9")]
)
def test_a_range_that_is_none_is_refused(first: str, last: str) -> None:
    with pytest.raises(ValueError, match="is not a range"):
        IpFilter().include_range(ip_address(first), ip_address(last))
    with pytest.raises(ValueError, match="is not a range"):
        IpFilter().exclude_range(ip_address(first), ip_address(last))


def test_single_addresses_are_told_from_ranges_in_both_families() -> None:
    singles = IpFilter.of("2001:db8::9", "198.51.100.9", "::1", "198.51.100.7")
    expected = ("198.51.100.7", "198.51.100.9", "::1", "2001:db8::9")

    assert singles.single_addresses == tuple(map(ip_address, expected))
    assert IpFilter.of("198.51.100.8/31").single_addresses is None
    assert IpFilter.of("198.51.100.9/32").single_addresses == (ip_address("198.51.100.9"),)


def test_ranges_come_in_order_and_read_well() -> None:
    mixed = IpFilter.of("2001:db8::/127", "198.51.100.9", "192.0.2.0/24")

    assert mixed.ranges == (
        (ip_address("192.0.2.0"), ip_address("192.0.2.255")),
        (ip_address("198.51.100.9"), ip_address("198.51.100.9")),
        (ip_address("2001:db8::"), ip_address("2001:db8::1")),
    )
    assert str(mixed) == "192.0.2.0-192.0.2.255, 198.51.100.9, 2001:db8::-2001:db8::1"
