"""The gateway between the lab's clients and its servers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.matrix import GiveServer, servers
from tests.interop.publishing import PLACES

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import Host
from sallyport.lab.network import Lab


@pytest.fixture(scope="module")
def gateway(lab: Lab) -> Iterator[RunningGateway]:
    """Run Sallyport on the lab's gateway while the module's tests run."""
    running = RunningGateway(lab)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def inside_server_of(lab: Lab) -> Iterator[GiveServer]:
    """Yield the server of a name, inside (see `publishing.PLACES`)."""

    def place(software: str) -> tuple[Host, Path, int]:
        number, port = PLACES[software]
        return lab.clients[number], lab.folder / f"inside-{software}", port

    with servers(place) as give:
        yield give
