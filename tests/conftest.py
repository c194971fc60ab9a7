"""What every test may ask for: a lab, and to be skipped, with the reason, where none can stand."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from tests.interop.matrix import GiveServer, servers
from tests.measuring import measurement
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
        "--socket-free", action="store_true", help="run only what needs no network and no root"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Set how long hypothesis looks: the suite is run many times a day, the long form rarely.

    No deadline for one example: a machine that is busy is not a fault of ours.
    """
    settings.register_profile("suite", max_examples=40, deadline=None)
    settings.register_profile("soak", max_examples=2000, deadline=None)
    settings.load_profile("soak" if config.getoption("--soak") else "suite")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out tests on real sockets when only socket-free tests are asked for."""
    return True if config.getoption("--socket-free") and needs_sockets(collection_path) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip tests that this machine cannot run, and long forms that the command does not name.

    The coverage floor is checked at the end, when every other test has run.
    """
    if config.getoption("--socket-free"):
        config.hook.pytest_deselected(items=[item for item in items if not is_socket_free(item)])
        items[:] = [item for item in items if is_socket_free(item)]
    items.sort(key=lambda item: item.path.name == "test_coverage.py")
    reason = why_no_namespaces()
    for item in items:
        if item.get_closest_marker("soak") and not config.getoption("--soak"):
            item.add_marker(pytest.mark.skip(reason="a soak test: run with --soak"))
        if reason and any(item.get_closest_marker(name) for name in ("netns", "interop")):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Measure coverage, if at all, in socket-free tests alone.

    What needs the kernel would count lines as tested that no fast test reaches, and would run
    slower under a tracer than its time limits expect.
    """
    coverage = measurement()
    if coverage is None or is_socket_free(item):
        return (yield)
    coverage.stop()
    try:
        return (yield)
    finally:
        coverage.start()


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Give each module a network of its own, with two clients and three servers.

    The name holds our process id: two runs on one machine do not meet.
    """
    stem = request.module.__name__.rpartition(".")[2].removeprefix("test_").replace("_", "")
    # ip(8) takes any name; 40 characters are enough to be recognised in `ip netns`.
    with Lab.build(f"t{os.getpid()}-{stem[:40]}", clients=2, servers=4) as built:
        yield built


@pytest.fixture(scope="module")
def server_of(lab: Lab) -> Iterator[GiveServer]:
    """Give the server of a name, each on an outside host and port 21 of its own."""
    # The hosts that are left serve other protocols.
    hosts = dict(zip(SOFTWARE, lab.servers, strict=False))
    with servers(lambda software: (hosts[software], lab.folder / software, 21)) as give:
        yield give
