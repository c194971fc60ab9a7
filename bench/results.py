"""What a run measured, as values that go into a JSON file and come back."""

from msgspec import Struct, field


class Sample(Struct, frozen=True):
    """One setup at one case of one item, in one round."""

    item: str
    case: str
    setup: str
    round: int
    values: dict[str, float]


class Missing(Struct, frozen=True):
    """What could not be measured, and why."""

    item: str
    case: str
    setup: str
    reason: str


class Run(Struct):
    """Everything of one run."""

    began: str
    rounds: int
    scale: str
    machine: dict[str, str]
    seconds: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)

    def cases(self, item: str) -> list[str]:
        """Return the cases of an item that were measured, in order."""
        return list(dict.fromkeys(one.case for one in self.samples if one.item == item))

    def values(self, item: str, case: str, setup: str, metric: str) -> list[float]:
        """Return what was measured in all rounds, in order."""
        return [
            sample.values[metric]
            for sample in self.samples
            if (sample.item, sample.case, sample.setup) == (item, case, setup)
            and metric in sample.values
        ]
