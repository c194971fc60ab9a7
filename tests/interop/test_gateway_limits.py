"""What only the whole gateway can show: crowds, thousands of cycles, death, neighbours."""

import hashlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.interop.matrix import GiveServer
from tests.interop.office import configuration
from tests.interop.rawftp import RawFtp, read_all

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]

MIB = 1024 * 1024


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


CONFIGURATION = configuration(
    gateway='port_range = "40000-40999"', rule="max_bindings_per_client = 200"
)


@pytest.fixture
def crowded(lab: Lab) -> Iterator[RunningGateway]:
    """Run a gateway whose rule lets one client have 200 bindings, of 1000 ports in all."""
    file = lab.folder / "crowded.toml"
    file.write_text(CONFIGURATION, encoding="ascii")
    running = RunningGateway(lab, ("--config", str(file)), name="crowded")
    yield running
    running.stop()


@pytest.fixture
def gateway(lab: Lab) -> Iterator[RunningGateway]:
    """Run a gateway for one test: here some of them end it."""
    running = RunningGateway(lab)
    yield running
    running.stop()


def asked(gateway: RunningGateway, *verb: str) -> Any:  # noqa: ANN401 - JSON
    return json.loads(gateway.ask(*verb, "--json").stdout)


def processes(gateway: RunningGateway) -> list[int]:
    """Return the process ids of the supervisor and its workers."""
    workers = asked(gateway, "status")["workers"]
    return [gateway.process.pid, *(worker["pid"] for worker in workers)]


def descriptors(gateway: RunningGateway) -> int:
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in processes(gateway))


def resident_bytes(gateway: RunningGateway) -> int:
    pages = 0
    for pid in processes(gateway):
        pages += int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def tables(lab: Lab) -> list[str]:
    return lab.gateway.run(["nft", "list", "tables"]).stdout.splitlines()


def elements(lab: Lab) -> list[str]:
    """Return the lines of the pins table that hold elements: the open pinholes."""
    listing = lab.gateway.run(["nft", "list", "table", "inet", "sallyport_pins0"]).stdout
    return [line.strip() for line in listing.splitlines() if "elements" in line]


@pytest.mark.parametrize("family", [4, 6])
def test_200_control_connections_at_once_each_get_their_own_file(
    family: int, lab: Lab, crowded: RunningGateway, server_of: GiveServer
) -> None:
    server = server_of("vsftpd")
    contents = [os.urandom(64 * 1024) for _ in range(200)]
    for number, content in enumerate(contents):
        (server.folder / f"crowd-{number}").write_bytes(content)
    clients = [lab.clients[number % 2] for number in range(200)]
    # All are logged in before the first one transfers.
    connections = [RawFtp(client, server, family) for client in clients]

    with ThreadPoolExecutor(200) as pool:
        names = [b"crowd-%d" % number for number in range(200)]
        digests = list(pool.map(RawFtp.fetch, connections, names))
    controls = asked(crowded, "status")["controls"]
    for connection in connections:
        connection.close()

    assert digests == [sha256(content) for content in contents]
    assert controls == 200


@pytest.mark.parametrize("family", [4, 6])
def test_f12_every_split_of_a_port_line_works(
    family: int, lab: Lab, gateway: RunningGateway, server_of: GiveServer
) -> None:
    server = server_of("vsftpd")
    (server.folder / "small").write_bytes(b"split")

    with RawFtp(lab.client, server, family) as ftp, ftp.listening() as (_, command):
        line = command + b"\r\n"
        for place in range(1, len(line)):
            ftp.send(line[:place])
            ftp.send(line[place:])
            assert ftp.reply().startswith(b"200"), place
        assert ftp.fetch(b"small") == sha256(b"split")


@pytest.mark.parametrize("family", [4, 6])
def test_f13_commands_sent_ahead_in_one_segment_are_all_served(
    family: int, lab: Lab, gateway: RunningGateway, server_of: GiveServer
) -> None:
    server = server_of("vsftpd")
    (server.folder / "ahead").write_bytes(b"pipelined")

    with RawFtp(lab.client, server, family) as ftp, ftp.listening() as (listener, command):
        ftp.send(b"NOOP\r\n" + command + b"\r\nRETR ahead\r\nNOOP\r\n")
        assert ftp.reply().startswith(b"200")
        assert ftp.reply().startswith(b"200")
        assert ftp.reply().startswith(b"150")
        assert read_all(listener) == sha256(b"pipelined")
        assert ftp.reply().startswith(b"226")
        assert ftp.reply().startswith(b"200")


def test_10_000_cycles_leave_nothing_behind(
    lab: Lab, crowded: RunningGateway, server_of: GiveServer
) -> None:
    server = server_of("vsftpd")
    (server.folder / "byte").write_bytes(b"x")
    digest = sha256(b"x")

    def cycles(count: int) -> tuple[int, int]:
        with RawFtp(lab.client, server) as ftp:
            for _ in range(count):
                assert ftp.fetch(b"byte") == digest
        crowded.settle()
        return descriptors(crowded), resident_bytes(crowded)

    # The first cycles use every port once and fill caches: free lists, the allocator's arenas.
    before = cycles(2_000)
    after = cycles(8_000)

    # One more at most: the connection that asked for the status may still be closing.
    assert after[0] <= before[0] + 1
    # 64 bytes a cycle would already show.
    assert after[1] - before[1] < MIB // 2
    assert asked(crowded, "bindings", "list")["bindings"] == []
    assert elements(lab) == []
    assert crowded.stop() == 0


def test_x06_a_killed_gateway_closes_its_pinholes_and_lets_the_transfer_finish(
    lab: Lab, gateway: RunningGateway, server_of: GiveServer
) -> None:
    gateway.stop()
    forwarding = lab.gateway.run(["sysctl", "-n", "net.ipv4.ip_forward"]).stdout
    server = server_of("vsftpd")
    content = os.urandom(MIB) * 256
    (server.folder / "big").write_bytes(content)
    doomed = RunningGateway(lab, name="doomed")

    with (
        RawFtp(lab.client, server) as ftp,
        RawFtp(lab.client, server) as waiting,
        ftp.listening() as (listener, command),
        waiting.listening() as (_, unused),
    ):
        waiting.ask(unused, b"200")
        ftp.ask(command, b"200")
        ftp.ask(b"RETR big", b"150")
        data, _ = listener.accept()
        received = hashlib.sha256(data.recv(16 * MIB, socket.MSG_WAITALL))
        assert len(elements(lab)) > 0

        os.kill(doomed.process.pid, signal.SIGKILL)
        doomed.process.wait(10)
        # The workers die with their supervisor, a moment later, and each takes its table along.
        limit = time.monotonic() + 5
        while (left := tables(lab)) != ["table inet sallyport"]:
            assert time.monotonic() < limit, left
        successor = RunningGateway(lab, name="doomed")
        with data:
            while block := data.recv(MIB):
                received.update(block)

    assert received.hexdigest() == sha256(content)
    with RawFtp(lab.client, server) as ftp:
        assert ftp.fetch(b"big") == sha256(content)
    successor.stop()
    assert tables(lab) == []
    assert lab.gateway.run(["sysctl", "-n", "net.ipv4.ip_forward"]).stdout == forwarding
