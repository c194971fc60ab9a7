"""Servers of ours, reached from outside: real servers inside, real clients outside."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.matrix import CELLS, Cell, GiveServer, attempt, over
from tests.interop.publishing import published, reaches, run
from tests.interop.rawftp import TIMEOUT, RawFtp

from sallyport.addresses import Endpoint
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.network import Lab
from sallyport.wire.ftp.formats import read_epsv_reply

pytestmark = [pytest.mark.netns, pytest.mark.interop]

WAYS = [cell for cell in CELLS if cell.client in {"curl", "lftp"}]


@pytest.fixture(scope="module", params=["plain", "proxied", "user"])
def gateway(request: pytest.FixtureRequest, lab: Lab) -> Iterator[RunningGateway]:
    """Run a gateway, in each way to publish, while the tests that ask for it run."""
    running = run(lab, str(request.param))
    yield running
    running.stop()


@over(WAYS)
def test_every_transfer_from_outside_works(
    cell: Cell, lab: Lab, gateway: RunningGateway, inside_server_of: GiveServer, tmp_path: Path
) -> None:
    server = inside_server_of(cell.server)

    result = attempt(
        cell, lab.server, server, tmp_path, account=published(lab, server, cell.family)
    )

    assert result.outcome.error == "", (result.outcome.transcript, gateway.journal()[-8:])
    assert result.arrived
    assert result.outcome.used(cell.mode), result.outcome.transcript


@pytest.mark.parametrize("family", [4, 6])
def test_v10_only_the_client_that_asked_reaches_the_passive_port_and_only_once(
    family: int, lab: Lab, gateway: RunningGateway, inside_server_of: GiveServer
) -> None:
    server = inside_server_of("vsftpd")
    account = published(lab, server, family)

    with RawFtp(lab.server, server, family, account=account) as ftp:
        port = read_epsv_reply(ftp.ask(b"EPSV", b"229").rstrip()).port
        place = Endpoint(account.address, port)
        assert not reaches(lab.stranger, place)
        assert reaches(lab.server, place)
        assert not reaches(lab.server, place)


def test_v08_what_the_server_is_made_to_echo_opens_nothing(
    lab: Lab, gateway: RunningGateway, inside_server_of: GiveServer
) -> None:
    server = inside_server_of("vsftpd")
    lure = b"227 Entering Passive Mode (10,0,0,8,195,80)"
    with lab.clients[0].entered():
        service = socket.create_server((str(lab.clients[0].address4), 50000))

    with service, RawFtp(lab.server, server, account=published(lab, server, 4)) as ftp:
        # Small segments, as the attacker arranges it to have the echo begin one of its own.
        ftp.control.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 88)
        assert lure in ftp.ask(b"MKD " + lure, b"257")
        assert json.loads(gateway.ask("bindings", "list", "--json").stdout)["bindings"] == []
        ftp.ask(b"RMD " + lure, b"250")


def test_x10_clients_inside_are_refused_at_the_outside_address(
    lab: Lab, gateway: RunningGateway, inside_server_of: GiveServer
) -> None:
    server = inside_server_of("vsftpd")
    account = published(lab, server, 4)

    with lab.clients[1].entered():
        attempt = socket.create_connection((str(account.address), account.port), TIMEOUT)
    with attempt:
        assert attempt.recv(100).startswith(b"421 Refused by the gateway")
