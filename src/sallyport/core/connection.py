"""Connections: the primary one a client opened, and the secondary ones a bind made for it."""

from typing import TYPE_CHECKING, Protocol

from sallyport.addresses import Endpoint
from sallyport.core.datapath import DataPath, DataPathKind, FlowCounters, Pinhole
from sallyport.core.deadlines import Deadline
from sallyport.core.feed import EventFeed
from sallyport.core.journal import Level
from sallyport.core.openings import Opening, Traffic
from sallyport.core.policy import PublishingRule, Relation, Rule
from sallyport.core.protocols import Direction, ProtocolDefinition
from sallyport.errors import BadContext
from sallyport.flags import ConnectionFlags, Transport
from sallyport.ipfilter import IpFilter

if TYPE_CHECKING:
    from sallyport.core.binding import Binding
    from sallyport.core.filter import DataFilter
    from sallyport.core.gateway import Gateway
    from sallyport.core.session import Session


class Connection(Protocol):
    """What primary and secondary connections have in common (`IFWXConnection`)."""

    @property
    def is_secondary(self) -> bool:
        """Whether a bind made it."""

    def kill(self, reason: str = "killed") -> None:
        """End it now and reset both ends; idempotent, never raises."""


class Link(Protocol):
    """The two sockets of an intercepted connection, as the core may touch them."""

    def abort(self) -> None:
        """Reset both ends; idempotent, never raises."""

    def close(self) -> None:
        """Close both ends after everything queued was sent; idempotent, never raises."""


class PrimaryConnection:
    """A control connection: from `client`, who opened it, through us to `server`.

    One of the two is the session's client, the host we protect; the other one is `peer`.
    `gateway_address` is our own address on the peer's side (the protected host's, when routed);
    it is known once the server was dialled. Everything bound with `primary=` this ends with it.
    """

    is_secondary = False

    def __init__(
        self,
        gateway: "Gateway",
        *,
        connection_id: str,
        session: "Session",
        protocol: ProtocolDefinition,
        client: Endpoint,
        server: Endpoint,
        rule: Rule,
        relation: Relation,
        opened_at: float,
    ) -> None:
        self._gateway = gateway
        self.id = connection_id
        self.session = session
        self.protocol = protocol
        self.client = client
        self.server = server
        self.rule = rule
        self.relation = relation
        self.opened_at = opened_at
        self.gateway_address: Endpoint | None = None
        self.inside_address: Endpoint | None = None
        """Of an inbound connection, our end of the leg to the published server: in full proxy the
        server takes it for its client."""
        self.link: Link | None = None
        self.data_filter: DataFilter | None = None
        self.openings: dict[int, Opening] = {}
        self.is_open = True
        self._deadline: Deadline | None = None

    @property
    def direction(self) -> Direction:
        """Whether the protected host opened it, or is a published server."""
        is_published = isinstance(self.rule, PublishingRule)
        return Direction.INBOUND if is_published else Direction.OUTBOUND

    @property
    def peer(self) -> Endpoint:
        """The far end: the server of an outbound connection, the client of an inbound one."""
        return self.server if self.direction is Direction.OUTBOUND else self.client

    @property
    def transport(self) -> Transport:
        """The transport protocol."""
        return self.protocol.transport

    @property
    def flags(self) -> ConnectionFlags:
        """Full proxy is the publishing rule's to stipulate; without NAT there is nothing to do."""
        is_proxied = isinstance(self.rule, PublishingRule) and self.rule.full_proxy
        if is_proxied and self.relation is Relation.NAT:
            return ConnectionFlags.INTERNAL_ADDRESS_TRANSLATION
        return ConnectionFlags.NONE

    def attach_data_filter(self, data_filter: "DataFilter") -> None:
        """Put a data filter into the stream; legal while the connection is starting.

        Raises BadContext when there is one already: a chain of several is not built yet.
        """
        self._gateway.attach_data_filter(self, data_filter)

    def set_deadline(self, seconds: float | None) -> None:
        """Have the data filter's `deadline_passed` called after `seconds`; None: never.

        One deadline a connection; setting it again moves it.
        """
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if seconds is not None and self.is_open:
            self._deadline = self._gateway.call_later(seconds, self._deadline_passed)

    def close(self, reason: str) -> None:
        """End it in order: queued bytes are sent, then both ends are closed. Idempotent."""
        self._gateway.end_primary(self, reason, abort=False)

    def kill(self, reason: str = "killed") -> None:
        """End it now and reset both ends; openings close, transfers under way may finish."""
        self._gateway.end_primary(self, reason, abort=True)

    def note(self, event: str, *, level: Level = "info", **fields: object) -> None:
        """Write one line to the journal, with session and connection filled in."""
        self._gateway.journal.record(
            event, level=level, session=self.session.id, connection=self.id, **fields
        )

    def _deadline_passed(self) -> None:
        self._deadline = None
        if self.data_filter is not None:
            self._gateway.strand_of(self).run(self.data_filter.deadline_passed())


class SecondaryConnection(Opening):
    """One port of a binding (`ConnectionArray[i]`): where peers reach the client."""

    __slots__ = ("binding", "feeds", "holds_port", "index")

    is_secondary = True

    def __init__(
        self,
        binding: "Binding",
        index: int,
        pinhole: Pinhole,
        *,
        path: DataPath,
        is_timed: bool,
        holds_port: bool,
    ) -> None:
        super().__init__(pinhole, path=path, is_timed=is_timed)
        self.binding = binding
        self.index = index
        self.holds_port = holds_port
        """Whether a port of the gateway is reserved for it; on a routed relation none is."""
        self.feeds: list[EventFeed] = []

    @property
    def proxy_address(self) -> Endpoint:
        """Where peers connect."""
        return self.pinhole.listen

    @property
    def client_address(self) -> Endpoint | None:
        """Where the client listens; None while nobody has said it."""
        return self.pinhole.target

    @property
    def ip_filter(self) -> IpFilter | None:
        """Who may connect now; None: anyone."""
        return self.pinhole.sources

    @property
    def data_path(self) -> DataPathKind:
        """Which data path carries it; decided at bind, final."""
        return self.path.kind

    @property
    def flags(self) -> ConnectionFlags:
        """INTERNAL_ADDRESS_TRANSLATION when peers appear as the gateway to the client."""
        if self.pinhole.is_proxied:
            return ConnectionFlags.INTERNAL_ADDRESS_TRANSLATION
        return ConnectionFlags.NONE

    def peers(self) -> tuple[FlowCounters, ...]:
        """Give every running flow with its byte counts so far; costs a look at the data path."""
        return tuple(self.path.counters(self.pinhole.id))

    def traffic(self) -> Traffic:
        """Sum up every admitted flow so far; costs a look at the data path."""
        return self.binding.gateway.openings.traffic(self)

    def external_peer_name(self) -> Endpoint:
        """Give who connected; the latest, where many may.

        Raises BadContext before a flow exists.
        """
        if self.latest_peer is None:
            raise BadContext("nobody-has-connected")
        return self.latest_peer

    def external_socket_name(self) -> Endpoint:
        """Give the address peers see: the proxy address, known from the start."""
        return self.pinhole.listen

    async def set_client_address(self, client: Endpoint) -> None:
        """Complete a client address that was all zeros at the bind; only once.

        Raises InvalidArgument when it was given already or means nothing, AddressNotAllowed and
        PolicyDenied as the bind would have, Terminating, OutOfResources, KernelError; then the
        address is as unknown as before.
        """
        await self.binding.gateway.binder.complete(self, client)

    async def set_ip_filter(self, ip_filter: IpFilter | None) -> None:
        """Replace who may connect; None: anyone, an empty filter: nobody. What runs goes on.

        Raises Terminating, OutOfResources, KernelError; then nothing has changed.
        """
        await self.binding.gateway.binder.restrict(self, ip_filter)

    def deny(self) -> None:
        """Refuse the bind it belongs to; legal in the events BindTcp and BindUdp only.

        The caller of the bind gets AddressInUse. Raises BadContext at any other time.
        """
        if not self.binding.is_deniable:
            raise BadContext("not-in-a-bind-event")
        self.binding.is_denied = True

    def send_to(self, peer: Endpoint, data: bytes) -> None:
        """Send one UDP datagram to `peer` as the proxy address; lost if the kernel is busy.

        Only to whom the IP filter admits and the rules allow. Raises BadContext for TCP,
        InvalidArgument for another family, AddressNotAllowed, PolicyDenied, Terminating.
        """
        self.binding.gateway.binder.require_peer(self, peer)
        self.path.send_from(self.pinhole.listen, peer, data)

    def attach_data_filter(self, data_filter: "DataFilter") -> None:
        """Put a data filter into its stream.

        Raises BadContext on the kernel path, which no filter can look into; that was decided at
        the bind (`BindFlags.NO_KERNEL_MODE`) and is final.
        """
        if self.data_path is not DataPathKind.USER:
            raise BadContext("a-kernel-mode-connection-has-no-data-filter")
        raise NotImplementedError(f"{type(data_filter).__name__} on a secondary connection")

    def events(self) -> EventFeed:
        """Follow what happens from now on: `async for event in connection.events()`.

        For programs around the gateway. A filter is told by `SessionFilter.on_event`: its
        coroutines may wait for a transaction, not for a peer.
        """
        feed = EventFeed(self.binding.gateway.new_waiter())
        if self.is_closed:
            feed.end()
        else:
            self.feeds.append(feed)
        return feed

    def kill(self, reason: str = "killed") -> None:
        """Close the pinhole and reset both ends at once, idle or not. Idempotent, never raises."""
        self.binding.gateway.openings.kill(self, reason)

    def on_armed(self) -> None:
        """Write it down."""
        self.binding.gateway.ledger.armed(self)

    def on_admitted(self, peer: Endpoint) -> None:
        """Tell the caller of the bind (`fwx_EstablishedConnection`)."""
        self.binding.gateway.ledger.admitted(self, peer)

    def on_refused(self, peer: Endpoint) -> None:
        """Tell the caller of the bind."""
        self.binding.gateway.ledger.attempt_failed(self, peer)

    def on_closed(self, reason: str, traffic: Traffic) -> None:
        """Give the port back and tell the caller of the bind."""
        self.binding.gateway.ledger.closed(self, reason, traffic)
