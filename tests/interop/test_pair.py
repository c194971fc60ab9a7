"""A pair of gateways: the files of contrib/pair, real keepalived and conntrackd, one node dies."""

import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.interop.matrix import fill
from tests.interop.office import configuration

from sallyport.lab.clients import digest
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import Host, end
from sallyport.lab.network import Lab
from sallyport.lab.servers import FtpServer

pytestmark = [pytest.mark.netns, pytest.mark.interop]

CONTRIB = Path(__file__).parents[2] / "contrib" / "pair"
VIRTUAL = "203.0.113.1"
MIB = 1024 * 1024

# Longer than any take-over here (0.3 to 1 s), shorter than patience.
PATIENCE = 15.0


def until(condition: Callable[[], bool], otherwise: str, seconds: float = PATIENCE) -> None:
    """Wait for what happens in other processes' own time."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, otherwise
        time.sleep(0.01)


class Node:
    """One of the two gateways, with the three programs that make it one."""

    def __init__(self, lab: Lab, host: Host, number: int) -> None:
        self.host = host
        self.folder = lab.folder / f"node{number}"
        self.folder.mkdir()
        configuration_file = self.folder / "sallyport.toml"
        text = configuration(gateway=f"node = {number}")
        text = text.replace('["ext0"]', f'["ext0"]\nsource = "{VIRTUAL}"')
        configuration_file.write_text(text, encoding="ascii")
        self.gateway = RunningGateway(
            lab, ("--config", str(configuration_file)), name=f"node{number}", host=host
        )
        self._conntrackd(number)
        self._keepalived(number)

    def _conntrackd(self, number: int) -> None:
        file = self.folder / "conntrackd.conf"
        text = (CONTRIB / file.name).read_text(encoding="utf-8")
        if number == 2:  # the same file seen from the other end of the link
            ours, theirs = "172.16.0.1", "172.16.0.2"
            text = text.replace(ours, "?").replace(theirs, ours).replace("?", theirs)
        for path in (
            "/var/log/conntrackd.log",
            "/var/lock/conntrack.lock",
            "/var/run/conntrackd.ctl",
        ):
            text = text.replace(path, str(self.folder / Path(path).name))
        file.write_text(text, encoding="utf-8")
        self._start("conntrackd", "-C", str(file))
        until((self.folder / "conntrackd.ctl").exists, "conntrackd does not start")

    def _keepalived(self, number: int) -> None:
        notify = self.folder / "notify.sh"
        # keepalived runs scripts with an environment of its own.
        names = ("PATH", "LD_LIBRARY_PATH")
        known = {name: os.environ[name] for name in names if name in os.environ}
        known["CONNTRACKD_CONF"] = str(self.folder / "conntrackd.conf")
        exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in known.items())
        script = shlex.quote(str(CONTRIB / notify.name))
        log = shlex.quote(str(self.folder / "notify.log"))
        notify.write_text(
            f'#!/bin/sh\n{exports}exec {script} "$1" >>{log} 2>&1\n', encoding="utf-8"
        )
        notify.chmod(0o700)
        file = self.folder / "keepalived.conf"
        text = (CONTRIB / file.name).read_text(encoding="utf-8")
        text = text.replace("/etc/sallyport/pair/notify.sh", str(notify))
        text = text.replace("priority 100", f"priority {110 - number}")
        file.write_text(text, encoding="utf-8")
        pids = (f"-p{self.folder}/keepalived.pid", f"-r{self.folder}/vrrp.pid")
        self._start("keepalived", "-P", "-n", "-l", "-f", str(file), *pids)

    def _start(self, *argv: str) -> None:
        self.host.popen(argv, log=self.folder / f"{argv[0]}.log")

    @property
    def is_active(self) -> bool:
        """Whether the virtual address is here."""
        return f" {VIRTUAL}/" in self.host.run(["ip", "address", "show", "dev", "ext0"]).stdout

    def lose_power(self) -> None:
        """Take every link down at once, as far as the others can tell."""
        links = "".join(f"link set {name} down\n" for name in ("int0", "ext0", "sync0"))
        self.host.run(["ip", "-batch", "-"], stdin=links)


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Lab, Node, Node]]:
    """Yield a lab with the active and the standby node."""
    with Lab.build(f"t{os.getpid()}-pair", is_pair=True) as lab:
        assert lab.standby is not None
        nodes = [Node(lab, lab.gateway, 1), Node(lab, lab.standby, 2)]
        until(lambda: any(node.is_active for node in nodes), "no node takes the virtual address")
        nodes.sort(key=lambda node: not node.is_active)
        yield lab, nodes[0], nodes[1]
        for node in nodes:
            node.gateway.stop()


def adopted(node: Node) -> int:
    """Return how many transfers of the other node are in the list of this one."""
    done = node.gateway.ask("transfers", "list", "--json")
    rows = json.loads(done.stdout)["transfers"] if done.returncode == 0 else []
    return sum(row["is_adopted"] for row in rows)


@pytest.mark.parametrize(
    "size", [128 * MIB, pytest.param(1000 * MIB, marks=pytest.mark.soak)], ids=["128MiB", "1GB"]
)
def test_a_transfer_survives_the_loss_of_the_active_gateway(
    pair: tuple[Lab, Node, Node], tmp_path: Path, size: int
) -> None:
    lab, active, standby = pair
    server = FtpServer("vsftpd", lab.server, lab.folder / "vsftpd", 21)
    here, there = tmp_path / "here", server.folder / "big.bin"
    fill(there, size)
    account = server.account(4)
    url = f"ftp://{account.user}:{account.password}@{account.address}/{there.name}"
    argv = ["curl", "--silent", "--ftp-port", "-", "--disable-eprt", "--limit-rate", "40M"]
    client = lab.client.popen([*argv, "--keepalive-time", "2", "--output", str(here), url])
    until(lambda: here.exists() and here.stat().st_size > size // 8, "the transfer does not run")
    active.lose_power()
    until(lambda: standby.is_active, "the standby does not take over")
    until(lambda: adopted(standby) == 1, "the transfer is not in the list of the other node")
    # At half the rate that curl was told, beside the take-over.
    seconds = PATIENCE + size / (20 * MIB)
    until(lambda: here.stat().st_size == size, "the transfer does not go on", seconds)
    end(client)
    server.stop()

    assert digest(here) == digest(there)
    assert standby.gateway.process.poll() is None


def test_clients_work_with_the_standby_once_it_is_active(
    pair: tuple[Lab, Node, Node], tmp_path: Path
) -> None:
    lab, active, standby = pair
    server = FtpServer("vsftpd", lab.server, lab.folder / "vsftpd", 21)
    there = server.folder / "small.bin"
    fill(there, 100_000)
    active.lose_power()
    until(lambda: standby.is_active, "the standby does not take over")
    account = server.account(4)
    here = tmp_path / "here"
    url = f"ftp://{account.user}:{account.password}@{account.address}/{there.name}"
    argv = ["curl", "--silent", "--ftp-port", "-", "--disable-eprt", "--output", str(here), url]
    result: subprocess.CompletedProcess[str] = lab.client.run(argv, check=False)
    server.stop()

    assert (result.returncode, digest(here)) == (0, digest(there))
    assert any(f'"proxy":"{VIRTUAL}:' in line for line in standby.gateway.journal())
