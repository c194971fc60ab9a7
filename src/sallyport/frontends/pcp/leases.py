"""Leases: the mappings that clients hold, whatever protocol they asked by.

One lease is one binding without a primary. The client, the transport and its (first) internal port
identify it; who asked for it first owns it until it ends. Nothing here knows a wire format.
"""

from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass

from sallyport.addresses import Endpoint, IpAddress, IpNetwork
from sallyport.core.engine.gateway import Gateway
from sallyport.core.model.binding import Binding
from sallyport.core.model.request import BindRequest
from sallyport.core.pinholes.lifecycle import State
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rules import Asker
from sallyport.core.policy.terms import Frontend, Peers
from sallyport.core.runtime.deadlines import Deadline
from sallyport.errors import (
    AddressInUse,
    AddressNotAllowed,
    AddressNotAvailable,
    BindError,
    PolicyDenied,
)
from sallyport.flags import BindFlags, Transport
from sallyport.ipfilter import IpFilter

_FLAGS = {
    Transport.TCP: BindFlags.ALLOW_MULTIPLE,
    # The client of a mapped UDP port also answers, and may speak first.
    Transport.UDP: BindFlags.ALLOW_MULTIPLE | BindFlags.BIDIRECTIONAL,
}

Key = tuple[IpAddress, Transport, int]


class NotTheOwner(Exception):
    """The mapping belongs to another request; `seconds` are left of it (RFC 6887 section 11.3)."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"another request holds it for {seconds:.0f} s")
        self.seconds = seconds


class PeersDoNotFactor(Exception):
    """The filters cannot be enforced as addresses times ports (EXCESSIVE_REMOTE_PEERS)."""


@dataclass(frozen=True, slots=True)
class AllowedPeers:
    """Who may connect: any of `addresses` (None: anyone) from any of `ports` (None: any port)."""

    addresses: IpFilter | None = None
    ports: frozenset[int] | None = None

    @classmethod
    def of(cls, pairs: Iterable[tuple[IpNetwork, int]]) -> "AllowedPeers":
        """Combine pairs of prefix and port, where port 0 is any; no pairs: anyone.

        A pinhole knows addresses and ports apart. Raises PeersDoNotFactor for pairs that it cannot
        admit, each as it is said, without admitting others.
        """
        by_port: dict[int, list[IpNetwork]] = {}
        for prefix, port in pairs:
            by_port.setdefault(port, []).append(prefix)
        if not by_port:
            return cls()
        anywhere = IpFilter.of(*by_port.pop(0, ()))
        # What may come from any port needs no port of its own.
        rest = {
            port: left
            for port, prefixes in by_port.items()
            if (left := IpFilter.of(*prefixes).exclude_filter(anywhere))
        }
        if not rest:
            return cls(anywhere, None)
        addresses, *others = set(rest.values())
        if anywhere or others:
            raise PeersDoNotFactor
        return cls(addresses, frozenset(rest))


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client asks for; `lifetime` in seconds, 0 to delete.

    `owner` proves who asked before: PCP's nonce, empty for NAT-PMP, which has none. `peers` None:
    a renewal keeps those it has. `must_have`: no other external port will do. `asker` None: the
    client asks for itself; else another host asks for it, as far as its rule lets it.
    """

    client: Endpoint
    transport: Transport
    lifetime: int
    owner: bytes = b""
    count: int = 1
    external_port: int = 0
    external_address: IpAddress | None = None
    must_have: bool = False
    peers: AllowedPeers | None = None
    asker: IpAddress | None = None

    @property
    def host(self) -> IpAddress:
        """Who asks."""
        return self.client.address if self.asker is None else self.asker

    @property
    def key(self) -> Key:
        """What identifies the mapping."""
        return self.client.address, self.transport, self.client.port


@dataclass(frozen=True, slots=True)
class KeptLease:
    """What another process must know of a mapping to make it again."""

    client: Endpoint
    transport: Transport
    owner: str
    """In hexadecimal."""
    external: Endpoint
    count: int
    peer_ranges: tuple[tuple[IpAddress, IpAddress], ...] | None
    """The addresses that may connect, by first and last; None: any."""
    peer_ports: frozenset[int] | None
    expires_at: float
    asker: IpAddress | None = None
    """Who asked for it instead of the client; None: the client."""

    @property
    def host(self) -> IpAddress:
        """Who asked for it: requests about it come from there."""
        return self.client.address if self.asker is None else self.asker

    @property
    def peers(self) -> AllowedPeers:
        """Who may connect."""
        if self.peer_ranges is None:
            return AllowedPeers(None, self.peer_ports)
        addresses = IpFilter()
        for first, last in self.peer_ranges:
            addresses = addresses.include_range(first, last)
        return AllowedPeers(addresses, self.peer_ports)


@dataclass(frozen=True, slots=True)
class LeaseBook:
    """All mappings of a process that hands them over; times are of the host's monotonic clock."""

    began: float
    """When mappings were last lost."""
    leases: tuple[KeptLease, ...] = ()


class Lease:
    """One mapping that stands."""

    __slots__ = ("binding", "deadline", "expires_at", "owner", "peers")

    def __init__(self, binding: Binding, owner: bytes, peers: AllowedPeers) -> None:
        self.binding = binding
        self.owner = owner
        self.peers = peers
        self.expires_at = 0.0
        self.deadline: Deadline | None = None

    @property
    def external(self) -> Endpoint:
        """Where peers connect: the lowest port when several."""
        return self.binding.proxy_address

    @property
    def host(self) -> IpAddress:
        """Who asked for it."""
        return self.binding.session.client_address

    @property
    def count(self) -> int:
        """How many consecutive ports it has."""
        return len(self.binding.connections)

    @property
    def is_over(self) -> bool:
        """Whether the binding has ended meanwhile, by an operator for example."""
        return self.binding.state is State.CLOSED


class Leases:
    """Every mapping of one front end, bounded by the quotas of the rules."""

    def __init__(self, gateway: Gateway, protocol: ProtocolDefinition) -> None:
        self._gateway = gateway
        self._protocol = protocol
        self._min_lifetime = 0
        self._max_lifetime = 0
        self.began = gateway.clock()
        """When mappings were last lost: a new table knows none (RFC 6887 section 8.5)."""
        self._leases: dict[Key, Lease] = {}

    def bound(self, min_lifetime: int, max_lifetime: int) -> None:
        """Keep lifetimes between these, in seconds; for what is asked from now on."""
        self._min_lifetime, self._max_lifetime = min_lifetime, max_lifetime

    async def grant(self, wish: Wish) -> tuple[Lease, int]:
        """Make or renew a mapping; return it with the seconds it lasts.

        A renewal keeps the external port, even where another one is suggested (RFC 6887 section
        15). Raises NotTheOwner, and what `Session.bind_for_client` raises; then nothing has
        changed.
        """
        lease = self._owned(wish)
        if lease is not None and wish.peers is not None and wish.peers != lease.peers:
            await self._replace_peers(lease, wish.peers)
        if lease is None:
            lease = await self._bind(wish, wish.peers or AllowedPeers())
        wanted = min(max(wish.lifetime, self._min_lifetime), self._max_lifetime)
        seconds = int(lease.binding.extend(wanted))
        self._keep(wish.key, lease, seconds)
        return lease, seconds

    def delete(self, wish: Wish) -> None:
        """End a mapping; of nothing it succeeds (RFC 6887 section 15.1). Raises NotTheOwner."""
        if self._owned(wish) is not None:
            self._end(wish.key, "deleted-by-client")

    def delete_all(
        self, client: IpAddress, transports: Iterable[Transport], owner: bytes, host: IpAddress
    ) -> None:
        """End every mapping of a client that `owner` at `host` made, of these transports."""
        wanted = set(transports)
        for key in [
            key
            for key, lease in self._leases.items()
            if key[0] == client and key[1] in wanted and (lease.owner, lease.host) == (owner, host)
        ]:
            self._end(key, "deleted-by-client")

    def lose_those_elsewhere(self, own: Container[IpAddress]) -> None:
        """End the mappings at external addresses that the gateway has no more.

        Clients learn of it by the epoch (RFC 6887 section 8.5), and ask again.
        """
        for key, lease in tuple(self._leases.items()):
            at = lease.external.address
            if at not in own and at != key[0]:  # the client's own on a routed relation
                self._end(key, "external-address-has-gone")
                self.began = self._gateway.clock()

    def close(self) -> None:
        """End every mapping. Idempotent."""
        for key in tuple(self._leases):
            self._end(key, "front-end-switched-off")

    def hand_over(self) -> LeaseBook:
        """End every mapping here and return what another process needs to make them again.

        What runs through them goes on; their ports are free at once.
        """
        book = LeaseBook(self.began, tuple(self._kept()))
        for key in tuple(self._leases):
            lease = self._forget(key)
            if lease is not None:
                lease.binding.hand_over("handed-over")
        return book

    async def take_over(self, book: LeaseBook, serves: Callable[[IpAddress], bool]) -> None:
        """Make the mappings of another process again that are of clients whom `serves` names.

        Each has its external port, its owner and what is left of its lifetime. When one cannot be
        made it is recorded, and clients learn from the epoch that mappings were lost.
        """
        self.began = book.began
        for kept in book.leases:
            seconds = kept.expires_at - self._gateway.clock()
            if seconds <= 0 or not serves(kept.host):
                continue
            try:
                wish = _wish_for(kept)
                lease = await self._bind(wish, kept.peers, is_made_again=True)
                self._keep(wish.key, lease, lease.binding.extend(seconds))
            except BindError as refusal:
                self.began = self._gateway.clock()
                self._gateway.journal.record(
                    "lease.lost",
                    level="warning",
                    client=kept.client,
                    proxy=kept.external,
                    reason=refusal.reason,
                )

    def _kept(self) -> Iterator[KeptLease]:
        for (client, transport, port), lease in self._leases.items():
            if not lease.is_over:
                yield KeptLease(
                    Endpoint(client, port),
                    transport,
                    lease.owner.hex(),
                    lease.external,
                    lease.count,
                    None if (peers := lease.peers.addresses) is None else peers.ranges,
                    lease.peers.ports,
                    lease.expires_at,
                    None if lease.host == client else lease.host,
                )

    def _owned(self, wish: Wish) -> Lease | None:
        """Return the mapping that a wish is about, if there is one; raises NotTheOwner."""
        lease = self._of(wish.key)
        if lease is not None and (lease.owner, lease.host) != (wish.owner, wish.host):
            raise NotTheOwner(lease.expires_at - self._gateway.clock())
        return lease

    def _of(self, key: Key) -> Lease | None:
        lease = self._leases.get(key)
        if lease is not None and lease.is_over:
            self._forget(key)
            return None
        return lease

    async def _bind(self, wish: Wish, peers: AllowedPeers, *, is_made_again: bool = False) -> Lease:
        asker = Asker(frontend=Frontend.PCP)
        session = self._gateway.client_session(wish.host, asker)
        clients = tuple(wish.client.with_port(wish.client.port + i) for i in range(wish.count))

        async def bind(proxy: Endpoint | None) -> Binding:
            request = BindRequest(
                session=session,
                client_addresses=clients,
                transport=wish.transport,
                protocol=self._protocol,
                proxy_address=proxy,
                flags=_FLAGS[wish.transport],
                backlog=1,
                session_filter=None,
                context=None,
                ip_filter=peers.addresses,
                peer_ports=peers.ports,
                primary=None,
                frontend=Frontend.PCP,
                is_made_again=is_made_again,
            )
            return await self._gateway.bind(request, armed=True)

        own = self._gateway.external_address(wish.client.address)
        if own is None:  # a routed relation: the client's own address and port are the external one
            if wish.must_have and wish.external_port not in (0, wish.client.port):
                raise AddressNotAvailable("routed-port-is-the-clients-own")
            return Lease(await bind(None), wish.owner, peers)
        wanted = wish.external_port
        is_possible = (wish.count == 1 or is_made_again) and (
            not wanted or wanted in self._gateway.port_range
        )
        if wish.external_address not in (None, own):
            is_possible = False
        if wish.must_have and not is_possible:
            raise AddressNotAvailable("wished-port-is-not-ours-to-give")
        if wanted and is_possible:
            try:
                return Lease(await bind(Endpoint(own, wanted)), wish.owner, peers)
            except (AddressInUse, AddressNotAllowed):  # taken, or not the rule's to grant
                if wish.must_have:
                    raise
        return Lease(await bind(Endpoint(own, 0)), wish.owner, peers)

    @staticmethod
    async def _replace_peers(lease: Lease, peers: AllowedPeers) -> None:
        """Replace who may connect; what runs goes on."""
        if peers.addresses is None and lease.binding.rule.peers is Peers.PINNED:
            raise PolicyDenied("peers-are-not-named")
        await lease.binding.set_peers(peers.addresses, peers.ports)
        lease.peers = peers

    def _keep(self, key: Key, lease: Lease, seconds: float) -> None:
        if lease.deadline is not None:
            lease.deadline.cancel()
        lease.expires_at = self._gateway.clock() + seconds
        lease.deadline = self._gateway.call_later(
            seconds, lambda: self._end(key, "lifetime-is-over")
        )
        self._leases[key] = lease

    def _end(self, key: Key, reason: str) -> None:
        lease = self._forget(key)
        if lease is not None:
            lease.binding.end(reason)

    def _forget(self, key: Key) -> Lease | None:
        lease = self._leases.pop(key, None)
        if lease is not None and lease.deadline is not None:
            lease.deadline.cancel()
        return lease


def _wish_for(kept: KeptLease) -> Wish:
    return Wish(
        client=kept.client,
        transport=kept.transport,
        lifetime=0,
        owner=bytes.fromhex(kept.owner),
        count=kept.count,
        external_port=kept.external.port,
        must_have=True,
        peers=kept.peers,
        asker=kept.asker,
    )
