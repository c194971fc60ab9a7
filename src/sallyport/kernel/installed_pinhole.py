"""Pinholes as the kernel sees them: a mark, and the elements that carry it.

A pinhole in the kernel is at most three kinds of element: where peers are looked up (the value is
the flow's mark), where flows with that mark go, and how many of them may win. What changes in the
life of a pinhole changes one of them; `wanted` gives them all, and the difference is the batch.
They are written anew whenever they are needed: kept, they would be most of what it takes here.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache

from msgspec import Struct

from sallyport.addresses import MAX_PORT, Endpoint
from sallyport.core.pinholes.datapath import FlowCounters, Pinhole
from sallyport.flags import Transport
from sallyport.ipfilter import IpFilter
from sallyport.kernel import marks
from sallyport.wire import conntrack, nftset
from sallyport.wire.conntrack import FlowTuple

# One element per source address, or per source address and port, up to this many: a peer has a
# handful. More are ranges, in a set that is slow to change.
_MAX_EXACT = 64

_EVERYONE = {4: IpFilter.of("0.0.0.0/0"), 6: IpFilter.of("::/0")}
_ANY_PORT = [(0, MAX_PORT)]

# The sets of each IP version by name, and what is named once for every binding.
_EXACT, _NARROW, _ANY, _WIDE, _TARGET, _SPOKEN, _SPOKEN_WIDE, _SPEAKS, _LISTEN = (
    {version: f"{name}{version}" for version in (4, 6)}
    for name in (
        "exact",
        "narrow",
        "any",
        "wide",
        "target",
        "spoken",
        "spokenwide",
        "speaks",
        "listen",
    )
)
_UDP = Transport.UDP


class Flow(Struct):
    """One admitted flow of a pinhole; the tuples are named as conntrack names them."""

    key: bytes
    reply_key: bytes
    peer: Endpoint
    """The far end."""
    is_spoken: bool = False
    """Whether the client opened it, by speaking first."""
    first: bytes = b""
    """What the peer said first, of a timed pinhole of UDP; empty where it is not known."""

    def counters(self, sent: int, received: int) -> FlowCounters:
        """Return its counters; `sent` are the bytes from the side that opened it."""
        if self.is_spoken:
            sent, received = received, sent
        return FlowCounters(self.peer, sent, received)

    @property
    def original(self) -> FlowTuple:
        """The direction it was opened in; few ask for it, and for the other."""
        return conntrack.read_tuple(self.key)

    @property
    def reply(self) -> FlowTuple:
        """The other direction."""
        return conntrack.read_tuple(self.reply_key)


Elements = list[tuple[str, nftset.Key, bytes]]
"""The name of the set, the key of the element in it, and its data, of which sets have none."""

Keys = list[tuple[str, nftset.Key]]
"""The name of the set, and the key of the element in it."""


class InstalledPinhole(Struct, eq=False):
    """A pinhole with its place in the kernel; it outlasts the pinhole while flows go on."""

    pinhole: Pinhole
    generation: int
    is_open: bool = True
    is_killed: bool = False
    is_strict: bool = False
    """Whether flows of those who may not open one any more were cut off."""
    may_speak: bool = False
    """Whether what its client sends to a peer is a flow of it. Of several pinholes that lead to one
    port of a client the first one has its datagrams."""
    owner: Endpoint | None = None
    """UDP, single: the source that came first. No other source gets in any more."""
    flows: dict[bytes, Flow] = {}
    in_kernel: Pinhole | None = None
    """The pinhole as the kernel knows it; None: it knows nothing of it."""
    owner_in_kernel: Endpoint | None = None
    """The owner as the kernel knows it."""
    was_refused: bool = False
    """Whether an attempt has failed: a peer came, and the client did not answer it."""

    def note_installed(self) -> None:
        """The kernel holds now what the pinhole needs now."""
        self.in_kernel, self.owner_in_kernel = self.pinhole, self.owner

    def is_unwanted(self, flow: Flow) -> bool:
        """Whether a flow that was admitted is to be ended at once."""
        return self.is_killed or (self.is_strict and not self.pinhole.admits(flow.peer))


def wanted(installed: InstalledPinhole) -> Elements:
    """Return the elements a pinhole needs, as it is now."""
    return _elements(installed, installed.pinhole, installed.owner)


def held(installed: InstalledPinhole) -> Elements:
    """Return the elements that the kernel holds for a pinhole."""
    if installed.in_kernel is None:
        return []
    return _elements(installed, installed.in_kernel, installed.owner_in_kernel)


def doors(installed: InstalledPinhole) -> tuple[str, list[nftset.Key]]:
    """Return where the kernel looks its peers up, and counts who comes: a set, and the keys in it.

    Without keys there is no such place.
    """
    pinhole = installed.in_kernel
    if pinhole is None or pinhole.target is None:
        return "", []
    found = _lookups(pinhole, pinhole.listen.version, installed.owner_in_kernel, b"")
    # What looks a pinhole up lies in one set.
    return found[0][0] if found else "", [key for _name, key, _data in found]


def _elements(installed: InstalledPinhole, pinhole: Pinhole, owner: Endpoint | None) -> Elements:
    target, version = pinhole.target, pinhole.listen.version
    if target is None:
        return []
    # UDP has no handshake to wait for; only the first source of a single pinhole competes.
    is_udp = pinhole.transport is _UDP
    is_won_at_once = is_udp and (owner is not None or not pinhole.single)
    mark = marks.PIN | installed.generation
    if pinhole.is_proxied:
        mark |= marks.PROXIED
    if is_udp:
        mark |= _udp_bits(pinhole)
    if is_won_at_once:
        # Another mark than before: a second source that was looked up just before the pinhole
        # was narrowed does not find the place of its mark any more.
        mark |= marks.WON
    value = nftset.mark_value(mark)
    elements = _lookups(pinhole, version, owner, value)
    if pinhole.is_translated:
        elements.append((_TARGET[version], value, nftset.endpoint_data(target)))
    if installed.may_speak:
        # The one place of a single pinhole stays for who comes: a peer may send from another port
        # than the one it hears at.
        elements += _speaking(pinhole, target, nftset.mark_value(mark | marks.WON))
    if not is_won_at_once:
        elements.append(("once" if pinhole.single else "many", value, b""))
    return elements


def additions(elements: Iterable[Elements]) -> nftset.Changes:
    """Write the elements to add, by set."""
    groups: dict[str, list[bytes]] = {}
    for group in elements:
        for name, key, data in group:
            groups.setdefault(name, []).append(nftset.element(key, data))
    return list(groups.items())


def removals(elements: Iterable[Elements]) -> nftset.Changes:
    """Write what names the elements to delete, by set."""
    groups: dict[str, list[bytes]] = {}
    for group in elements:
        for name, key, _data in group:
            groups.setdefault(name, []).append(nftset.element(key))
    return list(groups.items())


def difference(old: Elements, new: Elements) -> tuple[Elements, Elements]:
    """Return what to delete and what to add; what stays is not touched.

    A spent place stays spent.
    """
    held, asked = set(old), set(new)
    removed = [element for element in old if element not in asked]
    return removed, [element for element in new if element not in held]


def _udp_bits(pinhole: Pinhole) -> int:
    one_way = 0 if pinhole.is_answered else marks.ONE_WAY
    return one_way if pinhole.idle_seconds is None else one_way | marks.TIMED


def may_speak(pinhole: Pinhole) -> bool:
    """Whether what the client sends to a peer, before that has sent anything, belongs to it."""
    return (
        pinhole.transport is _UDP
        and pinhole.is_answered
        and pinhole.target is not None
        # In full proxy peers have no address.
        and not pinhole.is_proxied
    )


def _speaking(pinhole: Pinhole, target: Endpoint, value: bytes) -> Elements:
    """Return where the client's own datagrams are looked up, and from where they leave."""
    found: Elements = [(name, key, value) for name, key in spoken_keys(target, pinhole.sources)]
    if found and pinhole.is_translated:
        found.append((_LISTEN[target.version], value, nftset.endpoint_data(pinhole.listen)))
    return found


def spoken_keys(client: Endpoint, peers: IpFilter | None) -> Keys:
    """Return what finds what a port of a client sends to these peers, None: to anyone."""
    version, sender = client.version, client.address.packed
    service = nftset.service_key(_UDP, client.port)
    if peers is None:
        return [(_SPEAKS[version], sender + service)]
    singles = _singles(peers, version)
    if singles is not None:
        return [(_SPOKEN[version], sender + single + service) for single in singles]
    return [
        (
            _SPOKEN_WIDE[version],
            (sender + first.packed + service, sender + last.packed + service),
        )
        for first, last in peers.ranges
        if first.version == version
    ]


def _lookups(pinhole: Pinhole, version: int, owner: Endpoint | None, value: bytes) -> Elements:
    sources, ports, place = pinhole.sources, pinhole.source_ports, pinhole.listen
    if owner is not None:
        if not pinhole.admits(owner):
            return []
        sources, ports = IpFilter.of(owner.address), frozenset({owner.port})
    listen = place.address.packed + nftset.service_key(pinhole.transport, place.port)
    if sources is None and ports is None:
        return [(_ANY[version], listen, value)]
    singles = _singles(sources, version)
    if singles is None or (ports and len(singles) * len(ports) > _MAX_EXACT):
        return _wide(listen, version, sources, ports, value)
    if ports is None:
        return [(_EXACT[version], single + listen, value) for single in singles]
    ends = [nftset.port_key(port) for port in sorted(ports)]
    return [(_NARROW[version], single + listen + end, value) for single in singles for end in ends]


# A server is met again with every transfer: this is a sixth of the time a pinhole takes in Python.
@lru_cache(maxsize=1024)
def _singles(sources: IpFilter | None, version: int) -> tuple[bytes, ...] | None:
    """Return the addresses of one IP version one by one; None when they are too many."""
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
    elements: Elements = []
    everyone = _EVERYONE[version] if sources is None else sources
    for first, last in everyone.ranges:
        if first.version != version:
            continue
        for low, high in _ANY_PORT if ports is None else _runs(sorted(ports)):
            ends = (
                first.packed + listen + nftset.port_key(low),
                last.packed + listen + nftset.port_key(high),
            )
            elements.append((_WIDE[version], ends, value))
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
