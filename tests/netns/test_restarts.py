"""Restart after restart under clients that transfer without a pause: none of them notices."""

import os
from collections.abc import Iterator
from pathlib import Path
from random import SystemRandom

import pytest
from tests.soak.faults import Fault, renew, take_over
from tests.soak.run import SHORT_REST_SECONDS, Plan, soak

from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]

RESTARTS = (Fault("takeover", take_over), Fault("new workers", renew))


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Yield the network of a soak."""
    with Lab.build(f"t{os.getpid()}-restarts", clients=6, servers=5) as built:
        yield built


# Workers that are replaced stay while their clients finish, and no more than sixteen have a table
# each: for minutes no more than one restart in ten seconds is promised.
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("seconds", "pause"),
    [(0, (0.2, 1.0)), pytest.param(120, (8.0, 10.0), marks=pytest.mark.soak)],
    ids=["once", "two minutes"],
)
def test_no_transfer_fails_nothing_leaks_and_every_sum_is_recorded(
    seconds: int, pause: tuple[float, float], lab: Lab, tmp_path: Path
) -> None:
    seed = SystemRandom().getrandbits(32)
    plan = Plan(seed, seconds, 30, pause, rest_seconds=SHORT_REST_SECONDS, faults=RESTARTS)

    result = soak(lab, tmp_path, plan, print)

    assert result.wrong == []
    assert result.books.excused.total() == 0
    assert result.books.transfers > 50
