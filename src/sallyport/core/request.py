"""BindRequest: the arguments of one `bind_for_client`, and whether they can be meant at all."""

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.connection import PrimaryConnection
from sallyport.core.protocols import ProtocolDefinition
from sallyport.errors import InvalidArgument
from sallyport.flags import BindFlags, Transport
from sallyport.ipfilter import IpFilter

if TYPE_CHECKING:
    from sallyport.core.filter import SessionFilter
    from sallyport.core.session import Session

_NOT_BUILT = (
    BindFlags.NO_KERNEL_MODE
    | BindFlags.BIDIRECTIONAL
    | BindFlags.PROXY_MODE
    | BindFlags.INCREASE_RECEIVE_BUFFER
)


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

    def require_built(self) -> None:
        """Refuse what is not built yet by name: nothing is accepted and ignored.

        Raises NotImplementedError.
        """
        if self.transport is not Transport.TCP:
            raise NotImplementedError(f"transport={self.transport.name}")
        if self.flags & _NOT_BUILT:
            raise NotImplementedError(f"flags={self.flags & _NOT_BUILT}")
        if self.backlog != 1:
            raise NotImplementedError("backlog: the client's own listener has the backlog")
        if any(client.is_zero for client in self.client_addresses):
            raise NotImplementedError("client_addresses: all zeros")
        if self.ip_filter is not None and self.ip_filter.single_addresses is None:
            raise NotImplementedError("ip_filter: ranges and prefixes")
        if self.peer_ports is not None and self.ip_filter is None:
            raise NotImplementedError("peer_ports: without ip_filter")

    def require_sense(self) -> None:
        """Check that the arguments do not contradict each other; raises InvalidArgument."""
        clients, proxy = self.client_addresses, self.proxy_address
        if not 1 <= len(clients) <= limits.MAX_ADDRESSES_PER_CALL:
            raise InvalidArgument(f"client_addresses: 1 to {limits.MAX_ADDRESSES_PER_CALL}")
        if BindFlags.TIMEOUT in self.flags and BindFlags.ALLOW_MULTIPLE in self.flags:
            raise InvalidArgument("timeout-excludes-allow-multiple")
        versions = {endpoint.version for endpoint in (*clients, *([proxy] if proxy else []))}
        if len(versions) > 1:
            raise InvalidArgument("addresses-of-two-families")
        if proxy is not None and proxy.port and len(clients) > 1:
            raise InvalidArgument("a-forced-port-needs-a-single-address")
        if any(client.port == 0 for client in clients):
            raise InvalidArgument("client-port-is-zero")
