"""What a mapping costs beside those that live already: PCP MAP."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from bench import machine
from bench.errors import Absent
from bench.load.asks import Asked, AskJob, Words
from bench.scale import Scale
from bench.stats import percentile
from bench.work.item import Case, Item, Measure, Metric, Stand

# What miniupnpd took for each of 5 000, and half as much again.
_SECONDS_EACH = 0.15

# Where the internal ports begin of what lives, and of what is asked for beside it.
_LIVING, _ASKED = 10_000, 30_000


class MappingsItem(Item):
    """One item of the benchmarks; the module says what it measures."""

    name = "mappings"
    title = "PCP mappings beside live ones"
    method = (
        "One client asks for a mapping, takes the answer, deletes it, and begins anew; asking alone"
        " is timed. Gateway CPU is that of all processes in the gateway's namespace, for a mapping"
        " and its deletion. *Live* mappings are another host's and are made before."
    )
    metrics = (
        Metric("p50", "p50", "µs", is_drawn=True),
        Metric("p99", "p99", "µs"),
        Metric("gateway_us", "gateway CPU", "µs/mapping", is_drawn=True),
        Metric("count", "asked", "times", is_compared=False),
    )
    setups = ("miniupnpd", "sallyport-pcp")
    reference = "miniupnpd"

    def __init__(self) -> None:
        self._live: dict[int, int] = {}
        """How many each setup has, by its identity."""

    def cases(self, scale: Scale) -> Sequence[Case]:
        """Implement `Item.cases`."""
        return [Case(f"{live} live", live) for live in (0, scale.held, scale.held * 5)]

    @contextmanager
    def prepared(self, stand: Stand, setup: str, case: Case, scale: Scale) -> Iterator[Measure]:
        """Implement `Item.prepared`."""
        there = stand.setup(setup)
        server, gateway = str(there.lab.server.address4), there.lab.gateway.namespace
        before, wanted = self._live.get(id(there), 0), case.number
        if wanted > before:
            job = AskJob(
                Words.MAP,
                "10.0.0.1",
                server,
                there.addresses[-1],
                seconds=0.0,
                live=wanted - before,
                first=_LIVING + before,
                is_kept=True,
            )
            there.work("bench.load.asks", job, Asked, wanted * _SECONDS_EACH)
            self._live[id(there)] = wanted
        sources = iter(there.addresses)

        def measure() -> Mapping[str, float]:
            job = AskJob(
                Words.MAP, "10.0.0.1", server, next(sources), scale.seconds, 0, first=_ASKED
            )
            spent = machine.processor_seconds(gateway)
            asked = there.work("bench.load.asks", job, Asked, scale.seconds)
            spent = machine.processor_seconds(gateway) - spent
            if not asked.times_us:
                raise Absent("not one answer")
            return {
                "p50": percentile(asked.times_us, 0.5),
                "p99": percentile(asked.times_us, 0.99),
                "gateway_us": spent / len(asked.times_us) * 1e6,
                "count": float(len(asked.times_us)),
            }

        yield measure
