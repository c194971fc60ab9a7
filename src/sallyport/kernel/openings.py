"""Pinholes as the kernel sees them: a mark, and the elements that carry it.

A pinhole in the kernel is at most three kinds of element: where peers are looked up (the value is
the flow's mark), where flows with that mark go, and how many of them may win. What changes in the
life of a pinhole changes one of them; `wanted` gives them all, and the difference is the batch.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from sallyport.addresses import MAX_PORT, Endpoint
from sallyport.core.datapath import Pinhole
from sallyport.flags import Transport
from sallyport.ipfilter import IpFilter
from sallyport.kernel import marks
from sallyport.wire import nftset
from sallyport.wire.conntrack import FlowTuple

# One element per source address, or per source address and port, up to this many: a peer has a
# handful. More are ranges, in a set that is slow to change.
_MAX_EXACT = 64

_EVERYONE = {4: IpFilter.of("0.0.0.0/0"), 6: IpFilter.of("::/0")}
_ANY_PORT = [(0, MAX_PORT)]


@dataclass(slots=True)
class Flow:
    """One admitted flow of an opening; the tuples are named as conntrack names them."""

    key: bytes
    original: FlowTuple
    reply: FlowTuple

    @property
    def peer(self) -> Endpoint:
        """Who opened the flow."""
        return self.original.source


Elements = dict[tuple[str, bytes], bytes]
"""Elements by the name of their set and what names them there, each as it is added."""


@dataclass(slots=True)
class Opening:
    """A pinhole with its place in the kernel; it outlasts the pinhole while flows go on."""

    pinhole: Pinhole
    generation: int
    is_open: bool = True
    is_killed: bool = False
    owner: Endpoint | None = None
    """UDP, single: the source that came first. Nobody else gets in any more."""
    flows: dict[bytes, Flow] = field(default_factory=dict)
    elements: Elements = field(default_factory=dict)
    """What the kernel holds for it."""

    def admits(self, peer: Endpoint) -> bool:
        """Whether the pinhole is meant for this peer."""
        sources, ports = self.pinhole.sources, self.pinhole.source_ports
        return (sources is None or peer.address in sources) and (
            ports is None or peer.port in ports
        )


def wanted(opening: Opening) -> Elements:
    """Give the elements an opening needs, as it is now."""
    pinhole = opening.pinhole
    target = pinhole.target
    if target is None:
        return {}
    value = nftset.mark_value(_mark(opening))
    elements = _lookups(opening, value)
    if pinhole.is_translated:
        place = f"target{pinhole.listen.version}", nftset.key_element(value)
        elements[place] = nftset.pair_element(value, nftset.endpoint_data(target))
    if not _is_won_at_once(opening):
        named = nftset.key_element(value)
        elements["once" if pinhole.single else "many", named] = named
    return elements


def additions(elements: Iterable[Elements]) -> dict[str, list[bytes]]:
    """Give the elements to add, by set."""
    groups: dict[str, list[bytes]] = {}
    for group in elements:
        for (name, _), element in group.items():
            groups.setdefault(name, []).append(element)
    return groups


def removals(elements: Iterable[Elements]) -> dict[str, list[bytes]]:
    """Give what names the elements to delete, by set."""
    groups: dict[str, list[bytes]] = {}
    for group in elements:
        for name, named in group:
            groups.setdefault(name, []).append(named)
    return groups


def difference(old: Elements, new: Elements) -> tuple[Elements, Elements]:
    """Give what to delete and what to add; what stays is not touched: a spent place stays spent."""
    removed = {key: element for key, element in old.items() if new.get(key) != element}
    added = {key: element for key, element in new.items() if old.get(key) != element}
    return removed, added


def _is_won_at_once(opening: Opening) -> bool:
    """UDP has no handshake to wait for; only the first source of a single pinhole competes."""
    pinhole = opening.pinhole
    return pinhole.transport is Transport.UDP and (not pinhole.single or opening.owner is not None)


def _mark(opening: Opening) -> int:
    pinhole = opening.pinhole
    mark = marks.PIN | opening.generation
    if pinhole.is_proxied:
        mark |= marks.PROXIED
    if pinhole.transport is Transport.UDP:
        if not pinhole.is_answered:
            mark |= marks.ONE_WAY
        if pinhole.idle_seconds is not None:
            mark |= marks.TIMED
        if _is_won_at_once(opening):
            # Another mark than before: a second source that was looked up just before the pinhole
            # was narrowed does not find the place of its mark any more.
            mark |= marks.WON
    return mark


def _lookups(opening: Opening, value: bytes) -> Elements:
    pinhole = opening.pinhole
    sources, ports = pinhole.sources, pinhole.source_ports
    if opening.owner is not None:
        if not opening.admits(opening.owner):
            return {}
        sources, ports = IpFilter.of(opening.owner.address), frozenset({opening.owner.port})
    version = pinhole.listen.version
    listen = pinhole.listen.address.packed
    listen += nftset.service_key(pinhole.transport, pinhole.listen.port)
    if sources is None and ports is None:
        name, keys = "any", [listen]
    else:
        singles = _singles(sources, version)
        if singles is None or (ports and len(singles) * len(ports) > _MAX_EXACT):
            return _wide(listen, version, sources, ports, value)
        name, keys = "exact", [single + listen for single in singles]
        if ports is not None:
            ends = [nftset.port_key(port) for port in sorted(ports)]
            name, keys = "narrow", [key + end for key in keys for end in ends]
    return {
        (f"{name}{version}", nftset.key_element(key)): nftset.pair_element(key, value)
        for key in keys
    }


# A server is met again with every transfer: this is a sixth of the time an opening takes in Python.
@lru_cache(maxsize=1024)
def _singles(sources: IpFilter | None, version: int) -> tuple[bytes, ...] | None:
    """Give the addresses of one IP version one by one; None when they are too many."""
    if sources is None:
        return None
    singles: list[bytes] = []
    for first, last in sources.ranges:
        if first.version != version:
            continue
        start, count = int(first), int(last) - int(first) + 1
        if len(singles) + count > _MAX_EXACT:
            return None
        width = len(first.packed)
        singles += [(start + offset).to_bytes(width, "big") for offset in range(count)]
    return tuple(singles)


def _wide(
    listen: bytes,
    version: int,
    sources: IpFilter | None,
    ports: frozenset[int] | None,
    value: bytes,
) -> Elements:
    elements: Elements = {}
    everyone = _EVERYONE[version] if sources is None else sources
    for first, last in everyone.ranges:
        if first.version != version:
            continue
        for low, high in _ANY_PORT if ports is None else _runs(sorted(ports)):
            ends = (
                first.packed + listen + nftset.port_key(low),
                last.packed + listen + nftset.port_key(high),
            )
            place = f"wide{version}", nftset.range_element(*ends)
            elements[place] = nftset.range_element(*ends, value)
    return elements


def _runs(ports: Sequence[int]) -> list[tuple[int, int]]:
    """Join neighbouring ports: a range costs as much as a single one."""
    runs: list[tuple[int, int]] = []
    for port in ports:
        if runs and runs[-1][1] == port - 1:
            runs[-1] = runs[-1][0], port
        else:
            runs.append((port, port))
    return runs
