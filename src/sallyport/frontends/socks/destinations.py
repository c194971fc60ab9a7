"""Whom a client may name at all: before any rule is asked, and after every name is looked up."""

from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import Final

from sallyport.addresses import IpAddress, embedded
from sallyport.core.policy.rules import Policy

# No server on the network is at any of these: RFC 6890 (this host, link-local, reserved), RFC 5771
# and RFC 4291 (multicast).
_NOWHERE: Final = tuple(
    map(
        ip_network,
        ("0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "fe80::/10", "fec0::/10", "ff00::/8"),
    )
)
# Where clouds tell a machine its own secrets, apart from 169.254.169.254.
_METADATA: Final = frozenset(map(ip_address, ("100.100.100.200", "192.0.0.192", "fd00:ec2::254")))
_RANGES: Final = {
    version: tuple(
        (int(net[0]), int(net[-1]))
        for net in (*_NOWHERE, *map(ip_network, _METADATA))
        if net.version == version
    )
    for version in (4, 6)
}


def plain(address: IpAddress) -> IpAddress:
    """Return the address as the kernel would dial it: IPv4 for `::ffff:192.0.2.1`."""
    return getattr(address, "ipv4_mapped", None) or address


def fault(policy: Policy, address: IpAddress) -> str | None:
    """Return the reason why no client is served towards this address; None when rules decide."""
    if policy.is_own(address):
        return "peer-is-gateway"
    inner = embedded(address)
    spellings: Iterable[IpAddress] = (address,) if inner is None else (address, inner)
    if any(map(_is_nowhere, spellings)):
        return "peer-is-never-served"
    if inner is not None and policy.network_of(inner) != policy.network_of(address):
        # Another spelling of a host that rules know by its IPv4 address.
        return "peer-is-never-served"
    return None


def _is_nowhere(address: IpAddress) -> bool:
    # By numbers: every request asks, and networks compare themselves in Python code.
    number = int(address)
    known = _RANGES[address.version]
    return any(first <= number <= last for first, last in known)
