"""Programs that ask for ports by NAT-PMP: each is reached from outside at what it was given."""

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from socket import create_server

import pytest
from tests.interop.office import configuration
from tests.interop.socks_client import reaches, rows

from sallyport.addresses import Endpoint
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import wait_until
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]


@pytest.fixture(scope="module")
def gateway(lab: Lab) -> Iterator[RunningGateway]:
    """Run a gateway that grants mappings."""
    file = lab.folder / "clients.toml"
    text = configuration(protocols=("port-mapping",), rest="[frontends.pcp]\n")
    file.write_text(text, encoding="ascii")
    running = RunningGateway(lab, ("--config", str(file)), name="clients")
    yield running
    running.stop()


def test_transmission_is_reached_at_the_port_it_was_given(
    gateway: RunningGateway, lab: Lab, tmp_path: Path
) -> None:
    settings = {
        "port-forwarding-enabled": True,
        "peer-port": 51413,
        "rpc-enabled": False,
        "dht-enabled": False,
        "lpd-enabled": False,
        "utp-enabled": False,
        "download-dir": str(tmp_path),
    }
    tmp_path.joinpath("settings.json").write_text(json.dumps(settings), encoding="ascii")
    log = tmp_path / "log"
    program = lab.client.popen(["transmission-daemon", "-f", "-g", str(tmp_path)], log=log)
    try:
        wait_until(program, lambda: bool(rows(gateway)), log, "it maps no port")
        (row,) = rows(gateway)
        assert row["client_address"] == "10.0.0.8:51413"
        assert reaches(lab.server, Endpoint.parse(str(row["proxy_address"])))
    finally:
        program.terminate()
        program.wait(30)
    # It does not always take the time to unmap; the mapping would end by its lifetime.
    gateway.ask("bindings", "kill", str(row["id"]))


def test_py_natpmp_maps_and_unmaps(gateway: RunningGateway, lab: Lab) -> None:
    # In a process of its own, because it leaves its sockets to the garbage collector.
    with lab.client.entered(), closing(create_server(("10.0.0.8", 0))) as listener:
        port = listener.getsockname()[1]

        def ask(lifetime: int) -> str:
            call = (
                f"n.map_port(n.NATPMP_PROTOCOL_TCP, 0, {port}, {lifetime}, gateway_ip='10.0.0.1')"
            )
            code = f"import natpmp as n; print({call}.public_port)"
            return lab.client.run([sys.executable, "-c", code]).stdout.strip()

        assert reaches(lab.server, Endpoint.parse(f"203.0.113.1:{ask(300)}"))
        ask(0)
    assert rows(gateway) == []
