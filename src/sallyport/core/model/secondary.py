"""SecondaryConnection: one port of a bind, where peers reach the client."""

from typing import TYPE_CHECKING

from sallyport.addresses import Endpoint
from sallyport.core.model.arguments import takes
from sallyport.core.model.emulation import (
    deliver,
    require_emulated,
    require_own,
    require_running,
    take_over,
    with_sent,
)
from sallyport.core.model.filter import DataFilter
from sallyport.core.model.negotiated import Negotiated
from sallyport.core.pinholes.datapath import Arrival, DataPath, DataPathKind, FlowCounters, Pinhole
from sallyport.core.pinholes.registry import Traffic
from sallyport.core.pinholes.reservations import PortReservations
from sallyport.core.policy.rules import Asker
from sallyport.errors import AlreadyExists, BadContext
from sallyport.flags import ConnectionFlags
from sallyport.ipfilter import IpFilter

if TYPE_CHECKING:
    from sallyport.core.model.binding import Binding

# Shared, because an empty set of its own would be a tenth of the memory of a binding.
_NO_PEERS: frozenset[Endpoint] = frozenset()


class SecondaryConnection(Negotiated):
    """One port of a binding (`ConnectionArray[i]`): where peers reach the client."""

    __slots__ = (
        "binding_id",
        "bundle",
        "emulator",
        "expected",
        "index",
        "is_secondary",
        "socket_name",
    )

    def __init__(
        self,
        binding: "Binding",
        pinhole: Pinhole,
        *,
        path: DataPath,
        is_filtered: bool,
        reservations: PortReservations | None,
    ) -> None:
        # It copies what it shares with its binding. A reference back to the binding would form a
        # cycle, which only the garbage collector frees, and that stops the whole process.
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
            is_killed_with_primary=binding.close_with_primary == "kill",
        )
        self.binding_id = binding.id
        self.bundle = binding.bundle
        """What it ends with instead of its primary connection, if anything."""
        self.is_secondary = not binding.is_for_primary
        """Whether it was negotiated; False for `Session.emulate_client_bind`."""
        self.index = len(binding.connections)
        self.emulator = ""
        """The name of the filter that emulates it; empty while none does."""
        self.expected = _NO_PEERS
        """Peers that an emulating filter plays and whose connection to the client is not made yet.
        """
        self.socket_name: Endpoint | None = None
        """The address that peers see, set by an emulating filter; None: the proxy address."""

    @property
    def holds_port(self) -> bool:
        """Whether a port of the gateway is reserved for it."""
        return self.reservations is not None

    @property
    def binding(self) -> "Binding | None":
        """The binding it is part of; None when every connection of the binding has ended."""
        return self.session.bindings.get(self.binding_id)

    @property
    def age(self) -> float:
        """For how many seconds its binding has been; 0 when that is over."""
        binding = self.binding
        return 0.0 if binding is None else self.engine.clock() - binding.created_at

    def on_unused(self) -> None:
        """Ask why, but for a range that is kept open: most of its ports are never used."""
        if self.binding is not None and not self.binding.is_shared:
            super().on_unused()

    @property
    def asker(self) -> Asker | None:
        """Who asked for it by a front end; None: a filter asked."""
        return None if self.binding is None else self.binding.asker

    @property
    def proxy_address(self) -> Endpoint:
        """The address that peers connect to."""
        return self.pinhole.listen

    @property
    def client_address(self) -> Endpoint | None:
        """The address that the client listens on; None while it is not known."""
        return self.pinhole.target

    @property
    def ip_filter(self) -> IpFilter | None:
        """The addresses that may connect now; None: any."""
        return self.pinhole.sources

    @property
    def data_path(self) -> DataPathKind:
        """The data path that carries it; decided at the bind, final."""
        return self.path.kind

    @property
    def flags(self) -> ConnectionFlags:
        """INTERNAL_ADDRESS_TRANSLATION when the client sees the gateway's address as its peer's."""
        if self.pinhole.is_proxied:
            return ConnectionFlags.INTERNAL_ADDRESS_TRANSLATION
        return ConnectionFlags.NONE

    def peers(self) -> tuple[FlowCounters, ...]:
        """Return every running flow with its byte counts so far; asks the data path."""
        return tuple(self.path.counters(self.pinhole.id))

    def external_peer_name(self) -> Endpoint:
        """Return the peer that connected, the latest one of many (`GetExternalPeerName`).

        Raises BadContext before the first flow.
        """
        if self.latest_peer is None:
            raise BadContext("no-peer-has-connected")
        return self.latest_peer

    def external_socket_name(self) -> Endpoint:
        """Return the address that peers see (`GetExternalSocketName`).

        It is the proxy address, known from the bind on, or the one that `set_socket_name` set.
        """
        return self.socket_name or self.pinhole.listen

    def emulate_for_bind(self) -> None:
        """Take the bind over (`EmulateForBind`): no pinhole is opened, though its port stays held.

        From then on only `emulate_connection` delivers connections to the client. Legal in BindTcp
        and BindUdp of this connection. Raises BadContext at any other time, AlreadyEmulated the
        second time, Terminating when it is over, OutOfResources without a user data path.
        """
        take_over(self)

    @takes(data_filter=DataFilter, remote_address=Endpoint, local_address=Endpoint | None)
    async def emulate_connection(
        self,
        data_filter: "DataFilter",
        remote_address: Endpoint,
        local_address: Endpoint | None = None,
        context: object = None,
    ) -> None:
        """Deliver a connection to the client as if it came from `remote_address`.

        (`EmulateConnection`.) Legal on an emulated port that is open. `data_filter` plays the peer:
        it sits at Priority.EMULATION, and what it sends to its `server` end is dropped. Filters
        registered for such a connection are asked as usual; the caller of the bind is notified when
        the client has accepted or refused. `local_address` is what `external_socket_name` returns
        from now on. One connection (UDP: one peer), unless the bind has ALLOW_MULTIPLE.

        A refused call has changed nothing. Raises

        * NotEmulated: no filter emulates the port;
        * Terminating: the port is closed;
        * BadContext: the port is not open yet, or the client address is not known;
        * AlreadyExists: this peer is connected or being connected, or the one place is taken;
        * InvalidArgument, AddressNotAllowed, PolicyDenied: a real peer of this address would not be
          admitted;
        * AddressNotAvailable: `local_address` is not the gateway's.
        """
        deliver(self, data_filter, remote_address, local_address, context)

    @takes(address=Endpoint)
    def set_socket_name(self, address: Endpoint) -> None:
        """Set the address that peers of an emulated port see (`SetSocketName`).

        The client announces it. Legal once, before a connection exists. Raises NotEmulated when no
        filter emulates the port, Terminating when it is over, AlreadyExists when it has a name or
        a connection, InvalidArgument for port 0 or another family, AddressNotAvailable for an
        address that is not the gateway's.
        """
        require_emulated(is_emulated=self.is_emulated)
        require_running(is_over=self.is_closed)
        if self.socket_name is not None or self.latest_peer is not None or self.expected:
            raise AlreadyExists("the-connection-has-a-name")
        require_own(self.engine.policy, address, self.proxy_address.version)
        self.socket_name = address

    @takes(count=int)
    def increment_bytes_sent(self, count: int) -> None:
        """Add `count` bytes that the emulating filter sent (`IncrementBytesSentCounter`).

        Raises NotEmulated when no filter emulates the port, Terminating when it is over,
        InvalidArgument for a count below zero.
        """
        require_emulated(is_emulated=self.is_emulated)
        require_running(is_over=self.is_closed)
        self.ended = with_sent(self.ended, count)

    def become_emulated(self, path: DataPath, emulator: str) -> None:
        """Take note that the filter `emulator` emulates it; `path` carries what it delivers."""
        self.is_emulated = self.is_filtered = True
        self.path = path
        self.emulator = emulator

    @takes(client=Endpoint)
    async def set_client_address(self, client: Endpoint) -> None:
        """Set a client address that was all zeros at the bind (`SetClientAddress`); only once.

        Raises InvalidArgument when it was set already or is no address of a client,
        AddressNotAllowed and PolicyDenied as the bind would have, Terminating when it is over,
        OutOfResources, KernelError. After an error the client address is still not known.
        """
        await self.engine.complete_client_address(self, client)

    @takes(ip_filter=IpFilter | None)
    async def set_ip_filter(self, ip_filter: IpFilter | None) -> None:
        """Replace the addresses that may connect (`SetIpFilter`); running flows go on.

        None admits any address, an empty filter none. Raises BadContext for an emulated port,
        Terminating when it is over, OutOfResources, KernelError; then nothing has changed.
        """
        await self.engine.restrict_peers([self], ip_filter, self.pinhole.source_ports)

    def on_armed(self) -> None:
        """Record it in the journal."""
        self.engine.port_armed(self)

    def on_arrived(self, peer: Endpoint, arrival: Arrival) -> None:
        """Ask the filters (`fwx_AcceptedConnection`, `fwx_Udp_Destination`)."""
        self.engine.ask_about_flow(self, peer, arrival)

    def on_admitted(self, peer: Endpoint) -> None:
        """Notify the caller of the bind (`fwx_EstablishedConnection`)."""
        self._expect_no_more(peer)
        self.engine.peer_admitted(self, peer)

    def on_refused(self, peer: Endpoint) -> None:
        """Notify the caller of the bind (`ConnectionRefused`)."""
        self._expect_no_more(peer)
        self.engine.peer_failed(self, peer)

    def on_turned_away(self, peer: Endpoint) -> None:
        """Record it in the journal: no filter is told of what may come as fast as datagrams do."""
        self.engine.flow_turned_away(self, peer)

    def on_closed(self, reason: str, traffic: Traffic) -> None:
        """Release the port and notify the caller of the bind."""
        self.engine.port_closed(self, reason, traffic)

    def _expect_no_more(self, peer: Endpoint) -> None:
        if self.expected:
            self.expected -= {peer}
