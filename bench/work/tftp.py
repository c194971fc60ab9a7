"""TFTP transfers per second."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from bench import machine
from bench.errors import Absent
from bench.load.tftp import Fetched, TftpJob
from bench.scale import Scale
from bench.setups.base import serving
from bench.stats import percentile
from bench.work.item import Case, Item, Measure, Metric, Stand

# Every tenth transfer may fail before it gives up, which takes a second each.
_PATIENCE_SECONDS = 30.0


class TftpItem(Item):
    """One item of the benchmarks; the module says what it measures."""

    name = "tftp"
    title = "TFTP transfers per second"
    method = (
        "One client fetches a file of one short block, again and again, from a new port each time:"
        " request, data from a new port of the server's, acknowledgement. Few, because Sallyport"
        " keeps the binding of a transfer for a minute of silence, and a client has a quota of"
        " bindings (1024 here, 64 by default)."
    )
    metrics = (
        Metric("rate", "transfers", "/s", is_drawn=True),
        Metric("p50", "p50", "µs"),
        Metric("p99", "p99", "µs"),
        Metric("gateway_us", "gateway CPU", "µs/transfer", is_compared=False),
        Metric("failures", "failures", "", is_compared=False),
    )
    setups = ("direct", "routed", "helper", "sallyport")
    reference = "helper"

    def cases(self, scale: Scale) -> Sequence[Case]:
        """Implement `Item.cases`."""
        count = scale.held // 10
        return [Case(f"{count} transfers", count)]

    @contextmanager
    def prepared(self, stand: Stand, setup: str, case: Case, scale: Scale) -> Iterator[Measure]:
        """Implement `Item.prepared`."""
        there = stand.setup(setup)
        server, gateway = there.lab.server, there.lab.gateway.namespace
        job = TftpJob(str(server.address4), case.number)

        def measure() -> Mapping[str, float]:
            before = machine.processor_seconds(gateway)
            done = there.work("bench.load.tftp", job, Fetched, _PATIENCE_SECONDS)
            spent = machine.processor_seconds(gateway) - before
            if not done.times_us:
                raise Absent("not one file comes")
            return {
                "rate": len(done.times_us) / done.seconds,
                "p50": percentile(done.times_us, 0.5),
                "p99": percentile(done.times_us, 0.99),
                "gateway_us": spent / len(done.times_us) * 1e6,
                "failures": float(done.failures),
            }

        argv = [sys.executable, "-m", "bench.load.tftp", "serve", str(server.address4)]
        with serving(server, argv, there.lab.folder / "tftp.log"):
            yield measure
