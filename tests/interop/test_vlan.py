"""An inside network on a VLAN: its clients are served, and the interface below is another one."""

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.matrix import GiveServer, fill
from tests.interop.office import configuration
from tests.interop.rawftp import RawFtp

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]

VLAN = 5


@pytest.fixture(scope="module")
def gateway(lab: Lab) -> Iterator[RunningGateway]:
    """Move the inside network to a VLAN, and run a gateway that knows it by that name."""
    ends = (
        (lab.gateway, "int0", ("10.0.0.1/24", "fd00:a::1/64")),
        (lab.client, "eth0", ("10.0.0.8/24", "fd00:a::8/64")),
    )
    for host, below, addresses in ends:
        above = f"{below}.{VLAN}"
        try:
            host.run(["ip", "link", "add", "link", below, "name", above, "type", "vlan", "id", "5"])
        except subprocess.CalledProcessError:
            pytest.skip("this kernel has no VLANs")
        host.run(["ip", "link", "set", above, "up"])
        for address in addresses:
            host.run(["ip", "address", "del", address, "dev", below])
            host.run(["ip", "address", "add", address, "dev", above, "nodad"])
    for router in ("10.0.0.1", "fd00:a::1"):
        lab.client.run(["ip", "route", "replace", "default", "via", router])
    file = Path(lab.folder, "vlan.toml")
    file.write_text(configuration().replace('"int0"', f'"int0.{VLAN}"'), encoding="ascii")
    running = RunningGateway(lab, ("--config", str(file)), name="vlan")
    yield running
    running.stop()
    for host, below, addresses in ends:
        host.run(["ip", "link", "del", f"{below}.{VLAN}"])
        for address in addresses:
            host.run(["ip", "address", "add", address, "dev", below, "nodad"])
    for router in ("10.0.0.1", "fd00:a::1"):
        lab.client.run(["ip", "route", "replace", "default", "via", router])


@pytest.mark.usefixtures("gateway")
@pytest.mark.parametrize("family", [4, 6])
def test_its_clients_are_served(lab: Lab, family: int, server_of: GiveServer) -> None:
    server = server_of("vsftpd")
    fill(server.folder / "file", 100_000)
    digest = hashlib.sha256((server.folder / "file").read_bytes()).hexdigest()
    with RawFtp(lab.client, server, family) as client:
        assert client.fetch(b"file") == digest
        assert client.fetch_passively(b"file") == digest
