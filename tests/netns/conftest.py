"""What tests of the kernel path begin with: a lab for each module, a data path for each test."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.netns import kernel_bench
from tests.netns.kernel_bench import Bench

from sallyport.lab.network import Lab


@pytest.fixture(scope="module")
def wires(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A lab whose gateway forwards; it has the last word of the module's name."""
    with Lab.build(request.module.__name__.rpartition("_")[2]) as lab:
        kernel_bench.make_gateway(lab)
        yield lab


@pytest.fixture
def bench(wires: Lab) -> Iterator[Bench]:
    """A data path that runs in the lab's gateway."""
    with kernel_bench.running(wires) as running:
        yield running


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The end of a service manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(10)
        yield sock
