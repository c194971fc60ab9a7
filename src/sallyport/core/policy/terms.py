"""Terms: how far the bindings may go that a rule lets be."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from sallyport import limits
from sallyport.addresses import MAX_PORT, PortRange


class AllowedAddresses(IntEnum):
    """Which client addresses a binding may name; the wider includes the narrower."""

    CLIENT = 0
    CLASS_C = 1
    NETWORK = 2
    ALL = 3


class Peers(StrEnum):
    """Who may connect to what is bound."""

    PINNED = "pinned"
    """Hosts that the request names."""
    ANY = "any"
    """Anyone, where the request names none."""


class Frontend(StrEnum):
    """The ways of asking for a connection or a binding."""

    TRANSPARENT = "transparent"
    """Intercepted traffic: the client does not know of the gateway."""
    PCP = "pcp"
    SOCKS = "socks"
    UPNP = "upnp"
    API = "api"
    """The local API, and `sallyport wrap`."""


_CLIENT_PORTS = PortRange(limits.MIN_CLIENT_PORT, MAX_PORT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The limits of one rule; what access rules and publishing rules have in common."""

    max_bindings_per_client: int = limits.MAX_BINDINGS_PER_CLIENT
    max_flows_per_binding: int = limits.MAX_RELAYED_FLOWS
    """How many flows a binding for many peers carries at once in user mode."""
    max_binds_per_minute: int | None = None
    """How many ports and permissions a client may ask for in a minute; None: no limit."""
    max_connections_per_minute: int | None = None
    """How many control connections and conversations of datagrams a client may begin in a minute;
    None: no limit."""
    max_lifetime: int | None = None
    """Seconds after which a binding lets no peer in any more; None: no limit."""
    max_idle: int | None = None
    """Seconds without traffic after which a binding ends; None: no limit."""
    allowed_addresses: AllowedAddresses = AllowedAddresses.CLIENT
    client_ports: PortRange = _CLIENT_PORTS
    """At which ports of the client peers may be let in."""
    external_ports: PortRange | None = None
    """Which wishes of a client for a port of ours may be met; None: the gateway's port range."""
    peers: Peers = Peers.ANY
    filters: Mapping[str, Mapping[str, object]] = field(default_factory=dict, hash=False)
    """Settings of filters that differ from those of `[filters]`, by the filter's name."""

    @property
    def min_server_port(self) -> int:
        """The lowest port of a server that its client may be let through to.

        A rule that opens the clients' ports below 1024 opens those of servers too.
        """
        return min(limits.MIN_CLIENT_PORT, self.client_ports.first)

    def client_port_fault(self, port: int) -> str | None:
        """Return the reason why peers may not be let in at this port of the client, or None."""
        if port < self.client_ports.first:
            return "client-port-below-minimum"
        return "client-port-above-maximum" if port > self.client_ports.last else None
