"""Throughput of large transfers, and what a gibibyte costs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from bench.scale import Scale
from bench.work.item import Case, Item, Measure, Metric, Stand

_STREAMS = (1, 8)


class BulkItem(Item):
    """One item of the benchmarks; the module says what it measures."""

    name = "bulk"
    title = "Bulk throughput and CPU per GiB"
    method = (
        "Downloads of large files, one after the other on each stream. Sender and receiver copy"
        " as ordinary programs do: 256 KiB writes and reads. Plain NAT is measured in passive"
        " mode, HAProxy without FTP, all others in active mode. Machine CPU includes sender and"
        " receiver."
    )
    metrics = (
        Metric("gigabits", "throughput", "Gbit/s", 1, is_drawn=True),
        Metric("machine_s", "machine CPU", "s/GiB", 2, is_drawn=True),
        Metric("gateway_s", "gateway processes' CPU", "s/GiB", 2, is_compared=False),
    )
    setups = (
        *("direct", "routed", "nat", "helper", "sallyport", "sallyport-user"),
        *("sallyport-noop", "haproxy", "dante", "suse"),
    )
    reference = "nat"

    def cases(self, scale: Scale) -> Sequence[Case]:
        """Implement `Item.cases`."""
        return [Case(f"{count} stream{'s' if count > 1 else ''}", count) for count in _STREAMS]

    @contextmanager
    def prepared(self, stand: Stand, setup: str, case: Case, scale: Scale) -> Iterator[Measure]:
        """Implement `Item.prepared`."""
        there = stand.setup(setup)

        def measure() -> Mapping[str, float]:
            done = there.transfers(case.number, scale.seconds, size=scale.bulk)
            gibibytes = done.octets / 2**30
            found = {"gigabits": done.octets * 8 / done.seconds / 1e9}
            if gibibytes:
                found["machine_s"] = done.busy_seconds / gibibytes
                found["gateway_s"] = done.processor_seconds[0] / gibibytes
            return found

        yield measure
