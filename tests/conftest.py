"""What every test may ask for: a lab, and to be skipped, with the reason, where none can stand."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings
from tests.interop.matrix import GiveServer, servers

from sallyport.lab.network import Lab
from sallyport.lab.privileges import why_no_namespaces
from sallyport.lab.servers import SOFTWARE


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the switch for the long forms of tests."""
    parser.addoption("--soak", action="store_true", help="run the long forms of tests too")


def pytest_configure(config: pytest.Config) -> None:
    """Set how long hypothesis looks: the suite is run many times a day, the long form rarely.

    No deadline for one example: a machine that is busy is not a fault of ours.
    """
    settings.register_profile("suite", max_examples=40, deadline=None)
    settings.register_profile("soak", max_examples=2000, deadline=None)
    settings.load_profile("soak" if config.getoption("--soak") else "suite")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run or nobody asked for."""
    reason = why_no_namespaces()
    for item in items:
        if item.get_closest_marker("soak") and not config.getoption("--soak"):
            item.add_marker(pytest.mark.skip(reason="a soak test: run with --soak"))
        if reason and any(item.get_closest_marker(name) for name in ("netns", "interop")):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Give each module a network of its own, with two clients and three servers.

    The name holds our process id: two runs on one machine do not meet.
    """
    stem = request.module.__name__.rpartition(".")[2].removeprefix("test_").replace("_", "")
    # ip(8) takes any name; 40 characters are enough to be recognised in `ip netns`.
    with Lab.build(f"t{os.getpid()}-{stem[:40]}", clients=2, servers=3) as built:
        yield built


@pytest.fixture(scope="module")
def server_of(lab: Lab) -> Iterator[GiveServer]:
    """Give the server of a name, each on an outside host and port 21 of its own."""
    hosts = dict(zip(SOFTWARE, lab.servers, strict=True))
    with servers(lambda software: (hosts[software], lab.folder / software, 21)) as give:
        yield give
