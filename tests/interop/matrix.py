"""Every server with every client in every way they know, as one table."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from sallyport.lab.clients import (
    CLIENTS,
    EXTENDED,
    MODES4,
    Job,
    Mode,
    TransferDirection,
    TransferOutcome,
    digest,
    transfer,
)
from sallyport.lab.host import Host
from sallyport.lab.servers import SOFTWARE, Account, FtpServer, why_not

# The fixture `server_of`: gives the running server of a name.
GiveServer = Callable[[str], FtpServer]


@contextmanager
def servers(place: Callable[[str], tuple[Host, Path, int]]) -> Iterator[GiveServer]:
    """Yield the server of a name; `place` says on which host, in which folder, at which port.

    It is started when first asked for; the test is skipped when it is not installed.
    """
    running: dict[str, FtpServer] = {}

    def give(software: str) -> FtpServer:
        reason = why_not(software)
        if reason:
            pytest.skip(reason)
        if software not in running:
            running[software] = FtpServer(software, *place(software))
        return running[software]

    yield give
    for server in running.values():
        server.stop()


@dataclass(frozen=True, slots=True)
class Cell:
    """One way to move one file."""

    server: str
    client: str
    family: int
    mode: Mode
    direction: TransferDirection

    def __str__(self) -> str:
        return f"{self.server}-{self.client}-ipv{self.family}-{self.mode}-{self.direction}"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of a cell: the client's word, and whether the same bytes are at both ends."""

    outcome: TransferOutcome
    arrived: bool


def _modes(client: str, family: int) -> list[Mode]:
    return sorted(MODES4[client] if family == 4 else EXTENDED)


CELLS = [
    Cell(server, client, family, mode, direction)
    for server in SOFTWARE
    for client in CLIENTS
    for family in (4, 6)
    for mode in _modes(client, family)
    for direction in TransferDirection
]
ACTIVE = [cell for cell in CELLS if cell.mode.is_active]
PASSIVE = [cell for cell in CELLS if not cell.mode.is_active]
ACTIVE4 = [cell for cell in ACTIVE if cell.family == 4]


def over(cells: list[Cell]) -> pytest.MarkDecorator:
    """Run a test once for each cell, under the cell's name."""
    return pytest.mark.parametrize("cell", cells, ids=str)


def attempt(
    cell: Cell,
    client: Host,
    server: FtpServer,
    folder: Path,
    size: int = 100_000,
    *,
    account: Account | None = None,
) -> Attempt:
    """Make the transfer of one cell with a file of `size` bytes; `folder` is the client's own.

    The client goes to `account`, or else to the server's own address.
    """
    name = f"{cell}-{size}.bin"
    here, there = folder / name, server.folder / name
    upload = cell.direction is TransferDirection.UPLOAD
    fill(here if upload else there, size)
    job = Job(account or server.account(cell.family), cell.mode, cell.direction, name, here)
    outcome = transfer(cell.client, client, job)
    arrived = digest(here) == digest(there)
    here.unlink(missing_ok=True)
    there.unlink(missing_ok=True)
    return Attempt(outcome, arrived)


def fill(path: Path, size: int) -> None:
    """Write bytes that do not repeat within a block, so that a lost or doubled block shows."""
    block = b"".join(n.to_bytes(4, "big") for n in range(16 * 1024))
    with path.open("wb") as file:
        for start in range(0, size, len(block)):
            file.write((start.to_bytes(8, "big") + block[8:])[: size - start])
