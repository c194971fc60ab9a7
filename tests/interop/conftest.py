"""The gateway between the lab's clients and its servers."""

from collections.abc import Iterator

import pytest

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.network import Lab


@pytest.fixture(scope="module")
def gateway(lab: Lab) -> Iterator[RunningGateway]:
    """Run Sallyport on the lab's gateway while the module's tests run."""
    running = RunningGateway(lab)
    yield running
    running.stop()
