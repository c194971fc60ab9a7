"""Endpoint and PortRange: addresses and ports are objects here, never `(str, int)` pairs."""

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import Self

from msgspec import Struct

IpAddress = IPv4Address | IPv6Address
_ADDRESSES = (IPv4Address, IPv6Address)
IpNetwork = IPv4Network | IPv6Network
# An address together with the network it is in.
IpInterface = IPv4Interface | IPv6Interface

MAX_PORT = 65535


def parse_address(text: str) -> IpAddress:
    """Return the IPv4 or IPv6 address that `text` spells.

    A zone identifier (`%eth0`) is refused: it names an interface of the host that wrote it, and
    means nothing to the host that reads it. Raises ValueError with a sentence that quotes the text.
    """
    try:
        if ":" not in text:
            return IPv4Address(text)
        if "%" in text:
            raise ValueError(f"{text!r} has a zone; give the address alone")
        return IPv6Address(text)
    except AddressValueError:
        raise ValueError(f"{text!r} is not an IP address") from None


# RFC 6052 section 2.1: an address of IPv4 behind this prefix is reached through a NAT64.
_NAT64 = IPv6Network("64:ff9b::/96")


def embedded(address: IpAddress) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 address is another spelling of; None: of none.

    `::ffff:10.0.0.1` (RFC 4291), `::10.0.0.1`, 6to4 (RFC 3056) and NAT64 (RFC 6052): each leads to
    the IPv4 host where a router translates, so a check that does not know them is none.
    """
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour
    number = int(address)
    if address in _NAT64 or 1 < number < 1 << 32:
        return IPv4Address(number & 0xFFFF_FFFF)
    return None


def text_of(address: IpAddress) -> str:
    """Return the usual text of an address (IPv6: RFC 5952)."""
    return _text_of(int(address), isinstance(address, IPv4Address))


# The same few hosts are in every line of the journal, and the gateway's own in every bind: 1024
# entries are 200 KiB. The key is not the object itself: address objects hash and compare
# themselves in Python code, numbers in C.
@lru_cache(maxsize=1024)
def _text_of(number: int, is_ipv4: bool) -> str:
    return str(IPv4Address(number) if is_ipv4 else IPv6Address(number))


class Endpoint(Struct, frozen=True, order=True, gc=False):
    """One address and one port, 0-65535; port 0 means "any port".

    A Struct, because a bind and its flow make five: a frozen dataclass takes four times as long.
    """

    address: IpAddress
    port: int

    def __post_init__(self) -> None:
        if not isinstance(self.address, _ADDRESSES):
            raise TypeError(f"{self.address!r} is no IP address; Endpoint.parse reads text")
        if not 0 <= self.port <= MAX_PORT:
            raise ValueError(f"port {self.port} is not in 0-{MAX_PORT}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the endpoint of `10.0.0.8:1553` or `[fd00::8]:1553`; raises ValueError."""
        host, colon, port = text.rpartition(":")
        if not colon or not (port.isascii() and port.isdigit()) or len(port) > 5:
            raise ValueError(f"{text!r} is not ADDRESS:PORT")
        bracketed = host.startswith("[") and host.endswith("]")
        if bracketed != (":" in host):
            raise ValueError(f"{text!r} is not ADDRESS:PORT; IPv6 is written [address]:port")
        return cls(parse_address(host[1:-1] if bracketed else host), int(port))

    @property
    def version(self) -> int:
        """The IP version, 4 or 6."""
        return 4 if isinstance(self.address, IPv4Address) else 6

    @property
    def is_zero(self) -> bool:
        """Whether address and port are all zeros: "not known yet" in `ClientAddresses`."""
        return self.port == 0 and self.address.is_unspecified

    def with_port(self, port: int) -> "Endpoint":
        """Return the same address with another port."""
        return Endpoint(self.address, port)

    def __str__(self) -> str:
        host = text_of(self.address)
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports `first` to `last`, both included, 1-65535."""

    first: int
    last: int

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.last <= MAX_PORT:
            raise ValueError(f"{self.first}-{self.last} is not a port range within 1-{MAX_PORT}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the range of `40000-59999`; raises ValueError."""
        first, dash, last = text.partition("-")
        if not (dash and text.isascii() and first.isdigit() and last.isdigit()):
            raise ValueError(f"{text!r} is not FIRST-LAST")
        return cls(int(first), int(last))

    def __contains__(self, port: int) -> bool:
        return self.first <= port <= self.last

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"
