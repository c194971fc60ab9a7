"""Pinholes as the kernel sees them: a mark, and the elements that carry it."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sallyport.addresses import Endpoint
from sallyport.core.datapath import Pinhole
from sallyport.errors import InvalidArgument
from sallyport.flags import Transport
from sallyport.kernel import marks
from sallyport.wire import nftset
from sallyport.wire.conntrack import FlowTuple


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


Elements = dict[str, list[bytes]]


def additions(openings: Iterable[Opening]) -> Elements:
    """Give the elements that open pinholes, by set.

    Raises InvalidArgument for what this data path cannot hold: UDP, and sources that are ranges.
    """
    elements: Elements = {}
    for opening in openings:
        pinhole = opening.pinhole
        if pinhole.transport is not Transport.TCP:
            raise InvalidArgument("udp-not-built")
        value = nftset.mark_value(marks.PIN | opening.generation)
        name, keys = _keys(pinhole)
        found = [nftset.pair_element(key, value) for key in keys]
        elements.setdefault(name, []).extend(found)
        if pinhole.is_translated:
            target = nftset.pair_element(value, nftset.endpoint_data(pinhole.target))
            elements.setdefault(_target(pinhole), []).append(target)
        elements.setdefault(_places(pinhole), []).append(nftset.key_element(value))
    return elements


def removals(openings: Iterable[Opening]) -> Elements:
    """Give the keys of everything that `additions` gave."""
    elements: Elements = {}
    for opening in openings:
        pinhole = opening.pinhole
        value = nftset.key_element(nftset.mark_value(marks.PIN | opening.generation))
        name, keys = _keys(pinhole)
        elements.setdefault(name, []).extend(map(nftset.key_element, keys))
        if pinhole.is_translated:
            elements.setdefault(_target(pinhole), []).append(value)
        elements.setdefault(_places(pinhole), []).append(value)
    return elements


def _target(pinhole: Pinhole) -> str:
    return "target4" if pinhole.listen.version == 4 else "target6"


def _places(pinhole: Pinhole) -> str:
    return "once" if pinhole.single else "many"


def _keys(pinhole: Pinhole) -> tuple[str, list[bytes]]:
    listen = pinhole.listen
    version = listen.version
    key = listen.address.packed + nftset.service_key(pinhole.transport, listen.port)
    if pinhole.sources is None:
        return ("any4" if version == 4 else "any6"), [key]
    sources = pinhole.sources.single_addresses
    if sources is None:
        raise InvalidArgument("source-ranges-not-built")
    keys = [source.packed + key for source in sources if source.version == version]
    return ("exact4" if version == 4 else "exact6"), keys
