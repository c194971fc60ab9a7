from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest

from sallyport.errors import StartupError
from sallyport.lab.clients import TransferDirection, digest
from sallyport.lab.network import Lab
from sallyport.lab.tftp import (
    CLIENTS,
    DIRECTIONS,
    FAMILIES,
    OPTIONS,
    SERVERS,
    TftpJob,
    TftpServer,
    transfer,
    why_not,
)

pytestmark = [pytest.mark.netns, pytest.mark.interop]

GiveTftp = Callable[[str], TftpServer]
WANTED = {"blksize": 600, "timeout": 3, "tsize": 0, "windowsize": 2}


@pytest.fixture(scope="module")
def tftp_of(lab: Lab) -> Iterator[GiveTftp]:
    """Yield the server of a name, on a host of its own: children of a stopped one keep its port."""
    hosts = dict(zip(SERVERS, lab.servers, strict=False))
    running: dict[str, TftpServer] = {}

    def give(software: str) -> TftpServer:
        for program in (software, *CLIENTS):
            if reason := why_not(program):
                pytest.skip(reason)
        if software not in running:
            running[software] = TftpServer(software, hosts[software], lab.folder / software)
        return running[software]

    yield give
    for server in running.values():
        server.stop()


@pytest.mark.parametrize(
    ("software", "family"), [(name, family) for name in SERVERS for family in FAMILIES[name]]
)
def test_each_server_serves_each_client_where_nothing_is_between_them(
    software: str, family: int, lab: Lab, tftp_of: GiveTftp, tmp_path: Path
) -> None:
    server = tftp_of(software)
    for client, direction in product(CLIENTS, DIRECTIONS[software]):
        here, there = tmp_path / client, server.folder / client
        (here if direction is TransferDirection.UPLOAD else there).write_bytes(b"0123456789" * 500)
        job = TftpJob(server.host.address(family), direction, client, here)
        outcome = transfer(client, lab.stranger, job)
        assert outcome.error == ""
        server.wait_for(client, digest(here))
        assert digest(there) == digest(here)
        here.unlink()
        there.unlink()


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_asks_for_the_options_it_is_told_to(client: str) -> None:
    address = Lab("described").server.address4
    options = {name: WANTED[name] for name in OPTIONS[client]}
    argv = CLIENTS[client](
        TftpJob(address, TransferDirection.DOWNLOAD, "file", Path("here"), options)
    )

    said = " ".join(argv)
    assert all(name in said and str(value) in said for name, value in options.items())


def test_a_file_that_never_comes_is_told(lab: Lab) -> None:
    if reason := why_not("tftpd-hpa"):
        pytest.skip(reason)
    server = TftpServer("tftpd-hpa", lab.servers[2], lab.folder / "empty")
    server.stop()

    with pytest.raises(StartupError, match="no file came"):
        server.wait_for("file", "digest")


def test_a_client_without_a_server_gives_up_with_a_reason(lab: Lab, tmp_path: Path) -> None:
    address = lab.stranger.address4
    job = TftpJob(address, TransferDirection.DOWNLOAD, "file", tmp_path / "file", timeout=0.5)

    assert transfer("curl", lab.server, job).error != ""


def test_a_server_that_is_not_installed_says_how_to_get_it(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(StartupError, match=r"in\.tftpd: not installed \(scripts/bootstrap"):
        TftpServer("tftpd-hpa", lab.server, lab.folder / "files")
