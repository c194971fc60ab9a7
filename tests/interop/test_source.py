"""`[networks.X] source`: the address the gateway dials from, translates to and binds at."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.matrix import GiveServer, fill
from tests.interop.office import configuration

from sallyport.lab.clients import Job, Mode, TransferDirection, digest, transfer
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import wait_until
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]

VIRTUAL = "203.0.113.7"

# Says who connected, once; the reader sees it as the file that holds the answer.
WHO_COMES = """\
import pathlib, socket, sys
listener = socket.create_server(("", 8080))
pathlib.Path(sys.argv[1]).write_text("")
peer = listener.accept()[1][0]
pathlib.Path(sys.argv[1]).write_text(peer)
"""


@pytest.fixture
def text() -> str:
    """Return the office's configuration, known outside by the virtual address."""
    return configuration().replace('["ext0"]', f'["ext0"]\nsource = "{VIRTUAL}"')


@pytest.fixture
def gateway(lab: Lab, text: str) -> Iterator[RunningGateway]:
    """Run the gateway before the virtual address is on the host, which is the case of a standby."""
    file = lab.folder / "source.toml"
    file.write_text(text, encoding="ascii")
    running = RunningGateway(lab, ("--config", str(file)), name="source")
    lab.gateway.run(["ip", "address", "add", f"{VIRTUAL}/24", "dev", "ext0"])
    yield running
    lab.gateway.run(["ip", "address", "del", f"{VIRTUAL}/24", "dev", "ext0"])
    running.stop()


@pytest.mark.parametrize("mode", [Mode.PORT, Mode.PASV])
def test_transfers_are_negotiated_from_the_source_address(
    gateway: RunningGateway, lab: Lab, server_of: GiveServer, tmp_path: Path, mode: Mode
) -> None:
    server = server_of("vsftpd")
    here, there = tmp_path / "file", server.folder / "source.bin"
    fill(there, 100_000)
    job = Job(server.account(4), mode, TransferDirection.DOWNLOAD, there.name, here)
    outcome = transfer("curl", lab.client, job)
    gateway.settle()

    assert (outcome.error, digest(here)) == ("", digest(there))
    if mode is Mode.PORT:
        bound = [line for line in gateway.journal() if "binding.closed" in line]
        assert bound
        assert all(f'"proxy":"{VIRTUAL}:' in line for line in bound)


def test_ordinary_traffic_leaves_with_the_source_address(
    gateway: RunningGateway, lab: Lab, tmp_path: Path
) -> None:
    answer = tmp_path / "peer"
    said = lab.server.popen([sys.executable, "-c", WHO_COMES, str(answer)], log=tmp_path / "log")
    wait_until(said, answer.exists, tmp_path / "log", "the server does not listen")
    dial = f"import socket; socket.create_connection(('{lab.server.address4}', 8080), 5).close()"
    lab.client.run([sys.executable, "-c", dial])
    said.wait(10)

    assert answer.read_text(encoding="ascii") == VIRTUAL
    assert gateway.process.poll() is None
