"""A client that speaks first through a gateway of user mode, as it is installed."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.office import configuration

from sallyport.addresses import Endpoint
from sallyport.client import GatewayClient
from sallyport.io.sockets import endpoint_of, name_of
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import Host
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]

PATIENCE = 20.0


@pytest.fixture(scope="module")
def path(lab: Lab) -> Path:
    return lab.folder / "bind.sock"


@pytest.fixture(scope="module")
def gateway(lab: Lab, path: Path) -> Iterator[RunningGateway]:
    """Run two workers in user mode, which processes of root may ask for ports."""
    file = lab.folder / "words.toml"
    text = configuration(
        gateway='workers = 2\ndata_path = "user"',
        protocols=("port-mapping",),
        rule='users = ["root"]\nfrontends = ["api"]',
        rest=f'[[users]]\nname = "root"\n[frontends.api]\nsocket = "{path}"\n',
    )
    file.write_text(text, encoding="ascii")
    running = RunningGateway(lab, ("--config", str(file)), name="words")
    yield running
    running.stop()


def datagrams(host: Host, address: str) -> socket.socket:
    with host.entered():
        made = socket.socket(
            socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM
        )
    made.bind((address, 0))
    made.settimeout(PATIENCE)
    return made


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("number", [0, 1], ids=["one client", "another"])
def test_it_reaches_the_peer_from_the_announced_port(
    gateway: RunningGateway, lab: Lab, path: Path, version: int, number: int
) -> None:
    inside, outside = lab.clients[number], lab.server
    addresses = [str(one.address4 if version == 4 else one.address6) for one in (inside, outside)]
    with (
        datagrams(inside, addresses[0]) as client,
        datagrams(outside, addresses[1]) as peer,
        GatewayClient(path) as asker,
    ):
        bound = asker.bind(
            [str(endpoint_of(client.getsockname()))],
            transport="udp",
            protocol="port-mapping",
            flags=["bidirectional"],
            ip_filter=[addresses[1]],
        )
        for word in (b"first", b"second"):
            client.sendto(word, peer.getsockname())
            heard, seen = peer.recvfrom(100)
            assert (heard, endpoint_of(seen)) == (word, Endpoint.parse(bound.proxy_address))
        peer.sendto(b"answer", name_of(endpoint_of(seen)))

        assert client.recvfrom(100) == (b"answer", peer.getsockname())
