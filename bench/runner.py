"""Carries a run out: every case of every item, in rounds, the setups one after the other in each.

Round by round and not setup by setup: what else the machine does then hits all of them alike.
"""

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime

from bench import machine
from bench.errors import Absent
from bench.results import Missing, Run, Sample
from bench.scale import Scale
from bench.setups import SETUPS, Setup
from bench.work.item import Case, Item, Measure, Stand
from sallyport.errors import StartupError


class _Standing(Stand):
    """Setups of one item, built when first asked for."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._setups: dict[str, Setup | Absent] = {}

    def setup(self, name: str) -> Setup:
        """Implement `Stand.setup`."""
        if name not in self._setups:
            try:
                built = SETUPS[name]()
                self._stack.callback(built.close)
                self._setups[name] = built
            except (Absent, StartupError) as error:
                self._setups[name] = Absent(str(error))
        found = self._setups[name]
        if isinstance(found, Absent):
            raise Absent(str(found))
        return found


def run(items: Sequence[Item], scale: Scale) -> Run:
    """Measure; what cannot be measured is noted. Progress goes to standard error."""
    began = datetime.now(UTC).isoformat(timespec="seconds")
    result = Run(began, scale.rounds, scale.name, machine.facts())
    start = time.monotonic()
    for item in items:
        with ExitStack() as stack:
            stand = _Standing(stack)
            cases = item.cases(scale)
            for group in [cases] if item.compares_cases else [[case] for case in cases]:
                _cases(result, stand, item, group, scale)
    result.seconds = time.monotonic() - start
    return result


def _cases(result: Run, stand: Stand, item: Item, cases: Sequence[Case], scale: Scale) -> None:
    """Measure some cases in common rounds."""
    start = time.monotonic()
    with ExitStack() as stack:
        ready: dict[tuple[Case, str], Measure] = {}
        for case in cases:
            for name in item.setups:
                try:
                    measure = stack.enter_context(item.prepared(stand, name, case, scale))
                except (Absent, StartupError) as error:
                    _miss(result, item, case, name, error)
                else:
                    ready[case, name] = measure
        for number in range(scale.rounds):
            # No setup is always first, or always after the same other one.
            places = list(ready)
            shift = number % len(places) if places else 0
            for case, name in places[shift:] + places[:shift]:
                try:
                    values = dict(ready[case, name]())
                except (Absent, StartupError) as error:
                    _miss(result, item, case, name, error)
                    del ready[case, name]
                else:
                    result.samples.append(Sample(item.name, case.title, name, number, values))
    _say(
        f"{item.name}: {', '.join(case.title for case in cases)}: {time.monotonic() - start:.0f} s"
    )


def _miss(result: Run, item: Item, case: Case, setup: str, error: Exception) -> None:
    _say(f"{item.name}: {case.title}: {setup}: {error}")
    result.missing.append(Missing(item.name, case.title, setup, str(error)))


def _say(text: str) -> None:
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()
