import os
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sallyport.errors import StartupError
from sallyport.lab.host import wait_until
from sallyport.lab.network import Lab

pytestmark = pytest.mark.netns


def where_am_i() -> int:
    return os.stat("/proc/thread-self/ns/net").st_ino


def test_entering_a_host_moves_this_thread_there_and_back(lab: Lab) -> None:
    home = where_am_i()
    with lab.client.entered():
        client = where_am_i()
        with lab.server.entered():
            server = where_am_i()
        assert where_am_i() == client
    assert where_am_i() == home
    assert len({home, client, server}) == 3


def test_an_error_inside_a_host_still_leads_back(lab: Lab) -> None:
    home = where_am_i()
    with pytest.raises(ZeroDivisionError), lab.client.entered():
        _ = 1 // 0
    assert where_am_i() == home


def test_other_threads_stay_where_they_are(lab: Lab) -> None:
    home, inside = where_am_i(), threading.Event()

    def look() -> int:
        assert inside.wait(5)
        return where_am_i()

    with ThreadPoolExecutor(1) as pool:
        # A thread starts where its creator stands: created at home, it is asked from inside.
        seen = pool.submit(look)
        with lab.client.entered():
            inside.set()
            assert seen.result() == home


def test_a_socket_made_inside_belongs_to_the_host_for_good(lab: Lab) -> None:
    with lab.server.entered():
        listener = socket.create_server((str(lab.server.address4), 7000))
    with (
        listener,
        lab.stranger.entered(),
        socket.create_connection((str(lab.server.address4), 7000), timeout=2) as peer,
    ):
        assert peer.getsockname()[0] == "203.0.113.66"


def test_a_program_runs_in_the_host_and_its_output_comes_back(lab: Lab) -> None:
    result = lab.client.run(
        ["sh", "-c", "ip -br addr show eth0; echo $COLOUR"], env={"COLOUR": "b"}
    )

    assert "10.0.0.8/24" in result.stdout
    assert result.stdout.endswith("b\n")


def test_a_program_that_fails_raises_unless_told_otherwise(lab: Lab) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        lab.client.run(["false"])
    assert lab.client.run(["false"], check=False).returncode == 1


def test_a_program_that_does_not_end_is_killed_after_its_time(lab: Lab) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        lab.client.run(["sleep", "60"], timeout=0.05)


def test_a_started_program_writes_its_log_and_ends_with_the_host(lab: Lab) -> None:
    log = lab.folder / "echo.log"
    talker = lab.client.popen(["sh", "-c", "echo hello"], log=log)
    sleeper = lab.client.popen(["sleep", "60"])
    talker.wait(5)

    lab.client.end_processes()

    assert log.read_text(encoding="ascii") == "hello\n"
    assert sleeper.returncode == -15


def test_a_sysctl_is_set_in_one_host_alone(lab: Lab) -> None:
    lab.client.sysctl("net.ipv4.ip_default_ttl", 99)

    assert lab.client.run(["cat", "/proc/sys/net/ipv4/ip_default_ttl"]).stdout == "99\n"
    assert lab.server.run(["cat", "/proc/sys/net/ipv4/ip_default_ttl"]).stdout == "64\n"


def test_a_daemon_that_ends_before_it_listens_is_quoted(lab: Lab, tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = lab.client.popen(["sh", "-c", "echo no such thing; exit 1"], log=log)

    with pytest.raises(StartupError, match="it does not start: no such thing"):
        wait_until(process, lambda: False, log, "it does not start")
