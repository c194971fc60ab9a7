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


class _LinkKind(Struct, frozen=True):
    info_kind: str = ""


class LinkFacts(Struct):
    """An interface, as `ip` tells of it."""

    ifname: str = ""
    addr_info: list[_Address] = []
    master: str | None = None
    linkinfo: _LinkKind = _LinkKind()


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

    LinkFacts-local, temporary and tentative ones are none of them. Raises StartupError.
    """
    return {
        link.ifname: tuple(ip_address(one.local) for one in link.addr_info if one.is_lasting)
        for link in _ask() or []
    }


def vrfs() -> Mapping[str, str]:
    """Return the interfaces that belong to a VRF, or are one, by its name; raises StartupError."""
    return vrfs_among(_answer("-details", "link", "show") or [])


def vrfs_among(links: list[LinkFacts]) -> Mapping[str, str]:
    """Return those of these that belong to a VRF, or are one, with its name."""
    names = {link.ifname for link in links if link.linkinfo.info_kind == "vrf"}
    found = {name: name for name in names}
    return found | {one.ifname: one.master for one in links if one.master in names and one.master}


def _ask(*which: str) -> list[LinkFacts] | None:
    return _answer("address", "show", *which)


def _answer(*question: str) -> list[LinkFacts] | None:
    command = ["ip", "-json", *question]
    try:
        answer = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        raise StartupError("the program ip is missing; install iproute2") from None
    except OSError as error:
        raise StartupError(f"the program ip does not run: {error.strerror}") from None
    if answer.returncode and question == ("address", "show"):
        # Not an empty answer: a gateway would give up whatever it serves at its addresses.
        raise StartupError("the program ip cannot tell the addresses of this host")
    return (
        msgspec.json.decode(answer.stdout, type=list[LinkFacts]) if answer.returncode == 0 else None
    )


def _interfaces(links: list[LinkFacts]) -> tuple[IpInterface, ...]:
    return tuple(
        ip_interface(f"{address.local}/{address.prefixlen}")
        for link in links
        for address in link.addr_info
    )
