"""Programs that ask for ports by themselves: each is reached from outside at what it was given."""

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from socket import create_connection, create_server

import pytest
from tests.interop.office import configuration
from tests.interop.socks_client import reaches, rows

from sallyport.addresses import Endpoint
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import end, wait_until
from sallyport.lab.network import Lab

BINDINGS = Path(__file__).parents[2] / ".cache/debian/usr/lib/python3/dist-packages"

# Syncthing asks within a minute of its start.
_SECONDS = 90

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


def check_program(
    gateway: RunningGateway, lab: Lab, folder: Path, argv: list[str], port: int, **env: str
) -> None:
    """Run a program inside until its TCP port is mapped and reached; end it, and its mappings."""

    def mapped() -> list[Endpoint]:
        return [
            Endpoint.parse(str(one["proxy_address"]))
            for one in rows(gateway)
            if (one["client_address"], one["transport"]) == (f"10.0.0.8:{port}", "tcp")
        ]

    log = folder / "log"
    program = lab.client.popen(argv, log=log, env={"HOME": str(folder), **env})
    try:
        wait_until(program, lambda: bool(mapped()), log, "it maps no port", _SECONDS)
        # Not `reaches`: programs of BitTorrent hang up on who names no torrent of theirs.
        with lab.server.entered():
            create_connection((str(mapped()[0].address), mapped()[0].port), 5).close()
    finally:
        end(program)
        for one in rows(gateway):  # what a program that was ended did not take back
            gateway.ask("bindings", "kill", str(one["id"]))


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
    check_program(gateway, lab, tmp_path, ["transmission-daemon", "-f", "-g", str(tmp_path)], 51413)


def test_libtorrent_is_reached(gateway: RunningGateway, lab: Lab, tmp_path: Path) -> None:
    code = """
import libtorrent, time
session = libtorrent.session({"listen_interfaces": "10.0.0.8:26901", "enable_natpmp": True,
    "enable_upnp": False, "enable_dht": False, "enable_lsd": False})
time.sleep(120)
"""
    check_program(
        gateway, lab, tmp_path, ["/usr/bin/python3", "-c", code], 26901, PYTHONPATH=str(BINDINGS)
    )


def test_qbittorrent_is_reached(gateway: RunningGateway, lab: Lab, tmp_path: Path) -> None:
    config = tmp_path / "qBittorrent/config/qBittorrent.conf"
    config.parent.mkdir(parents=True)
    config.write_text(
        "[LegalNotice]\nAccepted=true\n[Network]\nPortForwardingEnabled=true\n"
        "[BitTorrent]\nSession\\Port=26881\nSession\\DHTEnabled=false\nSession\\LSDEnabled=false\n",
        encoding="ascii",
    )
    check_program(gateway, lab, tmp_path, ["qbittorrent-nox", f"--profile={tmp_path}"], 26881)


def test_deluged_is_reached(gateway: RunningGateway, lab: Lab, tmp_path: Path) -> None:
    settings = {
        "upnp": False,
        "natpmp": True,
        "dht": False,
        "lsd": False,
        "utpex": False,
        "random_port": False,
        "listen_ports": [26891, 26891],
        "listen_random_port": None,
        "listen_interface": "10.0.0.8",
    }
    head = json.dumps({"file": 1, "format": 1})
    tmp_path.joinpath("core.conf").write_text(head + json.dumps(settings), encoding="ascii")
    program = shutil.which("deluged") or ""
    argv = ["/usr/bin/python3", program, "-d", "-L", "info", "-c", str(tmp_path)]
    check_program(gateway, lab, tmp_path, argv, 26891, PYTHONPATH=str(BINDINGS))


def test_syncthing_is_reached(gateway: RunningGateway, lab: Lab, tmp_path: Path) -> None:
    home = f"--home={tmp_path}"
    lab.client.run(["syncthing", "generate", home, "--no-default-folder"])
    file = tmp_path / "config.xml"
    text = file.read_text(encoding="utf-8")
    for switch in ("globalAnnounceEnabled", "localAnnounceEnabled", "relaysEnabled"):
        text = text.replace(f"<{switch}>true", f"<{switch}>false")
    text = text.replace("<listenAddress>default", "<listenAddress>tcp://0.0.0.0:22000")
    file.write_text(text, encoding="utf-8")
    argv = ["syncthing", "serve", home, "--no-browser", "--no-restart", "--no-upgrade"]
    check_program(gateway, lab, tmp_path, argv, 22000)


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
