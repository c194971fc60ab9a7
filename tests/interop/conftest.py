"""Real servers outside, and the gateway between them and the clients."""

from collections.abc import Iterator

import pytest
from tests.interop.matrix import GiveServer

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.network import Lab
from sallyport.lab.servers import SOFTWARE, FtpServer, why_not


@pytest.fixture(scope="module")
def server_of(lab: Lab) -> Iterator[GiveServer]:
    """Give the server of a name, each on an outside host and port 21 of its own.

    It is started when first asked for; the test is skipped when it is not installed.
    """
    hosts = dict(zip(SOFTWARE, lab.servers, strict=True))
    running: dict[str, FtpServer] = {}

    def give(software: str) -> FtpServer:
        reason = why_not(software)
        if reason:
            pytest.skip(reason)
        if software not in running:
            running[software] = FtpServer(software, hosts[software], lab.folder / software)
        return running[software]

    yield give
    for server in running.values():
        server.stop()


@pytest.fixture(scope="module")
def gateway(lab: Lab) -> Iterator[RunningGateway]:
    """Run Sallyport on the lab's gateway while the module's tests run."""
    running = RunningGateway(lab)
    yield running
    running.stop()
