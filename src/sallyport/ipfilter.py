"""IpFilter: which remote addresses may connect (`IFWXIpFilter`).

It only defines ranges; a data path enforces them. Absent (None) and empty are different: without
a filter every host is admitted, with an empty filter none (semantics of `pIpFilter`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self

from sallyport.addresses import IpAddress, IpNetwork, parse_address
from sallyport.errors import InvalidArgument

# A range is (version, first, last) with addresses as integers: cheap to compare and to merge.
_Range = tuple[int, int, int]

_NETWORKS = (IPv4Network, IPv6Network)
_ADDRESSES = (IPv4Address, IPv6Address)


def _span(name: str, item: str | IpAddress | IpNetwork) -> _Range:
    if isinstance(item, str):
        item = ip_network(item) if "/" in item else ip_address(item)
    if isinstance(item, _NETWORKS):
        return item.version, int(item.network_address), int(item.broadcast_address)
    if not isinstance(item, _ADDRESSES):
        raise InvalidArgument(f"wrong-type-of-{name}")
    number = int(item)
    return item.version, number, number


def _merge(ranges: Iterable[_Range]) -> tuple[_Range, ...]:
    merged: list[_Range] = []
    for version, first, last in sorted(ranges):
        if merged and merged[-1][0] == version and first <= merged[-1][2] + 1:
            merged[-1] = (version, merged[-1][1], max(merged[-1][2], last))
        else:
            merged.append((version, first, last))
    return tuple(merged)


def _subtract(ranges: Iterable[_Range], hole: _Range) -> Iterable[_Range]:
    for version, first, last in ranges:
        if version != hole[0] or hole[2] < first or last < hole[1]:
            yield version, first, last
            continue
        if first < hole[1]:
            yield version, first, hole[1] - 1
        if hole[2] < last:
            yield version, hole[2] + 1, last


@dataclass(frozen=True, slots=True)
class IpFilter:
    """A set of IPv4 and IPv6 addresses as disjoint, sorted ranges; immutable.

    `IpFilter()` is empty and admits no host.
    """

    _ranges: tuple[_Range, ...] = ()

    @classmethod
    def of(cls, *items: str | IpAddress | IpNetwork) -> Self:
        """Return a filter of addresses and networks.

        Raises ValueError for any other text, InvalidArgument for what is no address.
        """
        spans = tuple(_span("items", item) for item in items)
        # The usual filter is a single server, which needs no merging.
        return cls(_merge(spans) if len(spans) > 1 else spans)

    @classmethod
    def parse(cls, text: str) -> "IpFilter":
        """Return the filter that an address, a prefix or a range (`10.0.0.1-10.0.0.9`) means.

        Raises ValueError with a sentence that says what to write.
        """
        low, dash, high = text.partition("-")
        try:
            if dash:
                return cls().include_range(parse_address(low), parse_address(high))
            return cls.of(text) if "/" in text and "%" not in text else cls.of(parse_address(text))
        except ValueError:
            raise ValueError(
                f"{text!r} is no address, prefix or range; write one like 10.0.0.8, 10.0.0.16/28 or"
                " 10.0.0.8-10.0.0.15"
            ) from None

    def include_range(self, first: str | IpAddress, last: str | IpAddress) -> "IpFilter":
        """Return this filter plus `first`-`last`, both included.

        Raises ValueError when the two are of different families or in the wrong order, or are text
        of another kind; InvalidArgument for what is no address.
        """
        return IpFilter(_merge((*self._ranges, self._checked(first, last))))

    def exclude_range(self, first: str | IpAddress, last: str | IpAddress) -> "IpFilter":
        """Return this filter without `first`-`last`, both included; raises as `include_range`."""
        return IpFilter(tuple(_subtract(self._ranges, self._checked(first, last))))

    def include_filter(self, other: "IpFilter") -> "IpFilter":
        """Return the union with `other`."""
        return IpFilter(_merge((*self._ranges, *_ranges_of(other))))

    def exclude_filter(self, other: "IpFilter") -> "IpFilter":
        """Return this filter without the addresses of `other`."""
        ranges: Iterable[_Range] = self._ranges
        for hole in _ranges_of(other):
            ranges = tuple(_subtract(ranges, hole))
        return IpFilter(tuple(ranges))

    def __contains__(self, address: IpAddress) -> bool:
        number = int(address)
        return any(v == address.version and a <= number <= b for v, a, b in self._ranges)

    def __bool__(self) -> bool:
        return bool(self._ranges)

    @property
    def single_addresses(self) -> tuple[IpAddress, ...] | None:
        """Every address, when each range is a single address; else None."""
        if any(first != last for _, first, last in self._ranges):
            return None
        return tuple(_address(version, first) for version, first, _ in self._ranges)

    @property
    def ranges(self) -> tuple[tuple[IpAddress, IpAddress], ...]:
        """Every range as its first and last address; IPv4 before IPv6, ascending."""
        return tuple((_address(v, a), _address(v, b)) for v, a, b in self._ranges)

    def __str__(self) -> str:
        return _text(self) or "none"

    @staticmethod
    def _checked(first: str | IpAddress, last: str | IpAddress) -> _Range:
        version, begin, _ = _span("first", first)
        other, _, end = _span("last", last)
        if version != other or begin > end:
            raise ValueError(f"{first}-{last} is not a range")
        return version, begin, end


def _ranges_of(other: IpFilter) -> tuple[_Range, ...]:
    if not isinstance(other, IpFilter):
        raise InvalidArgument("wrong-type-of-other")
    return other._ranges


def _address(version: int, number: int) -> IpAddress:
    return IPv4Address(number) if version == 4 else IPv6Address(number)


# The journal writes the filter of every binding, and most hold the one server that the client
# meets again with every transfer.
@lru_cache(maxsize=256)
def _text(ip_filter: IpFilter) -> str:
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in ip_filter.ranges)
