"""SOCKS on a host where the gateway may do nothing to the network but open sockets."""

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
from tests.interop.office import configuration
from tests.interop.socks_client import (
    ASSOCIATE,
    BIND,
    CONNECT,
    GRANTED,
    PORT,
    PROTOCOLS,
    Asked,
    asking,
    exactly,
    listening,
    place,
    reaches,
    reply,
)

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]


@pytest.fixture(scope="module")
def alone(lab: Lab) -> Iterator[RunningGateway]:
    """Run a gateway without privileges, which serves SOCKS alone."""
    file = lab.folder / "alone.toml"
    listen = f'[frontends.socks]\nlisten = ["10.0.0.1:{PORT}"]\n'
    text = configuration(gateway='data_path = "user"', protocols=PROTOCOLS, rest=listen)
    file.write_text(text, encoding="ascii")
    without = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]
    running = RunningGateway(lab, ("--config", str(file)), name="alone", wrapper=without)
    yield running
    running.stop()


def test_connect_needs_no_privileges(alone: RunningGateway, lab: Lab) -> None:
    with (
        listening(lab.server, 4) as server,
        asking(lab.client, 4, Asked(CONNECT, *server.getsockname())) as client,
    ):
        assert reply(client)[0] == GRANTED
        with closing(server.accept()[0]) as accepted:
            client.sendall(b"hello")
            assert exactly(accepted, 5) == b"hello"


def test_bind_needs_no_privileges(alone: RunningGateway, lab: Lab) -> None:
    with asking(lab.client, 4, Asked(BIND, "203.0.113.9")) as client:
        code, at = reply(client)
        assert code == GRANTED
        assert not reaches(lab.stranger, at)
        with lab.server.entered():
            peer = socket.create_connection((str(at.address), at.port), timeout=5)
        with closing(peer):
            assert reply(client)[0] == GRANTED
            peer.sendall(b"data")
            assert exactly(client, 4) == b"data"


def test_datagrams_need_no_privileges(alone: RunningGateway, lab: Lab) -> None:
    with lab.server.entered():
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("203.0.113.9", 0))
    with lab.client.entered():
        mine = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with closing(server), closing(mine), asking(lab.client, 4, Asked(ASSOCIATE, "0.0.0.0")) as one:
        for sock in (server, mine):
            sock.settimeout(5)
        code, at = reply(one)
        assert code == GRANTED
        where = place(*server.getsockname())
        mine.sendto(b"\0\0\0" + where + b"ping", (str(at.address), at.port))
        data, outside = server.recvfrom(100)
        server.sendto(data + b" pong", outside)
        assert mine.recv(100) == b"\0\0\0" + where + b"ping pong"
