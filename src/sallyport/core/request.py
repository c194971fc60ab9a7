"""BindRequest: the arguments of one `bind_for_client`, and whether they can be meant at all."""

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.connection import PrimaryConnection
from sallyport.core.datapath import Pinhole
from sallyport.core.protocols import ProtocolDefinition
from sallyport.errors import InvalidArgument
from sallyport.flags import BindFlags, ConnectionFlags, Transport
from sallyport.ipfilter import IpFilter

if TYPE_CHECKING:
    from sallyport.core.filter import SessionFilter
    from sallyport.core.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class BindRequest:
    """One call; the fields are explained at `Session.bind_for_client`."""

    session: "Session"
    client_addresses: tuple[Endpoint, ...]
    transport: Transport
    protocol: ProtocolDefinition | UUID
    proxy_address: Endpoint | None
    flags: BindFlags
    backlog: int
    session_filter: "SessionFilter | None"
    context: object
    ip_filter: IpFilter | None
    peer_ports: frozenset[int] | None
    primary: PrimaryConnection | None

    def require_sense(self) -> None:
        """Check that the arguments do not contradict each other; raises InvalidArgument."""
        clients, proxy = self.client_addresses, self.proxy_address
        if not 1 <= len(clients) <= limits.MAX_ADDRESSES_PER_CALL:
            raise InvalidArgument(f"client_addresses: 1 to {limits.MAX_ADDRESSES_PER_CALL}")
        if not 1 <= self.backlog <= limits.MAX_BACKLOG:
            raise InvalidArgument(f"backlog: 1 to {limits.MAX_BACKLOG}")
        self._require_flags_make_sense()
        versions = {endpoint.version for endpoint in (*clients, *([proxy] if proxy else []))}
        if len(versions) > 1:
            raise InvalidArgument("addresses-of-two-families")
        if proxy is not None and proxy.port and len(clients) > 1:
            raise InvalidArgument("a-forced-port-needs-a-single-address")
        if any(client.port == 0 and not client.is_zero for client in clients):
            raise InvalidArgument("client-port-is-zero")

    def _require_flags_make_sense(self) -> None:
        if BindFlags.TIMEOUT in self.flags and BindFlags.ALLOW_MULTIPLE in self.flags:
            raise InvalidArgument("timeout-excludes-allow-multiple")
        if BindFlags.BIDIRECTIONAL in self.flags and self.transport is not Transport.UDP:
            raise InvalidArgument("bidirectional-is-for-udp")
        if BindFlags.PROXY_MODE in self.flags and (
            self.primary is None
            or ConnectionFlags.INTERNAL_ADDRESS_TRANSLATION not in self.primary.flags
        ):
            # Semantics 1.5 item 10: stipulated by the publishing rule, never chosen by a filter.
            raise InvalidArgument("proxy-mode-is-inherited-from-the-primary")

    def pinhole(self, pinhole_id: int, listen: Endpoint, client: Endpoint) -> Pinhole:
        """Give the pinhole for one of the client addresses."""
        flags, is_udp = self.flags, self.transport is Transport.UDP
        is_roomy = BindFlags.INCREASE_RECEIVE_BUFFER in flags
        return Pinhole(
            id=pinhole_id,
            transport=self.transport,
            listen=listen,
            target=None if client.is_zero else client,
            sources=self.ip_filter,
            single=BindFlags.ALLOW_MULTIPLE not in flags,
            source_ports=self.peer_ports,
            is_answered=BindFlags.BIDIRECTIONAL in flags,
            is_proxied=BindFlags.PROXY_MODE in flags,
            idle_seconds=limits.UDP_IDLE_SECONDS if is_udp and BindFlags.TIMEOUT in flags else None,
            backlog=self.backlog,
            receive_buffer=limits.INCREASED_RECEIVE_BUFFER if is_roomy else None,
        )
