"""Memory of an idle control session."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from bench.scale import Scale
from bench.setups import SETUPS
from bench.work.item import Case, Item, Measure, Metric, Stand


class MemoryItem(Item):
    """One item of the benchmarks; the module says what it measures."""

    name = "memory"
    title = "Memory of an idle control session"
    method = (
        "What all processes of the gateway weigh (PSS) with sessions that are logged in and idle,"
        " less what they weighed before, divided by their number (or as many as it takes). A"
        " fresh gateway each round."
    )
    metrics = (Metric("session_kib", "gateway", "KiB/session", 1, is_drawn=True),)
    setups = ("sallyport", "sallyport-user", "dante", "suse")
    reference = "dante"

    def cases(self, scale: Scale) -> Sequence[Case]:
        """Implement `Item.cases`."""
        return [Case(f"{scale.held} sessions", scale.held)]

    @contextmanager
    def prepared(self, stand: Stand, setup: str, case: Case, scale: Scale) -> Iterator[Measure]:
        """Implement `Item.prepared`."""

        def measure() -> Mapping[str, float]:
            there = SETUPS[setup]()
            count = min(case.number, there.most_sessions)
            try:
                there.transfers(1, 0.1)  # what is made once is made now
                before = there.memory()
                with there.idle_sessions(count):
                    return {"session_kib": (there.memory() - before) / count / 1024}
            finally:
                there.close()

        yield measure
