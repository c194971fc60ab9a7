"""Every server, every client, every mode, both families, both directions, through the gateway."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.interop.matrix import ACTIVE4, CELLS, Cell, GiveServer, attempt, over

from sallyport.lab.clients import Mode, TransferDirection
from sallyport.lab.gateway import RunningGateway, end_plain_nat, plain_nat
from sallyport.lab.network import Lab
from sallyport.lab.servers import SOFTWARE

pytestmark = [pytest.mark.netns, pytest.mark.interop]

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sized:
    """A cell with a file of a certain size."""

    cell: Cell
    size: int

    def __str__(self) -> str:
        return f"{self.cell}-{self.size}"


SIZES = [
    Sized(Cell(server, "curl", family, mode, direction), size)
    for server, size in (("vsftpd", 256 * MIB), ("proftpd", 32 * MIB), ("pure-ftpd", 1))
    for family, mode in ((4, Mode.PORT), (4, Mode.PASV), (6, Mode.EPRT), (6, Mode.EPSV))
    for direction in TransferDirection
]


@over(CELLS)
def test_every_transfer_works_through_the_gateway(
    cell: Cell, lab: Lab, gateway: RunningGateway, server_of: GiveServer, tmp_path: Path
) -> None:
    result = attempt(cell, lab.client, server_of(cell.server), tmp_path)

    assert result.outcome.error == "", gateway.journal()[-5:]
    assert result.arrived
    assert result.outcome.used(cell.mode), result.outcome.transcript


@pytest.mark.parametrize("sized", SIZES, ids=str)
def test_files_of_one_byte_to_256_mebibytes_arrive_whole(
    sized: Sized, lab: Lab, gateway: RunningGateway, server_of: GiveServer, tmp_path: Path
) -> None:
    server = server_of(sized.cell.server)

    result = attempt(sized.cell, lab.client, server, tmp_path, sized.size)

    assert result.outcome.error == "", gateway.journal()[-5:]
    assert result.arrived


@pytest.mark.parametrize("software", SOFTWARE)
def test_active_mode_fails_without_sallyport_and_works_with_it(
    software: str, lab: Lab, gateway: RunningGateway, server_of: GiveServer, tmp_path: Path
) -> None:
    gateway.stop()
    cells = [
        cell
        for cell in ACTIVE4
        if (cell.server, cell.client, cell.direction)
        == (software, "curl", TransferDirection.DOWNLOAD)
    ]
    server = server_of(software)

    plain_nat(lab.gateway)
    without = [attempt(cell, lab.client, server, tmp_path).arrived for cell in cells]
    end_plain_nat(lab.gateway)
    again = RunningGateway(lab, name=f"again-{software}")
    with_it = [attempt(cell, lab.client, server, tmp_path).arrived for cell in cells]
    again.stop()

    assert [cell.mode for cell in cells] == [Mode.EPRT, Mode.PORT]
    assert without == [False, False]
    assert with_it == [True, True]
