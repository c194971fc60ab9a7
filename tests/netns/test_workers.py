"""Several workers: each client has its own, and what happens to one happens to no other."""

import os
import select
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

import pytest
from tests.interop.matrix import GiveServer
from tests.interop.office import configuration
from tests.interop.rawftp import RawFtp
from tests.netns.test_daemon import asked, drain, traces
from tests.ops.config.offered import write

from sallyport.kernel.sharding import worker_of
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import wait_until
from sallyport.lab.network import Lab
from sallyport.lab.servers import FtpServer

pytestmark = [pytest.mark.netns, pytest.mark.interop]

# With three, the lab's clients have one each: the second 10.0.0.8, the third 10.0.0.9, and the
# first everything of IPv6, since that is one /64.
WORKERS = 3

# Hangs whoever connects while the file is there, and lets nothing end it.
HANGING = """
import time
from pathlib import Path
from sallyport.api import ApplicationFilter, ConnectTcp, Hooks, SessionFilter, Scope


class Hanging(ApplicationFilter):
    name = "hanging"
    api_version = 1
    hooks = Hooks.of(ConnectTcp, scope=Scope.ANY_PROTOCOL)

    def attach_to_session(self, session):
        return HangingSession()


class HangingSession(SessionFilter):
    async def on_event(self, event):
        while Path({trap!r}).exists():
            try:
                time.sleep(3600)
            except BaseException:
                pass
"""


class Office:
    """A gateway with three workers, and a filter that hangs while `trap` exists."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.trap = folder / "trap"
        file = folder / "sallyport.toml"
        hanging = '[filters.hanging]\npath = "hanging.py"\n'
        file.write_text(configuration(gateway=f"workers = {WORKERS}", rest=hanging))
        write(folder / "hanging.py", HANGING.format(trap=str(self.trap)))
        self.gateway = RunningGateway(lab, ["--config", str(file)])

    def worker(self, client: int) -> dict[str, object]:
        """Return the row of the worker of one of the lab's IPv4 clients."""
        number = worker_of(self.lab.clients[client].address4, WORKERS)
        row: dict[str, object] = asked(self.gateway, "status")["workers"][number]
        return row

    def is_replaced(self, client: int) -> bool:
        """Whether that worker has been replaced and serves again."""
        row = self.worker(client)
        return row["restarts"] == 1 and row["state"] == "serving"

    def until_replaced(self, client: int) -> None:
        """Wait until it is."""
        process, log = self.gateway.process, self.gateway.log
        wait_until(process, lambda: self.is_replaced(client), log, "the worker is not replaced")


@pytest.fixture
def office(lab: Lab, tmp_path: Path) -> Iterator[Office]:
    made = Office(lab, tmp_path)
    yield made
    made.gateway.stop()


def begin(ftp: RawFtp) -> socket.socket:
    """Begin an active transfer of the file `endless`; return its data connection."""
    with ftp.listening() as (listener, command):
        ftp.ask(command, b"200")
        ftp.ask(b"RETR endless", b"150")
        return listener.accept()[0]


def connected(lab: Lab, server: FtpServer) -> socket.socket:
    """Connect the first client to a server's control port, and say nothing."""
    with lab.clients[0].entered():
        return socket.create_connection((str(server.account(4).address), 21))


@contextmanager
def open_pidfd(pid: int) -> Iterator[int]:
    """Open a descriptor that is readable when a process has ended."""
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def kill_worker(office: Office, client: int) -> None:
    pid = office.worker(client)["pid"]
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGKILL)


def test_a_client_is_served_by_the_worker_that_its_address_says(
    lab: Lab, office: Office, server_of: GiveServer
) -> None:
    server = server_of("vsftpd")
    (server.folder / "small").write_bytes(b"through")
    whom = [(lab.clients[0], 4), (lab.clients[1], 4), (lab.client, 6)]
    connections = [RawFtp(client, server, family) for client, family in whom]

    fetched = [(ftp.fetch(b"small"), ftp.fetch_passively(b"small")) for ftp in connections]
    sessions = asked(office.gateway, "sessions", "list")["sessions"]
    shown = asked(office.gateway, "sessions", "show", sessions[0]["id"])["sessions"]
    for connection in connections:
        connection.close()

    assert len({result for both in fetched for result in both}) == 1
    expected = {
        str(client.address(family)): f"w{worker_of(client.address(family), WORKERS) + 1}"
        for client, family in whom
    }
    assert len(set(expected.values())) == WORKERS
    assert {row["client"]: row["id"].partition(".")[0] for row in sessions} == expected
    assert shown[0]["id"] == sessions[0]["id"]
    said = [line for line in office.gateway.journal() if '"connect.accepted"' in line]
    assert [f'"worker":{n}' in line for n, line in zip((2, 3, 1), said, strict=True)] == [True] * 3


def test_a_worker_that_is_killed_costs_its_own_clients_alone(
    lab: Lab, office: Office, server_of: GiveServer
) -> None:
    server = server_of("vsftpd")
    (server.folder / "endless").write_bytes(bytes(64 * 1024 * 1024))
    with RawFtp(lab.clients[0], server) as ours, RawFtp(lab.clients[1], server) as theirs:
        with begin(ours) as our_data, begin(theirs) as their_data:
            kill_worker(office, 0)
            began = monotonic()
            with RawFtp(lab.clients[0], server) as again:
                again.ask(b"NOOP", b"200")
                served_after = monotonic() - began

            drain(our_data)  # an end of stream, not a reset: admitted flows are the kernel's
            drain(their_data)
            assert theirs.reply().startswith(b"226")
            theirs.ask(b"NOOP", b"200")
        with pytest.raises(ConnectionResetError):
            ours.reply()
    office.until_replaced(0)

    assert served_after < 5
    assert office.worker(1)["restarts"] == 0


def test_a_worker_that_hangs_is_replaced_and_other_clients_do_not_notice(
    lab: Lab, office: Office, server_of: GiveServer
) -> None:
    server = server_of("vsftpd")
    (server.folder / "small").write_bytes(b"through")
    with RawFtp(lab.clients[1], server) as theirs:
        office.trap.touch()
        with connected(lab, server) as ours:
            began, slowest = monotonic(), 0.0
            while not office.is_replaced(0):
                before = monotonic()
                theirs.fetch(b"small")
                slowest = max(slowest, monotonic() - before)
            ours.settimeout(5)
            with pytest.raises(ConnectionResetError):
                ours.recv(1)
        office.trap.unlink()
        with RawFtp(lab.clients[0], server) as again:
            again.fetch(b"small")
        served_after = monotonic() - began

    assert slowest < 2
    assert served_after < 12  # silent for five seconds, then served within five
    events = office.gateway.journal()
    assert any('"worker.failed"' in line and "it hangs" in line for line in events)


def test_a_hung_worker_does_not_keep_the_gateway_from_stopping(
    lab: Lab, tmp_path: Path, server_of: GiveServer
) -> None:
    server = server_of("vsftpd")
    before = traces(lab)
    office = Office(lab, tmp_path)
    office.trap.touch()
    with connected(lab, server):
        os.kill(office.gateway.process.pid, signal.SIGTERM)
        office.gateway.process.wait(12)

    assert office.gateway.process.returncode == 0
    assert traces(lab) == before


def test_when_the_supervisor_is_killed_no_worker_stays(lab: Lab, office: Office) -> None:
    pids = [row["pid"] for row in asked(office.gateway, "status")["workers"]]

    office.gateway.kill()

    for pid in pids:
        with suppress(ProcessLookupError), open_pidfd(pid) as end:
            assert select.select([end], [], [], 5)[0], f"process {pid} goes on"
    assert "sallyport_pins" not in lab.gateway.run(["nft", "list", "tables"]).stdout
