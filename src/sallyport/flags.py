"""The transports and flags of `bind_for_client` (`FWX_FLAG_*`, `FWX_PROTOCOL_*`).

The names are the SDK's. Its documentation gives no numeric values, so the values are our own.
"""

from enum import Flag, IntEnum, auto
from functools import cached_property


class Transport(IntEnum):
    """The transport protocol of a connection, by its IP protocol number."""

    TCP = 6
    UDP = 17


class ConnectionFlags(Flag):
    """What kind of connection it is (`GetConnectionFlags`)."""

    NONE = 0
    INTERNAL_ADDRESS_TRANSLATION = auto()
    """Full proxy: the client sees the gateway's address instead of the far end's."""


class SessionFlags(Flag):
    """What kind of session it is (`GetSessionFlags`)."""

    NONE = 0
    NAT = auto()
    """The client knows nothing of the gateway: SecureNAT, or between routed networks."""
    PRIVATE = auto()
    """A filter made it (`CreatePrivateSession`)."""
    TERMINATED = auto()
    """It is over: no port is opened for it any more."""


class BindFlags(Flag):
    """Options of `bind_for_client`; without any, the binding takes one connection or UDP source."""

    NONE = 0
    ALLOW_MULTIPLE = auto()
    """TCP: many connections may arrive. UDP: datagrams may come from many sources."""
    TIMEOUT = auto()
    """TCP: closed when no connection was accepted for about a minute. UDP: closed when idle."""
    NO_KERNEL_MODE = auto()
    """Data passes through user mode even where the kernel could forward it."""
    BIDIRECTIONAL = auto()
    """UDP: the client may also answer recent senders."""
    PROXY_MODE = auto()
    """Full proxy: the client sees the gateway's address on its own network, not the peer's."""
    ALLOW_ADDRESSES_IN_CLASS_C_NETWORK = auto()
    """Client addresses in the /24 of the session's client are allowed."""
    ALLOW_ADDRESSES_IN_NETWORK = auto()
    """Client addresses in the network of the session's client are allowed."""
    ALLOW_ADDRESSES_ALL = auto()
    """Any client address is allowed."""
    INCREASE_RECEIVE_BUFFER = auto()
    """The receive buffer is `limits.INCREASED_RECEIVE_BUFFER`, against bursts."""

    # Every bind reads these several times, and `Flag.__contains__` runs in Python. The enum keeps
    # one object for each combination of flags, so each answer is computed once.

    @cached_property
    def is_multiple(self) -> bool:
        """Whether ALLOW_MULTIPLE is among them."""
        return BindFlags.ALLOW_MULTIPLE in self

    @cached_property
    def is_timed(self) -> bool:
        """Whether TIMEOUT is among them."""
        return BindFlags.TIMEOUT in self

    @cached_property
    def is_user_mode(self) -> bool:
        """Whether NO_KERNEL_MODE is among them."""
        return BindFlags.NO_KERNEL_MODE in self

    @cached_property
    def is_bidirectional(self) -> bool:
        """Whether BIDIRECTIONAL is among them."""
        return BindFlags.BIDIRECTIONAL in self

    @cached_property
    def is_proxied(self) -> bool:
        """Whether PROXY_MODE is among them."""
        return BindFlags.PROXY_MODE in self

    @cached_property
    def is_roomy(self) -> bool:
        """Whether INCREASE_RECEIVE_BUFFER is among them."""
        return BindFlags.INCREASE_RECEIVE_BUFFER in self
