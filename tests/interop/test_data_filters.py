"""Real FTP transfers through data filters: hashed, scanned, and blocked with a word to the user."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.matrix import CELLS, Cell, GiveServer, attempt, fill, over
from tests.interop.office import configuration

from sallyport.lab.clients import Job, Mode, TransferDirection, digest, transfer
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]

EXAMPLES = Path(__file__).parents[2] / "examples"

MIB = 1024 * 1024

EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + rb"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"

# The third of the stack: neighbours must give back what it has turned round.
TURNED = '''
"""Turns every byte round and back: two data filters of one chain."""

from sallyport.api import *
from sallyport.filters.ftp import FTP, FTP_SERVER

TABLE = bytes(255 - i for i in range(256))


class Turn(DataFilter):
    async def from_client(self, data: bytes) -> None:
        self.server.send(data.translate(TABLE))

    async def from_server(self, data: bytes) -> None:
        self.client.send(data.translate(TABLE))


class TurningSession(SessionFilter):
    async def on_event(self, event: Event) -> None:
        if event.is_secondary:
            event.connection.attach_data_filter(Turn(), Priority.INTERNAL)
            event.connection.attach_data_filter(Turn(), Priority.POST_TRUST)


class Turning(ApplicationFilter):
    """Turns every byte round and back."""

    name = "turning"
    api_version = 1
    protocols = (FTP, FTP_SERVER)
    hooks = Hooks.of(AcceptedConnection, ConnectTcp, scope=Scope.SECONDARY)

    def attach_to_session(self, session: Session) -> SessionFilter:
        return TurningSession()
'''

SECTIONS = """
[filters.hash-transfers]
path = "hash_transfers.py"

[filters.block-eicar]
path = "block_eicar.py"

[filters.turning]
path = "turning.py"
"""

ONE_SERVER = [cell for cell in CELLS if (cell.server, cell.client) == ("vsftpd", "curl")]

WAYS = [
    (mode, direction)
    for mode in (Mode.PORT, Mode.PASV, Mode.EPSV)
    for direction in TransferDirection
]


@pytest.fixture(scope="module")
def filtering(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """Run a gateway with three more filters, of which every transfer is a stack of four."""
    folder = tmp_path_factory.mktemp("filters")
    folder.chmod(0o755)
    shutil.copy(EXAMPLES / "hash_transfers/hash_transfers.py", folder)
    shutil.copy(EXAMPLES / "block_eicar/block_eicar.py", folder)
    (folder / "turning.py").write_text(TURNED, encoding="utf-8")
    file = folder / "sallyport.toml"
    file.write_text(configuration(rest=SECTIONS), encoding="utf-8")
    running = RunningGateway(lab, ["--config", str(file)], name="filtering")
    yield running
    running.stop()


@over(ONE_SERVER)
def test_every_transfer_passes_a_stack_of_data_filters_unchanged(
    cell: Cell, lab: Lab, filtering: RunningGateway, server_of: GiveServer, tmp_path: Path
) -> None:
    result = attempt(cell, lab.client, server_of(cell.server), tmp_path)

    assert result.outcome.error == "", filtering.journal()[-5:]
    assert result.arrived


@pytest.mark.parametrize("family", [4, 6])
def test_256_mib_arrive_whole_and_the_journal_has_their_hash_and_what_asked_for_them(
    family: int, lab: Lab, filtering: RunningGateway, server_of: GiveServer, tmp_path: Path
) -> None:
    seen, server = len(filtering.journal()), server_of("vsftpd")
    mode = Mode.PORT if family == 4 else Mode.EPRT
    here, there = tmp_path / "big.bin", server.folder / f"big{family}.bin"
    fill(there, 256 * MIB)
    job = Job(
        server.account(family), mode, TransferDirection.DOWNLOAD, there.name, here, timeout=60
    )
    outcome = transfer("curl", lab.client, job)
    filtering.settle()

    assert outcome.error == ""
    assert digest(here) == digest(there)
    (line,) = [line for line in filtering.journal(seen) if "transfer.hashed" in line]
    hashed = json.loads(line)
    assert (hashed["command"], hashed["argument"]) == ("RETR", there.name)
    assert (hashed["bytes"], hashed["sha256"]) == (256 * MIB, digest(here))


@pytest.mark.parametrize("way", WAYS, ids="-".join)
def test_the_eicar_file_is_refused_and_the_client_is_told_why(
    way: tuple[Mode, TransferDirection],
    lab: Lab,
    filtering: RunningGateway,
    server_of: GiveServer,
    tmp_path: Path,
) -> None:
    mode, direction = way
    server = server_of("vsftpd")
    name = f"eicar-{mode}-{direction}"
    here, there = tmp_path / name, server.folder / name
    (there if direction is TransferDirection.DOWNLOAD else here).write_bytes(b"x" * 5000 + EICAR)
    # tnftp shows the server's last word; curl leaves when a file ends before its size.
    outcome = transfer("tnftp", lab.client, Job(server.account(4), mode, direction, name, here))

    assert outcome.error
    assert "451 Blocked by the gateway: EICAR test string." in outcome.transcript
    received = here if direction is TransferDirection.DOWNLOAD else there
    assert not received.exists() or EICAR not in received.read_bytes()
