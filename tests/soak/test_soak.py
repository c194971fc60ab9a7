"""A day in a minute: clients and faults of every kind; `scripts/soak MINUTES` is the long form."""

import os
from collections.abc import Iterator
from pathlib import Path
from random import SystemRandom

import pytest
from tests.soak.faults import FAULTS
from tests.soak.run import SHORT_REST_SECONDS, Plan, soak

from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Give the network of a soak."""
    with Lab.build(f"t{os.getpid()}-soak", clients=6, servers=5) as built:
        yield built


@pytest.mark.timeout(400)
def test_whatever_is_done_to_it_costs_what_it_may_cost_and_leaves_nothing(
    lab: Lab, tmp_path: Path
) -> None:
    seed = SystemRandom().getrandbits(32)
    # Time for one round of all faults. Of a run that fails the first line has the seed.
    plan = Plan(seed, 0, 30, (0.2, 0.8), rest_seconds=SHORT_REST_SECONDS)

    result = soak(lab, tmp_path, plan, print)

    assert result.wrong == []
    assert set(result.faults) == {fault.name for fault in FAULTS}
    assert result.books.transfers > 500
