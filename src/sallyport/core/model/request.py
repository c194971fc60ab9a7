"""Requests: the arguments of one bind or permission, and the check that they fit together."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from msgspec import Struct
from msgspec.structs import astuple

from sallyport import limits
from sallyport.addresses import Endpoint, IpAddress
from sallyport.core.model.arguments import Kind, classes_of, require_each
from sallyport.core.model.bundle import Bundle
from sallyport.core.model.connection import PrimaryConnection
from sallyport.core.model.filter import DataFilter, SessionFilter
from sallyport.core.pinholes.datapath import Pinhole
from sallyport.core.policy.protocols import ProtocolDefinition
from sallyport.core.policy.rules import Asker
from sallyport.core.policy.terms import Frontend
from sallyport.errors import InvalidArgument
from sallyport.flags import BindFlags, ConnectionFlags, Transport
from sallyport.ipfilter import IpFilter

if TYPE_CHECKING:
    from sallyport.core.model.session import Session


_UDP = Transport.UDP


class BindRequest(Struct, frozen=True, eq=False):
    """The arguments of one `Session.bind_for_client`, which explains them.

    A Struct, because every bind makes one; given in their order its fields take a fifth of the time
    that they take by name.
    """

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
    frontend: Frontend | None = None
    user: str | None = None
    lifetime: float | None = None
    idle: float | None = None
    is_shared: bool = False
    """Whether the port of `proxy_address` may be that of other binds too, with other peers."""
    close_with_primary: Literal["withdraw", "kill"] = "withdraw"
    bundle: Bundle | None = None
    make_data_filter: "Callable[[], DataFilter] | None" = None
    is_made_again: bool = False
    """Whether an earlier process had it: the port of `proxy_address` is the lowest of all."""
    is_for_primary: bool = False
    """Whether `Session.emulate_client_bind` made it: no port is held, a filter delivers the flow.
    """

    @property
    def asker(self) -> Asker | None:
        """Who asks by a front end; None: a filter asks."""
        if self.frontend is None:
            return None
        return Asker(self.session.user if self.user is None else self.user, self.frontend)

    def require_sense(self) -> None:
        """Check that the arguments do not contradict each other; raises InvalidArgument."""
        self._require_types()
        clients, proxy = self.client_addresses, self.proxy_address
        if not 1 <= len(clients) <= limits.MAX_ADDRESSES_PER_CALL:
            raise InvalidArgument("count-of-addresses")
        if not 1 <= self.backlog <= limits.MAX_BACKLOG:
            raise InvalidArgument("backlog-out-of-range")
        self._require_flags_make_sense()
        family = type(clients[0].address if proxy is None else proxy.address)
        for client in clients:
            if type(client.address) is not family:
                raise InvalidArgument("addresses-of-two-families")
            if client.port == 0 and not client.is_zero:
                raise InvalidArgument("client-port-is-zero")
        is_forced = proxy is not None and proxy.port and not self.is_made_again
        if is_forced and len(clients) > 1:
            raise InvalidArgument("a-forced-port-needs-a-single-address")
        if self.lifetime is not None and not 0 < self.lifetime < math.inf:
            raise InvalidArgument("lifetime-is-not-positive")
        if self.idle is not None and not limits.MIN_IDLE_SECONDS <= self.idle < math.inf:
            raise InvalidArgument("idle-time-is-too-short")
        if self.bundle is not None and self.bundle.session is not self.session:
            raise InvalidArgument("bundle-of-another-session")
        if self.is_for_primary and (clients[0].is_zero or proxy is None or not proxy.port):
            raise InvalidArgument("an-emulated-bind-needs-both-addresses")

    def _require_types(self) -> None:
        """Check what a filter without type checks gets wrong; raises InvalidArgument, by name.

        Here and not by `takes`: what is refused here is recorded, and a bind is the hot path.
        """
        given = astuple(self)
        if not all(map(isinstance, given, _CLASSES)):
            require_each(zip(self.__struct_fields__, given, _CLASSES, strict=True))
        if self.make_data_filter is not None and not callable(self.make_data_filter):
            raise InvalidArgument("wrong-type-of-make_data_filter")
        if self.close_with_primary not in ("withdraw", "kill"):
            raise InvalidArgument("close_with_primary-is-no-way-to-close")

    def _require_flags_make_sense(self) -> None:
        flags = self.flags
        if flags.is_timed and flags.is_multiple:
            raise InvalidArgument("timeout-excludes-allow-multiple")
        if flags.is_bidirectional and self.transport is not Transport.UDP:
            raise InvalidArgument("bidirectional-is-for-udp")
        if (
            flags.is_proxied
            and not self.is_for_primary
            and (
                self.primary is None
                or ConnectionFlags.INTERNAL_ADDRESS_TRANSLATION not in self.primary.flags
            )
        ):
            # Semantics 1.5 item 10: stipulated by the publishing rule, never chosen by a filter.
            raise InvalidArgument("proxy-mode-is-inherited-from-the-primary")

    def pinhole(
        self, pinhole_id: int, listen: Endpoint, client: Endpoint, max_flows: int
    ) -> Pinhole:
        """Return the pinhole for one of the client addresses."""
        flags, is_udp = self.flags, self.transport is _UDP
        return Pinhole(
            id=pinhole_id,
            transport=self.transport,
            listen=listen,
            target=None if client.is_zero else client,
            sources=self.ip_filter,
            single=not flags.is_multiple,
            source_ports=self.peer_ports,
            is_answered=flags.is_bidirectional,
            is_proxied=flags.is_proxied,
            idle_seconds=limits.UDP_IDLE_SECONDS if is_udp and flags.is_timed else None,
            backlog=self.backlog,
            receive_buffer=limits.INCREASED_RECEIVE_BUFFER if flags.is_roomy else None,
            max_flows=max_flows,
        )


# What each argument of a bind may be, in their order. Who makes the request has checked the rest.
_KINDS: dict[str, Kind] = {
    "transport": Transport,
    "protocol": ProtocolDefinition | UUID,
    "proxy_address": Endpoint | None,
    "flags": BindFlags,
    "backlog": int,
    "session_filter": SessionFilter | None,
    "ip_filter": IpFilter | None,
    "peer_ports": frozenset | None,
    "frontend": Frontend | None,
    "user": str | None,
    "lifetime": int | float | None,
    "idle": int | float | None,
    "bundle": Bundle | None,
    "close_with_primary": str,
}
_CLASSES = tuple(classes_of(_KINDS.get(name, object)) for name in BindRequest.__struct_fields__)

_EXCLUSIVE = BindFlags.TIMEOUT | BindFlags.ALLOW_MULTIPLE
_FUTURE_FLAGS = _EXCLUSIVE | BindFlags.NO_KERNEL_MODE


@dataclass(frozen=True, slots=True, kw_only=True)
class FutureRequest:
    """The arguments of one `Session.allow_future_connect` or `Session.redirect_connections`."""

    session: "Session"
    addresses: tuple[Endpoint, ...]
    transport: Transport
    protocol: ProtocolDefinition
    primary: PrimaryConnection | None
    flags: BindFlags
    session_filter: "SessionFilter | None"
    context: object
    is_redirected: bool = False
    """Whether the client connects to gateway ports instead of the addresses themselves."""
    internal_address: IpAddress | None = None
    """The gateway address of those ports; None leaves the choice to the gateway."""

    def require_sense(self) -> None:
        """Check that the arguments do not contradict each other; raises InvalidArgument."""
        if not 1 <= len(self.addresses) <= limits.MAX_ADDRESSES_PER_CALL:
            raise InvalidArgument("count-of-addresses")
        if self.flags & ~_FUTURE_FLAGS:
            raise InvalidArgument("flags-mean-nothing-here")
        if _EXCLUSIVE in self.flags:
            raise InvalidArgument("timeout-excludes-allow-multiple")
        inside = self.internal_address
        versions = {address.version for address in (*self.addresses, *([inside] if inside else []))}
        if versions != {self.session.client_address.version}:
            raise InvalidArgument("addresses-of-two-families")

    def pinhole(
        self, pinhole_id: int, listen: Endpoint, server: Endpoint, max_flows: int
    ) -> Pinhole:
        """Return the pinhole for one of the addresses: as a bound port, with the roles exchanged.

        It listens at the far end's own address, or at one of the gateway's when redirected; the
        client is its only source.
        """
        is_udp = self.transport is _UDP
        is_timed = self.flags.is_timed
        return Pinhole(
            id=pinhole_id,
            transport=self.transport,
            listen=listen,
            target=server,
            sources=IpFilter.of(self.session.client_address),
            single=not self.flags.is_multiple,
            is_answered=is_udp,
            max_flows=max_flows,
            leads_inside=False,
            idle_seconds=limits.UDP_IDLE_SECONDS if is_udp and is_timed else None,
        )
