"""The coverage measurement that `make test` starts: `coverage run -m pytest`."""

import sys
from typing import Protocol, TextIO


class Measurement(Protocol):
    """What the tests use of `coverage.Coverage`."""

    def start(self) -> None:
        """Count lines from here on, in addition to those that are counted."""

    def stop(self) -> None:
        """Count no lines until `start`."""

    def report(self, *, file: TextIO) -> float:
        """Write the lines that were not reached to `file`; return the per cent reached."""


def measurement() -> Measurement | None:
    """Return the measurement of this process; `None` where nothing is measured.

    `coverage run` imports coverage before the first test. Tests do not need it otherwise.
    """
    coverage = sys.modules.get("coverage")
    current: Measurement | None = coverage.Coverage.current() if coverage else None
    return current
