"""Restart after restart under clients that transfer without a pause: none of them notices."""

import hashlib
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from tests.interop.matrix import GiveServer
from tests.interop.office import configuration
from tests.interop.publishing import published
from tests.interop.rawftp import RawFtp
from tests.netns.test_daemon import traces

from sallyport.lab.clients import TransferDirection, digest
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.network import Lab
from sallyport.lab.servers import FtpServer
from sallyport.lab.tftp import TftpJob, TftpServer, transfer

pytestmark = [pytest.mark.netns, pytest.mark.interop]

CONTENT = bytes(range(256)) * 40
DIGEST = hashlib.sha256(CONTENT).hexdigest()
NUMBERS = count(1)
PUBLISHED = """
[[publishing_rules]]
name = "ours"
protocol = "ftp-server"
listen = "203.0.113.1:21"
server = "10.0.0.8:21"

[[publishing_rules]]
name = "ours 6"
protocol = "ftp-server"
listen = "[fd00:a::8]:21"
server = "[fd00:a::8]:21"
"""
# Without one, two processors have nothing left for the gateways that start.
PAUSE_SECONDS = 0.05

Fetch = Callable[[RawFtp, bytes], str]


class Network:
    """The servers and what clients do with them."""

    def __init__(self, lab: Lab, outside: FtpServer, inside: FtpServer, tftp: TftpServer) -> None:
        self.lab = lab
        self.outside = outside
        self.inside = inside
        self.tftp = tftp

    def visits(self) -> list[Callable[[], str]]:
        """Return one of each kind: what a client does once, which gives the digest of a file."""
        made: list[Callable[[], str]] = []
        for family in (4, 6):
            for fetch in (RawFtp.fetch, RawFtp.fetch_passively):
                made += [self._ftp(family, fetch), self._published(family, fetch)]
            made.append(self._tftp(family))
        return made

    def _ftp(self, family: int, fetch: Fetch) -> Callable[[], str]:
        def visit() -> str:
            with RawFtp(self.lab.clients[1], self.outside, family) as ftp:
                return fetch(ftp, b"file")

        return visit

    def _published(self, family: int, fetch: Fetch) -> Callable[[], str]:
        def visit() -> str:
            account = published(self.lab, self.inside, family)
            with RawFtp(self.lab.servers[3], self.inside, family, account=account) as ftp:
                return fetch(ftp, b"file")

        return visit

    def _tftp(self, family: int) -> Callable[[], str]:
        def visit() -> str:
            file = self.lab.folder / f"tftp-{threading.get_ident()}"
            file.unlink(missing_ok=True)
            address = self.tftp.host.address(family)
            job = TftpJob(address, TransferDirection.DOWNLOAD, "file", file)
            outcome = transfer("curl", self.lab.clients[1], job)
            return digest(file) if outcome.error == "" else outcome.error

        return visit


@pytest.fixture
def network(lab: Lab, server_of: GiveServer) -> Iterator[Network]:
    outside = server_of("vsftpd")
    inside = FtpServer("vsftpd", lab.clients[0], lab.folder / "inside", 21)
    tftp = TftpServer("tftpd-hpa", lab.servers[2], lab.folder / "tftp")
    for server in (outside, inside, tftp):
        (server.folder / "file").write_bytes(CONTENT)
    yield Network(lab, outside, inside, tftp)
    inside.stop()
    tftp.stop()


@contextmanager
def load(network: Network, clients: int) -> Iterator[list[str]]:
    """Let clients visit the servers over and over; yield what they got so far."""
    got: list[str] = []
    over = threading.Event()

    def work(visit: Callable[[], str]) -> None:
        while not over.wait(PAUSE_SECONDS):
            try:
                got.append(visit())
            except Exception as error:  # noqa: BLE001 - every fault counts
                got.append(repr(error))

    visits = network.visits()
    threads = [
        threading.Thread(target=work, args=(visits[number % len(visits)],))
        for number in range(clients)
    ]
    for thread in threads:
        thread.start()
    try:
        yield got
    finally:
        over.set()
        for thread in threads:
            thread.join()


class Gateways:
    """One gateway after another, with one control socket and one log."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self._lab = lab
        self._name = f"restarts{next(NUMBERS)}"
        file = folder / "sallyport.toml"
        keys = "workers = 2\ndrain_seconds = 20"
        protocols = ("ftp", "tftp")
        # All clients are two hosts, and a TFTP transfer holds its port until it has been silent.
        rule = "max_bindings_per_client = 10000"
        text = configuration(gateway=keys, protocols=protocols, rule=rule, rest=PUBLISHED)
        file.write_text(text)
        self._arguments = ["--config", str(file)]
        self.now = RunningGateway(lab, self._arguments, name=self._name)

    def stop(self) -> None:
        """Stop the last of them."""
        assert self.now.stop() == 0

    def succeed(self) -> None:
        """Let another gateway take over."""
        before = self.now
        arguments = [*self._arguments, "--takeover"]
        self.now = RunningGateway(self._lab, arguments, name=self._name)
        self._until(lambda: self.status()["pid"] == self.now.process.pid)
        assert before.process.wait(5) == 0

    def renew(self) -> None:
        """Let new workers take over."""
        before = {row["pid"] for row in self.serving()}
        os.kill(self.now.process.pid, signal.SIGUSR2)
        self._until(lambda: before.isdisjoint(row["pid"] for row in self.serving()))

    def status(self) -> dict[str, Any]:
        done = self.now.ask("status", "--json")
        status: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {"pid": 0}
        return status

    def serving(self) -> list[dict[str, Any]]:
        rows = self.status().get("workers", [])
        return [row for row in rows if row["state"] == "serving"]

    def descriptors(self) -> int:
        """Return how many descriptors the supervisor and the workers that serve have."""
        pids = [self.now.process.pid, *(row["pid"] for row in self.serving())]
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)

    def until_at_rest(self) -> None:
        """Wait until nothing of the clients is left, and no old worker; TFTP takes a minute."""
        until = monotonic() + 100
        while monotonic() < until:
            status = self.status()
            if status["sessions"] == 0 and len(status["workers"]) == 2:
                return
            threading.Event().wait(0.5)
        raise AssertionError(self.status())

    def said(self) -> list[str]:
        """Return what the gateways say besides records."""
        return [line for line in self.now.journal() if not line.startswith("{")]

    def refusals(self) -> list[str]:
        """Return what the log has of the first refusals."""
        return [line for line in self.now.journal() if '.refused"' in line][:5]

    def sums(self) -> int:
        """Return how many transfers of the whole file the log has."""
        found = 0
        for line in self.now.journal():
            if any(event in line for event in ("binding.closed", "_closed", "transfer.closed")):
                record = json.loads(line)
                sides = [value for key, value in record.items() if key.endswith("_bytes")]
                found += max(sides, default=0) >= len(CONTENT)
        return found

    def _until(self, condition: Callable[[], bool]) -> None:
        """Wait for a new generation, which gets what processors the clients leave it."""
        until = monotonic() + 60
        while not condition():
            assert monotonic() < until, self.said()[-3:]
            threading.Event().wait(0.1)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "plan",
    [(10, 2, 0.5), pytest.param((20, 12, 10.0), marks=pytest.mark.soak)],
    ids=["two", "two minutes"],
)
def test_no_transfer_fails_nothing_leaks_and_every_sum_is_recorded(
    plan: tuple[int, int, float], lab: Lab, tmp_path: Path, network: Network
) -> None:
    clients, restarts, seconds = plan
    host = traces(lab)
    with ExitStack() as undo:
        gateways = Gateways(lab, tmp_path)
        undo.callback(gateways.stop)
        descriptors = gateways.descriptors()
        with load(network, clients) as got:
            for number in range(restarts):
                threading.Event().wait(seconds)
                (gateways.renew if number & 1 else gateways.succeed)()
            threading.Event().wait(seconds)
        if seconds > 1:
            gateways.until_at_rest()
            assert gateways.descriptors() <= descriptors + 2
            elements = lab.gateway.run(["nft", "-j", "list", "ruleset"]).stdout
            assert '"elem"' not in elements.replace('"elem": []', "")

    assert gateways.refusals() == []
    assert set(got) == {DIGEST}, [one for one in got if one != DIGEST][:3]
    assert gateways.sums() == len(got)
    assert traces(lab) == host
