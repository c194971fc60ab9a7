"""What every test may ask for: a lab, and to be skipped, with the reason, where none can stand."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from tests.interop.matrix import GiveServer, servers
from tests.socket_free import is_socket_free, needs_sockets

from sallyport.lab.network import Lab
from sallyport.lab.privileges import why_no_namespaces
from sallyport.lab.servers import SOFTWARE


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the switches for the long forms of tests, and for the tests of `make check`."""
    parser.addoption("--soak", action="store_true", help="run the long forms of tests too")
    parser.addoption(
        "--fuzz",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="fuzz each parser for as long (tests/fuzz)",
    )
    parser.addoption(
        "--image", type=Path, metavar="FOLDER", help="run the OCI image there (scripts/try-image)"
    )
    parser.addoption(
        "--only",
        choices=("socket-free", "kernel"),
        help="run only what needs no network and no root, or only the rest",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Set how long hypothesis looks: the suite is run many times a day, the long form rarely.

    No deadline for one example: a machine that is busy is not a fault of ours.
    """
    settings.register_profile("suite", max_examples=40, deadline=None)
    settings.register_profile("soak", max_examples=2000, deadline=None)
    settings.load_profile("soak" if config.getoption("--soak") else "suite")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import tests on real sockets when only socket-free tests are asked for."""
    is_socket_free_run = config.getoption("--only") == "socket-free"
    return True if is_socket_free_run and needs_sockets(collection_path) else None


# The files that take longest, a minute and more: begun last, one would keep everybody waiting.
LONGEST = ("soak/test_soak.py", "netns/test_restarts.py", "interop/test_sip_programs.py")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip tests that this machine cannot run, and long forms that the command does not name."""
    items.sort(key=lambda item: not str(item.path).endswith(LONGEST))
    if only := config.getoption("--only"):
        halves: dict[bool, list[pytest.Item]] = {True: [], False: []}
        for item in items:
            halves[is_socket_free(item)].append(item)
        is_socket_free_run = only == "socket-free"
        config.hook.pytest_deselected(items=halves[not is_socket_free_run])
        items[:] = halves[is_socket_free_run]
    reason = why_no_namespaces()
    for item in items:
        if item.get_closest_marker("soak") and not config.getoption("--soak"):
            item.add_marker(pytest.mark.skip(reason="a soak test: run with --soak"))
        if reason and any(item.get_closest_marker(name) for name in ("netns", "interop")):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Keep the tests themselves, thousands of them, out of every garbage collection."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Yield a network for each module, with two clients and five servers.

    The name holds our process id: two runs on one machine do not meet.
    """
    stem = request.module.__name__.rpartition(".")[2].removeprefix("test_").replace("_", "")
    # ip(8) takes any name; 40 characters are enough to be recognised in `ip netns`.
    with Lab.build(f"t{os.getpid()}-{stem[:40]}", clients=2, servers=5) as built:
        yield built


@pytest.fixture(scope="module")
def server_of(lab: Lab) -> Iterator[GiveServer]:
    """Yield the server of a name, each on an outside host and port 21 of its own."""
    # The hosts that are left serve other protocols.
    hosts = dict(zip(SOFTWARE, lab.servers, strict=False))
    with servers(lambda software: (hosts[software], lab.folder / software, 21)) as give:
        yield give
