"""The daemon under a service manager: what it reports."""

import os
import signal
import socket

import pytest
from tests.netns.test_daemon import asked

from sallyport.lab.gateway import RunningGateway
from sallyport.lab.network import Lab

pytestmark = [pytest.mark.netns]


def under(manager: socket.socket, *before: str) -> tuple[str, ...]:
    """Return the command that runs another as a service of `manager`."""
    return (*before, "env", f"NOTIFY_SOCKET={manager.getsockname()}", "WATCHDOG_USEC=1000000")


def heard(manager: socket.socket, wanted: str) -> list[str]:
    """Return the first message that begins with `wanted`, and skip signs of life before it."""
    while True:
        lines = manager.recv(4096).decode().split("\n")
        if lines[0].startswith(wanted):
            return lines
        assert lines == ["WATCHDOG=1"], lines


def test_a_service_manager_hears_of_readiness_life_and_the_end(
    lab: Lab, manager: socket.socket
) -> None:
    gateway = RunningGateway(lab, wrapper=under(manager))
    ready = heard(manager, "READY=1")
    assert asked(gateway, "status")["controls"] == 0
    heard(manager, "WATCHDOG=1")

    os.kill(gateway.process.pid, signal.SIGTERM)

    assert ready[1].startswith("STATUS=serving ")
    assert heard(manager, "STOPPING=1")[1].startswith("STATUS=")
    assert gateway.stop() == 0
