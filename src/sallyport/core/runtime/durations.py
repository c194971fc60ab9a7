"""How long something took, many times: counts by upper bounds."""

from bisect import bisect_left
from typing import Final

# From the ten microseconds of one netlink transaction to the second after which clients repeat
# themselves, each about twice the one before.
BOUNDS: Final = (
    *(0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005),
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
)


class Durations:
    """Counts durations; `counts` has one for each of BOUNDS and one for what took longer."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0
        """The sum of all."""

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds
