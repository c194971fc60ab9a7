"""Publishing gateways that are started, watched and ended for one test each."""

import json
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from tests.interop.matrix import CELLS, Cell, GiveServer, attempt, over
from tests.interop.publishing import published, reaches, run
from tests.interop.rawftp import RawFtp

from sallyport.addresses import Endpoint
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]


@pytest.fixture
def unprivileged(lab: Lab) -> Iterator[RunningGateway]:
    """Run a gateway that may do nothing to the network but open sockets."""
    without = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]
    running = run(lab, "user-proxied", wrapper=without)
    yield running
    running.stop()


@over([cell for cell in CELLS if (cell.client, cell.family) == ("curl", 4)])
def test_full_proxy_in_user_mode_needs_no_privileges(
    cell: Cell, lab: Lab, unprivileged: RunningGateway, inside_server_of: GiveServer, tmp_path: Path
) -> None:
    server = inside_server_of(cell.server)

    result = attempt(cell, lab.server, server, tmp_path, account=published(lab, server, 4))

    assert result.outcome.error == "", (result.outcome.transcript, unprivileged.journal()[-8:])
    assert result.arrived
    assert "gateway.limited" in unprivileged.journal()[0]


@pytest.mark.parametrize(("way", "address"), [("plain", "203.0.113.9"), ("proxied", "10.0.0.1")])
def test_the_server_sees_its_clients_own_address_unless_in_full_proxy(
    way: str, address: str, lab: Lab, inside_server_of: GiveServer
) -> None:
    server = inside_server_of("vsftpd")
    running = run(lab, way)
    said = server.log.read_text(encoding="utf-8")

    with RawFtp(lab.server, server, account=published(lab, server, 4)) as ftp:
        ftp.ask(b"EPSV", b"229")
        (binding,) = json.loads(running.ask("bindings", "list", "--json").stdout)["bindings"]
    running.stop()

    assert f'CONNECT: Client "::ffff:{address}"' in server.log.read_text().removeprefix(said)
    assert ("PROXY_MODE" in binding["flags"]) == (way == "proxied")
    assert (binding["rule"], binding["peers"]) == ("vsftpd 4", ["203.0.113.9"])


@pytest.mark.parametrize("way", ["plain", "proxied", "user", "user-proxied"])
def test_the_server_answers_port_from_the_address_its_clients_know(
    way: str, lab: Lab, inside_server_of: GiveServer
) -> None:
    server = inside_server_of("vsftpd")
    (server.folder / "small").write_bytes(b"from the right address")
    second = ip_address("203.0.113.2")
    lab.gateway.run(["ip", "address", "replace", f"{second}/24", "dev", "ext0"])
    running = run(lab, way, address4=second)
    account = replace(published(lab, server, 4), address=second)

    with (
        RawFtp(lab.server, server, account=account) as ftp,
        ftp.listening() as (listener, command),
    ):
        ftp.ask(command, b"200")
        ftp.ask(b"RETR small", b"150")
        data, peer = listener.accept()
        data.close()
    running.stop()

    assert peer[0] == str(second)


@over([cell for cell in CELLS if str(cell) == "vsftpd-curl-ipv4-PASV-download"])
def test_publishing_a_server_grants_clients_inside_nothing_and_tells_them_so(
    cell: Cell, lab: Lab, server_of: GiveServer, tmp_path: Path
) -> None:
    running = run(lab, "plain")
    said = len(running.journal())

    result = attempt(cell, lab.client, server_of(cell.server), tmp_path)
    running.stop()

    # FTP is supervised though no rule names it, and the last word is deny.
    assert not result.arrived
    assert "421 Refused by the gateway" in result.outcome.transcript
    assert [line for line in running.journal(said) if "connect.refused" in line]


@pytest.mark.parametrize("family", [4, 6])
def test_x06_when_the_gateway_is_killed_the_servers_are_closed_not_open(
    family: int, lab: Lab, inside_server_of: GiveServer
) -> None:
    server = inside_server_of("vsftpd")
    account = published(lab, server, family)
    place = Endpoint(account.address, account.port)
    doomed = run(lab, "plain")
    assert reaches(lab.server, place)

    doomed.kill()

    assert not reaches(lab.server, place)
    run(lab, "plain").stop()  # leaves no tables behind
