"""What addresses the host and its interfaces have, as `ip` tells it."""

import subprocess
from collections.abc import Mapping
from ipaddress import ip_address, ip_interface

import msgspec
from msgspec import Struct

from sallyport.addresses import IpAddress, IpInterface
from sallyport.errors import StartupError


class _Address(Struct):
    local: str
    prefixlen: int
    scope: str = "global"
    temporary: bool = False
    tentative: bool = False
    deprecated: bool = False

    @property
    def is_lasting(self) -> bool:
        """Whether others may be told of it: it works, and is not about to go (RFC 8981)."""
        is_leaving = self.temporary or self.tentative or self.deprecated
        return self.scope != "link" and not is_leaving


class _Link(Struct):
    ifname: str = ""
    addr_info: list[_Address] = []


def addresses_of(interface: str) -> tuple[IpInterface, ...]:
    """Return the addresses of `interface`, link-local ones included; raises StartupError."""
    links = _ask("dev", interface)
    if links is None:
        raise StartupError(f"there is no interface {interface!r}; `ip link` lists those there are")
    return _interfaces(links)


def local_addresses() -> frozenset[IpAddress]:
    """Return every address of this host; raises StartupError."""
    return frozenset(item.ip for item in _interfaces(_ask() or []))


def lasting_addresses() -> Mapping[str, tuple[IpAddress, ...]]:
    """Return by the name of every interface of this host the addresses that others may know.

    Link-local, temporary and tentative ones are none of them. Raises StartupError.
    """
    return {
        link.ifname: tuple(ip_address(one.local) for one in link.addr_info if one.is_lasting)
        for link in _ask() or []
    }


def _ask(*which: str) -> list[_Link] | None:
    command = ["ip", "-json", "address", "show", *which]
    try:
        answer = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        raise StartupError("the program ip is missing; install iproute2") from None
    return msgspec.json.decode(answer.stdout, type=list[_Link]) if answer.returncode == 0 else None


def _interfaces(links: list[_Link]) -> tuple[IpInterface, ...]:
    return tuple(
        ip_interface(f"{address.local}/{address.prefixlen}")
        for link in links
        for address in link.addr_info
    )
