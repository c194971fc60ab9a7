"""Rules of the host set the kernel's own helpers on our ports: transfers work all the same."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.matrix import GiveServer
from tests.interop.office import configuration
from tests.interop.rawftp import RawFtp

from sallyport.lab.clients import TransferDirection
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.network import Lab
from sallyport.lab.tftp import TftpJob, TftpServer, transfer

pytestmark = [pytest.mark.netns, pytest.mark.interop]

# As the documents of nftables advise, for what is forwarded and for what the host itself opens.
HELPER = """
table inet helped {
    ct helper ftp {
        type "ftp" protocol tcp
    }
    ct helper tftp {
        type "tftp" protocol udp
    }
    chain arriving {
        type filter hook prerouting priority filter; policy accept;
        tcp dport 21 ct helper set "ftp"
        udp dport 69 ct helper set "tftp"
    }
    chain leaving {
        type filter hook output priority filter; policy accept;
        tcp dport 21 ct helper set "ftp"
        udp dport 69 ct helper set "tftp"
    }
}
"""


@pytest.fixture(scope="module")
def gateway(lab: Lab) -> Iterator[RunningGateway]:
    lab.gateway.run(["nft", "-f", "-"], stdin=HELPER)
    file = lab.folder / "helped.toml"
    file.write_text(configuration(protocols=("ftp", "tftp")))
    running = RunningGateway(lab, ["--config", str(file)])
    yield running
    running.stop()
    lab.gateway.run(["nft", "delete", "table", "inet", "helped"])


@pytest.mark.usefixtures("gateway")
@pytest.mark.parametrize("family", [4, 6])
def test_transfers_work_beside_the_kernels_helper(
    lab: Lab, server_of: GiveServer, family: int
) -> None:
    server = server_of("vsftpd")
    (server.folder / "small").write_bytes(b"through")
    with RawFtp(lab.client, server, family, timeout=3.0) as ftp:
        assert ftp.fetch(b"small") == ftp.fetch_passively(b"small") == ftp.fetch(b"small")


@pytest.mark.usefixtures("gateway")
@pytest.mark.parametrize("family", [4, 6])
def test_tftp_works_beside_the_kernels_helper(lab: Lab, family: int, tmp_path: Path) -> None:
    server = TftpServer("tftpd-hpa", lab.servers[1], lab.folder / "helped")
    try:
        (server.folder / "small").write_bytes(b"through")
        address = server.host.address(family)
        job = TftpJob(address, TransferDirection.DOWNLOAD, "small", tmp_path / "small", {}, 5.0)
        outcome = transfer("curl", lab.client, job)
        assert (tmp_path / "small").read_bytes() == b"through", outcome
    finally:
        server.stop()
