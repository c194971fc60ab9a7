"""What a SOCKS request costs: CONNECT, BIND, UDP ASSOCIATE."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from bench import machine
from bench.errors import Absent
from bench.load.asks import Asked, AskJob, Words
from bench.scale import Scale
from bench.stats import percentile
from bench.work.item import Case, Item, Measure, Metric, Stand


class SocksItem(Item):
    """One item of the benchmarks; the module says what it measures."""

    name = "socks"
    title = "SOCKS requests"
    method = (
        "One client connects to the proxy, asks by SOCKS5, takes the (first) reply, hangs up, and"
        " begins anew; only up to the reply is timed. Gateway CPU is that of all processes in the"
        " gateway's namespace, from the connection to its end."
    )
    metrics = (
        Metric("p50", "p50", "µs", is_drawn=True),
        Metric("p99", "p99", "µs"),
        Metric("gateway_us", "gateway CPU", "µs/request", is_drawn=True),
        Metric("count", "asked", "times", is_compared=False),
    )
    setups = ("dante", "sallyport-socks")
    reference = "dante"

    def cases(self, scale: Scale) -> Sequence[Case]:
        """Implement `Item.cases`."""
        return [Case(words, kind=words) for words in (Words.CONNECT, Words.BIND, Words.ASSOCIATE)]

    @contextmanager
    def prepared(self, stand: Stand, setup: str, case: Case, scale: Scale) -> Iterator[Measure]:
        """Implement `Item.prepared`."""
        there = stand.setup(setup)
        lab = there.lab

        def measure() -> Mapping[str, float]:
            source, server = there.addresses[0], str(lab.server.address4)
            job = AskJob(Words(case.kind), "10.0.0.1", server, source, scale.seconds, 0)
            before = machine.processor_seconds(lab.gateway.namespace)
            asked = there.work("bench.load.asks", job, Asked, scale.seconds)
            spent = machine.processor_seconds(lab.gateway.namespace) - before
            if not asked.times_us:
                raise Absent("not one answer")
            return {
                "p50": percentile(asked.times_us, 0.5),
                "p99": percentile(asked.times_us, 0.99),
                "gateway_us": spent / len(asked.times_us) * 1e6,
                "count": float(len(asked.times_us)),
            }

        yield measure
