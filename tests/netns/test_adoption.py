"""Transfers whose process was killed: the next one finds them, and answers for them."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.interop.matrix import GiveServer
from tests.interop.office import configuration
from tests.interop.rawftp import TIMEOUT, RawFtp
from tests.netns.test_daemon import asked
from tests.netns.test_workers import Office, begin, kill_worker

from sallyport.kernel import marks
from sallyport.kernel.conntrack import ConntrackRequests
from sallyport.lab.gateway import RunningGateway
from sallyport.lab.host import wait_until
from sallyport.lab.network import Lab
from sallyport.lab.servers import FtpServer
from sallyport.wire.ftp.formats import read_epsv_reply

pytestmark = [pytest.mark.netns, pytest.mark.interop]

NUMBERS = count(1)
TRANSFERS = 50
# More than the sockets of both ends hold: the rest waits until the client reads.
SIZE = 16 * 1024 * 1024


def begin_passively(ftp: RawFtp, lab: Lab, server: FtpServer, family: int) -> socket.socket:
    """Begin a passive transfer of the file `endless`; return its data connection."""
    port = read_epsv_reply(ftp.ask(b"EPSV", b"229").rstrip()).port
    with lab.client.entered():
        there = str(server.account(family).address), port
        data = socket.create_connection(there, TIMEOUT)
    ftp.ask(b"RETR endless", b"150")
    return data


@contextmanager
def running(lab: Lab, server: FtpServer, number_of: int) -> Iterator[list[socket.socket]]:
    """Begin transfers, active and passive, IPv4 and IPv6 in turn; yield their data connections."""
    with ExitStack() as open_ones:
        found = []
        for number in range(number_of):
            family = (4, 6)[number & 1]
            ftp = open_ones.enter_context(RawFtp(lab.client, server, family))
            is_passive = number & 2
            data = begin_passively(ftp, lab, server, family) if is_passive else begin(ftp)
            found.append(open_ones.enter_context(data))
        yield found


def received(data: socket.socket) -> int:
    """Read a connection to its end and close it; return how many bytes came."""
    total = 0
    with data:
        while block := len(data.recv(1 << 20)):
            total += block
    return total


def records(gateway: RunningGateway, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in gateway.journal() if f'"event":"{event}"' in line]
    return [line for line in lines if line["event"] == event]


def until_recorded(gateway: RunningGateway, event: str, least: int) -> list[dict[str, Any]]:
    def are_there() -> bool:
        return len(records(gateway, event)) >= least

    wait_until(gateway.process, are_there, gateway.log, f"not {least} records of {event}")
    return records(gateway, event)


@pytest.fixture
def server(server_of: GiveServer) -> FtpServer:
    made = server_of("vsftpd")
    (made.folder / "endless").write_bytes(bytes(SIZE))
    return made


def started(lab: Lab, folder: Path) -> RunningGateway:
    """Start a gateway, with a log of its own."""
    file = folder / "sallyport.toml"
    file.write_text(configuration(gateway="workers = 2"))
    return RunningGateway(lab, ["--config", str(file)], name=f"adopting{next(NUMBERS)}")


def restarted(lab: Lab, folder: Path, first: RunningGateway) -> RunningGateway:
    """Kill everything of a gateway and start another one."""
    first.kill()
    return started(lab, folder)


@pytest.fixture(autouse=True)
def forgotten(lab: Lab) -> None:
    """Let conntrack forget the flows of other tests."""
    with lab.gateway.entered(), closing(ConntrackRequests()) as requests:
        for report in list(requests.dump(marks.PIN, marks.PIN)):
            requests.delete(report.original)


@pytest.fixture
def killed(lab: Lab, tmp_path: Path) -> RunningGateway:
    """Return a gateway that is to be killed."""
    return started(lab, tmp_path)


def test_transfers_under_way_when_all_is_killed_complete_and_are_listed_and_recorded(
    lab: Lab, tmp_path: Path, killed: RunningGateway, server: FtpServer
) -> None:
    with running(lab, server, TRANSFERS) as transfers:
        second = restarted(lab, tmp_path, killed)
        try:
            rows = asked(second, "transfers", "list")["transfers"]
            assert [row["is_adopted"] for row in rows] == [True] * TRANSFERS
            assert sum(row["direction"] == "outbound" for row in rows) == 24

            assert [received(data) for data in transfers] == [SIZE] * TRANSFERS

            ended = until_recorded(second, "transfer.closed", TRANSFERS)
            assert asked(second, "transfers", "list")["transfers"] == []
        finally:
            second.stop()
    assert {line["reason"] for line in ended} == {"finished"}
    assert min(line["to_client_bytes"] for line in ended) >= SIZE
    assert len(ended) == TRANSFERS


def test_an_adopted_transfer_counts_and_is_reset_when_it_is_killed(
    lab: Lab, tmp_path: Path, killed: RunningGateway, server: FtpServer
) -> None:
    with running(lab, server, 4) as transfers:
        second = restarted(lab, tmp_path, killed)
        try:
            rows = asked(second, "transfers", "list")["transfers"]
            question = str(lab.client.address4), str(server.account(4).address), "ftp"
            steps = asked(second, "explain", *question, "--bind", "1553")["steps"]
            for row in rows:
                assert second.ask("transfers", "kill", row["id"]).returncode == 0
            for data in transfers:
                with pytest.raises(ConnectionResetError):
                    received(data)
            ended = until_recorded(second, "transfer.closed", 4)
        finally:
            second.stop()

    (quota,) = [step for step in steps if step["question"] == "max_bindings_per_client"]
    assert quota["used"] == "2"
    assert {line["reason"] for line in ended} == {"killed-by-operator"}


def test_what_ended_while_nobody_watched_is_recorded_once(
    lab: Lab, tmp_path: Path, killed: RunningGateway, server: FtpServer
) -> None:
    with running(lab, server, 4) as transfers:
        assert received(transfers[0]) == SIZE  # its end is heard by the first gateway
        until_recorded(killed, "binding.closed", 1)
        killed.kill()
        for data in transfers[1:]:
            assert received(data) == SIZE
        second = restarted(lab, tmp_path, killed)
        ended = until_recorded(second, "transfer.closed", 3)
        third = restarted(lab, tmp_path, second)
        third.stop()

    assert len(ended) == 3
    assert min(line["to_client_bytes"] for line in ended) >= SIZE
    assert not records(third, "transfer.closed")


def test_the_replacement_of_a_worker_adopts_what_that_has_left(
    lab: Lab, tmp_path: Path, server: FtpServer
) -> None:
    office = Office(lab, tmp_path)
    try:
        with RawFtp(lab.clients[0], server) as ours, begin(ours) as data:
            kill_worker(office, 0)
            office.until_replaced(0)
            until_recorded(office.gateway, "transfer.adopted", 1)
            assert received(data) == SIZE
            (ended,) = until_recorded(office.gateway, "transfer.closed", 1)
    finally:
        office.gateway.stop()
    assert ended["to_client_bytes"] >= SIZE
