"""SIP calls per second, and what their media costs."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from bench import machine
from bench.errors import Absent
from bench.load.calls import Called, CallJob
from bench.scale import Scale
from bench.setups import Setup
from bench.setups.base import serving
from bench.stats import percentile
from bench.work.item import Case, Item, Measure, Metric, Stand

# Every tenth call may fail before it gives up, which takes ten seconds each.
_PATIENCE_SECONDS = 60.0

_CALLS_WITH_MEDIA = 5


@contextmanager
def _answered(there: Setup) -> Iterator[None]:
    """Run the telephone that answers; it does already when the block begins."""
    server = there.lab.server
    argv = [sys.executable, "-m", "bench.load.calls", "answer", str(server.address4)]
    with serving(server, argv, there.lab.folder / "calls.log"):
        yield


def _called(there: Setup, calls: int, packets: int, burst: int = 1) -> tuple[Called, float]:
    """Make calls; return what came of it, and the processor time of the gateway's programs."""
    job = CallJob(str(there.lab.server.address4), calls, packets, burst)
    gateway = there.lab.gateway.namespace
    before = machine.processor_seconds(gateway)
    done = there.work("bench.load.calls", job, Called, _PATIENCE_SECONDS)
    if not done.times_us:
        raise Absent("not one call stands")
    return done, machine.processor_seconds(gateway) - before


class CallsItem(Item):
    """One item of the benchmarks; the module says what it measures."""

    name = "calls"
    title = "SIP calls per second"
    method = (
        "One telephone inside calls one outside, again and again: INVITE with a description, 200"
        " with another, ACK, BYE, 200. No media is sent. The latency is that until ACK."
    )
    metrics = (
        Metric("rate", "calls", "/s", is_drawn=True),
        Metric("p50", "p50", "µs"),
        Metric("p99", "p99", "µs"),
        Metric("gateway_us", "gateway CPU", "µs/call", is_compared=False),
        Metric("failures", "failures", "", is_compared=False),
    )
    setups = ("direct", "nat", "helper", "sallyport-sip")
    reference = "helper"

    def cases(self, scale: Scale) -> Sequence[Case]:
        """Implement `Item.cases`."""
        return [Case(f"{scale.held} calls", scale.held)]

    @contextmanager
    def prepared(self, stand: Stand, setup: str, case: Case, scale: Scale) -> Iterator[Measure]:
        """Implement `Item.prepared`."""
        there = stand.setup(setup)

        def measure() -> Mapping[str, float]:
            done, spent = _called(there, case.number, 0)
            return {
                "rate": len(done.times_us) / done.seconds,
                "p50": percentile(done.times_us, 0.5),
                "p99": percentile(done.times_us, 0.99),
                "gateway_us": spent / len(done.times_us) * 1e6,
                "failures": float(done.failures),
            }

        with _answered(there):
            yield measure


class MediaItem(Item):
    """One item of the benchmarks; the module says what it measures."""

    name = "media"
    title = "what the media of calls costs"
    method = (
        f"{_CALLS_WITH_MEDIA} calls, in which the far side sends datagrams of 172 bytes: in both"
        " cases for as long, in one ten times as many. CPU is that of the gateway's programs, calls"
        " and waiting included: what the kernel does is not in it."
    )
    metrics = (
        Metric("heard", "datagrams that arrive", "", is_compared=False),
        Metric("lost", "lost", "", is_compared=False),
        Metric("gateway_ms", "gateway CPU", "ms in all", is_compared=False),
    )
    setups = ("helper", "sallyport-sip", "sallyport-sip-user")
    reference = "helper"

    def cases(self, scale: Scale) -> Sequence[Case]:
        """Implement `Item.cases`."""
        return [
            Case(f"{_CALLS_WITH_MEDIA} times {scale.held * burst} datagrams", burst)
            for burst in (1, 10)
        ]

    @contextmanager
    def prepared(self, stand: Stand, setup: str, case: Case, scale: Scale) -> Iterator[Measure]:
        """Implement `Item.prepared`."""
        there = stand.setup(setup)
        packets = scale.held * case.number

        def measure() -> Mapping[str, float]:
            done, spent = _called(there, _CALLS_WITH_MEDIA, packets, case.number)
            if not done.heard:
                raise Absent("no media arrives")
            return {
                "heard": float(done.heard),
                "lost": float(_CALLS_WITH_MEDIA * packets - done.heard),
                "gateway_ms": spent * 1e3,
            }

        with _answered(there):
            yield measure
