"""One of two workers dies or hangs under load: the clients of the other one lose nothing."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest
from tests.interop.matrix import GiveServer
from tests.interop.office import configuration
from tests.interop.rawftp import RawFtp
from tests.netns.test_daemon import asked
from tests.ops.config.offered import write

from sallyport import limits
from sallyport.kernel.sharding import worker_of
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import wait_until
from sallyport.lab.network import Lab
from sallyport.lab.servers import FtpServer

pytestmark = [pytest.mark.netns, pytest.mark.interop]

WORKERS = 2

# Does what the file says to the IPv4 client that connects next, once.
FAULTY = """
import ctypes
import time
from pathlib import Path
from sallyport.api import ApplicationFilter, ConnectTcp, Hooks, SessionFilter, Scope

TRAP = Path({trap!r})


def loop_in_c():
    sum(range(10**13))


def swallow_everything():
    while True:
        try:
            time.sleep(3600)
        except BaseException:
            pass


def crash():
    ctypes.string_at(0)


def want_8_gb():
    bytearray(8 * 1024**3)


class Faulty(ApplicationFilter):
    name = "faulty"
    api_version = 1
    hooks = Hooks.of(ConnectTcp, scope=Scope.ANY_PROTOCOL)

    def attach_to_session(self, session):
        return FaultySession(session.client_address)


class FaultySession(SessionFilter):
    def __init__(self, client):
        self.client = client

    async def on_event(self, event):
        if self.client.version == 4 and TRAP.exists():
            fault = TRAP.read_text()
            TRAP.unlink()
            globals()[fault]()
"""


class Faults:
    """A gateway with two workers: one has the IPv4 client, the other those of IPv6."""

    def __init__(self, lab: Lab, folder: Path, server: FtpServer) -> None:
        self.lab = lab
        self.server = server
        self.trap = folder / "trap"
        file = folder / "sallyport.toml"
        faulty = '[filters.faulty]\npath = "faulty.py"\n'
        file.write_text(configuration(gateway=f"workers = {WORKERS}", rest=faulty))
        write(folder / "faulty.py", FAULTY.format(trap=str(self.trap)))
        self.gateway = RunningGateway(lab, ["--config", str(file)], name=folder.name[-30:])

    def row(self, family: int) -> dict[str, object]:
        """Return the row of the worker of one family's client, by `status`."""
        number = worker_of(self.lab.clients[1].address(family), WORKERS)
        row: dict[str, object] = asked(self.gateway, "status")["workers"][number]
        return row

    def visit(self, family: int) -> str:
        """Log in, transfer and leave; return what came."""
        with RawFtp(self.lab.clients[1], self.server, family) as ftp:
            return ftp.fetch(b"small") + ftp.fetch_passively(b"small")

    def until_served(self) -> float:
        """Let the IPv4 client try until it is served; return how many seconds that took."""
        began = monotonic()
        while True:
            try:
                self.visit(4)
            except (OSError, AssertionError):
                assert monotonic() - began < 30
            else:
                return monotonic() - began

    def set_trap(self, fault: str) -> None:
        """Let something happen to the worker of the IPv4 client when that connects next."""
        if fault == "kill":
            pid = self.row(4)["pid"]
            assert isinstance(pid, int)
            os.kill(pid, signal.SIGKILL)
        else:
            self.trap.write_text(fault)


@pytest.fixture
def faults(lab: Lab, tmp_path: Path, server_of: GiveServer) -> Iterator[Faults]:
    server = server_of("vsftpd")
    (server.folder / "small").write_bytes(b"through")
    made = Faults(lab, tmp_path, server)
    yield made
    made.gateway.stop()


@contextmanager
def load(visit: Callable[[], str]) -> Iterator[list[str]]:
    """Let four clients visit without a pause; yield what they got."""
    got: list[str] = []
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            try:
                got.append(visit())
            except Exception as error:  # noqa: BLE001 - every fault counts
                got.append(repr(error))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield got
    finally:
        over.set()
        for thread in threads:
            thread.join()


# Who hangs is noticed after so many seconds of silence, at the next look.
PATIENCE = limits.WORKER_SILENCE_SECONDS + 2 * limits.HEARTBEAT_SECONDS


@pytest.mark.parametrize(
    ("fault", "restarts", "patience"),
    [
        ("kill", 1, 0.0),
        ("crash", 1, 0.0),
        ("loop_in_c", 1, PATIENCE),
        ("swallow_everything", 1, PATIENCE),
        ("want_8_gb", 0, 0.0),
    ],
)
def test_the_other_workers_clients_lose_nothing_and_its_own_are_served_again_in_five_seconds(
    fault: str, restarts: int, patience: float, faults: Faults
) -> None:
    with load(lambda: faults.visit(6)) as got:
        expected = faults.visit(4)
        before = len(got)
        faults.set_trap(fault)

        took = faults.until_served()

        # A fault may be over before any visit that was under way.
        gateway = faults.gateway
        wait_until(gateway.process, lambda: len(got) > before, gateway.log, "the others wait")
    assert set(got) == {expected}
    assert took < patience + 5
    assert faults.row(6)["restarts"] == 0
    assert faults.row(4)["restarts"] == restarts
