"""A server's passive port may be any, also one at which another protocol is supervised."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.office import configuration
from tests.interop.rawftp import RawFtp

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.network import Lab
from sallyport.lab.servers import FtpServer

pytestmark = [pytest.mark.netns, pytest.mark.interop]

# RTSP is spoken there too (filters/rtsp), and servers draw their passive ports from 1024 up.
PORT = 8554
SETTINGS = f"pasv_min_port={PORT}\npasv_max_port={PORT}"


@pytest.fixture
def gateway(lab: Lab, tmp_path: Path) -> Iterator[RunningGateway]:
    file = tmp_path / "sallyport.toml"
    file.write_text(configuration(protocols=("ftp", "rtsp")))
    # With a log of its own.
    running = RunningGateway(lab, ["--config", str(file)], name=tmp_path.name[-20:])
    yield running
    running.stop()


@pytest.mark.parametrize("family", [4, 6])
def test_a_transfer_at_a_port_of_another_protocol_is_the_transfer_of_its_own_dialogue(
    lab: Lab, gateway: RunningGateway, tmp_path: Path, family: int
) -> None:
    server = FtpServer("vsftpd", lab.server, tmp_path / "served", settings=SETTINGS)
    try:
        (server.folder / "some").write_bytes(bytes(range(256)) * 4096)
        with RawFtp(lab.client, server, family) as ftp:
            assert ftp.fetch(b"some") == ftp.fetch_passively(b"some")
    finally:
        server.stop()
    gateway.settle()

    records = [json.loads(line) for line in gateway.journal()]
    assert {one["protocol"] for one in records if "protocol" in one} == {"ftp"}
    (passive,) = [one for one in records if one["event"] == "connect.secondary_closed"]
    assert (passive["to"].rpartition(":")[2], passive["flows"]) == (str(PORT), 1)
    assert passive["to_client_bytes"] == 1 << 20
