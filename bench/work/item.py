"""One work item of the benchmark: what is measured, on whom, and how it is told."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar

from bench.scale import Scale
from bench.setups import SETUPS, Setup

Measure = Callable[[], Mapping[str, float]]
"""Makes one measurement; gives values by the keys of the item's metrics. Raises Absent."""


@dataclass(frozen=True, slots=True)
class Case:
    """One row of circumstances; `number` and `kind` are the item's own."""

    title: str
    number: int = 0
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Metric:
    """One thing that is measured."""

    key: str
    title: str
    unit: str
    digits: int = 0
    is_compared: bool = True
    """Whether its ratio to the reference setup means something."""
    is_drawn: bool = False


class Stand(ABC):
    """Where setups stand while an item is measured."""

    @abstractmethod
    def setup(self, name: str) -> Setup:
        """Return the running setup of a name, the same in every case; raises Absent."""


class Item(ABC):
    """One item of the benchmarks; the module says what it measures."""

    name: ClassVar[str]
    title: ClassVar[str]
    method: ClassVar[str]
    """How it is measured, for the reader who wants to repeat it."""
    metrics: ClassVar[tuple[Metric, ...]]
    setups: ClassVar[tuple[str, ...]]
    reference: ClassVar[str]
    """The setup that the others are compared with."""
    compares_cases: ClassVar[bool] = False
    """Whether cases are compared with each other: then they too are measured in turn, all of them
    prepared at once."""

    @abstractmethod
    def cases(self, scale: Scale) -> Sequence[Case]:
        """Return the circumstances, in order."""

    @abstractmethod
    def prepared(
        self, stand: Stand, setup: str, case: Case, scale: Scale
    ) -> AbstractContextManager[Measure]:
        """Make ready for the rounds of one case; raises Absent."""

    def title_of(self, setup: str) -> str:
        """Return what the report calls a setup."""
        return SETUPS[setup].title
