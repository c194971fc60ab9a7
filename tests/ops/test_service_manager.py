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


def fill(manager: socket.socket) -> int:
    """Send a manager as much as it keeps unread; return how many messages that is."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as other:
        for count in range(10_000):
            try:
                other.sendto(b"OTHER=1", manager.getsockname())
            except BlockingIOError:
                return count
    raise AssertionError("it keeps everything")


def test_a_manager_that_reads_late_hears_all_but_signs_of_life_in_order(
    manager: socket.socket,
) -> None:
    others = fill(manager)
    ours = service(manager, WATCHDOG_USEC="2000")

    async def live() -> list[list[str]]:
        loop = asyncio.get_running_loop()
        manager.setblocking(False)
        with ours.watched(loop):
            with ours.reloading():
                ours.ready("2 workers")
            heard = [await loop.sock_recv(manager, 4096) for _ in range(others + 4)]
        return [one.decode().split("\n") for one in heard[others:]]

    heard = asyncio.run(asyncio.wait_for(live(), 5))
    assert [one[0] for one in heard] == ["RELOADING=1", "READY=1", "READY=1", "WATCHDOG=1"]
    assert heard[1] == ["READY=1", "STATUS=2 workers"]
    ours.close()


def test_what_a_manager_has_not_read_is_forgotten_when_it_is_gone(manager: socket.socket) -> None:
    fill(manager)
    ours = service(manager)

    async def live() -> None:
        ours.ready("2 workers")
        manager.close()
        ours.stopping("nobody hears it")
        ours.close()

    asyncio.run(live())


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

    async def live() -> None:
        for _ in range(10_000):
            ours.ready("again")
        ours.close()

    asyncio.run(asyncio.wait_for(live(), 5))


def test_the_last_word_is_waited_for_when_another_process_goes_on(manager: socket.socket) -> None:
    others = fill(manager)

    async def act() -> None:
        ours = service(manager)
        ours.ready("late")
        last = asyncio.get_running_loop().run_in_executor(None, ours.continues_with, 77)
        for _ in range(others):
            assert heard(manager) == ["OTHER=1"]
        await last
        ours.close()

    asyncio.run(act())

    assert heard(manager)[0] == "READY=1"
    assert heard(manager) == ["MAINPID=77"]
