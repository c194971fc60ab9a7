"""Restart after restart under clients that transfer without a pause: none of them notices."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import SystemRandom

import pytest
from tests.soak.faults import Fault, renew, take_over
from tests.soak.load import KINDS
from tests.soak.run import SHORT_REST_SECONDS, Plan, soak

from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]

RESTARTS = (Fault("takeover", take_over), Fault("new workers", renew))


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Yield the network of a soak."""
    with Lab.build(f"t{os.getpid()}-restarts", clients=6, servers=5) as built:
        yield built


def restarted(lab: Lab, folder: Path, plan: Plan) -> None:
    """Soak a gateway by this plan, with restarts alone; fail when a client has noticed one."""
    quick = replace(plan, rest_seconds=SHORT_REST_SECONDS, faults=RESTARTS)
    result = soak(lab, folder, quick, print)
    assert result.wrong == []
    assert result.books.excused.total() == 0
    assert result.books.transfers > 50


@pytest.mark.timeout(300)
def test_no_transfer_fails_nothing_leaks_and_every_sum_is_recorded(
    lab: Lab, tmp_path: Path
) -> None:
    restarted(lab, tmp_path, Plan(SystemRandom().getrandbits(32), 0, 30, (0.2, 1.0)))


# Sixteen workers have a table each, and one that is replaced keeps its own until its clients have
# finished. So those that stay for minutes, as a conversation by datagrams may, do not come here.
@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_restart_every_ten_seconds_for_two_minutes_is_not_noticed_either(
    lab: Lab, tmp_path: Path
) -> None:
    transfers = [kind for kind in KINDS if kind.name not in {"call", "mapping"}]
    plan = Plan(SystemRandom().getrandbits(32), 120, 30, (8.0, 10.0), kinds=transfers)
    restarted(lab, tmp_path, plan)
