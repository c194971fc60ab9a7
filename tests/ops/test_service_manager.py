"""What a service manager hears, by a socket as systemd opens it."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sallyport.errors import ConfigErrors
from sallyport.ops.service_manager import ServiceManager

PID = 4242


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The manager's end, at a path."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock


def service(manager: socket.socket, **environment: str) -> ServiceManager:
    return ServiceManager.of_environment(
        {"NOTIFY_SOCKET": manager.getsockname(), **environment}, PID
    )


def heard(manager: socket.socket) -> list[str]:
    return manager.recv(4096).decode().split("\n")


def test_readiness_and_the_end_are_reported_with_a_line_for_people(manager: socket.socket) -> None:
    ours = service(manager)

    ours.ready("2 workers")
    ours.stopping("30 s for running transfers")

    assert heard(manager) == ["READY=1", "STATUS=2 workers"]
    assert heard(manager) == ["STOPPING=1", "STATUS=30 s for running transfers"]
    ours.close()


def test_a_reload_begins_with_its_time_and_ends_ready_even_when_it_fails(
    manager: socket.socket,
) -> None:
    ours = service(manager)

    with pytest.raises(ConfigErrors), ours.reloading():
        raise ConfigErrors([])

    begun = heard(manager)
    assert begun[0] == "RELOADING=1"
    assert begun[1].startswith("MONOTONIC_USEC=")
    assert begun[1].partition("=")[2].isdigit()
    assert heard(manager) == ["READY=1"]
    ours.close()


@pytest.mark.parametrize("mine", [{}, {"WATCHDOG_PID": str(PID)}])
def test_signs_of_life_come_twice_in_the_limit_while_the_loop_runs(
    manager: socket.socket, mine: dict[str, str]
) -> None:
    ours = service(manager, WATCHDOG_USEC="20000", **mine)

    async def live() -> None:
        loop = asyncio.get_running_loop()
        manager.setblocking(False)
        with ours.watched(loop):
            for _ in range(3):
                assert await loop.sock_recv(manager, 4096) == b"WATCHDOG=1"

    asyncio.run(asyncio.wait_for(live(), 5))
    ours.close()


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
    ],
)
def test_without_a_watchdog_of_ours_there_is_no_sign(
    manager: socket.socket, environment: dict[str, str]
) -> None:
    ours = service(manager, **environment)

    async def live() -> None:
        with ours.watched(asyncio.get_running_loop()):
            await asyncio.sleep(0)

    asyncio.run(live())
    ours.stopping("")
    assert heard(manager)[0] == "STOPPING=1"
    ours.close()


def test_an_abstract_socket_is_found_by_its_sign() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("")  # Linux chooses an abstract name (unix(7), autobind).
        manager.settimeout(5)
        ours = ServiceManager("@" + manager.getsockname()[1:].decode())
        ours.ready("")
        assert manager.recv(100).startswith(b"READY=1")
        ours.close()


@pytest.mark.parametrize("address", [None, "/nonexistent/notify", "relative"])
def test_a_manager_that_is_not_there_is_no_fault(address: str | None) -> None:
    ours = ServiceManager(address, 1.0)
    with ours.reloading():
        ours.ready("")
    ours.close()
    ours.close()


def test_a_manager_that_does_not_read_keeps_nobody_waiting(manager: socket.socket) -> None:
    ours = service(manager)
    for _ in range(10_000):
        ours.ready("again")
    ours.close()
