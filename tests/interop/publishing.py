"""What the tests of published servers share: where they are, and gateways that publish them."""

import socket
from collections.abc import Sequence
from dataclasses import replace

from sallyport.addresses import Endpoint, IpAddress
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import Host
from sallyport.lab.network import Lab
from sallyport.lab.servers import Account, FtpServer

NETWORKS = """
[gateway]
data_path = "{data_path}"

[networks.internal]
interfaces = ["int0"]
addresses = ["10.0.0.0/24", "fd00:a::/64"]

[networks.external]
interfaces = ["ext0"]

[[network_rules]]
from = "internal"
to = "external"
ipv4 = "nat"
ipv6 = "route"
"""

RULE = """
[[publishing_rules]]
name = "{name}"
protocol = "ftp-server"
listen = "{listen}"
server = "{server}"
full_proxy = {full_proxy}
"""

# Where each server runs: the inside host, by its number, and the port; published at the same port.
PLACES = {
    "vsftpd": (0, 21),
    "proftpd": (1, 21),
    "pure-ftpd": (0, 2121),
    "pyftpdlib": (1, 2123),
    "inetutils-ftpd": (0, 2125),
}
# Port 21 of the gateway can lead to one of them only.
OUTSIDE_PORTS = {
    "vsftpd": 21,
    "proftpd": 2122,
    "pure-ftpd": 2121,
    "pyftpdlib": 2123,
    "inetutils-ftpd": 2125,
}


def configuration(
    lab: Lab, *, full_proxy: bool, data_path: str, routed: bool, address4: IpAddress
) -> str:
    text = NETWORKS.format(data_path=data_path)
    for software, (number, port) in PLACES.items():
        host = lab.clients[number]
        text += RULE.format(
            name=f"{software} 4",
            listen=f"{address4}:{OUTSIDE_PORTS[software]}",
            server=f"{host.address4}:{port}",
            full_proxy=str(full_proxy).lower(),
        )
        server = f"[{host.address6}]:{port}"
        if not routed:
            continue
        text += RULE.format(name=f"{software} 6", listen=server, server=server, full_proxy="false")
    return text


def published(lab: Lab, server: FtpServer, family: int) -> Account:
    """Where outside clients go: the gateway behind NAT, the server itself on a routed relation."""
    account = server.account(family)
    if family == 6:
        return account
    return replace(account, address=lab.gateway.address4, port=OUTSIDE_PORTS[server.software])


def run(
    lab: Lab, way: str, *, wrapper: Sequence[str] = (), address4: IpAddress | None = None
) -> RunningGateway:
    """Run a gateway that publishes all three servers, at its first address or at `address4`.

    `way` is "plain", "proxied" (full proxy), "user" (user mode), or "user-proxied" (both).
    """
    file = lab.folder / f"{way}.toml"
    data_path = "user" if way in {"user", "user-proxied"} else "auto"
    is_proxied = way in {"proxied", "user-proxied"}
    text = configuration(
        lab,
        full_proxy=is_proxied,
        data_path=data_path,
        routed=not wrapper,
        address4=address4 or lab.gateway.address4,
    )
    file.write_text(text, encoding="ascii")
    return RunningGateway(lab, ("--config", str(file)), name=way, wrapper=wrapper)


def reaches(host: Host, where: Endpoint) -> bool:
    """Whether a connection from `host` to `where` is made and lasts, though nobody says a word."""
    with host.entered():
        attempt = socket.socket(socket.AF_INET if where.version == 4 else socket.AF_INET6)
    with attempt:
        attempt.settimeout(0.3)  # the lab answers within a millisecond; what is dropped never does
        try:
            attempt.connect((str(where.address), where.port))
        except OSError:
            return False
        try:
            return attempt.recv(1) != b""
        except TimeoutError:
            return True
        except ConnectionResetError:
            return False
