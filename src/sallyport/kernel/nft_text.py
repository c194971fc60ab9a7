"""What several chains say in nft's language; pure: policy values in, text out."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from sallyport.addresses import Endpoint
from sallyport.core.policy.rules import Network, Policy
from sallyport.flags import Transport


def chain(name: str, rules: Iterable[str]) -> str:
    """Write one chain."""
    body = "".join(f"        {rule}\n" for rule in rules)
    return f"    chain {name} {{\n{body}    }}\n"


def inside(policy: Policy) -> str:
    """Match the interfaces that clients are behind; empty when there are none."""
    found = [network for network in policy.networks if not policy.is_outside(network)]
    return names(found) if found else ""


def outside(policy: Policy) -> str:
    """Match the interfaces that strangers are behind; empty when there are none."""
    found = [network for network in policy.networks if policy.is_outside(network)]
    return names(found) if found else ""


def names(networks: Iterable[Network]) -> str:
    """Write the interfaces of networks as a set; raises ValueError when nft cannot be told."""
    interfaces = sorted({name for network in networks for name in network.interfaces})
    if not interfaces:
        raise ValueError("a network without interfaces cannot be guarded")
    for name in interfaces:
        # Linux allows a quote in a name; nft's strings know no way to write one.
        if '"' in name or not name.isprintable():
            raise ValueError(f"interface name {name!r} cannot be written in an nft script")
    return "{ " + ", ".join(f'"{name}"' for name in interfaces) + " }"


def between(
    source: Network, destination: Network, version: int, policy: Policy | None = None
) -> str | None:
    """Match what goes from one network to another; None when nothing can.

    `policy` knows the networks that share interfaces with these; None: there are none.
    """
    rest = leaving(source, destination, version, policy)
    return rest and f"iifname {names([source])} {rest}"


def leaving(
    source: Network, destination: Network, version: int, policy: Policy | None = None
) -> str | None:
    """Match what leaves for another network, wherever it came in; None when nothing can."""
    ends = addressed(source, destination, version, policy)
    return ends and f"oifname {names([destination])} {ends}"


def addressed(
    source: Network, destination: Network, version: int, policy: Policy | None = None
) -> str | None:
    """Match what has the addresses of one network and another; None when nothing can."""
    here = _addresses(source, "saddr", version, policy)
    there = _addresses(destination, "daddr", version, policy)
    if here is None or there is None:
        return None
    return f"meta nfproto ipv{version}{here}{there}"


def _addresses(network: Network, field: str, version: int, policy: Policy | None) -> str | None:
    """Match one side's addresses: of the external network all that no other on its interfaces has,
    None when a network has none.
    """
    ip = "ip" if version == 4 else "ip6"
    if network.is_external:
        others = policy.apart_from(network) if policy is not None else ()
        claimed = prefixes(others, version)
        return f" {ip} {field} != {claimed}" if claimed else ""
    found = prefixes([network], version)
    return f" {ip} {field} {found}" if found else None


def prefixes(networks: Iterable[Network], version: int) -> str:
    """Write the prefixes of one IP version as a set; empty when there are none."""
    # An anonymous set must not overlap; neighbours and nested prefixes are merged.
    held = [prefix for network in networks for prefix in network.addresses]
    merged: list[str]
    if version == 4:
        merged = [str(p) for p in collapse_addresses(p for p in held if isinstance(p, IPv4Network))]
    else:
        merged = [str(p) for p in collapse_addresses(p for p in held if isinstance(p, IPv6Network))]
    return f"{{ {', '.join(merged)} }}" if merged else ""


def to(listen: Endpoint, transport: Transport) -> str:
    """Match what goes to one port of one host."""
    ip = "ip" if listen.version == 4 else "ip6"
    return f"{ip} daddr {listen.address} {port_of(transport, listen.port)}"


def coming_from(source: Endpoint, transport: Transport) -> str:
    """Match what comes from one port of one host."""
    ip = "ip" if source.version == 4 else "ip6"
    return f"{ip} saddr {source.address} {transport.name.lower()} sport {source.port}"


def port_of(transport: Transport, port: int) -> str:
    """Match what goes to one port of any host."""
    return f"{transport.name.lower()} dport {port}"
