"""The numbers and flags of `bind_for_client` (`FWX_FLAG_*`, `FWX_PROTOCOL_*`).

The original never published numeric values, so ours are our own; the names are the SDK's.
"""

from enum import Flag, IntEnum, auto


class Transport(IntEnum):
    """The transport protocol of a connection, by its IP protocol number."""

    TCP = 6
    UDP = 17


class ConnectionFlags(Flag):
    """What a connection is, as `GetConnectionFlags` tells."""

    NONE = 0
    INTERNAL_ADDRESS_TRANSLATION = auto()
    """The far end appears to the client as the gateway's address: full proxy."""


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
