"""FTP through a gateway whose every data connection passes through user mode."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.matrix import CELLS, Cell, GiveServer, attempt, over
from tests.interop.office import configuration
from tests.interop.rawftp import RawFtp

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]

MIB = 1024 * 1024

BIG = [
    cell
    for cell in CELLS
    if (cell.server, cell.client) == ("vsftpd", "curl") and cell.mode.is_active
]


@pytest.fixture(scope="module")
def user_gateway(lab: Lab) -> Iterator[RunningGateway]:
    """Run Sallyport in user mode on the lab's gateway while the module's tests run."""
    file = lab.folder / "user.toml"
    file.write_text(configuration(gateway='data_path = "user"'), encoding="utf-8")
    running = RunningGateway(lab, ["--config", str(file)], name="user")
    yield running
    running.stop()


@over(CELLS)
def test_every_transfer_works_in_user_mode(
    cell: Cell, lab: Lab, user_gateway: RunningGateway, server_of: GiveServer, tmp_path: Path
) -> None:
    result = attempt(cell, lab.client, server_of(cell.server), tmp_path)

    assert result.outcome.error == "", user_gateway.journal()[-5:]
    assert result.arrived
    assert result.outcome.used(cell.mode), result.outcome.transcript


@over(BIG)
def test_a_large_file_arrives_whole_in_user_mode(
    cell: Cell, lab: Lab, user_gateway: RunningGateway, server_of: GiveServer, tmp_path: Path
) -> None:
    result = attempt(cell, lab.client, server_of(cell.server), tmp_path, 64 * MIB)

    assert result.outcome.error == "", user_gateway.journal()[-5:]
    assert result.arrived


@pytest.mark.parametrize("family", [4, 6])
def test_a_binding_says_that_user_mode_carries_it(
    family: int, lab: Lab, user_gateway: RunningGateway, server_of: GiveServer
) -> None:
    with (
        RawFtp(lab.client, server_of("vsftpd"), family=family) as ftp,
        ftp.listening() as (_, command),
    ):
        ftp.ask(command, b"200")
        listed = user_gateway.ask("bindings", "list", "--json").stdout
    user_gateway.settle()

    assert [binding["data_path"] for binding in json.loads(listed)["bindings"]] == ["user"]
