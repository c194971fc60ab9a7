"""A day in a minute: clients and faults of every kind; `scripts/soak MINUTES` is the long form."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.soak.faults import FAULTS
from tests.soak.run import short, soak

from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Yield the network of a soak."""
    with Lab.build(f"t{os.getpid()}-soak", clients=6, servers=5) as built:
        yield built


# Two minutes; three where sixteen programs want two processors.
@pytest.mark.timeout(600)
def test_whatever_is_done_to_it_costs_what_it_may_cost_and_leaves_nothing(
    lab: Lab, tmp_path: Path
) -> None:
    # The same round each time: one that fails is repeated by `scripts/soak 0 1`. Chance is the long
    # form's.
    result = soak(lab, tmp_path, short(seed=1), print)

    assert result.wrong == []
    assert set(result.faults) == {fault.name for fault in FAULTS}
    assert result.books.transfers > 500
