"""Pinholes as the kernel sees them: a mark, and the elements that carry it."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sallyport.addresses import Endpoint
from sallyport.core.datapath import Pinhole
from sallyport.errors import InvalidArgument
from sallyport.flags import Transport
from sallyport.ipfilter import IpFilter
from sallyport.kernel import marks
from sallyport.wire import nftset
from sallyport.wire.conntrack import FlowTuple

# One element per source address. A peer has a handful; a prefix belongs into an interval set, which
# takes milliseconds to change and is not built.
_MAX_SOURCES = 64


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


@dataclass(slots=True)
class Opening:
    """A pinhole with its place in the kernel; it outlasts the pinhole while flows go on."""

    pinhole: Pinhole
    generation: int
    is_open: bool = True
    is_killed: bool = False
    flows: dict[bytes, Flow] = field(default_factory=dict)
    keys: list[bytes] = field(default_factory=list)
    """Where peers are looked up; kept from the opening so that closing need not work it out."""


Elements = dict[str, list[bytes]]


def additions(openings: Iterable[Opening]) -> Elements:
    """Give the elements that open pinholes, by set.

    Raises InvalidArgument for what this data path cannot hold: UDP, wide ranges of sources, and
    source ports without sources.
    """
    elements: Elements = {}
    for opening in openings:
        pinhole = opening.pinhole
        if pinhole.transport is not Transport.TCP:
            raise InvalidArgument("udp-not-built")
        value = nftset.mark_value(marks.PIN | opening.generation)
        opening.keys = _keys(pinhole)
        found = [nftset.pair_element(key, value) for key in opening.keys]
        elements.setdefault(_lookup(pinhole), []).extend(found)
        if pinhole.is_translated:
            target = nftset.pair_element(value, nftset.endpoint_data(pinhole.target))
            elements.setdefault(_target(pinhole), []).append(target)
        elements.setdefault(_places(pinhole), []).append(nftset.key_element(value))
    return elements


def removals(openings: Iterable[Opening]) -> Elements:
    """Give the keys of everything that `additions` gave for the same openings."""
    elements: Elements = {}
    for opening in openings:
        pinhole = opening.pinhole
        value = nftset.key_element(nftset.mark_value(marks.PIN | opening.generation))
        keys = map(nftset.key_element, opening.keys)
        elements.setdefault(_lookup(pinhole), []).extend(keys)
        if pinhole.is_translated:
            elements.setdefault(_target(pinhole), []).append(value)
        elements.setdefault(_places(pinhole), []).append(value)
    return elements


def _lookup(pinhole: Pinhole) -> str:
    version = pinhole.listen.version
    if pinhole.sources is None:
        return f"any{version}"
    return f"exact{version}" if pinhole.source_ports is None else f"narrow{version}"


def _target(pinhole: Pinhole) -> str:
    return f"target{pinhole.listen.version}"


def _places(pinhole: Pinhole) -> str:
    return "once" if pinhole.single else "many"


def _keys(pinhole: Pinhole) -> list[bytes]:
    listen = pinhole.listen
    listener = listen.address.packed + nftset.service_key(pinhole.transport, listen.port)
    if pinhole.sources is None:
        if pinhole.source_ports is not None:
            raise InvalidArgument("source-ports-of-anyone-not-built")
        return [listener]
    keys = [source + listener for source in _sources(pinhole.sources, listen.version)]
    if pinhole.source_ports is None:
        return keys
    ports = [nftset.port_key(port) for port in sorted(pinhole.source_ports)]
    return [key + port for key in keys for port in ports]


def _sources(sources: IpFilter, version: int) -> list[bytes]:
    singles: list[bytes] = []
    for first, last in sources.ranges:
        if first.version != version:
            continue
        start, count = int(first), int(last) - int(first) + 1
        if len(singles) + count > _MAX_SOURCES:
            raise InvalidArgument("source-ranges-not-built")
        width = len(first.packed)
        singles += [(start + offset).to_bytes(width, "big") for offset in range(count)]
    return singles
