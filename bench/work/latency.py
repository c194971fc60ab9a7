"""Time added to PORT, beside idle control sessions."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from bench.errors import Absent
from bench.scale import Scale, sessions_possible
from bench.setups import SETUPS
from bench.stats import percentile
from bench.work.item import Case, Item, Measure, Metric, Stand


class LatencyItem(Item):
    """One item of the benchmarks; the module says what it measures."""

    name = "latency"
    title = "PORT to 200, beside idle control sessions"
    method = (
        "One control connection makes transfers; the time from its `PORT` to the server's `200`"
        " is taken each time (Dante's `BIND` comes before that and is only in the whole transfer)."
        " Every number of idle sessions has a gateway of its own. What a gateway adds is its figure"
        " less that of *routed*."
    )
    metrics = (
        Metric("p50", "p50", "µs", is_drawn=True),
        Metric("p99", "p99", "µs"),
        Metric("p999", "p99.9", "µs"),
        Metric("transfer_p50", "whole transfer p50", "µs"),
        Metric("transfer_p99", "whole transfer p99", "µs"),
    )
    setups = ("routed", "helper", "sallyport", "dante", "suse")
    reference = "routed"
    compares_cases = True

    def cases(self, scale: Scale) -> Sequence[Case]:
        """Implement `Item.cases`."""
        most = sessions_possible()
        counts = [min(count, most) for count in scale.idle]
        return [Case(f"{count} idle sessions", count) for count in counts]

    @contextmanager
    def prepared(self, stand: Stand, setup: str, case: Case, scale: Scale) -> Iterator[Measure]:
        """Implement `Item.prepared`."""
        kind = SETUPS[setup]
        if case.number > kind.most_sessions:
            raise Absent(f"at most {kind.most_sessions} sessions: {kind.why_so_few}")

        def measure() -> Mapping[str, float]:
            # Longer than elsewhere, for the one in a thousand.
            done = there.transfers(1, 2 * scale.seconds)
            if not done.count:
                raise Absent(done.first_failure or "no transfer ends")
            return {
                "p50": percentile(done.reply_us, 0.5),
                "p99": percentile(done.reply_us, 0.99),
                "p999": percentile(done.reply_us, 0.999),
                "transfer_p50": percentile(done.transfer_us, 0.5),
                "transfer_p99": percentile(done.transfer_us, 0.99),
            }

        there = kind()
        try:
            with there.idle_sessions(case.number):
                yield measure
        finally:
            there.close()
