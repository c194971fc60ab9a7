"""Every server with every client in every way they know, through Sallyport: all of it works.

`test_without_gateway.py` makes the same transfers without it: there the active ones fail.
"""

from pathlib import Path

import pytest
from tests.interop.matrix import CELLS, Cell, GiveServer, attempt, over

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]


@over(CELLS)
@pytest.mark.usefixtures("gateway")
def test_every_transfer_works_through_the_gateway(
    cell: Cell, lab: Lab, server_of: GiveServer, tmp_path: Path
) -> None:
    result = attempt(cell, lab.client, server_of(cell.server), tmp_path)

    assert result.outcome.error == ""
    assert result.arrived
    assert result.outcome.used(cell.mode), result.outcome.transcript


def test_nothing_is_left_when_the_transfers_are_done(gateway: RunningGateway) -> None:
    gateway.settle()

    assert '"bindings":[]' in gateway.ask("bindings", "list", "--json").stdout
