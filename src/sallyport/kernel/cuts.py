"""What a start would cut of the traffic that the host forwards now.

Conntrack says what is forwarded. What our rules would do about it is asked of the policy, as
kernel/base_table.py writes it into rules: addresses tell the networks, for conntrack knows no
interfaces.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.policy.rules import Network, Policy, Relation
from sallyport.errors import KernelError
from sallyport.flags import Transport
from sallyport.kernel import marks
from sallyport.kernel.conntrack import ConntrackRequests
from sallyport.wire import conntrack

# Reading 80 000 entries takes a quarter of a second; the first of them tell the kinds of traffic.
_MOST_READ = 65_536

# An operator reads a handful of lines; who has more has read the first.
_MOST_SHOWN = 8


class ForwardedFlow(NamedTuple):
    """A connection that the host forwards: who opened it, to what, and who answers."""

    transport: Transport
    client: Endpoint
    dialled: Endpoint
    server: Endpoint
    is_over: bool = False
    """Both ends have closed it, or one has reset it; it is still remembered."""


class _Kind(NamedTuple):
    """What flows have in common that are cut for the same reason."""

    transport: Transport
    source: str | None
    destination: str
    server: Endpoint | None
    """Only of a host inside: what hosts outside are asked for is many things."""
    supervised: int | None
    """The port whose protocol is supervised: such a connection does not even go on."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Connections of one kind that a start would cut, and one of them."""

    kind: _Kind
    connections: int
    example: ForwardedFlow

    @property
    def network(self) -> str:
        """The network that they lead to."""
        return self.kind.destination

    def __str__(self) -> str:
        kind, client = self.kind, self.example.client.address
        source, destination = kind.source or "no network", kind.destination
        counted = f"{self.connections} connection{'s' if self.connections > 1 else ''}"
        passes = "pass" if self.connections > 1 else "passes"
        protocol = kind.transport.name
        if kind.supervised is not None:
            return (
                f"{protocol} port {kind.supervised} is supervised, and {counted} to it"
                f" {passes} unsupervised now, such as {client} to {self.example.server}: a start"
                " ends them; let them finish first"
            )
        dropped = "a start drops new ones; add a network rule that relates the two"
        if kind.server is None:
            return (
                f"{counted} from {source} to {destination} {passes} now, such as {client} to"
                f" {self.example.server} ({protocol}): {dropped}"
            )
        return (
            f"{kind.server} ({protocol}) in {destination} is reached from {source} now, by"
            f" {counted} such as that of {client}: {dropped}, publish the server, or forward the"
            " port by a rule of the host (dnat)"
        )


def forwarded() -> list[ForwardedFlow]:
    """Return what the host forwards and did not get from us; empty when nothing may be asked."""
    try:
        requests = ConntrackRequests()
        try:
            return list(islice(requests.dump_as(0, marks.PIN, read_flow), _MOST_READ))
        finally:
            requests.close()
    except (KernelError, OSError):
        return []


def read_flow(data: bytes, start: int) -> ForwardedFlow | None:
    """Return the flow that conntrack reports at `start`; None for what is neither TCP nor UDP."""
    report = conntrack.read_report(data, start)
    if report is None:
        return None
    original = conntrack.read_tuple(report.original)
    if original.transport not in {Transport.TCP, Transport.UDP}:
        return None
    return ForwardedFlow(
        Transport(original.transport),
        original.source,
        original.destination,
        conntrack.read_source(report.reply),
        conntrack.is_over(data, start),
    )


def cuts(
    policy: Policy,
    supervised: Collection[tuple[Transport, int]],
    flows: Iterable[ForwardedFlow],
    own: Collection[IpAddress],
) -> list[Cut]:
    """Return what a start would cut of these flows, the most frequent first; pure.

    `supervised`: the ports that clients inside dial for supervised protocols. `own`: the addresses
    of this host; what it says and hears itself is not forwarded.
    """
    counts: Counter[_Kind] = Counter()
    examples: dict[_Kind, ForwardedFlow] = {}
    for flow in flows:
        if flow.client.address in own or flow.server.address in own:
            continue
        kind = _kind_of(policy, supervised, flow)
        if kind is not None:
            counts[kind] += 1
            examples.setdefault(kind, flow)
    return [Cut(kind, count, examples[kind]) for kind, count in counts.most_common(_MOST_SHOWN)]


def _kind_of(
    policy: Policy, supervised: Collection[tuple[Transport, int]], flow: ForwardedFlow
) -> _Kind | None:
    """Return what kind of flow is cut here; None when it passes."""
    source = policy.network_of(flow.client.address)
    destination = policy.network_of(flow.server.address)
    if destination is None:
        # The host forwards by itself, or there was no such flow: we change nothing there.
        return None
    names = (source.name if source else None, destination.name)
    if (
        source is not None
        and not policy.is_outside(source)
        and (flow.transport, flow.dialled.port) in supervised
    ):
        # One that is over cannot be ended; of the other kinds it shows what is asked for.
        return None if flow.is_over else _Kind(flow.transport, *names, None, flow.dialled.port)
    if flow.server != flow.dialled or _may_pass(policy, source, destination, flow.server.version):
        # The first: a rule of the host's translates it.
        return None
    server = None if policy.is_outside(destination) else flow.server
    return _Kind(flow.transport, *names, server, None)


def _may_pass(policy: Policy, source: Network | None, destination: Network, version: int) -> bool:
    if source is None or source is destination:
        return source is destination
    for rule in policy.network_rules:
        relation = rule.relation(version)
        if relation is None:
            continue
        if (rule.source, rule.destination) == (source.name, destination.name):
            return True
        is_back = (rule.source, rule.destination) == (destination.name, source.name)
        if is_back and relation is Relation.ROUTE and not policy.is_outside(source):
            return True
    return False
