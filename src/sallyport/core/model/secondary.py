"""SecondaryConnection: one port of a bind, where peers reach the client."""

from typing import TYPE_CHECKING

from sallyport.addresses import Endpoint
from sallyport.core.model.emulation import (
    deliver,
    require_emulated,
    require_own,
    require_running,
    take_over,
    with_sent,
)
from sallyport.core.model.negotiated import Negotiated
from sallyport.core.pinholes.datapath import Arrival, DataPath, DataPathKind, FlowCounters, Pinhole
from sallyport.core.pinholes.registry import Traffic
from sallyport.core.pinholes.reservations import PortReservations
from sallyport.errors import AlreadyExists, BadContext
from sallyport.flags import ConnectionFlags
from sallyport.ipfilter import IpFilter

if TYPE_CHECKING:
    from sallyport.core.model.binding import Binding
    from sallyport.core.model.filter import DataFilter

# Shared: an empty set for each would be a tenth of the memory of a binding.
_NO_PEERS: frozenset[Endpoint] = frozenset()


class SecondaryConnection(Negotiated):
    """One port of a binding (`ConnectionArray[i]`): where peers reach the client."""

    __slots__ = ("binding_id", "emulator", "expected", "index", "is_secondary", "socket_name")

    def __init__(
        self,
        binding: "Binding",
        pinhole: Pinhole,
        *,
        path: DataPath,
        is_filtered: bool,
        reservations: PortReservations | None,
    ) -> None:
        # What it shares with its binding it has itself. A reference back to the binding would make
        # both wait for the garbage collector, which stops everything.
        super().__init__(
            binding.engine,
            pinhole,
            path=path,
            is_timed=binding.flags.is_timed,
            is_filtered=is_filtered,
            session=binding.session,
            protocol=binding.protocol,
            rule=binding.rule,
            primary=binding.primary,
            session_filter=binding.session_filter,
            context=binding.context,
            reservations=reservations,
        )
        self.binding_id = binding.id
        self.is_secondary = not binding.is_for_primary
        """Whether it was negotiated; False for `Session.emulate_client_bind`."""
        self.index = len(binding.connections)
        self.emulator = ""
        """The name of the filter that emulates it; empty while none does."""
        self.expected = _NO_PEERS
        """The peers an emulating filter plays whose connection to the client is not made yet."""
        self.socket_name: Endpoint | None = None
        """The address that peers see, as an emulating filter says."""

    @property
    def holds_port(self) -> bool:
        """Whether a port of the gateway is reserved for it."""
        return self.reservations is not None

    @property
    def binding(self) -> "Binding | None":
        """What it is part of; None when nothing of that is left."""
        return self.session.bindings.get(self.binding_id)

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
        return self.engine.registry.traffic(self)

    def external_peer_name(self) -> Endpoint:
        """Give who connected; the latest, where many may (`GetExternalPeerName`).

        Raises BadContext before a flow exists.
        """
        if self.latest_peer is None:
            raise BadContext("no-peer-has-connected")
        return self.latest_peer

    def external_socket_name(self) -> Endpoint:
        """Give the address peers see: the proxy address, known from the start, or what
        `set_socket_name` said (`GetExternalSocketName`).
        """
        return self.socket_name or self.pinhole.listen

    def emulate_for_bind(self) -> None:
        """Take the bind over (`EmulateForBind`): nothing is opened, though its port stays held.

        Whoever connects is played by `emulate_connection` from then on. Legal in BindTcp and
        BindUdp of this connection. Raises BadContext at any other time, AlreadyEmulated the second
        time, Terminating when it is over, OutOfResources without a user data path.
        """
        take_over(self)

    async def emulate_connection(
        self,
        data_filter: "DataFilter",
        remote_address: Endpoint,
        local_address: Endpoint | None = None,
        context: object = None,
    ) -> None:
        """Deliver a connection to the client as if `remote_address` had come (`EmulateConnection`).

        On an emulated port that is open. `data_filter` speaks for the peer: it sits at
        Priority.EMULATION, and its `server` end is nobody. The filters registered for such a
        connection are asked as usual; the caller of the bind is told when the client has answered,
        or did not. `local_address`: what `external_socket_name` tells from now on. One connection,
        of UDP one peer, unless the bind said ALLOW_MULTIPLE. Refused, it has changed nothing:

        * NotEmulated; Terminating: it is over, or nothing more is let in;
        * BadContext: not open yet, or the client address is not known;
        * AlreadyExists: this peer is connected or on its way, or the one that may be was;
        * InvalidArgument, AddressNotAllowed, PolicyDenied: this peer could not have come;
        * AddressNotAvailable: `local_address` is not the gateway's.
        """
        deliver(self, data_filter, remote_address, local_address, context)

    def set_socket_name(self, address: Endpoint) -> None:
        """Say what peers of an emulated port see, for the client to publish (`SetSocketName`).

        Legal once and before a connection exists. Raises NotEmulated, Terminating, AlreadyExists,
        InvalidArgument for port 0 or another family, AddressNotAvailable for a foreign address.
        """
        require_emulated(is_emulated=self.is_emulated)
        require_running(is_over=self.is_closed)
        if self.socket_name is not None or self.latest_peer is not None or self.expected:
            raise AlreadyExists("the-connection-has-a-name")
        require_own(self.engine.policy, address, self.proxy_address.version)
        self.socket_name = address

    def increment_bytes_sent(self, count: int) -> None:
        """Count bytes that the emulating filter's own socket sent (`IncrementBytesSentCounter`).

        Raises NotEmulated, Terminating, InvalidArgument for a count below zero.
        """
        require_emulated(is_emulated=self.is_emulated)
        require_running(is_over=self.is_closed)
        self.ended = with_sent(self.ended, count)

    def become_emulated(self, path: DataPath, emulator: str) -> None:
        """Be the filter's: `path` carries what it delivers."""
        self.is_emulated = self.is_filtered = True
        self.path = path
        self.emulator = emulator

    async def set_client_address(self, client: Endpoint) -> None:
        """Complete a client address that was all zeros at the bind; only once.

        Raises InvalidArgument when it was given already or means nothing, AddressNotAllowed and
        PolicyDenied as the bind would have, Terminating, OutOfResources, KernelError; then the
        address is as unknown as before.
        """
        await self.engine.complete_client_address(self, client)

    async def set_ip_filter(self, ip_filter: IpFilter | None) -> None:
        """Replace who may connect; None: anyone, an empty filter: nobody. What runs goes on.

        Raises BadContext for an emulated port, Terminating, OutOfResources, KernelError; then
        nothing has changed.
        """
        await self.engine.restrict_peers(self, ip_filter)

    def send_to(self, peer: Endpoint, data: bytes) -> None:
        """Send one UDP datagram to `peer` as the proxy address; lost if the kernel is busy.

        Only to whom the IP filter admits and the rules allow. Raises BadContext for TCP, or where
        a filter speaks for peers and no port is held,
        InvalidArgument for another family, AddressNotAllowed, PolicyDenied, Terminating.
        """
        self.engine.require_sendable(self, peer)
        path = self.path if self.reservations is None else self.reservations.path
        path.send_from(self.pinhole.listen, peer, data)

    def on_armed(self) -> None:
        """Write it down."""
        self.engine.port_armed(self)

    def on_arrived(self, peer: Endpoint, arrival: Arrival) -> None:
        """Ask the filters (`fwx_AcceptedConnection`, `fwx_Udp_Destination`)."""
        self.engine.ask_about_flow(self, peer, arrival)

    def on_admitted(self, peer: Endpoint) -> None:
        """Tell the caller of the bind (`fwx_EstablishedConnection`)."""
        self._expect_no_more(peer)
        self.engine.peer_admitted(self, peer)

    def on_refused(self, peer: Endpoint) -> None:
        """Tell the caller of the bind."""
        self._expect_no_more(peer)
        self.engine.peer_failed(self, peer)

    def on_closed(self, reason: str, traffic: Traffic) -> None:
        """Give the port back and tell the caller of the bind."""
        self.engine.port_closed(self, reason, traffic)

    def _expect_no_more(self, peer: Endpoint) -> None:
        if self.expected:
            self.expected -= {peer}
