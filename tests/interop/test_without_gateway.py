"""What the world is like without Sallyport: this proves the lab, and that there is a problem."""

from pathlib import Path

import pytest
from tests.interop.matrix import ACTIVE4, PASSIVE, Cell, GiveServer, attempt, over

from sallyport.lab.gateway import plain_nat
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]


@pytest.fixture(scope="module", autouse=True)
def masquerade(lab: Lab) -> None:
    """Make the gateway an ordinary NAT router."""
    plain_nat(lab.gateway)


@over(PASSIVE)
def test_passive_transfers_work_through_plain_nat(
    cell: Cell, lab: Lab, server_of: GiveServer, tmp_path: Path
) -> None:
    result = attempt(cell, lab.client, server_of(cell.server), tmp_path)

    assert result.outcome.error == ""
    assert result.arrived
    assert result.outcome.used(cell.mode), result.outcome.transcript


@over(ACTIVE4)
def test_active_transfers_fail_through_plain_nat(
    cell: Cell, lab: Lab, server_of: GiveServer, tmp_path: Path
) -> None:
    result = attempt(cell, lab.client, server_of(cell.server), tmp_path)

    assert result.outcome.error != ""
    assert not result.arrived
    assert result.outcome.used(cell.mode), result.outcome.transcript
