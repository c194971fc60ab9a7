"""Stopping a gateway that has transfers under way."""

import json
import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

import pytest
from tests.interop.matrix import GiveServer
from tests.interop.office import configuration
from tests.interop.rawftp import RawFtp
from tests.netns.test_adoption import begin_passively
from tests.netns.test_daemon import drain, traces
from tests.netns.test_workers import begin

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]


def term(gateway: RunningGateway) -> None:
    os.kill(gateway.process.pid, signal.SIGTERM)


def verb(gateway: RunningGateway) -> None:
    done = gateway.ask("drain", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["drain_seconds"] == 20


def start(lab: Lab, folder: Path, seconds: float) -> RunningGateway:
    file = folder / "sallyport.toml"
    file.write_text(configuration(gateway=f"drain_seconds = {seconds}"))
    return RunningGateway(lab, ["--config", str(file)], name=folder.name)


def refused(lab: Lab, address: object) -> bool:
    with lab.clients[1].entered():
        try:
            socket.create_connection((str(address), 21), 5).close()
        except (ConnectionRefusedError, ConnectionResetError):
            return True
    return False


@pytest.mark.parametrize("stop", [term, verb])
def test_a_running_transfer_is_finished_and_nothing_new_begins(
    stop: Callable[[RunningGateway], None], lab: Lab, tmp_path: Path, server_of: GiveServer
) -> None:
    server = server_of("vsftpd")
    (server.folder / "endless").write_bytes(bytes(32 * 1024 * 1024))
    before = traces(lab)
    gateway = start(lab, tmp_path, 20)
    with RawFtp(lab.client, server) as idle, RawFtp(lab.client, server) as ftp:
        with begin(ftp) as data:
            stop(gateway)
            while not refused(lab, server.account(4).address):
                pass
            assert gateway.process.poll() is None
            drain(data)
        assert ftp.reply().startswith(b"226")
        gateway.process.wait(10)
        with pytest.raises(ConnectionResetError):
            idle.reply()

    assert gateway.process.returncode == 0
    assert traces(lab) == before
    [sum_of_it] = [line for line in gateway.journal() if '"binding.closed"' in line]
    assert json.loads(sum_of_it)["from_peer_bytes"] >= 32 * 1024 * 1024


@pytest.mark.parametrize(("seconds", "signals"), [(1, 1), (60, 2)])
def test_what_still_runs_then_is_reset_at_both_ends(
    seconds: float, signals: int, lab: Lab, tmp_path: Path, server_of: GiveServer
) -> None:
    server = server_of("vsftpd")
    (server.folder / "endless").write_bytes(bytes(64 * 1024 * 1024))
    gateway = start(lab, tmp_path, seconds)
    skip = len(gateway.journal())
    with ExitStack() as ends:
        transfers = []
        for family in (4, 6):
            ftp = ends.enter_context(RawFtp(lab.client, server, family))
            passive = ends.enter_context(RawFtp(lab.client, server, family))
            begun = begin(ftp), begin_passively(passive, lab, server, family)
            transfers += [ends.enter_context(data) for data in begun]
        began = monotonic()
        for _ in range(signals):
            term(gateway)
            while not any('"gateway.stopping"' in line for line in gateway.journal(skip)):
                pass
        gateway.process.wait(15)
        took = monotonic() - began
        for data in transfers:
            with pytest.raises(ConnectionResetError):
                drain(data)

    assert gateway.process.returncode == 0
    assert took < 10
    events = '"event":"binding.closed"', '"event":"connect.secondary_closed"'
    lines = [line for line in gateway.journal(skip) if any(event in line for event in events)]
    ended = list(map(json.loads, lines))
    assert [line["reason"] for line in ended] == ["gateway-stopping"] * len(transfers)
    moved = [line.get("from_peer_bytes", line.get("to_client_bytes")) for line in ended]
    assert min(moved) > 0


@pytest.mark.parametrize("family", [4, 6])
def test_workers_are_renewed_without_a_failed_transfer(
    family: int, lab: Lab, tmp_path: Path, server_of: GiveServer
) -> None:
    server = server_of("vsftpd")
    (server.folder / "small").write_bytes(b"through")
    gateway = start(lab, tmp_path, 5)
    first = json.loads(gateway.ask("status", "--json").stdout)["workers"][0]["pid"]
    with RawFtp(lab.client, server, family) as before:
        transfers = 0
        for generation in range(1, 4):
            os.kill(gateway.process.pid, signal.SIGUSR2)
            while sum('"gateway.reloaded"' in line for line in gateway.journal()) < generation:
                with RawFtp(lab.clients[1], server, family) as ftp:
                    assert ftp.fetch(b"small") == ftp.fetch_passively(b"small")
                transfers += 2
        assert before.fetch(b"small") == before.fetch_passively(b"small")
        rows = json.loads(gateway.ask("status", "--json").stdout)["workers"]
        assert first in {row["pid"] for row in rows if row["state"] == "outgoing"}
        assert [row["number"] for row in rows if row["state"] == "serving"] == [4]

    assert transfers > 5
    assert gateway.stop() == 0
