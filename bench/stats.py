"""What is said about many measurements of one thing."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median, quantiles


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle of some rounds, and how far apart they lie."""

    median: float
    low: float
    """The first quartile; the least of fewer than four."""
    high: float
    """The third quartile; the greatest of fewer than four."""
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Sum up at least one value."""
        low, high = min(values), max(values)
        if len(values) >= 4:
            low, _, high = quantiles(values, n=4, method="inclusive")
        return cls(median(values), low, high, len(values))


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the least value that `share` (0 to 1) of the ordered values do not exceed."""
    return ordered[max(0, ceil(share * len(ordered)) - 1)]
