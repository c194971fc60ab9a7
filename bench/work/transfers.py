"""Active-mode transfers and whole sessions per second."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from bench.load.jobs import Transfers
from bench.scale import Scale
from bench.stats import percentile
from bench.work.item import Case, Item, Measure, Metric, Stand

_SESSIONS_AT_ONCE = 8


class TransfersItem(Item):
    """One item of the benchmarks; the module says what it measures."""

    name = "transfers"
    title = "Active-mode transfers per second"
    method = (
        "Each control connection repeats `PORT`, `RETR` of 1 KiB, `226` without a pause. Whole"
        " sessions connect, log in, transfer once and quit. Plain NAT cannot do active mode and"
        " uses `PASV`. *Direct* is what client and server processes achieve by themselves: one"
        " process each, epoll, no files. Gateway CPU is that of all processes in the gateway's"
        " namespace; *beside the load* is all processors' less client and server. What the kernel"
        " forwards is charged to the sender, so *machine CPU*, of all processors together, is"
        " what compares kernel and proxies."
    )
    metrics = (
        Metric("rate", "transfers", "/s", is_drawn=True),
        Metric("gateway_us", "gateway CPU", "µs/transfer", is_compared=False, is_drawn=True),
        Metric("rest_us", "CPU beside the load", "µs/transfer", is_compared=False),
        Metric("machine_us", "machine CPU", "µs/transfer"),
        Metric("transfer_p50", "transfer p50", "µs"),
        Metric("transfer_p99", "transfer p99", "µs"),
        Metric("failures", "failures", "", is_compared=False),
    )
    setups = ("direct", "routed", "nat", "helper", "sallyport", "sallyport-user", "dante", "suse")
    reference = "helper"

    def cases(self, scale: Scale) -> Sequence[Case]:
        """Implement `Item.cases`."""
        several = [
            Case(f"{count} control connection{'s' if count > 1 else ''}", count)
            for count in scale.connections
        ]
        return [*several, Case(f"whole sessions, {_SESSIONS_AT_ONCE} at once", kind="sessions")]

    @contextmanager
    def prepared(self, stand: Stand, setup: str, case: Case, scale: Scale) -> Iterator[Measure]:
        """Implement `Item.prepared`."""
        there = stand.setup(setup)

        def measure() -> Mapping[str, float]:
            is_whole = case.kind == "sessions"
            connections = _SESSIONS_AT_ONCE if is_whole else case.number
            done = there.transfers(connections, scale.seconds, whole_sessions=is_whole)
            return figures(done)

        yield measure


def figures(done: Transfers) -> dict[str, float]:
    """Return the figures of transfers that were made; without times when there was none."""
    found = {"rate": done.count / done.seconds, "failures": float(done.failures)}
    if done.count:
        gateway, client, server = done.processor_seconds
        found |= {
            "gateway_us": gateway / done.count * 1e6,
            "rest_us": (done.busy_seconds - client - server) / done.count * 1e6,
            "machine_us": done.busy_seconds / done.count * 1e6,
            "transfer_p50": percentile(done.transfer_us, 0.5),
            "transfer_p99": percentile(done.transfer_us, 0.99),
        }
    return found
