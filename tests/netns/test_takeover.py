"""A new supervisor takes the place of the one that runs, and no client notices."""

import json
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from itertools import count, cycle
from pathlib import Path

import pytest
from tests.interop.matrix import GiveServer
from tests.interop.office import configuration
from tests.interop.rawftp import RawFtp
from tests.netns.test_adoption import received
from tests.netns.test_daemon import asked, traces
from tests.netns.test_mappings import request
from tests.netns.test_service import heard, under
from tests.netns.test_workers import begin, open_pidfd

from sallyport import limits
from sallyport.kernel.state_file import STATE_FOLDER
from sallyport.lab.gateway import RunningGateway, sallyport
from sallyport.lab.host import end, wait_until
from sallyport.lab.network import Lab
from sallyport.lab.servers import FtpServer
from sallyport.ops.control.client import request as request_json
from sallyport.ops.control.schema import TakeoverBegun
from sallyport.ops.processes.messages import frame
from sallyport.ops.processes.takeover import Ready

pytestmark = [pytest.mark.netns, pytest.mark.interop]

NUMBERS = count(1)
# Their sockets are handed over with the others.
SOCKS = '[frontends.socks]\nlisten = ["10.0.0.1:1080", "[fd00:a::1]:1080"]\n'
CLIENTS = 8


def arguments(folder: Path, **keys: str) -> list[str]:
    file = folder / "sallyport.toml"
    text = configuration(
        gateway="\n".join(["workers = 2", *(f"{key} = {value}" for key, value in keys.items())]),
        protocols=("ftp", "port-mapping"),
        rest="[frontends.pcp]\n" + SOCKS + f'[frontends.api]\nsocket = "{folder}/api.sock"\n',
    )
    file.write_text(text)
    return ["--config", str(file)]


def start(lab: Lab, folder: Path, **keys: str) -> RunningGateway:
    return RunningGateway(lab, arguments(folder, **keys), name=f"takeover{next(NUMBERS)}")


def takeover_of(
    lab: Lab, folder: Path, gateway: RunningGateway, **keys: str
) -> "subprocess.CompletedProcess[str]":
    """Let another gateway try to take over, which ends at once."""
    argv = [*sallyport(), "run", *arguments(folder, **keys), "--takeover"]
    return lab.gateway.run([*argv, "--control-socket", str(gateway.control_socket)], check=False)


def succeed(lab: Lab, folder: Path, old: RunningGateway) -> RunningGateway:
    """Let another gateway take over, and wait until it has."""
    name = old.control_socket.stem
    new = RunningGateway(lab, [*arguments(folder), "--takeover"], name=name)

    def answers() -> bool:
        done = new.ask("status", "--json")
        return done.returncode == 0 and json.loads(done.stdout)["pid"] == new.process.pid

    wait_until(new.process, answers, new.log, "it does not take over", limits.TAKEOVER_SECONDS)
    assert old.process.wait(limits.TAKEOVER_SECONDS) == 0
    return new


@contextmanager
def load(lab: Lab, server: FtpServer) -> Iterator[list[str]]:
    """Let clients come, transfer and go without a pause; yield what each has done so far."""
    done: list[str] = []
    faults: list[str] = []
    over = threading.Event()

    def work(number: int) -> None:
        family = (4, 6)[number & 1]
        host = lab.clients[number // 2 % 2]
        fetches = cycle([RawFtp.fetch, RawFtp.fetch_passively])
        while not over.is_set():
            try:
                with RawFtp(host, server, family) as ftp:
                    done.append(next(fetches)(ftp, b"small"))
            except Exception as error:  # noqa: BLE001 - every fault counts
                faults.append(repr(error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield done
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert faults == []


def greets(lab: Lab, address: str) -> bool:
    """Whether SOCKS is spoken there: the method is chosen, or none is acceptable (RFC 1928)."""
    with lab.client.entered(), socket.create_connection((address, 1080), 5) as client:
        client.sendall(bytes((5, 1, 0)))
        return client.recv(2)[:1] == bytes((5,))


@contextmanager
def ended_by(pid: int) -> Iterator[None]:
    """Stop the gateway in this process, which is no child of ours, at the end of the block."""
    with open_pidfd(pid) as end:
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(end, signal.SIGTERM)
            assert select.select([end], [], [], 10)[0], f"process {pid} goes on"


@pytest.fixture
def server(server_of: GiveServer) -> FtpServer:
    made = server_of("vsftpd")
    (made.folder / "small").write_bytes(b"through")
    (made.folder / "endless").write_bytes(bytes(16 * 1024 * 1024))
    return made


def test_under_load_no_connection_is_lost_and_the_host_ends_as_it_was(
    lab: Lab, tmp_path: Path, server: FtpServer
) -> None:
    host = traces(lab)
    gateway = start(lab, tmp_path)
    with load(lab, server) as done:
        for _ in range(2):
            before = len(done)
            gateway = succeed(lab, tmp_path, gateway)
            assert len(done) > before
            rows = asked(gateway, "status")["workers"]
            assert sum(row["state"] == "serving" for row in rows) == 2
            assert [greets(lab, address) for address in ("10.0.0.1", "fd00:a::1")] == [True, True]
            assert len(list(tmp_path.glob("api.sock*"))) == 2

    assert gateway.stop() == 0
    assert [line for line in gateway.journal() if '"level":"error"' in line] == []
    assert traces(lab) == host


def test_sessions_transfers_and_mappings_of_before_go_on(
    lab: Lab, tmp_path: Path, server: FtpServer
) -> None:
    gateway = start(lab, tmp_path)
    mapped = request(lab, 4)
    with ExitStack() as ends:
        ftp = ends.enter_context(RawFtp(lab.client, server))
        other = ends.enter_context(RawFtp(lab.client, server, 6))
        data = ends.enter_context(begin(other))
        sessions = asked(gateway, "sessions", "list")["sessions"]

        gateway = succeed(lab, tmp_path, gateway)

        assert ftp.fetch(b"small") == ftp.fetch_passively(b"small")
        assert received(data) == 16 * 1024 * 1024
        assert other.reply().startswith(b"226")
        renewed = request(lab, 4)
        assert (renewed.external, renewed.epoch >= mapped.epoch) == (mapped.external, True)
        # Those of the old workers are still seen, and can be ended.
        shown = {row["id"] for row in asked(gateway, "sessions", "list")["sessions"]}
        assert {row["id"] for row in sessions if row["controls"]} <= shown
        for row in sessions:
            gateway.ask("sessions", "kill", row["id"])
        with pytest.raises(ConnectionResetError):
            ftp.ask(b"NOOP", b"200")

    def is_old_generation_gone() -> bool:
        rows = asked(gateway, "status")["workers"]
        return all(row["state"] == "serving" for row in rows)

    wait_until(gateway.process, is_old_generation_gone, gateway.log, "old workers stay")
    assert gateway.stop() == 0


def test_a_gateway_starts_its_own_successor_and_its_service_manager_goes_on_with_it(
    lab: Lab, tmp_path: Path, server: FtpServer, manager: socket.socket
) -> None:
    host = traces(lab)
    old = RunningGateway(lab, arguments(tmp_path), name="upgrade", wrapper=under(manager))
    heard(manager, "READY=1")
    with ExitStack() as undo:
        undo.callback(old.stop)
        upgrading = undo.enter_context(ThreadPoolExecutor(1))
        with load(lab, server) as done, RawFtp(lab.client, server) as ftp:
            before = len(done)
            told = upgrading.submit(old.ask, "upgrade", "--json")
            pid = int(heard(manager, "MAINPID=")[0].partition("=")[2])
            undo.enter_context(ended_by(pid))

            heard(manager, "READY=1")
            assert json.loads(told.result().stdout)["pid"] == pid
            assert old.process.wait(10) == 0
            assert asked(old, "status")["pid"] == pid
            assert len(done) > before
            assert ftp.fetch(b"small") == ftp.fetch_passively(b"small")
    assert traces(lab) == host


def test_a_successor_that_fails_is_told_and_the_gateway_goes_on(
    lab: Lab, tmp_path: Path, server: FtpServer
) -> None:
    gateway = start(lab, tmp_path)
    file = tmp_path / "sallyport.toml"
    file.write_text(file.read_text() + "nonsense = 1\n")

    done = gateway.ask("upgrade")

    assert (done.returncode, "the old one goes on" in done.stderr) == (1, True), done.stderr
    (record,) = (json.loads(one) for one in gateway.journal() if "not_handed_over" in one)
    assert "exit code 78" in record["problem"]
    assert asked(gateway, "status")["successor"] is None
    with RawFtp(lab.client, server) as ftp:
        assert ftp.fetch(b"small") == ftp.fetch_passively(b"small")
    assert gateway.stop() == 0


@contextmanager
def visited(gateway: RunningGateway) -> Iterator[socket.socket]:
    """Ask a gateway to hand over; yield the connection by which it does."""
    path = str(gateway.control_socket)
    with socket.socket(socket.AF_UNIX) as doorstep:
        doorstep.bind(path + ".next")
        doorstep.listen()
        doorstep.settimeout(10)
        request_json(gateway.control_socket, "takeover", expect=TakeoverBegun)
        sock, _name = doorstep.accept()
        with sock:
            sock.settimeout(10)
            yield sock


def test_one_that_is_told_to_stop_hands_nothing_over_any_more(
    lab: Lab, tmp_path: Path, server: FtpServer
) -> None:
    host = traces(lab)
    gateway = start(lab, tmp_path, drain_seconds="20.0")
    with RawFtp(lab.client, server) as ftp, begin(ftp) as data, visited(gateway) as successor:
        assert gateway.ask("drain").returncode == 0
        wait_until(
            gateway.process,
            lambda: any("gateway.stopping" in line for line in gateway.journal()),
            gateway.log,
            "it does not stop",
        )
        with suppress(ConnectionError):  # as it should be: the gateway has closed it
            successor.sendall(frame(Ready()))
            while said := successor.recv(65536):
                assert b"Crew" not in said

        refused = [gateway.ask("upgrade"), takeover_of(lab, tmp_path, gateway)]
        assert [(one.returncode, "stopping" in one.stderr) for one in refused] == [(1, True)] * 2
        assert received(data) == 16 * 1024 * 1024
        assert gateway.process.wait(10) == 0
    assert traces(lab) == host


# A successor that has everything, and stays just before it serves alone.
STAYS = """
import asyncio, sys, sallyport.cli
from sallyport.ops.processes.fleet import Fleet

async def stay(*_arguments):
    await asyncio.Event().wait()

Fleet._follow_on = stay
sys.exit(sallyport.cli.main())
"""


# A successor that has set up the host, and takes its time before it can say so.
LINGERS = """
import asyncio, sys, sallyport.cli
from sallyport.ops.processes.fleet import Fleet

take = Fleet._take

async def linger(*arguments):
    print("lingers", flush=True)
    await asyncio.sleep(1.5)  # no event of this process tells that the other one is to stop
    return await take(*arguments)

Fleet._take = linger
sys.exit(sallyport.cli.main())
"""


@contextmanager
def succeeding(
    lab: Lab, folder: Path, gateway: RunningGateway, program: str, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Let a gateway that this Python program runs try to take over; end it with the block."""
    argv = [sys.executable, "-c", program, "run", *arguments(folder), "--takeover"]
    argv += ["--control-socket", str(gateway.control_socket)]
    successor = lab.gateway.popen(argv, log=log)
    try:
        yield successor
    finally:
        end(successor)


def test_one_that_is_told_to_stop_takes_away_what_a_successor_has_set_up_as_well(
    lab: Lab, tmp_path: Path
) -> None:
    host = traces(lab)
    gateway = start(lab, tmp_path)
    log = tmp_path / "successor.log"
    with succeeding(lab, tmp_path, gateway, LINGERS, log) as successor:
        wait_until(successor, lambda: "lingers" in log.read_text(), log, "it sets up nothing")
        gateway.process.terminate()
        assert gateway.process.wait(20) == 0
        assert successor.wait(20) == 1
    assert "gave up" in log.read_text()
    assert traces(lab) == host


def test_a_successor_that_is_stopped_before_it_serves_alone_leaves_the_host_as_it_was(
    lab: Lab, tmp_path: Path
) -> None:
    host = traces(lab)
    gateway = start(lab, tmp_path)
    log = tmp_path / "successor.log"
    with succeeding(lab, tmp_path, gateway, STAYS, log) as successor:
        assert gateway.process.wait(limits.TAKEOVER_SECONDS) == 0
        successor.terminate()
        assert successor.wait(20) == 0
    assert traces(lab) == host


def test_one_that_fails_changes_nothing(lab: Lab, tmp_path: Path, server: FtpServer) -> None:
    gateway = start(lab, tmp_path)
    before = traces(lab)
    with RawFtp(lab.client, server) as ftp:
        done = takeover_of(lab, tmp_path, gateway, port_range='"41000-41999"')

        assert done.returncode == 1
        assert "reload it first" in done.stderr
        assert ftp.fetch(b"small") == ftp.fetch_passively(b"small")
    with RawFtp(lab.client, server) as ftp:
        assert ftp.fetch(b"small") == ftp.fetch_passively(b"small")
    wait_until(
        gateway.process,
        lambda: any("gateway.not_handed_over" in line for line in gateway.journal()),
        gateway.log,
        "it says nothing",
    )
    assert traces(lab) == before
    assert asked(gateway, "status")["pid"] == gateway.process.pid
    assert gateway.stop() == 0


def test_one_that_cannot_write_its_state_takes_nothing_from_the_one_that_runs(
    lab: Lab, tmp_path: Path, server: FtpServer
) -> None:
    gateway = start(lab, tmp_path)
    _rules, *before = traces(lab)
    mount = f"mount --bind {STATE_FOLDER} {STATE_FOLDER}"
    read_only = f"{mount} && mount -o remount,bind,ro {STATE_FOLDER}"
    argv = ["unshare", "--mount", "sh", "-c", f'{read_only} && exec "$@"', "sh"]
    argv += [*sallyport(), "run"]
    argv += [*arguments(tmp_path), "--takeover", "--control-socket", str(gateway.control_socket)]

    with RawFtp(lab.client, server) as ftp:
        done = lab.gateway.run(argv, check=False)
        assert traces(lab)[1:] == before
        assert (done.returncode, "cannot write" in done.stderr) == (1, True), done.stderr
        assert ftp.fetch(b"small") == ftp.fetch_passively(b"small")
    wait_until(
        gateway.process,
        lambda: asked(gateway, "status")["repairs"] > 0,
        gateway.log,
        "it has not looked after its host again",
    )
    found = [json.loads(line)["found"] for line in gateway.journal() if "guard.repaired" in line]
    # The base table alone, which the other one had loaded anew.
    assert [one for one in found if not one.startswith("table sallyport was ")] == []
    assert gateway.stop() == 0


def test_without_a_gateway_there_is_nothing_to_take_over(lab: Lab, tmp_path: Path) -> None:
    argv = [*sallyport(), "run", *arguments(tmp_path), "--takeover"]
    argv += ["--control-socket", str(tmp_path / "c.sock")]

    done = lab.gateway.run(argv, check=False)

    assert done.returncode == 3
    assert "no gateway listens" in done.stderr


def test_old_workers_end_when_the_supervisor_that_took_them_over_is_killed(
    lab: Lab, tmp_path: Path, server: FtpServer
) -> None:
    gateway = start(lab, tmp_path)
    with RawFtp(lab.client, server) as ftp:
        gateway = succeed(lab, tmp_path, gateway)
        rows = asked(gateway, "status")["workers"]
        assert [row["state"] for row in rows].count("outgoing") >= 1

        gateway.kill()

        with pytest.raises(ConnectionResetError):
            ftp.reply()
        for row in rows:
            with suppress(ProcessLookupError), open_pidfd(row["pid"]) as end:
                assert select.select([end], [], [], 5)[0], f"process {row['pid']} goes on"
