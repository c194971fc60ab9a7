"""Trail: how a decision was reached, step by step, for an operator who asks why.

The code that decides writes it, so that no second opinion can differ. Most of the time no
operator asks: `None` stands for that, and costs a comparison.
"""

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What one step did."""

    FOUND = "found"
    """A fact: which network, which relation, which rule."""
    PASSED_OVER = "passed-over"
    """A rule that does not match."""
    WITHIN = "within"
    """A limit that is kept."""
    REFUSED = "refused"
    """The step that says no: the last one."""


@dataclass(frozen=True, slots=True)
class TrailStep:
    """One question and its answer."""

    question: str
    """A stable word such as `client-network`, `rule` or `max_bindings_per_client`."""
    outcome: Outcome
    answer: str
    rule: str | None = None
    """The rule that the step is about."""
    value: str | None = None
    """Of a limit: how much is granted."""
    used: str | None = None
    """Of a limit: how much is used or asked for."""


class Trail:
    """Collects the steps of one decision."""

    __slots__ = ("steps",)

    def __init__(self) -> None:
        self.steps: list[TrailStep] = []

    @property
    def has_refused(self) -> bool:
        """Whether some step has said no."""
        return bool(self.steps) and self.steps[-1].outcome is Outcome.REFUSED

    def found(self, question: str, answer: object, *, rule: str | None = None) -> None:
        """Note a fact."""
        self.steps.append(TrailStep(question, Outcome.FOUND, str(answer), rule))

    def passed_over(self, rule: str, why: str) -> None:
        """Note a rule that does not match."""
        self.steps.append(TrailStep("rule", Outcome.PASSED_OVER, why, rule))

    def limit(
        self, name: str, rule: str, *, value: object, used: object, is_kept: bool = True
    ) -> None:
        """Note a limit of a rule with its value and its use."""
        outcome = Outcome.WITHIN if is_kept else Outcome.REFUSED
        answer = f"{used} of {value}"
        self.steps.append(TrailStep(name, outcome, answer, rule, str(value), str(used)))

    def refused(self, question: str, reason: str, *, rule: str | None = None) -> None:
        """Note what says no."""
        self.steps.append(TrailStep(question, Outcome.REFUSED, reason, rule))
