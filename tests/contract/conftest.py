"""Benches for the contract: `build` makes one with a rule and filters of its own, `bench` any."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from tests.contract.api_bench import ApiBench
from tests.contract.bench import Bench
from tests.contract.grounds import Ground
from tests.contract.lab_bench import LabBench, event_loop
from tests.contract.memory_bench import MemoryBench
from tests.contract.setups import EVERYWHERE, Setup

from sallyport import limits
from sallyport.core.model.filter import ApplicationFilter

# Short enough to wait for; the kernel counts whole seconds.
_SILENCE_SECONDS = 1
# How long conntrack waits by itself: Linux's own values.
_HOST_SILENCE = {
    "net.netfilter.nf_conntrack_udp_timeout": 30,
    "net.netfilter.nf_conntrack_udp_timeout_stream": 120,
}

# Gives a bench: the gateway's other filters, then any field of its access rule.
Build = Callable[..., Bench]


@pytest.fixture(params=EVERYWHERE)
def setup(request: pytest.FixtureRequest) -> Setup:
    """The combination a test runs in."""
    chosen: Setup = request.param
    return chosen


@pytest.fixture(scope="session")
def ground() -> Iterator[Ground]:
    """One network for all contract tests of this process; other processes have theirs."""
    with Ground.prepared(f"contract{os.getpid()}") as prepared:
        yield prepared


@pytest.fixture
def short_silence(
    setup: Setup, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Let datagram flows count as idle after a second; to be asked for before the bench."""
    monkeypatch.setattr(limits, "UDP_IDLE_SECONDS", float(_SILENCE_SECONDS))
    if not setup.is_real:
        yield
        return
    gateway = request.getfixturevalue("ground").lab.gateway
    for name in _HOST_SILENCE:
        gateway.sysctl(name, _SILENCE_SECONDS)
    yield
    for name, seconds in _HOST_SILENCE.items():
        gateway.sysctl(name, seconds)


@pytest.fixture
def build(setup: Setup, request: pytest.FixtureRequest) -> Iterator[Build]:
    """Make benches that go with the test."""
    with ExitStack() as undo:
        if not setup.is_real:
            kind = ApiBench if setup.bench == "api" else MemoryBench
            yield lambda *filters, **rule: kind(setup.way, setup.transport, filters, rule)
            return
        ground: Ground = request.getfixturevalue("ground")

        loop: asyncio.AbstractEventLoop = undo.enter_context(event_loop())
        undo.enter_context(ground.lab.gateway.entered())

        def make(*filters: ApplicationFilter, **rule: object) -> Bench:
            paths = ground.kernel_paths if setup.bench == "kernel" else ground.user_paths
            laid = undo.enter_context(paths(setup.way, loop))
            bench = LabBench(setup.way, setup.transport, ground.lab, loop, laid)
            bench.start(filters, rule)
            undo.callback(bench.stop)
            return bench

        yield make


@pytest.fixture
def bench(build: Build) -> Bench:
    """A bench with the plain rule."""
    return build()
