"""Reloads at the wrong moment, and with filters that do not come back."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from tests.interop.office import configuration
from tests.netns.test_daemon import Reloadable, asked, traces
from tests.ops.config.offered import write

from sallyport.lab.gateway import RunningGateway, sallyport
from sallyport.lab.host import end, wait_until
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns]


def test_a_hangup_at_the_start_kills_nobody(lab: Lab, tmp_path: Path) -> None:
    file, path, log = (tmp_path / name for name in ("sallyport.toml", "c.sock", "log"))
    file.write_text(configuration())
    argv = [*sallyport(), "run", "--config", str(file), "--control-socket", str(path)]
    process = lab.gateway.popen(argv, log=log)
    try:
        wait_until(process, path.exists, log, "no control socket")
        os.kill(process.pid, signal.SIGHUP)
        wait_until(process, lambda: "gateway.reloaded" in log.read_text(), log, "no reload")
    finally:
        end(process)

    assert process.returncode == 0


def test_hangups_while_it_stops_leave_nothing_behind(lab: Lab, tmp_path: Path) -> None:
    before = traces(lab)
    made = Reloadable(lab, tmp_path)
    made.write(1, protocols=("ftp", "tftp"))  # a reload would load another table
    process = made.running.process

    os.kill(process.pid, signal.SIGTERM)
    while process.poll() is None:
        os.kill(process.pid, signal.SIGHUP)
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.002)

    assert process.returncode in {0, -signal.SIGHUP}  # it may come when all is done
    assert traces(lab) == before


@pytest.mark.parametrize(
    ("before", "loop"),
    [
        ("class Edition", "while True: pass\n"),
        ("    def attach", "    def start(self, firewall):\n        while True: pass\n"),
    ],
)
def test_a_filter_that_loops_when_it_is_loaded_or_started_stops_nobody(
    before: str, loop: str, lab: Lab, tmp_path: Path
) -> None:
    made = Reloadable(lab, tmp_path)
    try:
        text = made.filter.read_text(encoding="utf-8")
        write(made.filter, text.replace(before, loop + before, 1))

        done = made.running.ask("reload")

        assert "FilterStuck: it took longer than 5 s" in done.stderr
        assert asked(made.running, "status")["data_path"] == "kernel"
    finally:
        made.running.stop()


def test_the_log_warns_of_what_check_config_warns_of(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "sallyport.toml"
    rule = """
[[access_rules]]
name = "once more"
action = "deny"
protocols = ["ftp"]
from = ["internal"]
to = ["external"]
"""
    file.write_text(configuration(rest=rule))
    running = RunningGateway(lab, ["--config", str(file)], name="doubtful")
    try:
        running.ask("reload")
        warned = [line for line in running.journal() if "config.doubtful" in line]
        checked = running.host.run([*sallyport(), "check-config", str(file)]).stderr
    finally:
        running.stop()

    assert len(warned) == 2
    assert all("shadowed by 'office'" in line for line in (*warned, checked))
