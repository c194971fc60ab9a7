"""What a second worker is worth, where the load does not take the processors from it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from bench.load.jobs import Transfers
from bench.scale import Scale
from bench.setups.sallyport import CAP, SallyportCapped, SallyportTwoCapped
from bench.work.item import Case, Item, Measure, Metric, Stand

# Enough to keep two capped workers busy when the hash of the clients is not even.
_CONNECTIONS = 32

# A worker that is capped makes a fifth of the transfers.
_TIMES_AS_LONG = 5


class WorkersItem(Item):
    """One item of the benchmarks; the module says what it measures."""

    name = "workers"
    title = "One worker and two, each with a fixed share of a processor"
    method = (
        f"The transfers of above on {_CONNECTIONS} control connections, from as many addresses of"
        f" the client. Each worker gets {CAP:.0%} of a processor from the kernel, before every"
        " other process and no more: client and server do not compete. *Used* is how much of"
        " that all workers took: below 1 they were not the limit, and the ratio says less."
    )
    metrics = (
        Metric("rate", "transfers", "/s", is_drawn=True),
        Metric("gateway_us", "gateway CPU", "µs/transfer"),
        Metric("used", "used", "of the share", 2, is_compared=False),
        Metric("failures", "failures", "", is_compared=False),
    )
    setups = (SallyportCapped.name, SallyportTwoCapped.name)
    reference = SallyportCapped.name

    def cases(self, scale: Scale) -> Sequence[Case]:
        """Implement `Item.cases`."""
        return [Case(f"{_CONNECTIONS} control connections", _CONNECTIONS)]

    @contextmanager
    def prepared(self, stand: Stand, setup: str, case: Case, scale: Scale) -> Iterator[Measure]:
        """Implement `Item.prepared`."""
        there = stand.setup(setup)
        assert isinstance(there, SallyportCapped)  # noqa: S101 - `setups` names no other

        def measure() -> Mapping[str, float]:
            seconds = scale.seconds * _TIMES_AS_LONG
            done = there.transfers(case.number, seconds, sources=there.addresses)
            return _figures(done, there.workers)

        yield measure


def _figures(done: Transfers, workers: int) -> dict[str, float]:
    gateway = done.processor_seconds[0]
    found = {
        "rate": done.count / done.seconds,
        "used": gateway / done.seconds / (CAP * workers),
        "failures": float(done.failures),
    }
    return found | ({"gateway_us": gateway / done.count * 1e6} if done.count else {})
