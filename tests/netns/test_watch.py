"""`events` and `trace` beside real transfers, of all workers, and what a slow reader costs."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.interop.matrix import GiveServer
from tests.interop.office import configuration
from tests.interop.rawftp import RawFtp

from sallyport.lab.gateway import RunningGateway, sallyport
from sallyport.lab.host import end, wait_until
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns, pytest.mark.interop]


@pytest.fixture(scope="module")
def gateway(lab: Lab) -> Iterator[RunningGateway]:
    """Run two workers: clients are spread, and streams are merged."""
    file = lab.folder / "watch.toml"
    file.write_text(configuration(gateway="workers = 2"))
    running = RunningGateway(lab, ["--config", str(file)], name="watch")
    yield running
    running.stop()


@contextmanager
def watching(
    gateway: RunningGateway, output: Path, happens: Callable[[], object], *arguments: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command that watches; what it prints is in `output`.

    It watches when it has printed something that `happens`, which is called again and again.
    """

    def does_watch() -> bool:
        happens()
        return bool(records(output))

    argv = [*sallyport(), *arguments, "--control-socket", str(gateway.control_socket)]
    process = gateway.host.popen(argv, log=output)
    try:
        wait_until(process, does_watch, output, "it does not watch")
        yield process
    finally:
        end(process)


def records(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.read_text().splitlines() if line.endswith("}")]


def after(output: Path, word: str) -> str:
    """Return what was printed behind the last line with a word; nothing before there is one."""
    _, found, rest = output.read_text().rpartition(word)
    return rest if found else ""


def fetch(lab: Lab, number: int, server_of: GiveServer) -> None:
    """Let a client transfer once, in active mode."""
    server = server_of("vsftpd")
    (server.folder / "watched").write_bytes(b"x" * 1000)
    with RawFtp(lab.clients[number], server) as ftp, ftp.listening() as (listener, command):
        ftp.ask(command, b"200")
        ftp.ask(b"RETR watched", b"150")
        data, _peer = listener.accept()
        with data:
            assert data.recv(10) == b"x" * 10
        ftp.reply()


def test_a_trace_shows_the_dialogue_the_decisions_and_the_kernels_work_of_one_client(
    lab: Lab, gateway: RunningGateway, server_of: GiveServer, tmp_path: Path
) -> None:
    output = tmp_path / "trace"

    def log_in() -> None:
        RawFtp(lab.client, server_of("vsftpd")).__exit__()

    client = str(lab.client.address4)
    with watching(gateway, output, log_in, "trace", "--json", "--client", client) as process:
        fetch(lab, 1, server_of)
        fetch(lab, 0, server_of)
        wait_until(
            process, lambda: "connect.closed" in after(output, "PORT "), output, "it is not traced"
        )

    found = records(output)
    said = [(one["sender"], one["text"]) for one in found if one["event"] == "trace.said"]
    ports = [text for _sender, text in said if text.startswith("PORT ")]
    assert ports[0].startswith("PORT 10,0,0,8,")
    assert ports[1].startswith("PORT 203,0,113,1,")
    assert ("client", "USER ***") in said
    assert not any(server_of("vsftpd").account(4).user in text for _sender, text in said)
    (bind,) = [one for one in found if one.get("asked") == "bind"]
    assert any(step.startswith("within max_bindings_per_client") for step in bind["steps"])
    opened = [one for one in found if one["event"] == "trace.carried_out"]
    assert opened[0]["action"] == "open"
    assert 0 < opened[0]["microseconds"] < 1_000_000
    assert {"binding.armed", "binding.established", "connect.closed"} <= {
        one["event"] for one in found
    }
    assert {one["client"].partition(":")[0] for one in found if "server" in one} == {client}


def test_events_are_those_of_all_workers_and_of_the_supervisor(
    lab: Lab, gateway: RunningGateway, server_of: GiveServer, tmp_path: Path
) -> None:
    output = tmp_path / "events"
    with watching(gateway, output, lambda: gateway.ask("reload"), "events") as process:
        for number in (0, 1):
            fetch(lab, number, server_of)
        wait_until(
            process,
            lambda: output.read_text().count("connect.closed") >= 2,
            output,
            "events are missing",
        )

    found = records(output)
    assert not any(one["event"].startswith("trace.") for one in found)
    assert {one["event"] for one in found} >= {"gateway.reloaded", "binding.reserved"}
    assert sum(one["event"] == "binding.closed" for one in found) == 2


def test_one_who_does_not_read_stops_nobody(
    lab: Lab, gateway: RunningGateway, server_of: GiveServer, tmp_path: Path
) -> None:
    output = tmp_path / "stopped"
    with watching(gateway, output, lambda: fetch(lab, 1, server_of), "trace", "--json") as process:
        process.send_signal(19)  # SIGSTOP
        for _ in range(20):
            fetch(lab, 0, server_of)
        process.send_signal(18)  # SIGCONT

    assert gateway.ask("status").returncode == 0
