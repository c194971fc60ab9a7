"""What it costs to ask a gateway for one port, in each one's own protocol."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from bench.errors import Absent
from bench.load.asks import Asked, AskJob, Words
from bench.scale import Scale
from bench.stats import percentile
from bench.work.item import Case, Item, Measure, Metric, Stand

_WORDS = {
    "helper": Words.PORT,
    "sallyport": Words.PORT,
    "sallyport-socks": Words.BIND,
    "sallyport-pcp": Words.MAP,
    "dante": Words.BIND,
    "miniupnpd": Words.MAP,
    "coturn": Words.ALLOCATE,
}


class AsksItem(Item):
    """One item of the benchmarks; the module says what it measures."""

    name = "asks"
    title = "Asking for one port, over the wire"
    method = (
        "One client asks, takes the answer, gives the port back, and asks again; only asking is"
        " timed. FTP's `PORT` (to `200`, the server's part included) through helper and Sallyport,"
        " SOCKS5 `BIND` with its connection to Dante and Sallyport, PCP `MAP` to miniupnpd and"
        " Sallyport, TURN `Allocate` to coturn. Different promises: PORT and BIND admit one peer"
        " once (Dante's any one), `MAP` admits every host."
        " *Live* ports are held meanwhile."
    )
    metrics = (
        Metric("p50", "p50", "µs", is_drawn=True),
        Metric("p99", "p99", "µs"),
        Metric("count", "asked", "times", is_compared=False),
    )
    setups = tuple(_WORDS)
    reference = "dante"

    def cases(self, scale: Scale) -> Sequence[Case]:
        """Implement `Item.cases`."""
        return [Case(f"{live} live", live) for live in (0, scale.held // 5)]

    @contextmanager
    def prepared(self, stand: Stand, setup: str, case: Case, scale: Scale) -> Iterator[Measure]:
        """Implement `Item.prepared`."""
        there = stand.setup(setup)
        server = str(there.lab.server.address4)
        words = _WORDS[setup]
        # Neither the case before nor the round before used these.
        sources = iter(there.addresses[len(there.addresses) // 2 * bool(case.number) :])

        def measure() -> Mapping[str, float]:
            source = next(sources)
            job = AskJob(words, "10.0.0.1", server, source, scale.seconds, case.number)
            asked = there.work("bench.load.asks", job, Asked, scale.seconds)
            if not asked.times_us:
                raise Absent("not one answer")
            return {
                "p50": percentile(asked.times_us, 0.5),
                "p99": percentile(asked.times_us, 0.99),
                "count": float(len(asked.times_us)),
            }

        yield measure
