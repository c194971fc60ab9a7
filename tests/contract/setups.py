"""Every combination the contract is held in: data path, family, relation, transport."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from tests.contract.places import WAYS, Way

from sallyport.flags import Transport


@dataclass(frozen=True, slots=True)
class Setup:
    """One combination; `bench` names the implementation in conftest."""

    bench: str
    way: Way
    transport: Transport

    def __str__(self) -> str:
        return f"{self.bench}-{self.way}-{self.transport.name.lower()}"

    @property
    def is_tcp(self) -> bool:
        """Whether connections are asked for, not datagrams."""
        return self.transport is Transport.TCP

    @property
    def is_nat(self) -> bool:
        """Whether the relation translates."""
        return self.way.is_nat

    @property
    def is_real(self) -> bool:
        """Whether bytes travel at all."""
        return self.bench in ("user", "kernel")


ALL = tuple(
    Setup(bench, way, transport)
    for bench in ("memory", "api", "user", "kernel")
    for way in WAYS
    for transport in Transport
)


def _param(setup: Setup) -> object:
    marks = [pytest.mark.netns] if setup.is_real else []
    return pytest.param(setup, id=str(setup), marks=marks)


def over(wanted: Callable[[Setup], bool]) -> pytest.MarkDecorator:
    """Run a test in the combinations that are `wanted` instead of in all."""
    chosen = [_param(setup) for setup in ALL if wanted(setup)]
    return pytest.mark.parametrize("setup", chosen, indirect=True)


EVERYWHERE = [_param(setup) for setup in ALL]
TCP = over(lambda setup: setup.is_tcp)
UDP = over(lambda setup: not setup.is_tcp)
NAT = over(lambda setup: setup.is_nat)
ROUTED = over(lambda setup: not setup.is_nat)
REAL = over(lambda setup: setup.is_real)
REAL_TCP = over(lambda setup: setup.is_real and setup.is_tcp)
REAL_UDP = over(lambda setup: setup.is_real and not setup.is_tcp)
HEARING = over(
    lambda setup: (
        setup.is_real and not setup.is_tcp and (setup.bench == "kernel" or not setup.is_nat)
    )
)
"""Where user mode hears what clients say to peers: behind NAT it is tried without netfilter too."""
