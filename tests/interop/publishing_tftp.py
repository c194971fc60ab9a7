"""What the tests of published TFTP servers share: where they are, and who publishes them."""

from collections.abc import Sequence
from ipaddress import IPv4Address

from tests.interop.publishing import NETWORKS

from sallyport.addresses import IpAddress
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.network import Lab
from sallyport.lab.tftp import SERVERS

RULE = """
[[publishing_rules]]
name = "{name}"
protocol = "tftp-server"
listen = "{listen}"
server = "{server}"
full_proxy = {full_proxy}
"""

# The inside host of each server, by its number; the last one is for raw servers.
HOSTS = {software: number for number, software in enumerate(SERVERS)}
RAW = len(SERVERS)

WAYS = ("plain", "proxied", "user", "user-proxied")
WITHOUT = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]


def built(prefix: str) -> Lab:
    """Build a network with a host for each server inside, and two clients outside."""
    lab = Lab.build(prefix, clients=RAW + 1, servers=2)
    for number in range(RAW + 1):
        lab.gateway.run(["ip", "address", "add", f"{outer(number)}/24", "dev", "ext0"])
    return lab


def outer(number: int) -> IpAddress:
    """Where the server on an inside host is published behind NAT."""
    return IPv4Address("203.0.113.200") + number


def published(lab: Lab, number: int, family: int) -> IpAddress:
    """Where clients outside find the server of an inside host."""
    return outer(number) if family == 4 else lab.clients[number].address6


def run(
    lab: Lab,
    way: str,
    *,
    gateway: str = "",
    rule: str = "",
    routed: bool = True,
    wrapper: Sequence[str] = (),
) -> RunningGateway:
    """Run a gateway that publishes the TFTP server of each inside host, in both families.

    `way` is one of WAYS; `gateway` and `rule` are more lines of `[gateway]` and of each rule.
    """
    path = "user" if way.startswith("user") else "auto"
    text = NETWORKS.format(data_path=path).replace("[gateway]", f"[gateway]\n{gateway}")
    for number, host in enumerate(lab.clients):
        text += rule_for(
            number, f"{outer(number)}:69", f"{host.address4}:69", is_proxied="proxied" in way
        )
        text += rule
        if routed:
            itself = f"[{host.address6}]:69"
            text += rule_for(number, itself, itself, is_proxied=False) + rule
    file = lab.folder / f"{way}.toml"
    file.write_text(text, encoding="ascii")
    return RunningGateway(lab, ("--config", str(file)), name=way, wrapper=wrapper)


def rule_for(number: int, listen: str, server: str, *, is_proxied: bool) -> str:
    """Write the rule for one server."""
    return RULE.format(
        name=f"{number} at {listen}",
        listen=listen,
        server=server,
        full_proxy=str(is_proxied).lower(),
    )
