"""The numbers and flags of `bind_for_client` (`FWX_FLAG_*`, `FWX_PROTOCOL_*`).

The original never published numeric values, so ours are our own; the names are the SDK's.
"""

from enum import Flag, IntEnum, auto
from functools import cached_property


class Transport(IntEnum):
    """The transport protocol of a connection, by its IP protocol number."""

    TCP = 6
    UDP = 17


class ConnectionFlags(Flag):
    """What a connection is, as `GetConnectionFlags` tells."""

    NONE = 0
    INTERNAL_ADDRESS_TRANSLATION = auto()
    """The far end appears to the client as the gateway's address: full proxy."""


class SessionFlags(Flag):
    """What a session is, as `GetSessionFlags` tells."""

    NONE = 0
    NAT = auto()
    """The client knows nothing of the gateway: SecureNAT, or between routed networks."""
    PRIVATE = auto()
    """A filter made it (`CreatePrivateSession`)."""
    TERMINATED = auto()
    """It is over; nothing more can be asked of it."""


class BindFlags(Flag):
    """What a caller of `bind_for_client` may ask for besides the plain, one-shot binding."""

    NONE = 0
    ALLOW_MULTIPLE = auto()
    """TCP: many connections may arrive. UDP: datagrams may come from many sources."""
    TIMEOUT = auto()
    """TCP: closed when nothing was accepted for about a minute. UDP: closed when idle."""
    NO_KERNEL_MODE = auto()
    """Data passes through user mode even where the kernel could forward it."""
    BIDIRECTIONAL = auto()
    """UDP: the client may also answer recent senders."""
    PROXY_MODE = auto()
    """Full proxy: peers appear as the gateway's address on the client's network."""
    ALLOW_ADDRESSES_IN_CLASS_C_NETWORK = auto()
    """Client addresses in the /24 of the session's client are allowed."""
    ALLOW_ADDRESSES_IN_NETWORK = auto()
    """Client addresses in the network of the session's client are allowed."""
    ALLOW_ADDRESSES_ALL = auto()
    """Any client address is allowed."""
    INCREASE_RECEIVE_BUFFER = auto()
    """The receive buffer is 64 KiB, against bursts."""

    # Each is asked about more than once at every bind. There is one object for each combination,
    # so it is worked out once for all.

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
