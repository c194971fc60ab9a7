"""A finding: what was found on the host, why it matters, and what to type."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding matters."""

    WRONG = "wrong"
    """Something does not work, or is open, because of it."""
    DOUBTFUL = "doubtful"
    """It may be meant so, or will matter one day."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found; `remedy` is commands or lines to write, possibly none."""

    code: str
    severity: Severity
    what: str
    why: str
    remedy: tuple[str, ...] = ()


def wrong(code: str, what: str, why: str, *remedy: str) -> Finding:
    """Return a finding of something that does not work, or is open."""
    return Finding(code, Severity.WRONG, what, why, remedy)


def doubtful(code: str, what: str, why: str, *remedy: str) -> Finding:
    """Return a finding of something that may be meant so, or will matter one day."""
    return Finding(code, Severity.DOUBTFUL, what, why, remedy)
