"""A leg that speaks in a host's name has another port than the connection that it carries on.

Both have the same addresses. With the same ports they would be one connection to conntrack, whose
second SYN is a repetition of the first: nothing answers it. The kernel chooses the port, so here it
has few to choose from.
"""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.interop.matrix import GiveServer
from tests.interop.office import configuration
from tests.interop.rawftp import RawFtp, digest_of
from tests.interop.test_tftp import RRQ, hears, name_of, speaking

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import Host
from sallyport.lab.network import Lab
from sallyport.lab.servers import FtpServer
from sallyport.wire.ftp.formats import read_epsv_reply

pytestmark = [pytest.mark.netns, pytest.mark.interop]

# Odd: that is what Linux prefers for a socket which is bound before it connects.
FIRST = 35939
TIMES = 3
FEW = 4


@pytest.fixture
def gateway(lab: Lab, tmp_path: Path) -> Iterator[RunningGateway]:
    """Run a gateway in user mode, which has few ports for what it opens itself."""
    file = tmp_path / "user.toml"
    file.write_text(configuration(gateway='data_path = "user"', protocols=("ftp", "tftp")))
    running = RunningGateway(lab, ["--config", str(file)], name="ports")
    leave(lab, FIRST)
    yield running
    lab.gateway.sysctl("net.ipv4.ip_local_port_range", "32768 60999")
    running.stop()


def leave(lab: Lab, first: int) -> None:
    """Leave the gateway a few ports from `first` on: those before may be in TIME_WAIT."""
    lab.gateway.sysctl("net.ipv4.ip_local_port_range", f"{first} {first + FEW - 1}")


def connected(client: Host, port: int, far: tuple[str, int], family: int) -> socket.socket:
    """Connect a client from this port of its own."""
    with client.entered():
        return socket.create_connection(far, 5, (str(client.address(family)), port))


@pytest.mark.usefixtures("gateway")
@pytest.mark.parametrize("family", [4, 6])
def test_a_server_is_dialled_from_another_port_than_the_clients(
    family: int, lab: Lab, server_of: GiveServer
) -> None:
    account = server_of("vsftpd").account(family)
    for port in range(FIRST, FIRST + TIMES * FEW, FEW):
        leave(lab, port)
        far = (str(account.address), account.port)
        with connected(lab.client, port, far, family) as control:
            assert control.recv(3) == b"220"


@pytest.mark.usefixtures("gateway")
@pytest.mark.parametrize("family", [4, 6])
def test_so_is_a_connection_that_a_client_opens_by_permission(
    family: int, lab: Lab, server_of: GiveServer
) -> None:
    server: FtpServer = server_of("vsftpd")
    (server.folder / "small").write_bytes(b"through")
    far = str(server.account(family).address)
    with RawFtp(lab.client, server, family) as ftp:
        for port in range(FIRST, FIRST + TIMES * FEW, FEW):
            leave(lab, port)
            there = (far, read_epsv_reply(ftp.ask(b"EPSV", b"229").rstrip()).port)
            with connected(lab.client, port, there, family) as data:
                ftp.ask(b"RETR small", b"150")
                assert digest_of(data)
            assert ftp.reply().startswith(b"226")


@pytest.mark.usefixtures("gateway")
def test_so_is_a_conversation_of_datagrams(lab: Lab) -> None:
    # Each host has one conversation with each server, and each of its legs a port of its own.
    with ExitStack() as undo:
        listeners = [undo.enter_context(speaking(one, 6, 69)) for one in lab.servers[:TIMES]]
        for client in lab.clients:
            asking = undo.enter_context(speaking(client, 6, FIRST))
            for listener in listeners:
                asking.sendto(RRQ, name_of(listener))
                assert hears(listener)[0] == RRQ
