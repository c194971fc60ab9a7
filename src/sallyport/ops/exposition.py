"""All metrics as text, in the format of Prometheus."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest

import sallyport
from sallyport.core.runtime.durations import BOUNDS
from sallyport.ops.control.schema import EventCount, Measured
from sallyport.ops.metrics import METRICS, Meaning


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFacts:
    """What is known of one worker; `measured` is None when it gave no answer."""

    number: int
    is_up: bool
    restarts: int
    measured: Measured | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayFacts:
    """What the supervisor knows, with its workers."""

    is_ready: bool
    is_degraded: bool
    repairs: int
    reloads: Mapping[str, int]
    """How many, by `success` and `failure`."""
    last_reload_succeeded: bool
    configured_at: float
    """Seconds since 1970 at which the configuration in force was taken."""
    dropped: Mapping[str, int]
    log_records_lost: int
    kernel_errors: Mapping[str, int] = field(default_factory=dict)
    """Those of the supervisor, by operation."""
    workers: Iterable[WorkerFacts] = field(default_factory=tuple)


def exposition(facts: GatewayFacts) -> bytes:
    """Return everything in Prometheus' text format, version 0.0.4."""
    families = _Families()
    _of_gateway(families, facts)
    for worker in facts.workers:
        _of_worker(families, worker)
    return generate_latest(families)


# By whose end is recorded: a binding's, a permission's, or that of a transfer found at the start.
_DIRECTIONS: Final = {"binding": "inbound", "connect": "outbound", "transfer": "adopted"}


class _Families:
    """The samples of each metric."""

    def __init__(self) -> None:
        self._families: dict[str, Metric] = {
            name: _family(name, one) for name, one in METRICS.items()
        }

    def add(self, name: str, value: float, *labels: str) -> None:
        self._families[name].add_metric(labels, value)  # type: ignore[attr-defined]

    def add_histogram(self, name: str, counts: list[int], total: float, *labels: str) -> None:
        bounds = [*map(str, BOUNDS), "+Inf"]
        buckets = list(zip(bounds, accumulate(counts), strict=True))
        self._families[name].add_metric(labels, buckets, total)  # type: ignore[attr-defined]

    def collect(self) -> Iterator[Metric]:
        yield from self._families.values()


def _family(name: str, meaning: Meaning) -> Metric:
    match meaning.kind:
        case "counter":
            return CounterMetricFamily(name, meaning.text, labels=meaning.labels)
        case "gauge":
            return GaugeMetricFamily(name, meaning.text, labels=meaning.labels)
        case "histogram":
            return HistogramMetricFamily(name, meaning.text, labels=meaning.labels)


def _of_gateway(families: _Families, facts: GatewayFacts) -> None:
    families.add("sallyport_build_info", 1, sallyport.__version__)
    families.add("sallyport_ready", facts.is_ready)
    families.add("sallyport_degraded", facts.is_degraded)
    families.add("sallyport_table_repairs_total", facts.repairs)
    families.add("sallyport_log_records_lost_total", facts.log_records_lost, "supervisor")
    families.add("sallyport_config_last_reload_success", facts.last_reload_succeeded)
    families.add("sallyport_config_last_reload_timestamp_seconds", facts.configured_at)
    for result, count in facts.reloads.items():
        families.add("sallyport_config_reloads_total", count, result)
    for operation, count in facts.kernel_errors.items():
        families.add("sallyport_kernel_errors_total", count, "supervisor", operation)
    for reason, count in facts.dropped.items():
        families.add("sallyport_dropped_packets_total", count, reason)


def _of_worker(families: _Families, worker: WorkerFacts) -> None:
    number = str(worker.number)
    families.add("sallyport_worker_up", worker.is_up, number)
    families.add("sallyport_worker_restarts_total", worker.restarts, number)
    found = worker.measured
    if found is None:
        return
    for name, value in (
        ("worker_cpu_seconds_total", found.cpu_seconds),
        ("worker_resident_bytes", found.resident_bytes),
        ("sessions_active", found.sessions),
        ("sessions_total", found.sessions_opened),
        ("control_connections_active", found.controls),
        ("bindings_active", found.bindings),
        ("transfers_active", found.transfers),
        ("ports", found.ports),
        ("log_records_lost_total", found.log_records_lost),
    ):
        families.add(f"sallyport_{name}", value, number)
    families.add_histogram(
        "sallyport_bind_duration_seconds", found.bind_counts, found.bind_seconds, number
    )
    for operation, count in found.kernel_errors.items():
        families.add("sallyport_kernel_errors_total", count, number, operation)
    for reason, count in found.refusals.items():
        families.add("sallyport_refusals_total", count, number, reason)
    for transport, free in found.ports_free.items():
        families.add("sallyport_ports_free", free, number, transport)
    for direction in ("from_client", "to_client"):
        families.add(
            "sallyport_relay_bytes_total", found.bytes.get(direction, 0), number, direction
        )
    for event in found.events:
        _of_event(families, number, event)


def _of_event(families: _Families, worker: str, counted: EventCount) -> None:
    subject, _, outcome = counted.event.partition(".")
    labels = (worker, counted.protocol)
    match subject, outcome:
        case "filter", _:
            families.add("sallyport_filter_faults_total", counted.count, *labels)
        case _, "closed" | "secondary_closed":
            direction = _DIRECTIONS[subject]
            families.add(
                "sallyport_transfers_total", counted.count, *labels, direction, counted.reason
            )
        case "connect", _:
            verdict = "allowed" if outcome == "accepted" else outcome
            families.add(
                "sallyport_control_connections_total",
                counted.count,
                *labels,
                verdict,
                counted.reason,
            )
        case _:
            verdict = "allowed" if outcome == "reserved" else outcome
            families.add(
                "sallyport_bind_requests_total", counted.count, *labels, verdict, counted.reason
            )
